"""Schedules of Temporal: what has workflows begin again and again, and what overlaps.

A pure part of the server. What a client gives is kept as Temporal's own JSON.

*Source*: temporalio/temporal, `service/worker/scheduler/workflow.go` and `buffer.go`; scripts that
begin with `schedule`, recorded from Temporal Server 1.32.0.
*Not modelled*: jitter; the time from when an action is due to when it begins; the catch-up window
(the server is never away); how many actions are remembered.
"""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import attrs

from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.orchestrators.temporal.calendars import (
    Calendar,
    Interval,
    NotACalendar,
    Spec,
    cron_of,
)
from chaosharness.orchestrators.temporal.chains import Chains
from chaosharness.orchestrators.temporal.limits import Limits
from chaosharness.orchestrators.temporal.refusals import Refused, invalid
from chaosharness.orchestrators.temporal.run import Run, milliseconds

__all__ = ["Timetable", "ended", "fill", "make", "patch", "spec_of", "tick", "upcoming"]

SKIP, BUFFER_ONE, BUFFER_ALL, CANCEL, TERMINATE, ALLOW = (
    f"SCHEDULE_OVERLAP_POLICY_{name}"
    for name in ("SKIP", "BUFFER_ONE", "BUFFER_ALL", "CANCEL_OTHER", "TERMINATE_OTHER", "ALLOW_ALL")
)
UNSAID: Final = ("", "SCHEDULE_OVERLAP_POLICY_UNSPECIFIED")
SHOWN: Final = 10
"""Actions that a description shows: the last ones, and the next ones."""
MADE_UP_MAX: Final = 10
"""How often a schedule may skip by itself before it has nothing more begin in a run."""
FILLED_MAX: Final = 1_000
"""Actions of one request to fill in: more of them are refused, as by the server."""
FIELDS: Final = {
    "second": "second",
    "minute": "minute",
    "hour": "hour",
    "day_of_month": "dayOfMonth",
    "month": "month",
    "day_of_week": "dayOfWeek",
}


class Starts(Chains, Protocol):
    """The server, as far as schedules need it."""

    timetable_runs: int | None
    timetables: dict[str, "Timetable"]
    runs: dict[str, list[Run]]

    def cancel(
        self, workflow_id: str, reason: str = "", *, by: tuple[Run, int] | None = None
    ) -> None:
        """Ask a run to end."""

    def terminate(self, workflow_id: str, reason: str = "", details: Any = None) -> None:
        """End a run where it stands."""


@attrs.frozen
class Due:
    """An action that is due: for which time, and what becomes of it if another one goes on."""

    nominal_ms: int
    policy: str


@attrs.frozen
class Taken:
    """An action that was taken."""

    nominal_ms: int
    actual_ms: int
    workflow_id: str
    run_id: str


@attrs.define(eq=False)
class Timetable:
    """A schedule: what was asked, and what has come of it."""

    id: str
    told: dict[str, Any]  # the schedule, as Temporal's JSON
    spec: Spec
    made_ms: int
    request_id: str = ""
    extra: dict[str, Any] = attrs.field(factory=dict)  # its own memo and search attributes
    next_ms: int | None = None  # when it acts next by itself; None: no more in this run
    by_itself: int = 0
    made_up: int = 0  # how often it has skipped by itself, and acts once more for that
    actions: int = 0
    skipped: int = 0
    buffer: list[Due] = attrs.field(factory=list)
    running: list[Taken] = attrs.field(factory=list)
    recent: list[Taken] = attrs.field(factory=list)
    last_result: Any = None
    failure: Any = None

    @property
    def state(self) -> dict[str, Any]:
        """Whether it is paused, its notes, and how often it may act still."""
        found: dict[str, Any] = self.told.setdefault("state", {})
        return found

    @property
    def policy(self) -> str:
        """What becomes of actions that overlap."""
        said = self.told.get("policies", {}).get("overlapPolicy", "")
        return SKIP if said in UNSAID else str(said)

    @property
    def left(self) -> int | None:
        """How often it may act still; None: for ever."""
        if not self.state.get("limitedActions"):
            return None
        return int(self.state.get("remainingActions", 0))


