"""What a workflow task may command, checked before anything of it is applied.

*Source*: Temporal API, `command/v1`; `service/history/api/respondworkflowtaskcompleted`;
sequences recorded from the server.
"""

from collections.abc import Mapping
from typing import Any

from chaosharness.orchestrators.temporal.refusals import Refused, invalid
from chaosharness.orchestrators.temporal.run import Run

__all__ = ["CLOSING", "check"]

#: Commands that end a run, and the status that it ends with.
CLOSING = {
    "CompleteWorkflowExecution": "COMPLETED",
    "FailWorkflowExecution": "FAILED",
    "CancelWorkflowExecution": "CANCELED",
    "ContinueAsNewWorkflowExecution": "CONTINUED_AS_NEW",
}

Command = tuple[str, Mapping[str, Any]]


def check(run: Run, commands: list[Command]) -> tuple[str, Refused] | None:
    """Return the cause and the refusal of a list that cannot be applied; None where it can.

    Without a cause the task stays with its worker: the request was never let in.
    """
    names = [name for name, _ in commands]
    for place, name in enumerate(names[:-1]):
        if name in CLOSING:
            shown = ", ".join(names[place:])
            return "", invalid(
                f"invalid command sequence: [{shown}], command {name} must be the last command."
            )
    timers, activities = set(run.timers), set(run.activities)
    for name, attributes in commands:
        if name == "StartTimer":
            timers.add(attributes["timerId"])
        elif name == "CancelTimer":
            if attributes["timerId"] not in timers:
                return "BAD_CANCEL_TIMER_ATTRIBUTES", invalid(
                    "BadCancelTimerAttributes: invalid history builder state for action: "
                    f"add-timer-canceled-event, TimerID: {attributes['timerId']}"
                )
            timers.discard(attributes["timerId"])
        elif name == "RequestCancelActivityTask":
            scheduled = int(attributes["scheduledEventId"])
            if scheduled not in activities:
                return "BAD_REQUEST_CANCEL_ACTIVITY_ATTRIBUTES", invalid(
                    "BadRequestCancelActivityAttributes: invalid history builder state for action: "
                    f"add-activitytask-cancel-requested-event, ScheduledEventID: {scheduled}"
                )
            activities.discard(scheduled)  # a second request for it finds nothing to cancel
    return None
