"""Whether an id that a workflow had before may be used again.

*Source*: temporalio/temporal, `service/history/api/create_workflow_util.go`; recorded scripts.
"""

from typing import Final

from chaosharness.orchestrators.temporal.refusals import Refused
from chaosharness.orchestrators.temporal.run import Run

ONLY_FAILED: Final = 2
REJECT: Final = 3
"""Numbers of WorkflowIdReusePolicy."""


def check_used(last: Run, policy: int) -> None:
    """Refuse a start where a run of this workflow id has ended before, if the policy says so.

    Args:
        last: The latest run of the id.
        policy: A number of WorkflowIdReusePolicy.

    Raises:
        Refused: The id may not be used again.
    """
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
