"""Chains of runs: what continue-as-new hands on, and what is tried again.

*Source*: temporalio/temporal, `service/history`; recorded from Temporal Server 1.32.0 (rules T23
and T34).
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol

import attrs

from chaosharness.orchestrators.temporal.limits import NONE, Limits
from chaosharness.orchestrators.temporal.run import Run, given_at_start

__all__ = ["continue_as", "handed_on", "try_again"]

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
               "initiator": "CONTINUE_AS_NEW_INITIATOR_RETRY",
               "continuedFailure": dict(failure), **given, **_family_of(run)},
        parent=run.parent,
        wait_ms=max(wait_ms, _wait_ms(run, server.now_ms)),
        limits=attrs.evolve(run.limits, attempt=run.limits.attempt + 1),
    )  # fmt: skip
