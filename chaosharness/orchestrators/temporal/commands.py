"""What a workflow task may command, checked before anything of it is applied.

*Source*: Temporal API, `command/v1`; `service/history/api/respondworkflowtaskcompleted`;
sequences recorded from the server.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

from chaosharness.orchestrators.temporal.calendars import NotACalendar, cron_of
from chaosharness.orchestrators.temporal.refusals import Refused, invalid
from chaosharness.orchestrators.temporal.run import Run
from chaosharness.orchestrators.temporal.visibility import unsearchable

__all__ = ["CLOSING", "LOCAL_MARKER", "check", "shown"]

LOCAL_MARKER: Final = "core_local_activity"
"""What the end of a local activity is called in a history."""

#: Commands that end a run, and the status that it ends with.
CLOSING = {
    "CompleteWorkflowExecution": "COMPLETED",
    "FailWorkflowExecution": "FAILED",
    "CancelWorkflowExecution": "CANCELED",
    "ContinueAsNewWorkflowExecution": "CONTINUED_AS_NEW",
}

Command = tuple[str, Mapping[str, Any]]


def check(
    run: Run, commands: list[Command], searchable: Mapping[str, str]
) -> tuple[str, Refused] | None:
    """Return the cause and the refusal of a list that cannot be applied; None where it can.

    `searchable` has the types of the namespace's search attributes, by name.

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
        elif name == "StartChildWorkflowExecution" and "cronSchedule" in attributes:
            try:
                cron_of(attributes["cronSchedule"])
            except NotACalendar as error:
                return "BAD_START_CHILD_EXECUTION_ATTRIBUTES", invalid(
                    f"BadStartChildExecutionAttributes: Invalid CronSchedule. {error}"
                )
        named = attributes.get("searchAttributes", {}).get("indexedFields", {})
        if (refused := unsearchable(named, searchable)) is not None:
            cause = "BAD_SEARCH_ATTRIBUTES"
            return cause, invalid(f"BadSearchAttributes: {refused.message}")
    return None


def shown(run: Run, commands: list[Command]) -> list[str]:
    """Return each command and what it is about, as histories keep it: `StartTimer 30s`.

    Names of activities and workflows are the code's own; ids and arguments are not told.
    """
    return [f"{_named(name, told)} {_about(run, name, told)}".rstrip() for name, told in commands]


def _named(name: str, told: Mapping[str, Any]) -> str:
    return "RecordLocalActivity" if told.get("markerName") == LOCAL_MARKER else name


def _about(run: Run, name: str, attributes: Mapping[str, Any]) -> str:
    match name:
        case "StartTimer":
            return str(attributes["startToFireTimeout"])
        case "ScheduleActivityTask":
            return str(attributes["activityType"]["name"])
        case "StartChildWorkflowExecution":
            return str(attributes["workflowType"]["name"])
        case "RequestCancelActivityTask":
            activity = run.activities.get(int(attributes["scheduledEventId"]))
            return activity.type if activity else ""
        case "RecordMarker" if attributes.get("markerName") == LOCAL_MARKER:
            payload = attributes["details"]["data"]["payloads"][0]
            return str(json.loads(base64.b64decode(payload["data"]))["activity_type"])
        case "AcceptUpdate" | "CompleteUpdate" | "RejectUpdate":
            return str(run.updates[attributes["id"]].request["input"]["name"])
        case "SignalExternalWorkflowExecution":
            return str(attributes["signalName"])
    return ""
