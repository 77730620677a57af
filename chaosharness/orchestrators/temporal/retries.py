"""When an activity is tried again, and why not.

*Source*: `common/retrypolicy/retry_policy.go`, `docs/architecture/retry.md` of temporalio/temporal
(rule T12); recorded retry states.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from chaosharness.orchestrators.temporal.limits import retry_policy
from chaosharness.orchestrators.temporal.run import Activity, milliseconds

__all__ = ["RetryState", "next_attempt_in", "next_pause_ms", "retry_policy", "timeout_failure"]

RetryState = Literal[
    "NON_RETRYABLE_FAILURE",
    "MAXIMUM_ATTEMPTS_REACHED",
    "TIMEOUT",
    "CANCEL_REQUESTED",
    "IN_PROGRESS",
]

NEVER_RETRIED: Final = frozenset(
    {"TIMEOUT_TYPE_SCHEDULE_TO_START", "TIMEOUT_TYPE_SCHEDULE_TO_CLOSE"}
)
_WORDS: Final = {
    "START_TO_CLOSE": "StartToClose",
    "SCHEDULE_TO_START": "ScheduleToStart",
    "SCHEDULE_TO_CLOSE": "ScheduleToClose",
    "HEARTBEAT": "Heartbeat",
}


def timeout_failure(kind: str) -> dict[str, Any]:
    """The failure of an attempt whose time is over."""
    return {
        "message": f"activity {_WORDS[kind]} timeout",
        "source": "Server",
        "timeoutFailureInfo": {"timeoutType": f"TIMEOUT_TYPE_{kind}"},
    }


def next_attempt_in(
    activity: Activity, failure: Mapping[str, Any], now_ms: int
) -> tuple[int | None, RetryState]:
    """How long to wait for the next attempt, in milliseconds; None where there is none, and why."""
    policy = activity.attributes["retryPolicy"]
    info = failure.get("applicationFailureInfo", {})
    kind = failure.get("timeoutFailureInfo", {}).get("timeoutType")
    if activity.cancel_id:
        return None, "CANCEL_REQUESTED"
    if kind in NEVER_RETRIED:
        return None, "TIMEOUT"
    refused = policy.get("nonRetryableErrorTypes", ())
    never = info.get("nonRetryable") or failure.get("serverFailureInfo", {}).get("nonRetryable")
    if never or (info.get("type") and info["type"] in refused):
        return None, "NON_RETRYABLE_FAILURE"
    most = policy.get("maximumAttempts", 0)
    if most and activity.attempt >= most:
        return None, "MAXIMUM_ATTEMPTS_REACHED"
    first_ms, most_ms = (milliseconds(policy[it]) for it in ("initialInterval", "maximumInterval"))
    wait_ms = _grown(first_ms, policy["backoffCoefficient"], activity.attempt, most_ms)
    if asked := info.get("nextRetryDelay"):
        wait_ms = milliseconds(asked)
    total = activity.limit("scheduleToCloseTimeout")
    if total is not None and now_ms + wait_ms >= activity.first_ms + total:
        return None, "TIMEOUT"
    return wait_ms, "IN_PROGRESS"


def next_pause_ms(policy: Any, attempt: int, failure: Mapping[str, Any]) -> int | None:
    """How long a worker waits until it tries a local activity again; None where it does not.

    Args:
        policy: The SDK's message; what it leaves out is 1 s, times 2, at most 100 times the first.
        attempt: The one that has failed, from 1.
        failure: Why.
    """
    info = failure.get("applicationFailureInfo", {})
    refused = policy.non_retryable_error_types
    if info.get("nonRetryable") or (info.get("type") and info["type"] in refused):
        return None
    if policy.maximum_attempts and attempt >= policy.maximum_attempts:
        return None
    if asked := info.get("nextRetryDelay"):
        return milliseconds(asked)
    first = round(policy.initial_interval.ToNanoseconds() / 1_000_000) or 1_000
    most = round(policy.maximum_interval.ToNanoseconds() / 1_000_000) or first * 100
    factor = policy.backoff_coefficient or 2.0
    return _grown(first, factor, attempt, most)


def _grown(first_ms: float, factor: float, attempt: int, most_ms: float) -> int:
    """Return how long to wait after an attempt, whose number may be too large for any number."""
    try:
        return round(min(first_ms * factor ** (attempt - 1), most_ms))
    except OverflowError:
        return round(most_ms)
