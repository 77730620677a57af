"""Chains of runs: what continue-as-new hands on, what is tried again, what a cron runs again.

*Source*: temporalio/temporal, `service/history`, `common/backoff/cron.go`; recorded from Temporal
Server 1.32.0 (rules T23 and T34, and scripts that begin with `cron`).
"""

import math
from collections.abc import Mapping
from typing import Any, Final, Protocol

import attrs

from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.orchestrators.temporal.calendars import NotACalendar, cron_of
from chaosharness.orchestrators.temporal.limits import NONE, Limits
from chaosharness.orchestrators.temporal.refusals import invalid
from chaosharness.orchestrators.temporal.run import Run, given_at_start

__all__ = ["continue_as", "first_of_cron", "handed_on", "next_of_cron_in", "run_again", "try_again"]

CRON: Final = "CONTINUE_AS_NEW_INITIATOR_CRON_SCHEDULE"
PAUSE_MS_MIN: Final = 1_000
"""From the first task of a run to that of the next one, at least (T23)."""


class Chains(Protocol):
    """The server, as far as the next run of a chain needs it."""

    now_ms: int

    def start(
        self,
        workflow_id: str,
        type: str,
        queue: str,
        *,
        input: Any = None,
        task_timeout_ms: int = 10_000,
        extra: Mapping[str, Any] | None = None,
        parent: tuple[str, int] | None = None,
        wait_ms: int = 0,
        limits: Limits = NONE,
    ) -> Run:
        """Begin a run."""


def handed_on(run: Run) -> dict[str, Any]:
    """What the next run of a chain has unless the workflow says otherwise (T23).

    The memo is the one that the run began with, the search attributes are those that it has now:
    recorded from Temporal Server 1.32.0.
    """
    found: dict[str, Any] = {}
    if "memo" in run.begun_with:
        found["memo"] = run.begun_with["memo"]
    if run.search_attributes:
        found["searchAttributes"] = {"indexedFields": dict(run.search_attributes)}
    return found


def _family_of(run: Run) -> dict[str, Any]:
    """Who began the chain: the next run of a child is a child, too."""
    names = ("parentWorkflowExecution", "parentInitiatedEventId", "parentWorkflowNamespace",
             "rootWorkflowExecution")  # fmt: skip
    return {name: run.begun_with[name] for name in names if name in run.begun_with}


def _wait_ms(run: Run, now_ms: int) -> int:
    return max(0, run.begins_ms + PAUSE_MS_MIN - now_ms)


def continue_as(server: Chains, run: Run, attributes: Mapping[str, Any]) -> None:
    """Begin the next run, as the workflow has asked: not at once (T23)."""
    server.start(
        run.workflow_id,
        attributes["workflowType"]["name"],
        attributes.get("taskQueue", {}).get("name") or run.queue,
        input=attributes.get("input"),
        task_timeout_ms=run.task_timeout_ms,
        extra={"continuedExecutionRunId": run.run_id,
               "firstExecutionRunId": run.begun_with["firstExecutionRunId"],
               "initiator": "CONTINUE_AS_NEW_INITIATOR_WORKFLOW",
               **given_at_start(attributes), **_family_of(run)},
        parent=run.parent,
        wait_ms=_wait_ms(run, server.now_ms),
        limits=run.limits.continued(attributes),
    )  # fmt: skip


def try_again(server: Chains, run: Run, wait_ms: int, failure: Mapping[str, Any]) -> None:
    """Begin the next attempt of a run that has failed, or whose time was over (T34)."""
    told = {"initiator": "CONTINUE_AS_NEW_INITIATOR_RETRY", "continuedFailure": dict(failure)}
    limits = attrs.evolve(run.limits, attempt=run.limits.attempt + 1)
    _follow(server, run, max(wait_ms, _wait_ms(run, server.now_ms)), told, limits)


def _follow(
    server: Chains, run: Run, wait_ms: int, told: Mapping[str, Any], limits: Limits
) -> None:
    begun = run.begun_with
    given = given_at_start(begun) | handed_on(run)
    server.start(
        run.workflow_id,
        run.type,
        run.queue,
        input=begun.get("input"),
        task_timeout_ms=run.task_timeout_ms,
        extra={"continuedExecutionRunId": run.run_id,
               "firstExecutionRunId": begun["firstExecutionRunId"],
               **told, **given, **_family_of(run)},
        parent=run.parent,
        wait_ms=wait_ms,
        limits=limits,
    )  # fmt: skip


# ---- cron


def first_of_cron(limits: Limits, now_ms: int) -> tuple[int, dict[str, Any]]:
    """How long the first run of a cron waits, in milliseconds, and what its first event says.

    Raises:
        Refused: The expression is none.
    """
    if not limits.cron:
        return 0, {}
    wait_ms = _next_ms(limits.cron, now_ms, now_ms)
    return wait_ms, {"initiator": CRON} if wait_ms else {}


def next_of_cron_in(run: Run, now_ms: int) -> int | None:
    """How long the next run of a cron waits, in milliseconds; None where there is none."""
    return _next_ms(run.limits.cron, run.begins_ms, now_ms) if run.limits.cron else None


def _next_ms(cron: str, since_ms: int, now_ms: int) -> int:
    """From now to the next time that it names: counted from when the last run began."""
    try:
        calendar = cron_of(cron)
    except NotACalendar as error:
        raise invalid(f"Invalid CronSchedule. {error}") from None
    now_s = (EPOCH_MS + now_ms) / 1000
    at = calendar.after((EPOCH_MS + since_ms) / 1000)
    while at is not None and at < now_s:
        at = calendar.after(at)
    if at is None:
        raise invalid(f"Invalid CronSchedule. {cron} never comes")
    return math.ceil(at - now_s) * 1000


def run_again(server: Chains, run: Run, wait_ms: int, failure: Mapping[str, Any] | None) -> None:
    """Begin the next run of a cron, with what the last one that worked has said."""
    told: dict[str, Any] = {"initiator": CRON}
    last = run.begun_with.get("lastCompletionResult")
    if failure is not None:
        told["continuedFailure"] = dict(failure)
    elif run.result is not None:
        last = run.result.get("result")
    if last is not None:
        told["lastCompletionResult"] = last
    _follow(server, run, wait_ms, told, attrs.evolve(run.limits, attempt=1))
