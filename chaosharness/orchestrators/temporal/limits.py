"""What a start says about how long a run, and a chain of runs, may take, and how often it is tried.

*Source*: temporalio/temporal, `service/history/workflow/retry.go`, `common/util.go`
(`OverrideWorkflowRunTimeout`); recorded scripts (rule T34).
"""

from collections.abc import Mapping
from typing import Any, Final

import attrs

__all__ = ["NONE", "TIMED_OUT", "Limits", "next_run_in", "retry_policy"]

TIMED_OUT: Final = {
    "message": "workflow timeout",
    "source": "Server",
    "timeoutFailureInfo": {"timeoutType": "TIMEOUT_TYPE_START_TO_CLOSE"},
}
"""The failure of a run whose time is over: where it is retried the next one knows it."""


def _milliseconds(text: str) -> int:
    return round(float(text.removesuffix("s")) * 1000)


def _text(milliseconds: int) -> str:
    whole, rest = divmod(milliseconds, 1000)
    return f"{whole}.{rest:03d}s" if rest else f"{whole}s"


def retry_policy(given: Mapping[str, Any]) -> dict[str, Any]:
    """A policy with the server's defaults: 1 s, times 2, at most 100 times the first, for ever."""
    first = _milliseconds(given.get("initialInterval", "1s")) or 1_000
    policy = {
        "backoffCoefficient": 2.0,
        "initialInterval": _text(first),
        "maximumInterval": _text(first * 100),
        **{key: value for key, value in given.items() if value},
    }
    if not policy.get("maximumAttempts"):
        policy.pop("maximumAttempts", None)
    return policy


@attrs.frozen
class Limits:
    """Limits of one run.

    Attributes:
        run_ms: How long it may take from its first task on.
        execution_ms: How long all runs of its chain may take together.
        ends_ms: When that time is over.
        retry: Its retry policy, with the server's defaults; None where it is not tried again.
        attempt: The how manieth try it is.
        cron: When it is to run again; empty where it is not.
    """

    run_ms: int | None = None
    execution_ms: int | None = None
    ends_ms: int | None = None
    retry: Mapping[str, Any] | None = None
    attempt: int = 1
    cron: str = ""

    @classmethod
    def of(
        cls,
        run_ms: int,
        execution_ms: int,
        retry: Mapping[str, Any] | None,
        now_ms: int,
        cron: str = "",
    ) -> "Limits":
        """Limits as a client asks for them: 0 is none; a run has no longer than its chain."""
        run = min((one for one in (run_ms, execution_ms) if one), default=None)
        ends = now_ms + execution_ms if execution_ms else None
        policy = None if retry is None else retry_policy(retry)
        return cls(run, execution_ms or None, ends, policy, cron=cron)

    def continued(self, attributes: Mapping[str, Any]) -> "Limits":
        """Those of a run that a workflow continues as: what it does not say stays, but a cron."""
        changed: dict[str, Any] = {"attempt": 1, "cron": ""}
        if "workflowRunTimeout" in attributes:
            changed["run_ms"] = _milliseconds(attributes["workflowRunTimeout"])
        if "retryPolicy" in attributes:
            changed["retry"] = retry_policy(attributes["retryPolicy"])
        return attrs.evolve(self, **changed)

    def task_ms(self, asked_ms: int) -> int:
        """How long a workflow task may take: no longer than the run."""
        return asked_ms if self.run_ms is None else min(asked_ms, self.run_ms)

    def due_ms(self, begins_ms: int) -> int | None:
        """When a run that begins then has taken too long; None for never."""
        run = None if self.run_ms is None else begins_ms + self.run_ms
        return min((at for at in (run, self.ends_ms) if at is not None), default=None)

    def told(self) -> dict[str, Any]:
        """What the first event of a run says of them."""
        told: dict[str, Any] = {"attempt": self.attempt}
        if self.run_ms is not None:
            told["workflowRunTimeout"] = _text(self.run_ms)
        if self.execution_ms is not None:
            told["workflowExecutionTimeout"] = _text(self.execution_ms)
        if self.retry is not None:
            told["retryPolicy"] = dict(self.retry)
        if self.cron:
            told["cronSchedule"] = self.cron
        return told


NONE: Final = Limits()
"""A run that may take for ever, and is tried once."""


def next_run_in(limits: Limits, failure: Mapping[str, Any], now_ms: int) -> tuple[int | None, str]:
    """How long to wait until a run is tried again, in milliseconds; None if it is not, and why."""
    policy = limits.retry
    if limits.ends_ms is not None and now_ms >= limits.ends_ms:
        return None, "TIMEOUT"
    if policy is None:
        return None, "RETRY_POLICY_NOT_SET"
    info = failure.get("applicationFailureInfo", {})
    never = info.get("nonRetryable") or "canceledFailureInfo" in failure
    if never or info.get("type") in policy.get("nonRetryableErrorTypes", ()):
        return None, "NON_RETRYABLE_FAILURE"
    most = policy.get("maximumAttempts", 0)
    if most and limits.attempt >= most:
        return None, "MAXIMUM_ATTEMPTS_REACHED"
    first, longest = (
        _milliseconds(policy[name]) for name in ("initialInterval", "maximumInterval")
    )
    grown = first * policy["backoffCoefficient"] ** min(limits.attempt - 1, 60)
    wait_ms = round(min(grown, longest))
    if asked := info.get("nextRetryDelay"):
        wait_ms = _milliseconds(asked)
    if limits.ends_ms is not None and now_ms + wait_ms > limits.ends_ms:
        return None, "TIMEOUT"
    return wait_ms, "IN_PROGRESS"
