"""An event history as Temporal's own screens show it: each event, its attempt, who worked on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.reporting.story.executions.execution import Execution, Row

HEAD: Final = ("event", "of", "attempt", "worker", "what became of it")
_NAMES: Final = ("activityType", "workflowType")
_WORDS: Final = ("signalName", "timerId", "markerName", "changeId")
_TROUBLE: Final = ("FAILED", "TIMED_OUT", "CANCELED", "TERMINATED")


def read(name: str, value: Mapping[str, Any]) -> Execution | None:
    """Return a workflow's event history as a table; None where it is none."""
    events = value.get("events")
    if not events or "eventId" not in events[0]:
        return None
    by_id = {event["eventId"]: _attributes(event) for event in events}
    rows = tuple(_row(event, by_id) for event in events)
    type = _attributes(events[0]).get("workflowType", {}).get("name", "")
    last = _kind(events[-1])
    ended = last.removeprefix("WORKFLOW_EXECUTION_") if "WORKFLOW_EXECUTION_" in last else ""
    return Execution(name, "event history", f"{type} {_how(ended, events)}", HEAD, rows)


def _how(ended: str, events: Sequence[Any]) -> str:
    return ended if ended and len(events) > 1 and not ended.startswith("SIGNALED") else "RUNNING"


def _kind(event: Mapping[str, Any]) -> str:
    return str(event["eventType"]).removeprefix("EVENT_TYPE_")


def _attributes(event: Mapping[str, Any]) -> Mapping[str, Any]:
    found = next((value for key, value in event.items() if key.endswith("Attributes")), None)
    return found if isinstance(found, Mapping) else {}


def _row(event: Mapping[str, Any], by_id: Mapping[str, Mapping[str, Any]]) -> Row:
    kind, said = _kind(event), _attributes(event)
    at = datetime.fromisoformat(event["eventTime"])
    words = "".join(part.capitalize() for part in kind.split("_"))
    attempt = str(said.get("attempt", "")) if kind.endswith("TASK_STARTED") else ""
    if kind == "WORKFLOW_TASK_SCHEDULED" and said.get("attempt", 1) > 1:
        attempt = str(said["attempt"])
    cells = (f"{event['eventId']} {words}", _of(said, by_id), attempt,
             str(said.get("identity", "")), _outcome(said))  # fmt: skip
    trouble = kind.endswith(_TROUBLE) or "lastFailure" in said
    return Row(round(at.timestamp() * 1000) - EPOCH_MS, cells, trouble)


def _of(said: Mapping[str, Any], by_id: Mapping[str, Mapping[str, Any]]) -> str:
    """What an event is of, by its own words or those of the event that it goes back to."""
    for each in (said, by_id.get(said.get("scheduledEventId", ""), {}),
                 by_id.get(said.get("initiatedEventId", ""), {})):  # fmt: skip
        for name in _NAMES:
            if name in each:
                return str(each[name]["name"])
        for name in _WORDS:
            if name in each:
                return str(each[name])
    return ""


def _outcome(said: Mapping[str, Any]) -> str:
    failure = said.get("failure")
    if failure is None and "lastFailure" in said:
        return f"before: {_failure(said['lastFailure'])}"
    if failure is not None:
        return _failure(failure)
    if "timeoutType" in said:
        return str(said["timeoutType"]).removeprefix("TIMEOUT_TYPE_").lower()
    return f"after {said['startToFireTimeout']}" if "startToFireTimeout" in said else ""


def _failure(failure: Mapping[str, Any]) -> str:
    info = failure.get("applicationFailureInfo", {})
    words = [info.get("type", ""), failure.get("message", "")]
    found = ": ".join(word for word in words if word)
    cause = failure.get("cause")
    return f"{found}, since {_failure(cause)}" if cause else found
