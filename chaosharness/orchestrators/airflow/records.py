"""What Airflow's database holds, and what its scheduler says that it did."""

from typing import Any, Final

import attrs

__all__ = [
    "DEFERRED",
    "FAILED",
    "FINISHED",
    "QUEUED",
    "REMOVED",
    "RESCHEDULE",
    "RETRY",
    "RUNNING",
    "SCHEDULED",
    "SKIPPED",
    "SUCCESS",
    "UPSTREAM_FAILED",
    "DagRun",
    "Moved",
    "RunEnded",
    "RunStarted",
    "TaskInstance",
]

SCHEDULED: Final = "scheduled"
QUEUED: Final = "queued"
RUNNING: Final = "running"
SUCCESS: Final = "success"
FAILED: Final = "failed"
SKIPPED: Final = "skipped"
UPSTREAM_FAILED: Final = "upstream_failed"
RETRY: Final = "up_for_retry"
RESCHEDULE: Final = "up_for_reschedule"
DEFERRED: Final = "deferred"
REMOVED: Final = "removed"
FINISHED: Final = frozenset((SUCCESS, FAILED, SKIPPED, UPSTREAM_FAILED, REMOVED))


@attrs.define(eq=False)
class TaskInstance:
    """A task in a DAG run. Each of its tries has an id of its own (rule A2).

    Attributes:
        map_index: Which item of a mapped task it is, from 0; -1 where the task is not mapped, or
            not expanded yet (rule A11).
        id: Of the present try: what its process says who it is by.
        state: None until it is scheduled, as in Airflow.
        try_number: Which try this is, from 1; 0 before the first.
        due_ms: When it may be scheduled again: a retry, a reschedule.
        queued_ms: Since when it is queued.
        sent: Whether the executor has it.
        beat_ms: When its process was last heard of.
        holder: The process that runs it.
        host: Which process ran this try, also when it is over.
        start_ms, end_ms: When this try began and ended; None before.
        first_ms: When it was rescheduled first, in this try.
        next_method: What goes on once the trigger has fired that it waits for (rule A13).
        next_kwargs: What that is given.
        trigger: What it waits for, in state deferred.
        trigger_timeout_ms: When it waits no longer; None is for ever.
        stuck: How often it was queued anew since nobody began it.
        tries: What became of earlier ids: number, state, why.
    """

    dag_id: str
    run_id: str
    task_id: str
    max_tries: int
    id: str = ""
    state: str | None = None
    try_number: int = 0
    serial: int = 0
    due_ms: int = 0
    queued_ms: int = 0
    sent: bool = False
    beat_ms: int = 0
    holder: str = ""
    host: str = ""
    start_ms: int | None = None
    end_ms: int | None = None
    first_ms: int | None = None
    stuck: int = 0
    tries: list[dict[str, Any]] = attrs.field(factory=list)
    map_index: int = -1
    next_method: str = ""
    next_kwargs: dict[str, Any] = attrs.field(factory=dict)
    trigger: Any = None
    trigger_timeout_ms: int | None = None

    @property
    def key(self) -> str:
        """Return what tells it from the others of its run: `ship`, or `ship[2]`."""
        return self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"

    def renew(self, state: str | None = None, why: str = "", now_ms: int = 0) -> None:
        """Give the next try an id of its own; the old one is history."""
        if state is not None:
            said = {"try_number": self.try_number, "state": state, "why": why}
            when = {"start_ms": self.start_ms, "end_ms": now_ms, "host": self.host}
            self.tries.append({**said, **when})
        self.serial += 1
        self.id = f"{self.dag_id}/{self.run_id}/{self.key}/{self.serial}"
        self.holder = self.host = ""
        self.start_ms = self.end_ms = None
        self.sent = False
        self.first_ms = None
        self.resumed()

    def resumed(self) -> None:
        """Forget what it was to go on with: its trigger, and what comes after that."""
        self.next_method, self.next_kwargs = "", {}
        self.trigger = self.trigger_timeout_ms = None


@attrs.define(eq=False)
class DagRun:
    """A run of a DAG.

    Attributes:
        tasks: Its task instances by their keys, in the DAG's order.
        skips: The tasks that a branch or a short circuit has skipped, by its own key.
        lengths: How many items a task has returned for those that are mapped over it.
    """

    dag_id: str
    run_id: str
    conf: Any
    logical_ms: int
    run_type: str
    created_ms: int
    state: str = QUEUED
    tasks: dict[str, TaskInstance] = attrs.field(factory=dict)
    skips: dict[str, frozenset[str]] = attrs.field(factory=dict)
    lengths: dict[str, int] = attrs.field(factory=dict)

    def of(self, task_id: str) -> list[TaskInstance]:
        """Return the instances of a task: one, or one an item; none where the DAG is newer."""
        one = self.tasks.get(task_id)
        if one is not None:
            return [one]
        return [one for one in self.tasks.values() if one.task_id == task_id]


# ---- facts


@attrs.frozen
class RunStarted:
    """A DAG run goes on: it was queued."""

    run: DagRun


@attrs.frozen
class RunEnded:
    """A DAG run is over."""

    run: DagRun


@attrs.frozen
class Moved:
    """A task instance came into a state; `by` is `scheduler` or `task`, `why` is for people."""

    task: TaskInstance
    state: str | None
    by: str
    why: str = ""