def spec_of(told: Mapping[str, Any]) -> Spec:
    """What a schedule's spec says, of its JSON.

    Raises:
        Refused: It says nothing that a calendar could.
    """
    zone = told.get("timezoneName", "") or "UTC"
    found: list[Calendar | Interval] = []
    try:
        for text in told.get("cronString", ()):
            one = cron_of(text, of_schedule=True)
            if isinstance(one, Calendar) and one.zone == "UTC":
                one = attrs.evolve(one, zone=zone)
            found.append(one)
    except NotACalendar as error:
        raise invalid(f"invalid schedule spec: {error}") from None
    found += [_calendar(one, zone) for one in told.get("structuredCalendar", ())]
    found += [
        Interval(round(milliseconds(one["interval"]) / 1000) or 1,
                 round(milliseconds(one.get("phase", "0s")) / 1000))
        for one in told.get("interval", ())
    ]  # fmt: skip
    return Spec(
        tuple(found),
        tuple(_calendar(one, zone) for one in told.get("excludeStructuredCalendar", ())),
        _moment_s(told.get("startTime")),
        _moment_s(told.get("endTime")),
    )


def _calendar(told: Mapping[str, Any], zone: str) -> Calendar:
    fields = {name: _numbers(told.get(key, ())) for name, key in FIELDS.items()}
    return Calendar(fields, zone, _numbers(told.get("year", ())))


def _numbers(ranges: Any) -> frozenset[int]:
    found: set[int] = set()
    for one in ranges:
        first = int(one.get("start", 0))
        last = max(first, int(one.get("end", 0)))
        found.update(range(first, last + 1, int(one.get("step", 0)) or 1))
    return frozenset(found)


def _moment_s(text: str | None) -> float | None:
    return None if text is None else datetime.fromisoformat(text).timestamp()


def upcoming(timetable: Timetable, now_ms: int) -> list[int]:
    """When it would act next, in milliseconds: at most ten times."""
    found: list[int] = []
    at_s: float | None = (EPOCH_MS + now_ms) / 1000
    left = timetable.left
    while len(found) < (SHOWN if left is None else min(SHOWN, left)):
        at_s = timetable.spec.after(at_s) if at_s is not None else None
        if at_s is None:
            break
        found.append(int(at_s) * 1000 - EPOCH_MS)
    return found


def make(server: Starts, timetable: Timetable) -> None:
    """Have a schedule act from now on; of one that was changed, anew."""
    server.timetables[timetable.id] = timetable
    _look_ahead(server, timetable)


def _look_ahead(server: Starts, timetable: Timetable) -> None:
    most = server.timetable_runs
    over = most is not None and (timetable.by_itself >= most or timetable.made_up > MADE_UP_MAX)
    if over or timetable.state.get("paused"):
        timetable.next_ms = None
        return
    timetable.next_ms = next(iter(upcoming(timetable, server.now_ms)), None)


def tick(server: Starts, timetable: Timetable) -> None:
    """Have it act, if it is time."""
    due_ms = timetable.next_ms
    if due_ms is None or due_ms > server.now_ms:
        return
    skipped = timetable.skipped
    if timetable.left is not None:
        timetable.state["remainingActions"] = str(timetable.left - 1)
    _buffer(timetable, Due(due_ms, timetable.policy))
    _go_on(server, timetable)
    if timetable.skipped == skipped:
        timetable.by_itself += 1
    else:
        timetable.made_up += 1
    _look_ahead(server, timetable)


def patch(server: Starts, timetable: Timetable, asked: Mapping[str, Any]) -> None:
    """Do what a client asks of it: to act now, to fill in, to pause, to go on."""
    if "triggerImmediately" in asked:
        said = asked["triggerImmediately"].get("overlapPolicy", "")
        now_ms = server.now_ms // 1000 * 1000
        _buffer(timetable, Due(now_ms, timetable.policy if said in UNSAID else said))
    for one in asked.get("backfillRequest", ()):
        fill(timetable, one)
    if "pause" in asked:
        timetable.state.update(paused=True, notes=asked["pause"])
    if "unpause" in asked:
        timetable.state.update(paused=False, notes=asked["unpause"])
    _go_on(server, timetable)
    _look_ahead(server, timetable)


def fill(timetable: Timetable, asked: Mapping[str, Any]) -> None:
    """Have it act for times that have passed.

    Raises:
        Refused: They are too many.
    """
    said = asked.get("overlapPolicy", "")
    policy = timetable.policy if said in UNSAID else said
    end = _moment_s(asked.get("endTime"))
    at: float | None = (_moment_s(asked.get("startTime")) or 0) - 1
    many = 0
    while at is not None and (at := timetable.spec.after(at)) is not None:
        if end is None or at > end:
            break
        many += 1
        if many > FILLED_MAX:
            raise invalid("backfill request would take too many actions")
        _buffer(timetable, Due(int(at) * 1000 - EPOCH_MS, policy))


def _buffer(timetable: Timetable, due: Due) -> None:
    timetable.buffer.append(due)


