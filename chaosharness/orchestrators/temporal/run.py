"""One run of a workflow as the server keeps it: its event history and what is pending.

Values only, and how an event gets into the history: at once, or, while a workflow task is being
worked on, into a buffer (rule T1).

*Source*: temporalio/temporal, `docs/architecture/history-service.md`; histories and sequences
recorded from Temporal Server 1.32.0.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import attrs

from chaosharness.orchestrators.temporal.limits import NONE, Limits

__all__ = [
    "NOTHING",
    "Activity",
    "ActivityTask",
    "Child",
    "Run",
    "Task",
    "Timer",
    "Update",
    "WorkflowTask",
    "execution_of",
    "given_at_start",
    "milliseconds",
    "seconds_text",
    "upserted",
]

Attributes = dict[str, Any]


PATIENT_ATTEMPTS: Final = 3
"""Attempts of a workflow task that all have the same time; each later one has longer."""
GROWTH_MS: Final = 5_000
GROWTH_MAX_MS: Final = 600_000


def seconds_text(milliseconds: int) -> str:
    """A duration as Temporal's JSON writes it: `10s`, `0.400s`."""
    whole, rest = divmod(milliseconds, 1000)
    return f"{whole}.{rest:03d}s" if rest else f"{whole}s"


@attrs.define(eq=False)
class Task:
    """The workflow task that is outstanding: there is at most one."""

    scheduled_id: int
    attempt: int
    written: bool  # whether its Scheduled event is in the history: later attempts are transient
    started_id: int = 0
    token: str = ""
    identity: str = ""  # of the worker that has it
    deadline_ms: int | None = None
    since_ms: int = 0
    speculative: bool = False
    """In memory alone, to bring updates to a worker: see `Run.settle`."""


UpdateStage = Literal["ADMITTED", "SENT", "ACCEPTED", "COMPLETED"]


@attrs.define(eq=False)
class Update:
    """An update that somebody sent: what it asks, how far it has come, and how it ended."""

    id: str
    request: Attributes  # `meta` and `input`, as Temporal's JSON has them
    stage: UpdateStage = "ADMITTED"
    sequencing_id: int = 0  # the event behind which it was handed to a worker
    accepted_id: int = 0
    outcome: Attributes | None = None
    lost: bool = False  # the run ended before a worker had accepted it


@attrs.define(eq=False)
class Activity:
    """An activity that has not ended: which attempt, who works on it, until when."""

    id: str
    scheduled_id: int
    type: str
    queue: str
    attributes: Attributes
    first_ms: int
    ready_ms: int  # when this attempt may be polled
    attempt: int = 1
    token: str = ""
    identity: str = ""  # of the worker that has this attempt
    started_ms: int | None = None
    beat_ms: int = 0
    details: Any = None
    last_failure: Any = None
    cancel_id: int = 0  # the event that asked for its cancellation

    @property
    def started(self) -> bool:
        return self.started_ms is not None

    def limit(self, name: str) -> int | None:
        """A timeout in milliseconds; None where there is none."""
        return milliseconds(self.attributes.get(name, "0s")) or None


def milliseconds(text: str) -> int:
    """`0.400s` in milliseconds."""
    return round(float(text.removesuffix("s")) * 1000)


@attrs.define(eq=False)
class Timer:
    """A timer of the workflow."""

    id: str
    started_id: int
    due_ms: int
    beyond: bool = False  # its workflow has waited so often that no run of the system waits for it


@attrs.define(eq=False)
class Child:
    """A child workflow that was asked for."""

    initiated_id: int
    workflow_id: str
    type: str
    started_id: int = 0
    run_id: str = ""
    close_policy: str = ""  # what becomes of it when its parent ends


@attrs.frozen
class Told:
    """An event that waits to be written: see `Run.tell`."""

    type: str
    attributes: Callable[[], Attributes]
    first: Callable[[], None] | None
    written: Callable[[int], None] | None


ENDS = frozenset(
    f"{what}_{how}"
    for what in ("ACTIVITY_TASK", "CHILD_WORKFLOW_EXECUTION")
    for how in ("COMPLETED", "FAILED", "CANCELED", "TIMED_OUT", "TERMINATED")
)
"""What the server moves behind everything else that was buffered with it.

*Source*: `historybuilder` of temporalio/temporal, reordering of buffered events; sequence 108.
"""

Status = Literal[
    "RUNNING", "COMPLETED", "FAILED", "CANCELED", "TERMINATED", "CONTINUED_AS_NEW", "TIMED_OUT"
]


