"""What a workflow commanded, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_WORDS: Final[Mapping[str, str]] = {
    "ScheduleActivityTask": "schedules activity {}",
    "RequestCancelActivityTask": "asks for the end of activity {}",
    "StartTimer": "starts a timer of {}",
    "CancelTimer": "cancels a timer",
    "StartChildWorkflowExecution": "starts child workflow {}",
    "RecordMarker": "records which version of its code it runs",
    "RecordLocalActivity": "records the end of local activity {}",
    "AcceptUpdate": "accepts update {}",
    "CompleteUpdate": "answers update {}",
    "RejectUpdate": "rejects update {}",
    "SignalExternalWorkflowExecution": "sends signal {} to another workflow",
    "RequestCancelExternalWorkflowExecution": "asks another workflow to end",
    "ModifyWorkflowProperties": "changes its memo",
    "UpsertWorkflowSearchAttributes": "",
    "CompleteWorkflowExecution": "completes the workflow",
    "FailWorkflowExecution": "fails the workflow",
    "CancelWorkflowExecution": "ends the workflow as cancelled",
    "ContinueAsNewWorkflowExecution": "continues as a new run",
}
"""Commands of Temporal. Of the attributes that say what a marker says, nothing is told."""


def in_words(command: str) -> str:
    """Say what a command asks for: `ScheduleActivityTask charge`: `schedules activity charge`.

    A command that is not known is told as it is; one that only goes with another, not at all.
    """
    name, _, about = command.partition(" ")
    words = _WORDS.get(name)
    return command if words is None else words.format(about).rstrip()