def _go_on(server: Starts, timetable: Timetable) -> None:
    """Begin what may begin, and leave what must wait, or is skipped."""
    waiting, timetable.buffer = timetable.buffer, []
    start: Due | None = None
    stop = ""
    for due in waiting:
        if due.policy == ALLOW:
            _begin(server, timetable, due, tracked=False)
        elif not timetable.running and start is None:
            start = due
        elif due.policy == SKIP or (due.policy == BUFFER_ONE and timetable.buffer):
            timetable.skipped += 1
        elif due.policy in (CANCEL, TERMINATE):
            stop = due.policy if timetable.running else ""
            if timetable.running:
                timetable.buffer = [due]
            else:
                start = due
        else:
            timetable.buffer.append(due)
    if start is not None:
        _begin(server, timetable, start, tracked=True)
    if stop:
        _stop(server, timetable, stop)


def _stop(server: Starts, timetable: Timetable, how: str) -> None:
    reason = "terminated by schedule overlap policy"
    for one in [*timetable.running]:
        if how == CANCEL:
            server.cancel(one.workflow_id)
        else:
            server.terminate(one.workflow_id, reason)


def _begin(server: Starts, timetable: Timetable, due: Due, *, tracked: bool) -> None:
    asked = timetable.told["action"]["startWorkflow"]
    moment = datetime.fromtimestamp((EPOCH_MS + due.nominal_ms) / 1000, UTC)
    named = f"{asked['workflowId']}-{moment.strftime('%Y-%m-%dT%H:%M:%SZ')}"
    if timetable.told.get("policies", {}).get("keepOriginalWorkflowId"):
        named = asked["workflowId"]
    searched = dict(asked.get("searchAttributes", {}).get("indexedFields", {}))
    searched["TemporalScheduledById"] = _payload("Keyword", timetable.id)
    searched["TemporalScheduledStartTime"] = _payload("Datetime", moment.isoformat())
    extra: dict[str, Any] = {"searchAttributes": {"indexedFields": searched}}
    extra |= {name: asked[name] for name in ("memo", "header") if asked.get(name)}
    if timetable.last_result is not None:
        extra["lastCompletionResult"] = timetable.last_result
    if timetable.failure is not None:
        extra["continuedFailure"] = timetable.failure
    try:
        run = server.start(
            named,
            asked["workflowType"]["name"],
            asked["taskQueue"]["name"],
            input=asked.get("input"),
            task_timeout_ms=milliseconds(asked.get("workflowTaskTimeout", "10s")),
            extra=extra,
            limits=_limits_of(asked, server.now_ms),
        )
    except Refused:
        return  # one of this name goes on
    run.timetable = timetable.id
    taken = Taken(due.nominal_ms, server.now_ms, named, run.run_id)
    timetable.actions += 1
    timetable.recent = [*timetable.recent, taken][-SHOWN:]
    if tracked:
        timetable.running.append(taken)


def _limits_of(asked: Mapping[str, Any], now_ms: int) -> Limits:
    run_ms, execution_ms = (
        milliseconds(asked.get(name, "0s"))
        for name in ("workflowRunTimeout", "workflowExecutionTimeout")
    )
    return Limits.of(run_ms, execution_ms, asked.get("retryPolicy"), now_ms)


def _payload(kind: str, value: str) -> dict[str, Any]:
    def text(said: str) -> str:
        return base64.b64encode(said.encode()).decode()

    return {
        "metadata": {"encoding": text("json/plain"), "type": text(kind)},
        "data": text(json.dumps(value)),
    }


def ended(server: Starts, run: Run) -> None:
    """A run has ended that a schedule may wait for: what it said is known to the next one."""
    timetable = server.timetables.get(run.timetable)
    if timetable is None:
        for one in server.timetables.values():  # the last one of a chain has another id
            if any(taken.workflow_id == run.workflow_id for taken in one.running):
                timetable = one
    if timetable is None:
        return
    was = len(timetable.running)
    timetable.running = [one for one in timetable.running if one.workflow_id != run.workflow_id]
    if len(timetable.running) == was:
        return  # it was allowed to overlap
    told = run.result or {}
    if run.status == "COMPLETED":
        timetable.last_result, timetable.failure = told.get("result"), None
    elif run.status in ("FAILED", "TIMED_OUT"):
        timetable.failure = told.get("failure")
        if timetable.told.get("policies", {}).get("pauseOnFailure"):
            note = f"paused due to workflow timeout: {run.workflow_id}"
            if run.status == "FAILED":
                message = told["failure"].get("message", "")
                note = f"paused due to workflow failure: {run.workflow_id}: {message}"
            timetable.state.update(paused=True, notes=note)
            timetable.next_ms = None
    _go_on(server, timetable)
