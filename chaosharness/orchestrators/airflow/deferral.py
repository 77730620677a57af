"""Deferred tasks: what is kept of one that waits for its trigger, and how it goes on.

*Source*: apache-airflow-core 3.3.2: `models/trigger.py` (`submit_event`, `submit_failure`),
`jobs/scheduler_job_runner.py` (`check_trigger_timeouts`); apache-airflow-task-sdk 1.3.2,
`bases/operator.py` (`resume_execution`), `exceptions.py` (rule A13).
*Not modelled*: templates in the arguments of a trigger that is begun first (`start_from_trigger`),
and tasks that wait for a person (`AWAITING_INPUT`).
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import attrs

from chaosharness.orchestrators.airflow.records import TaskInstance

__all__ = [
    "FAIL",
    "TRIGGER_FAILED",
    "TRIGGER_TIMED_OUT",
    "Named",
    "Resumption",
    "deferred_first",
    "handed_back",
    "seconds_of",
    "timed_out",
]

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


def seconds_of(timeout: Any) -> float | None:
    """Return how long a task waits for its trigger."""
    return timeout.total_seconds() if isinstance(timeout, timedelta) else timeout


@attrs.frozen
class Named:
    """A trigger by the path of its class, and its arguments, as `StartTriggerArgs` names it."""

    path: str
    kwargs: Mapping[str, Any] = attrs.field(factory=dict)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the database keeps of it."""
        return self.path, dict(self.kwargs)


def deferred_first(
    instance: TaskInstance, asked: Any, execution_timeout_s: float | None, now_ms: int
) -> None:
    """Have a task wait for its trigger before any worker has it (A13).

    Args:
        instance: The task instance.
        asked: The `TaskDeferred` that it would have raised.
        execution_timeout_s: What its try may take: it waits no longer than that, either.
        now_ms: Now.
    """
    limits = [one for one in (seconds_of(asked.timeout), execution_timeout_s) if one is not None]
    instance.trigger = asked.trigger
    instance.trigger_timeout_ms = now_ms + round(min(limits) * 1000) if limits else None
    instance.next_method = asked.method_name
    instance.next_kwargs = dict(asked.kwargs or {})
    instance.start_ms = now_ms
