"""Activities as the server has them: scheduled, cancelled, tried again, ended.

*Source*: temporalio/temporal, `service/history` (rules T11 to T16).
"""

from collections.abc import Mapping
from typing import Any, Final

from chaosharness.orchestrators.temporal.retries import next_attempt_in, retry_policy
from chaosharness.orchestrators.temporal.run import Activity, Run, milliseconds, seconds_text

__all__ = ["cancel", "end", "failed", "schedule"]

TIMEOUTS: Final = (
    "heartbeatTimeout",
    "scheduleToCloseTimeout",
    "scheduleToStartTimeout",
    "startToCloseTimeout",
)

NOT_STARTED: Final = {
    "payloads": [
        {
            "data": "IkFDVElWSVRZX0lEX05PVF9TVEFSVEVEIg==",
            "metadata": {"encoding": "anNvbi9wbGFpbg=="},
        }
    ]
}


OF_WORKERS: Final = ("NotFoundError", "WorkerShutdown")
"""Types of failures that no activity has raised: who should have done it was not there."""


def schedule(run: Run, attributes: dict[str, Any], by: dict[str, str], *, now_ms: int) -> None:
    """Have somebody asked to do something."""
    told = {**attributes, **_timeouts(attributes, run.limits.run_ms)}
    told["retryPolicy"] = retry_policy(attributes.get("retryPolicy", {}))
    queue = dict(told.get("taskQueue") or {"name": run.queue})
    told["taskQueue"] = {"kind": "TASK_QUEUE_KIND_NORMAL", **queue}
    number = run.write("ACTIVITY_TASK_SCHEDULED", {**told, **by})
    run.activities[number] = Activity(
        told["activityId"],
        number,
        told["activityType"]["name"],
        told["taskQueue"]["name"],
        told,
        now_ms,
        now_ms,
    )


def _timeouts(attributes: Mapping[str, Any], run_ms: int | None) -> dict[str, str]:
    """The four timeouts as the server keeps them: none is longer than the whole, or the run.

    Source: temporalio/temporal, `service/history/api/command_attr_validator.go`
    (`validateActivityScheduleAttributes`); recorded scripts.
    """
    given = {name: attributes.get(name, "0s") for name in TIMEOUTS}
    whole = milliseconds(given["scheduleToCloseTimeout"])
    if whole:
        for name in ("scheduleToStartTimeout", "startToCloseTimeout"):
            given[name] = seconds_text(min(milliseconds(given[name]) or whole, whole))
    if run_ms is not None:
        for name in ("scheduleToCloseTimeout", "scheduleToStartTimeout", "startToCloseTimeout"):
            given[name] = seconds_text(min(milliseconds(given[name]) or run_ms, run_ms))
    attempt = milliseconds(given["startToCloseTimeout"])
    if attempt:
        beat = min(milliseconds(given["heartbeatTimeout"]), attempt)
        given["heartbeatTimeout"] = seconds_text(beat)
    return given


def cancel(run: Run, scheduled: int, by: dict[str, str]) -> bool:
    """Ask an activity to stop; return whether it never began, and so has ended (T16)."""
    activity = run.activities[scheduled]
    ids = {"scheduledEventId": str(scheduled)}
    if activity.cancel_id:
        return False
    activity.cancel_id = run.write("ACTIVITY_TASK_CANCEL_REQUESTED", {**ids, **by})
    if activity.started:
        return False
    run.write(
        "ACTIVITY_TASK_CANCELED",
        {
            "details": NOT_STARTED,
            "latestCancelRequestedEventId": str(activity.cancel_id),
            **ids,
        },
    )
    del run.activities[scheduled]
    return True


def failed(
    run: Run, activity: Activity, failure: dict[str, Any], event: str, *, now_ms: int
) -> None:
    """An attempt has failed: it is tried again, or the activity has failed (T12)."""
    wait_ms, state = next_attempt_in(activity, failure, now_ms)
    if wait_ms is not None:
        activity.attempt += 1
        activity.ready_ms = now_ms + wait_ms
        activity.started_ms, activity.token = None, ""
        activity.last_failure = failure
        return
    told: dict[str, Any] = {"failure": failure, "retryState": f"RETRY_STATE_{state}"}
    if event == "ACTIVITY_TASK_TIMED_OUT" and activity.last_failure is not None:
        told["failure"] = {**failure, "cause": activity.last_failure}
    end(run, activity, event, told)


def end(run: Run, activity: Activity, event: str, told: dict[str, Any]) -> None:
    """Write Started and the end together: attempts between leave no events (T11)."""
    del run.activities[activity.scheduled_id]
    scheduled = {"scheduledEventId": str(activity.scheduled_id)}

    ids = dict(scheduled)

    def started() -> None:
        attributes: dict[str, Any] = {"attempt": activity.attempt, **scheduled}
        if activity.identity:
            attributes["identity"] = activity.identity
        if activity.last_failure is not None:
            attributes["lastFailure"] = activity.last_failure
        ids["startedEventId"] = str(run.write("ACTIVITY_TASK_STARTED", attributes))
        run.events[-1]["eventTime"] = activity.started_ms  # when it began, not when that is told

    info = (told.get("failure") or {}).get("applicationFailureInfo", {})
    if event == "ACTIVITY_TASK_TIMED_OUT" or info.get("type") in OF_WORKERS:
        run.given_up.append(activity.type)
    run.tell(event, lambda: {**told, **ids}, first=started if activity.started else None)