@attrs.define(eq=False)
class Run:
    """One run: what the server would read from its store."""

    workflow_id: str
    run_id: str
    type: str
    queue: str
    task_timeout_ms: int
    started_ms: int
    now: Callable[[], int]
    status: Status = "RUNNING"
    events: list[dict[str, Any]] = attrs.field(factory=list)
    buffer: list[Told] = attrs.field(factory=list)
    task: Task | None = None
    next_attempt: int = 1
    activities: dict[int, Activity] = attrs.field(factory=dict)
    timers: dict[str, Timer] = attrs.field(factory=dict)
    children: dict[int, Child] = attrs.field(factory=dict)
    cancel_requested: bool = False
    given_up: list[str] = attrs.field(factory=list)  # activities whose time is over, not yet noted
    timetable: str = ""  # the schedule that has started it
    beyond: bool = False  # its first task is past what a run of the system looks at
    begins_ms: int = 0  # when its first task may come
    not_before_ms: int = 0  # the same, until it has come (rules T23, T34)
    limits: Limits = NONE
    due_ms: int | None = None  # when it has taken too long
    parent: tuple[str, int] | None = None
    result: Any = None
    sticky: bool = False  # its next task goes to the worker that has it in its cache (T5)
    updates: dict[str, Update] = attrs.field(factory=dict)
    memo: Attributes = attrs.field(factory=dict)  # payloads by name, as they are now
    search_attributes: Attributes = attrs.field(factory=dict)

    @property
    def begun_with(self) -> Attributes:
        """What its first event says."""
        found: Attributes = self.events[0]["workflowExecutionStartedEventAttributes"]
        return found

    @property
    def next_id(self) -> int:
        return len(self.events) + 1

    def write(self, type: str, attributes: Attributes) -> int:
        """Append an event; return its id."""
        number = self.next_id
        key = "".join(part.capitalize() for part in type.split("_"))
        self.events.append(
            {
                "eventId": str(number),
                "eventTime": self.now(),
                "eventType": f"EVENT_TYPE_{type}",
                key[0].lower() + key[1:] + "EventAttributes": attributes,
            }
        )
        return number

    def tell(
        self,
        type: str,
        attributes: Callable[[], Attributes],
        *,
        first: Callable[[], None] | None = None,
        written: Callable[[int], None] | None = None,
    ) -> None:
        """Let something from outside into the history: now, or after the task that is out.

        Args:
            type: Of the event.
            attributes: Called when it is written.
            first: Called before: an activity's Started, which is written with its end.
            written: Called after, with the event's id.
        """
        if self.status != "RUNNING":
            return
        self.settle()
        told = Told(type, attributes, first, written)
        if self.task is not None and self.task.token:
            self.buffer.append(told)
            return
        self._write_now([told])
        self.schedule_task()

    def _write_now(self, told: list[Told]) -> None:
        """Write events: what has ended comes after all that was told beside it."""
        for one in told:
            if one.first is not None:
                one.first()
        for one in sorted(told, key=lambda one: one.type in ENDS):
            number = self.write(one.type, one.attributes())
            if one.written is not None:
                one.written(number)

    def flush(self) -> bool:
        """Write what was buffered; return whether there was anything."""
        buffered, self.buffer = self.buffer, []
        self._write_now(buffered)
        return bool(buffered)

    # ---- the workflow task

    def schedule_task(self, *, speculative: bool = False) -> None:
        """Schedule a workflow task, unless one is outstanding or the run has ended.

        A speculative one is written when it turns out to have done something (T28).
        """
        if self.task is not None or self.status != "RUNNING" or self.not_before_ms > self.now():
            return
        attempt = self.next_attempt
        if attempt > 1:  # transient: written only once one of these attempts completes (T3)
            self.task = Task(self.next_id, attempt, False, since_ms=self.now())
            return
        if speculative:
            self.task = Task(self.next_id, 1, False, since_ms=self.now(), speculative=True)
            return
        number = self.write("WORKFLOW_TASK_SCHEDULED", self._scheduled(1))
        self.task = Task(number, 1, True, since_ms=self.now())

    def settle(self) -> None:
        """Write a speculative task: something else is about to be written behind it (T28)."""
        task = self.task
        if task is None or not task.speculative:
            return
        task.speculative, task.written = False, True
        self.write("WORKFLOW_TASK_SCHEDULED", self._scheduled(task.attempt))
        if task.token:
            self.write("WORKFLOW_TASK_STARTED", _started(task))

    def drop_task(self) -> None:
        """A speculative task has done nothing: it never was (T28)."""
        self.task, self.next_attempt = None, 1

    def _scheduled(self, attempt: int) -> Attributes:
        queue = {"kind": "TASK_QUEUE_KIND_NORMAL", "name": self.queue}
        if self.sticky:
            queue = {"kind": "TASK_QUEUE_KIND_STICKY", "name": "sticky", "normalName": self.queue}
        return {
            "attempt": attempt,
            "startToCloseTimeout": seconds_text(self.task_timeout_ms),
            "taskQueue": queue,
        }

    def start_task(self, token: str, identity: str = "") -> Task:
        """Hand the outstanding task to a worker, which histories name by its identity."""
        task = self.task
        assert task is not None and not task.token
        if task.attempt > 1 and task.scheduled_id != self.next_id:
            # events have come since: it is a task like any other again
            task.attempt = self.next_attempt = 1
            task.scheduled_id = self.write("WORKFLOW_TASK_SCHEDULED", self._scheduled(1))
            task.written = True
        task.token, task.identity = token, identity
        task.deadline_ms = self.now() + self.task_timeout_ms + _growth_ms(task.attempt)
        if task.written:
            task.started_id = self.write("WORKFLOW_TASK_STARTED", _started(task))
        else:
            task.started_id = task.scheduled_id + 1
        return task

    def shown_events(self) -> list[dict[str, Any]]:
        """The history as a worker gets it: with the transient task that it works on."""
        task = self.task
        if task is None or task.written or task.scheduled_id != self.next_id:
            return self.events
        shown = attrs.evolve(self, events=[*self.events], buffer=[])
        shown.write("WORKFLOW_TASK_SCHEDULED", self._scheduled(task.attempt))
        if task.token:
            shown.write("WORKFLOW_TASK_STARTED", _started(task))
        return shown.events

    def complete_task(self, sdk: Any = None) -> int:
        """Write that the outstanding task is completed; return the id of that event."""
        task = self.task
        assert task is not None
        if not task.written:
            self.write("WORKFLOW_TASK_SCHEDULED", self._scheduled(task.attempt))
            self.write("WORKFLOW_TASK_STARTED", _started(task))
        self.task, self.next_attempt = None, 1
        return self.write(
            "WORKFLOW_TASK_COMPLETED",
            {
                "scheduledEventId": str(task.scheduled_id),
                "startedEventId": str(task.started_id),
                **({"sdkMetadata": dict(sdk)} if sdk else {}),
            },
        )

    def fail_task(self, cause: str, failure: Any = None, *, timed_out: str = "") -> None:
        """The outstanding task has failed or timed out: the next attempt is scheduled."""
        self.settle()
        task = self.task
        assert task is not None
        self.task, self.sticky = None, False
        for update in self.updates.values():
            if update.stage == "SENT":
                update.stage = "ADMITTED"  # it is handed out once more
        ids = {"scheduledEventId": str(task.scheduled_id), "startedEventId": str(task.started_id)}
        if task.attempt == 1:  # the first failure is in the history, later ones are not
            if timed_out:
                self.write("WORKFLOW_TASK_TIMED_OUT", {**ids, "timeoutType": timed_out})
            else:
                told = {"failure": failure} if failure is not None else {}
                self.write("WORKFLOW_TASK_FAILED", {**ids, "cause": cause, **told})
        self.next_attempt = task.attempt + 1
        if self.flush() or cause.endswith("UNHANDLED_COMMAND"):
            self.next_attempt = 1
        self.schedule_task()


