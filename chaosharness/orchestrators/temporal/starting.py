"""What a request to start a workflow asks for, and whether it may.

*Source*: temporalio/temporal, `service/history/api/startworkflow/api.go` and
`service/history/api/create_workflow_util.go`; recorded scripts.
"""

from typing import Any

from chaosharness.orchestrators.temporal.jobs import policy_json
from chaosharness.orchestrators.temporal.limits import Limits
from chaosharness.orchestrators.temporal.reuse import check_used
from chaosharness.orchestrators.temporal.run import Run

__all__ = ["allowed", "delay_ms", "is_pinned", "limits_of"]

USE_EXISTING, TERMINATE_EXISTING = 2, 3
AUTO_UPGRADE = 2
"""Numbers of WorkflowIdConflictPolicy and VersioningBehavior."""


def limits_of(req: Any, now_ms: int) -> Limits:
    """How long a run that a client starts may take, and how often it is tried."""
    run_ms, execution_ms = map(_ms, (req.workflow_run_timeout, req.workflow_execution_timeout))
    retry = policy_json(req.retry_policy) if req.HasField("retry_policy") else None
    return Limits.of(run_ms, execution_ms, retry, now_ms, req.cron_schedule)


def _ms(duration: Any) -> int:
    milliseconds: int = round(duration.ToNanoseconds() / 1_000_000)
    return milliseconds


def delay_ms(req: Any) -> int:
    """How long the first task of a run is put off (T34)."""
    return _ms(req.workflow_start_delay) if hasattr(req, "workflow_start_delay") else 0


def is_pinned(req: Any) -> bool:
    """Whether a start asks for one version of the workers (an override to auto-upgrade does not).

    Where no worker has a version, a workflow that upgrades by itself runs on any.
    """
    if not hasattr(req, "versioning_override") or not req.HasField("versioning_override"):
        return False
    return bool(req.versioning_override.behavior != AUTO_UPGRADE)


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
    check_used(last, req.workflow_id_reuse_policy)
    return None
