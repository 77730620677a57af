"""Updates as the server has them: admitted, handed to a worker, accepted or rejected, completed.

What is accepted is in the history. Until then an update is in the server's memory alone, and
so is the workflow task that brings it: where a worker rejects it, nothing was written.

*Source*: temporalio/temporal, `docs/architecture/workflow-update.md` and
`speculative-workflow-task.md`; histories recorded from Temporal Server 1.32.0 (rules T27, T28).
*Not modelled*: limits of updates in flight and in all; a server that forgets what it has admitted.
"""

from collections.abc import Mapping
from typing import Any, Final

from chaosharness.orchestrators.temporal.commands import Command
from chaosharness.orchestrators.temporal.refusals import RUN_ENDED, not_found
from chaosharness.orchestrators.temporal.run import Run, Update

__all__ = ["admit", "apply", "end", "is_over", "leave_nothing", "send", "wait_still"]

REJECT: Final = "RejectUpdate"

#: What somebody is told whose update was accepted by a workflow that then ended.
ENDED: Final = {
    "failure": {
        "message": "Workflow Update failed because the Workflow completed before the Update "
        "completed.",
        "source": "Server",
        "applicationFailureInfo": {
            "type": "AcceptedUpdateCompletedWorkflow",
            "nonRetryable": True,
        },
    }
}


def admit(run: Run, update_id: str, request: Mapping[str, Any]) -> Update:
    """Take an update, or find the one that was sent under this id before.

    Raises:
        Refused: The run has ended, and does not know the id.
    """
    known = run.updates.get(update_id)
    if known is not None and not known.lost:
        return known
    if run.status != "RUNNING":
        raise not_found(RUN_ENDED)
    admitted = Update(update_id, dict(request))
    run.updates[update_id] = admitted
    run.schedule_task(speculative=True)
    return admitted


def wait_still(run: Run) -> bool:
    """Whether an update waits for a workflow task."""
    return any(one.stage == "ADMITTED" for one in run.updates.values())


def send(run: Run) -> list[Update]:
    """The updates that go to a worker with the task that it has just taken."""
    assert run.task is not None
    found = [one for one in run.updates.values() if one.stage == "ADMITTED" and not one.lost]
    for update in found:
        update.stage = "SENT"
        update.sequencing_id = run.task.started_id - 1
    return found


def leave_nothing(run: Run, commands: list[Command]) -> bool:
    """Whether a task was made for updates alone, and has rejected them all (T28)."""
    speculative = run.task is not None and run.task.speculative
    return speculative and all(name == REJECT for name, _ in commands)


def apply(run: Run, name: str, attributes: Mapping[str, Any]) -> None:
    """Apply what a worker says of one update."""
    update = run.updates[attributes["id"]]
    match name:
        case "AcceptUpdate":
            update.stage = "ACCEPTED"
            told = {
                "acceptedRequest": update.request,
                "acceptedRequestMessageId": f"{update.id}/request",
                "acceptedRequestSequencingEventId": str(update.sequencing_id),
                "protocolInstanceId": update.id,
            }
            update.accepted_id = run.write("WORKFLOW_EXECUTION_UPDATE_ACCEPTED", told)
        case "CompleteUpdate":
            update.stage, update.outcome = "COMPLETED", dict(attributes["outcome"])
            told = {
                "acceptedEventId": str(update.accepted_id),
                "meta": update.request["meta"],
                "outcome": update.outcome,
            }
            run.write("WORKFLOW_EXECUTION_UPDATE_COMPLETED", told)
        case _:
            update.stage, update.outcome = "COMPLETED", dict(attributes["outcome"])


def end(run: Run) -> None:
    """The run has ended: what was accepted has failed, what was not is lost."""
    for update in run.updates.values():
        if update.stage == "ACCEPTED":
            update.stage, update.outcome = "COMPLETED", dict(ENDED)
        elif update.stage != "COMPLETED":
            update.lost = True


def is_over(update: Update, *, wanted: str) -> bool:
    """Whether an update has come as far as somebody waits for."""
    if update.lost or update.stage == "COMPLETED":
        return True
    return wanted == "ACCEPTED" and update.stage == "ACCEPTED"