def _started(task: Task) -> Attributes:
    by = {"identity": task.identity} if task.identity else {}
    return {"scheduledEventId": str(task.scheduled_id), **by}


def _growth_ms(attempt: int) -> int:
    """How much longer than the first attempt of a workflow task a later one may take.

    Source: temporalio/temporal, `workflow_task_state_machine.go` (`getStartToCloseTimeout`);
    recorded: 1 s became 5.1 and 5.7 s at the fourth attempt. Not modelled: its jitter.
    """
    late = attempt - PATIENT_ATTEMPTS
    return min(GROWTH_MS * 2 ** min(late - 1, 10), GROWTH_MAX_MS) if late > 0 else 0


NOTHING: Final = "YmluYXJ5L251bGw="
"""The encoding of a payload that takes a name away: `binary/null`."""


def upserted(known: Attributes, more: Mapping[str, Any]) -> Attributes:
    """Named payloads after an upsert: some are new, some are gone."""
    found = {**known, **more}
    return {k: v for k, v in found.items() if v.get("metadata", {}).get("encoding") != NOTHING}


def given_at_start(asked: Mapping[str, Any]) -> Attributes:
    """The memo, the search attributes and the headers of a command or a request."""
    return {name: asked[name] for name in ("memo", "searchAttributes", "header") if name in asked}


def execution_of(run: Run) -> dict[str, str]:
    """A run's two ids, as events have them."""
    return {"workflowId": run.workflow_id, "runId": run.run_id}


@attrs.frozen
class WorkflowTask:
    """What a worker gets to decide upon."""

    token: str
    run: Run
    attempt: int
    events: list[dict[str, Any]]
    updates: list[Update]


@attrs.frozen
class ActivityTask:
    """What a worker gets to do."""

    token: str
    run: Run
    activity: Activity
    attempt: int
