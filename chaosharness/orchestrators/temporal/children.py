"""Child workflows: begun by their parent, told of to it, and left behind by it.

*Source*: temporalio/temporal, transfer queue of `service/history`; recorded scripts (rule T32).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from chaosharness.orchestrators.temporal.chains import Chains, first_of_cron
from chaosharness.orchestrators.temporal.limits import Limits
from chaosharness.orchestrators.temporal.refusals import Refused
from chaosharness.orchestrators.temporal.reuse import ONLY_FAILED, REJECT, check_used
from chaosharness.orchestrators.temporal.run import (
    Child,
    Run,
    execution_of,
    given_at_start,
    milliseconds,
)

__all__ = ["leave", "start", "tell_parent"]


REUSE: Final = {"ALLOW_DUPLICATE_FAILED_ONLY": ONLY_FAILED, "REJECT_DUPLICATE": REJECT}


class Family(Chains, Protocol):
    """The server, as far as parents and children need it."""

    runs: dict[str, list[Run]]
    abandoned: set[str]

    def find(self, workflow_id: str) -> Run:
        """The latest run of a workflow id."""

    def cancel(
        self, workflow_id: str, reason: str = "", *, by: tuple[Run, int] | None = None
    ) -> None:
        """Ask a run to end."""

    def terminate(self, workflow_id: str, reason: str = "", details: Any = None) -> None:
        """End a run where it stands."""


def start(
    family: Family, run: Run, attributes: dict[str, Any], by: Mapping[str, str]
) -> Callable[[], None]:
    """Write that a child is wanted; return what begins it, once all is written."""
    told = {**attributes, **by}
    number = run.write("START_CHILD_WORKFLOW_EXECUTION_INITIATED", told)
    child = Child(number, attributes["workflowId"], attributes["workflowType"]["name"])
    child.close_policy = attributes.get("parentClosePolicy", "")
    run.children[number] = child
    return lambda: _begin(family, run, attributes, child)


def _begin(family: Family, run: Run, attributes: dict[str, Any], child: Child) -> None:
    number = child.initiated_id
    ids = {
        "initiatedEventId": str(number),
        "workflowType": attributes["workflowType"],
        "namespace": attributes.get("namespace", "default"),
    }
    limits = _limits_of(attributes, family.now_ms)
    wait_ms, of_cron = first_of_cron(limits, family.now_ms)
    try:
        if before := family.runs.get(child.workflow_id):
            _may_follow(family, before[-1], attributes.get("workflowIdReusePolicy", ""))
        begun = family.start(
            child.workflow_id,
            child.type,
            attributes.get("taskQueue", {}).get("name") or run.queue,
            input=attributes.get("input"),
            task_timeout_ms=milliseconds(attributes.get("workflowTaskTimeout", "10s")),
            parent=(run.workflow_id, number),
            limits=limits,
            wait_ms=wait_ms,
            extra={
                **of_cron,
                "parentWorkflowExecution": execution_of(run),
                "parentInitiatedEventId": str(number),
                "parentWorkflowNamespace": "default",
                "rootWorkflowExecution": run.begun_with.get(
                    "rootWorkflowExecution", execution_of(run)
                ),
                **given_at_start(attributes),
            },
        )
    except Refused:
        del run.children[number]
        cause = "START_CHILD_WORKFLOW_EXECUTION_FAILED_CAUSE_WORKFLOW_ALREADY_EXISTS"
        run.tell(
            "START_CHILD_WORKFLOW_EXECUTION_FAILED",
            lambda: {**ids, "cause": cause, "workflowId": child.workflow_id},
        )
        return
    child.run_id = begun.run_id
    if child.close_policy.endswith("ABANDON"):
        family.abandoned.add(child.workflow_id)
    else:
        family.abandoned.discard(child.workflow_id)

    def written(number: int) -> None:
        child.started_id = number

    told = {**ids, "workflowExecution": execution_of(begun)}
    run.tell("CHILD_WORKFLOW_EXECUTION_STARTED", lambda: told, written=written)


def _may_follow(family: Family, last: Run, policy: str) -> None:
    """Refuse a child whose id was used before, where its policy says so (T21)."""
    kind = policy.removeprefix("WORKFLOW_ID_REUSE_POLICY_")
    if last.status != "RUNNING":
        check_used(last, REUSE.get(kind, 0))
    elif kind == "TERMINATE_IF_RUNNING":
        family.terminate(last.workflow_id, "TerminateIfRunning WorkflowIdReusePolicy Policy")


def _limits_of(attributes: Mapping[str, Any], now_ms: int) -> Limits:
    """The limits that a parent gives its child; its own are not the child's."""
    run_ms, execution_ms = (
        milliseconds(attributes.get(name, "0s"))
        for name in ("workflowRunTimeout", "workflowExecutionTimeout")
    )
    return Limits.of(run_ms, execution_ms, attributes.get("retryPolicy"), now_ms,
                     attributes.get("cronSchedule", ""))  # fmt: skip


def leave(family: Family, run: Run) -> None:
    """What becomes of children whose parent has ended (T32)."""
    for child in [*run.children.values()]:
        left = family.runs.get(child.workflow_id)
        if not child.run_id or not left or left[-1].status != "RUNNING":
            continue
        if child.close_policy.endswith("TERMINATE"):
            family.terminate(child.workflow_id, "by parent close policy")
        elif child.close_policy.endswith("REQUEST_CANCEL"):
            family.cancel(child.workflow_id, by=(run, 0))


def tell_parent(family: Family, run: Run, status: str, told: Mapping[str, Any]) -> None:
    """Tell the parent of a run, if it has one that waits, how it has ended."""
    if run.parent is None:
        return
    parent_id, initiated = run.parent
    parent = family.find(parent_id)
    child = parent.children.pop(initiated, None)
    if child is None:
        return

    said = ("result", "failure") if status == "TERMINATED" else ("result", "failure", "details")

    def attributes() -> dict[str, Any]:
        found: dict[str, Any] = {
            "initiatedEventId": str(initiated),
            "startedEventId": str(child.started_id),
            "namespace": "default",
            "workflowExecution": execution_of(run),
            "workflowType": {"name": run.type},
            **{key: told[key] for key in said if key in told},
        }
        if "retryState" in told:
            found["retryState"] = told["retryState"]
        return found

    parent.tell(f"CHILD_WORKFLOW_EXECUTION_{status}", attributes)
