"""Deferred tasks: what is kept of one that waits for its trigger, and how it goes on.

*Source*: apache-airflow-core 3.3.2: `models/trigger.py` (`submit_event`, `submit_failure`),
`jobs/scheduler_job_runner.py` (`check_trigger_timeouts`); apache-airflow-task-sdk 1.3.2,
`bases/operator.py` (`resume_execution`), `exceptions.py` (rule A13).
*Not modelled*: triggers that end their task from within the scheduler (`start_from_trigger`), and
tasks that wait for a person (`AWAITING_INPUT`).
"""

from collections.abc import Mapping
from typing import Any, Final

import attrs

from chaosharness.orchestrators.airflow.records import TaskInstance

__all__ = ["FAIL", "TRIGGER_FAILED", "TRIGGER_TIMED_OUT", "Resumption", "handed_back", "timed_out"]

FAIL: Final = "__fail__"
"""The method that says: the trigger is to blame, let the try fail on a worker."""
TRIGGER_TIMED_OUT: Final = "Trigger timeout"
TRIGGER_FAILED: Final = "Trigger failure"


@attrs.frozen
class Resumption:
    """What a deferred task goes on with: its method, and what that is given."""

    method: str
    kwargs: Mapping[str, Any] = attrs.field(factory=dict)


def handed_back(instance: TaskInstance, event: Any, error: str) -> None:
    """Keep what a trigger has said, for the method that goes on."""
    instance.trigger = instance.trigger_timeout_ms = None
    if error:
        instance.next_method = FAIL
        instance.next_kwargs = {"error": TRIGGER_FAILED, "traceback": [error]}
    else:
        instance.next_kwargs = {**instance.next_kwargs, "event": event}


def timed_out(instance: TaskInstance) -> None:
    """Have a task fail whose trigger has not fired in time."""
    instance.trigger = instance.trigger_timeout_ms = None
    instance.next_method = FAIL
    instance.next_kwargs = {"error": TRIGGER_TIMED_OUT}
