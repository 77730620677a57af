"""What AMQP 0-9-1 calls things on the wire, and what the broker here calls them.

Source:
    AMQP 0-9-1 Reference, class `basic` (properties); RabbitMQ documentation, "Queues" (optional
    arguments), "Consumer Priorities", "Streams" (`x-stream-offset`).

Not modelled:
    Arguments that name what is not modelled of queues: they end the run in words. How long a stream
    keeps its messages, and where a queue's leader is: such arguments are taken and do nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from chaosharness.brokers.rabbitmq.copies import Copy
from chaosharness.brokers.rabbitmq.topology import Queue
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import asked_at, asked_or_awaited_at
from chaosharness.handlers.port import call_off
from chaosharness.machines.rabbitmq.declared import ARGUMENTS

PROPERTIES: Final = (
    *("content_type", "content_encoding", "priority", "correlation_id", "reply_to", "message_id"),
    *("timestamp", "type", "user_id", "app_id", "cluster_id", "delivery_mode"),
)
"""What a message carries beside its headers and its time to live."""

PERSISTENT: Final = 2

SERVER: Final[dict[str, Any]] = {
    "product": "RabbitMQ",
    "capabilities": {
        "publisher_confirms": True,
        "exchange_exchange_bindings": True,
        "basic.nack": True,
        "consumer_cancel_notify": True,
        "connection.blocked": True,
        "consumer_priorities": True,
        "authentication_failure_close": True,
        "per_consumer_qos": True,
        "direct_reply_to": False,
    },
}
"""What a broker says of itself when a client connects (`connection.start`)."""

CHANNELS_MAX: Final = 2047
FRAME_MAX: Final = 131_072
"""What it proposes then (`connection.tune`): RabbitMQ's defaults."""

_OF_WIRE: Final = {wire: name for name, wire in ARGUMENTS.items()}
_NO_MATTER: Final = frozenset(
    {
        *("x-queue-mode", "x-queue-version", "x-queue-master-locator", "x-queue-leader-locator"),
        *("x-quorum-initial-group-size", "x-initial-cluster-size", "x-max-age"),
        *("x-max-length-bytes", "x-stream-max-segment-size-bytes"),
    }
)
_OF_CONSUMERS: Final = frozenset({"x-priority", "x-stream-offset"})


def properties_of(given: Any, *, kind: str = "type") -> dict[str, Any]:
    """Return what the properties of a client's message say, those that are there.

    Args:
        given: The client library's properties, or None.
        kind: What it calls the property `type`.
    """
    found: dict[str, Any] = {}
    for name in PROPERTIES:
        value = getattr(given, kind if name == "type" else name, None)
        if value is not None:
            found[name] = _seconds(value) if name == "timestamp" else value
    return found


def _seconds(value: Any) -> Any:
    return int(value.timestamp()) if isinstance(value, datetime) else value


def as_time(seconds: Any) -> datetime:
    """Return a timestamp as a time, for the libraries that want one."""
    return datetime.fromtimestamp(seconds, UTC)


def expiration_of(given: Any) -> int | None:
    """Return a message's own time to live, which was looked at (`asked.wrong_expiration`)."""
    value = getattr(given, "expiration", None)
    return None if value is None else int(value)


def carried_by(copy: Copy) -> dict[str, Any]:
    """Return the properties of a message as its receiver gets them."""
    found: dict[str, Any] = dict(copy.properties)
    if copy.persistent:
        found["delivery_mode"] = PERSISTENT
    if copy.headers:
        found["headers"] = dict(copy.headers)
    if copy.expiration_ms is not None:
        found["expiration"] = str(copy.expiration_ms)
    return found


def queue_of(library: str, method: Any) -> Queue:
    """Return the queue that `queue.declare` asks for."""
    known: dict[str, Any] = {}
    for name, value in (method.arguments or {}).items():
        if name in _OF_WIRE:
            known[_OF_WIRE[name]] = value
        elif name not in _NO_MATTER:
            _unknown(library, f"argument {name!r} of a queue")
    flags = {"durable": method.durable, "exclusive": method.exclusive}
    try:
        return Queue(**known, **flags, auto_delete=method.auto_delete)
    except InvalidDefinition as error:
        call_off(InvalidDefinition(f"queue {method.queue!r}{asked_at()}: {error}"))


def consumer_of(library: str, arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what the arguments of `basic.consume` ask for."""
    found: dict[str, Any] = {}
    for name, value in (arguments or {}).items():
        if name not in _OF_CONSUMERS:
            _unknown(library, f"argument {name!r} of a consumer")
        found["priority" if name == "x-priority" else "start"] = value
    return found


def alternate_of(library: str, arguments: Mapping[str, Any] | None) -> str | None:
    """Return the alternate exchange that `exchange.declare` asks for."""
    for name in arguments or {}:
        if name != "alternate-exchange":
            _unknown(library, f"argument {name!r} of an exchange")
    return None if not arguments else arguments.get("alternate-exchange")


def _unknown(library: str, what: str) -> None:
    call_off(
        InvalidDefinition(
            f"{library}: the {what} is not modelled{asked_or_awaited_at()}. Leave it out of the "
            "code under test; what is modelled, the documentation of RabbitMQ's part says"
        )
    )
