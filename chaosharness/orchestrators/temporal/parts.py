"""A history cut into what wakes a workflow at a time, and what its events say.

*Source*: sdk-core, `arch_docs/workflow_task_chunking.md` (rule T8).
"""

from collections.abc import Iterator
from typing import Any

from chaosharness.orchestrators.temporal import jobs, markers

__all__ = ["attributes_of", "local_markers", "of_a_patch", "parts_of", "patches", "shown"]


def attributes_of(event: dict[str, Any]) -> dict[str, Any]:
    return next((v for k, v in event.items() if k.endswith("EventAttributes")), {})


def shown(event: dict[str, Any]) -> str:
    return f"event {event['eventId']}"


def parts_of(events: list[dict[str, Any]], read: int) -> Iterator[list[dict[str, Any]]]:
    """Cut what has not been read yet behind each task start that was completed, and the last."""
    completed = {
        attributes_of(event)["startedEventId"]
        for event in events[read:]
        if event["eventType"] == "EVENT_TYPE_WORKFLOW_TASK_COMPLETED"
    }
    part: list[dict[str, Any]] = []
    for event in events[read:]:
        part.append(event)
        started = event["eventType"] == "EVENT_TYPE_WORKFLOW_TASK_STARTED"
        if started and event["eventId"] in completed:
            yield part
            part = []
    if part:
        yield part


def _named_markers(part: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [
        attributes_of(event)
        for event in part
        if event["eventType"] == "EVENT_TYPE_MARKER_RECORDED"
        and attributes_of(event).get("markerName") == name
    ]


def patches(part: list[dict[str, Any]]) -> list[str]:
    return [jobs.patch_id(one) for one in _named_markers(part, "core_patch")]


def of_a_patch(kind: str, event: dict[str, Any]) -> bool:
    """Whether an event goes with a patch's marker, and is no command of its own (T10)."""
    if kind != "UPSERT_WORKFLOW_SEARCH_ATTRIBUTES":
        return False
    named: Any = attributes_of(event)["searchAttributes"]["indexedFields"]
    return [*named] == ["TemporalChangeVersion"]


def local_markers(part: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return _named_markers(part, markers.NAME)
