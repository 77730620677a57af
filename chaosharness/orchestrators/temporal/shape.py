"""What workflows of Temporal did in a run, in order: read from their histories.

A workflow is code: no definition says its steps. What one workflow task has commanded goes on side
by side.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from chaosharness.orchestrators.shape import BEGIN, END, Move, StepGraph

__all__ = ["steps_of"]

NAMED: Final = {
    "ACTIVITY_TASK_SCHEDULED": ("activityType", "{}"),
    "START_CHILD_WORKFLOW_EXECUTION_INITIATED": ("workflowType", "child {}"),
}
OTHERS: Final = {
    "TIMER_STARTED": "timer",
    "WORKFLOW_EXECUTION_SIGNALED": "signal {signalName}",
    "WORKFLOW_EXECUTION_UPDATE_ACCEPTED": "update",
}


def steps_of(histories: Iterable[str]) -> list[StepGraph]:
    """Return what was seen of each type of workflow, of histories as Temporal's JSON.

    Histories of other engines are left out.
    """
    found: dict[str, list[Move]] = {}
    for text in histories:
        events = json.loads(text).get("events")
        first = _attributes(events[0]) if events else {}
        if "workflowType" in first:
            found.setdefault(first["workflowType"]["name"], []).extend(_moves(events))
    return [StepGraph(name, "Temporal", moves, True) for name, moves in found.items()]


def _attributes(event: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((one for key, one in event.items() if key.endswith("EventAttributes")), {})


def _moves(events: list[Mapping[str, Any]]) -> list[Move]:
    moves: list[Move] = []
    before, group, task = [BEGIN], list[str](), ""
    for event in events:
        name, attributes = _name(event), _attributes(event)
        if not name:
            continue
        decided = str(attributes.get("workflowTaskCompletedEventId", event["eventId"]))
        if decided != task:
            before, group, task = group or before, [], decided
        moves += [Move(source, name) for source in before]
        group.append(name)
    return [*moves, *(Move(source, END) for source in group or before)]


def _name(event: Mapping[str, Any]) -> str:
    kind = event["eventType"].removeprefix("EVENT_TYPE_")
    attributes = _attributes(event)
    if kind in NAMED:
        key, words = NAMED[kind]
        return words.format(attributes[key]["name"])
    return OTHERS.get(kind, "").format(**{"signalName": attributes.get("signalName", "")})
