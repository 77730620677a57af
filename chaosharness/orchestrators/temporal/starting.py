"""What a request to start a workflow asks for: whether it may, and what of it is not modelled.

*Source*: temporalio/temporal, `service/history/api/startworkflow/api.go` and
`service/history/api/create_workflow_util.go`; recorded scripts.
*Not modelled*: what `refuse` names.
"""

from typing import Any, Final

from chaosharness.errors import InvalidDefinition
from chaosharness.orchestrators.temporal.jobs import policy_json
from chaosharness.orchestrators.temporal.limits import Limits
from chaosharness.orchestrators.temporal.refusals import Refused
from chaosharness.orchestrators.temporal.run import Run

__all__ = ["allowed", "delay_ms", "limits_of", "refuse"]

USE_EXISTING, TERMINATE_EXISTING = 2, 3
ONLY_FAILED, REJECT = 2, 3
"""Numbers of WorkflowIdConflictPolicy, and of WorkflowIdReusePolicy."""

_NOT_MODELLED: Final = {"cron_schedule": "cron_schedule"}
"""Fields of requests and commands that are not modelled, and what users call them."""


def limits_of(req: Any, now_ms: int) -> Limits:
    """How long a run that a client starts may take, and how often it is tried."""
    run_ms, execution_ms = map(_ms, (req.workflow_run_timeout, req.workflow_execution_timeout))
    retry = policy_json(req.retry_policy) if req.HasField("retry_policy") else None
    return Limits.of(run_ms, execution_ms, retry, now_ms)


def _ms(duration: Any) -> int:
    milliseconds: int = round(duration.ToNanoseconds() / 1_000_000)
    return milliseconds


def delay_ms(req: Any) -> int:
    """How long the first task of a run is put off (T34)."""
    return _ms(req.workflow_start_delay) if hasattr(req, "workflow_start_delay") else 0


def refuse(asked: Any, what: str) -> None:
    """Refuse what is not modelled, by its name, so that nothing is silently left out.

    Raises:
        InvalidDefinition: It asks for such a thing.
    """
    given = {field.name for field, _ in asked.ListFields()}
    for field, name in _NOT_MODELLED.items():
        if field in given:
            raise InvalidDefinition(f"{what} with {name}: not modelled; start it without")


def allowed(runs: list[Run], req: Any, terminate: Any) -> Run | None:
    """Return the run that is there already and is to be used; None where there is a new one.

    Args:
        runs: Of this workflow id, oldest first.
        req: The request, with its two policies.
        terminate: Ends the run that is there, where the request says so.

    Raises:
        Refused: The policy for ids that were used before forbids it.
    """
    if not runs:
        return None
    last = runs[-1]
    if last.status == "RUNNING":
        if req.workflow_id_conflict_policy == USE_EXISTING:
            return last
        if req.workflow_id_conflict_policy == TERMINATE_EXISTING:
            terminate()
        return None
    policy = req.workflow_id_reuse_policy
    if policy == REJECT or (policy == ONLY_FAILED and last.status == "COMPLETED"):
        how = "" if policy == REJECT else " successfully"
        which = (
            "reject duplicate workflow Id"
            if policy == REJECT
            else "allow duplicate workflow Id if last run failed"
        )
        raise Refused(
            "ALREADY_EXISTS",
            f"Workflow execution already finished{how}. WorkflowId: {last.workflow_id}, "
            f"RunId: {last.run_id}. Workflow Id reuse policy: {which}.",
        )
    return None
