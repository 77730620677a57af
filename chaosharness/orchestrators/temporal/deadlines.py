"""When time must act on a run: timers, retries, and the four timeouts of an activity (T12, T13)."""

from typing import Final

from chaosharness.orchestrators.temporal.run import Activity, Run

__all__ = ["STICKY_MS", "timed_out", "times_of"]

TRIES_MS: Final = (100, 270, 559, 1_050, 1_886, 3_305, 5_719, 9_822)
"""When a client or a worker asks again, since it first did: after 100 ms, and 1.7 times as long
each time, for 10 s at most (T17)."""

STICKY_MS: Final = 10_000
"""How long a task waits for the worker that has the run in its cache (rule T5)."""


def times_of(run: Run, now_ms: int) -> list[int]:
    """When time must act on a run, in milliseconds."""
    if run.beyond:
        return []
    times = [timer.due_ms for timer in run.timers.values() if not timer.beyond]
    if run.due_ms is not None:
        times.append(run.due_ms)
    if run.not_before_ms:
        times.append(run.not_before_ms)
    if run.task is not None and run.task.deadline_ms is not None:
        times.append(run.task.deadline_ms)
    for activity in run.activities.values():
        times += [at for _, at in _deadlines(activity)]
        if not activity.started and activity.ready_ms > now_ms:
            times.append(activity.ready_ms)
    return times


def _deadlines(activity: Activity) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    total = activity.limit("scheduleToCloseTimeout")
    if total is not None:
        found.append(("SCHEDULE_TO_CLOSE", activity.first_ms + total))
    if activity.started_ms is None:
        start = activity.limit("scheduleToStartTimeout")
        if start is not None:
            found.append(("SCHEDULE_TO_START", activity.ready_ms + start))
        return found
    close = activity.limit("startToCloseTimeout")
    if close is not None:
        found.append(("START_TO_CLOSE", activity.started_ms + close))
    beat = activity.limit("heartbeatTimeout")
    if beat is not None:
        found.append(("HEARTBEAT", activity.beat_ms + beat))
    return found


def timed_out(activity: Activity, now_ms: int) -> str | None:
    """The timeout that an activity has run into, if any: the first."""
    late = [(at, kind) for kind, at in _deadlines(activity) if at <= now_ms]
    return min(late)[1] if late else None
