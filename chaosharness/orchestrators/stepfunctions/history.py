"""An execution's event history, in the words and the shape of AWS's GetExecutionHistory."""

import json
from typing import Any

import attrs

__all__ = ["Event", "as_text", "java_key"]

#: The most events of a Standard execution; then it fails. *Source*: Step Functions quotas.
EVENTS_MAX = 25_000

#: The most bytes of an input or an output. *Source*: Step Functions quotas.
PAYLOAD_MAX = 262_144


@attrs.frozen
class Event:
    """One event: `details` is AWS's own object, with JSON texts in it as AWS has them, or None."""

    id: int
    previous: int
    type: str
    at_ms: int
    key: str | None
    details: dict[str, Any] | None

    def as_json(self) -> dict[str, Any]:
        """The event as `get_execution_history` answers it, with `timestamp` in milliseconds."""
        answer: dict[str, Any] = {
            "id": self.id,
            "previousEventId": self.previous,
            "timestamp": self.at_ms,
            "type": self.type,
        }
        if self.key:
            answer[self.key] = self.details
        return answer


def as_text(value: Any) -> str:
    """A value as the compact JSON text that histories hold."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def java_key(event_type: str) -> str:
    """`TaskScheduled` as the key of its details: `taskScheduledEventDetails`."""
    return event_type[0].lower() + event_type[1:] + "EventDetails"
