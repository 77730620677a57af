"""What a workflow asks of another one: a signal, or its cancellation.

*Source*: temporalio/temporal, transfer queue of `service/history`; histories recorded from Temporal
Server 1.32.0 (rule T30). *Not modelled*: other namespaces; the time between the two.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from chaosharness.orchestrators.temporal.refusals import Refused
from chaosharness.orchestrators.temporal.run import Run

__all__ = ["ASKED_ELSEWHERE", "ask"]

ASKED_ELSEWHERE: Final = {
    "SignalExternalWorkflowExecution": ("SIGNAL_EXTERNAL", "SIGNALED"),
    "RequestCancelExternalWorkflowExecution": ("REQUEST_CANCEL_EXTERNAL", "CANCEL_REQUESTED"),
}
"""Commands, what their events begin with, and how they end where it worked."""


class Others(Protocol):
    """The other workflows."""

    def find(self, workflow_id: str) -> Run:
        """The latest run of a workflow id."""

    def signal(
        self,
        workflow_id: str,
        name: str,
        input: Any = None,
        *,
        by: tuple[Run, int] | None = None,
        header: Any = None,
    ) -> None:
        """Tell a run something."""

    def cancel(
        self, workflow_id: str, reason: str = "", *, by: tuple[Run, int] | None = None
    ) -> None:
        """Ask a run to end."""


def ask(
    others: Others, run: Run, name: str, attributes: Mapping[str, Any], by: Mapping[str, str]
) -> Callable[[], None]:
    """Write that something is asked; return what carries it out, once all is written."""
    begins, worked = ASKED_ELSEWHERE[name]
    number = run.write(f"{begins}_WORKFLOW_EXECUTION_INITIATED", {**attributes, **by})
    target = attributes["workflowExecution"]["workflowId"]
    ids = {
        "initiatedEventId": str(number),
        "namespace": "default",
        "workflowExecution": {"workflowId": target},
    }

    def carry_out() -> None:
        try:
            if others.find(target).status != "RUNNING":
                raise Refused("NOT_FOUND", "ended")
            if worked == "SIGNALED":
                others.signal(target, attributes["signalName"], attributes.get("input"),
                              by=(run, number), header=attributes.get("header"))  # fmt: skip
            else:
                others.cancel(target, attributes.get("reason", ""), by=(run, number))
        except Refused:
            kind = begins.removeprefix("REQUEST_")
            cause = f"{kind}_WORKFLOW_EXECUTION_FAILED_CAUSE_EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND"
            run.tell(f"{begins}_WORKFLOW_EXECUTION_FAILED", lambda: {**ids, "cause": cause})
            return
        run.tell(f"EXTERNAL_WORKFLOW_EXECUTION_{worked}", lambda: ids)

    return carry_out
