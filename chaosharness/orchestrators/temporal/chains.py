"""Chains of runs: what continue-as-new hands on.

*Source*: temporalio/temporal, `service/history`; recorded from Temporal Server 1.32.0 (rule T23).
"""

from typing import Any

from chaosharness.orchestrators.temporal.run import Run

__all__ = ["family_of", "handed_on"]


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


def family_of(run: Run) -> dict[str, Any]:
    """Who began the chain: the next run of a child is a child, too."""
    names = ("parentWorkflowExecution", "parentInitiatedEventId", "parentWorkflowNamespace",
             "rootWorkflowExecution")  # fmt: skip
    return {name: run.begun_with[name] for name in names if name in run.begun_with}
