"""What RabbitMQ can legally do to those who use it, as rows.

A consumer is `acknowledged`, by itself, or `automatic`: the broker takes a message as acknowledged
once it is sent. A publisher is `confirmed`, `later` (it reads confirms when it likes), `again` (its
client sends again by itself what nobody confirmed), or `unconfirmed`.
"""

from __future__ import annotations

from typing import Final

from chaosharness.faults import (
    BrokerAlarm,
    BrokerRestart,
    ConsumerCancel,
    Crash,
    Delay,
    Duplicate,
    ErrorReply,
    Fault,
    HostDeath,
    LostReply,
    LostRequest,
    NetworkPartition,
    Poison,
    Redeliver,
)
from chaosharness.handlers.legality import (
    ANYWHERE,
    DEATH,
    PROCESS,
    STALL,
    Row,
    rows_of,
    stop_of,
    surface_of,
)
from chaosharness.handlers.port import Surface

SEARCHABLE: Final = (BrokerAlarm, BrokerRestart, HostDeath, ConsumerCancel)
"""Legal where a row says so, but searched only if a broker is told to."""

ACKNOWLEDGED: Final = "acknowledged"
AUTOMATIC: Final = "automatic"
CONSUMERS: Final = (ACKNOWLEDGED, AUTOMATIC)
CONFIRMED: Final = "confirmed"
LATER: Final = "later"
AGAIN: Final = "again"
UNCONFIRMED: Final = "unconfirmed"
HEARD: Final = (CONFIRMED, AGAIN, LATER)
PUBLISHERS: Final = (*HEARD, UNCONFIRMED)

ACKS: Final = 'RabbitMQ documentation, "Consumer Acknowledgements"'
CANCELLED: Final = 'RabbitMQ documentation, "Consumer Cancel Notification"'
CHANNEL: Final = "AMQP 0-9-1, 4.7: one channel keeps the order"
CONFIRMS: Final = 'RabbitMQ documentation, "Publisher Confirms"'
HEARTBEATS: Final = (
    'RabbitMQ documentation, "Detecting Dead TCP Connections with Heartbeats and TCP Keepalives"'
)
KOMBU: Final = "kombu and Celery, `retry`"
NETWORK: Final = "any network"
RESTARTED: Final = 'RabbitMQ documentation, "Queues", durability; observed'


_rows: Final = rows_of("RabbitMQ")

RESTARTS: Final = (
    BrokerRestart,
    "the node dies: connections are lost, and what is not durable is gone; all else comes as "
    "`redelivered`, also what was never handed out",
    RESTARTED,
)
ALARM: Final = (
    BrokerAlarm,
    "memory or disk: who publishes is not read; it is stored later, and its confirm comes then",
    'RabbitMQ documentation, "Memory and Disk Alarms"',
)
HOST_DIES: Final = (
    HostDeath,
    "the machine is gone and resets nothing: what was in hand waits for two missed heartbeats",
    HEARTBEATS,
)

ROWS: Final[tuple[Row, ...]] = (
    *_rows(
        CONSUMERS,
        "deliver",
        "before",
        (Delay, "the link lags, and keeps its order", HEARTBEATS),
        (NetworkPartition, "after two missed heartbeats the connection is lost", HEARTBEATS),
    ),
    *_rows(
        (ACKNOWLEDGED,),
        "deliver",
        "after",
        (Redeliver, "the connection is lost while the handler runs: all in hand comes again", ACKS),
    ),
    *_rows(
        CONSUMERS,
        "deliver",
        "after",
        RESTARTS,
        (
            ConsumerCancel,
            "the node of its queue is gone: what is in hand stays, nothing more comes",
            CANCELLED,
        ),
        searched=False,
    ),
    *_rows(
        (ACKNOWLEDGED,),
        "ack",
        "before",
        (LostRequest, "the connection is lost first: it comes again", ACKS),
    ),
    *_rows(
        (ACKNOWLEDGED,),
        "ack",
        "after",
        (Crash, "the operating system resets the connection: it comes again at once", ACKS),
    ),
    *_rows((ACKNOWLEDGED,), "ack", "before", STALL, DEATH, HOST_DIES, searched=False),
    *_rows((ACKNOWLEDGED,), "ack", "after", STALL, HOST_DIES, searched=False),
    *_rows(
        PUBLISHERS,
        "publish",
        "before",
        (Delay, "the channel lags: what is sent on it later waits", CHANNEL),
    ),
    *_rows(HEARD, "publish", "before", (ErrorReply, "a negative confirm", CONFIRMS)),
    *_rows(
        PUBLISHERS,
        "publish",
        "before",
        (LostRequest, "it never arrives", CONFIRMS),
        (Poison, "somebody publishes what nobody can read", PROCESS),
        (NetworkPartition, "the broker cannot be reached", NETWORK),
    ),
    *_rows((AGAIN,), "publish", "before", (Duplicate, "the client sends again by itself", KOMBU)),
    *_rows(
        (LATER,),
        "publish",
        "after",
        (Delay, "its confirm comes behind those of later messages", CONFIRMS),
    ),
    *_rows(
        HEARD,
        "publish",
        "after",
        (LostReply, "the confirm is lost: it was stored, and nobody learns", CONFIRMS),
    ),
    *_rows(PUBLISHERS, "publish", "after", STALL, DEATH),
    *_rows(PUBLISHERS, "publish", "before", STALL, DEATH, RESTARTS, ALARM, searched=False),
    *_rows(
        CONSUMERS,
        ANYWHERE,
        "after",
        stop_of(
            "its consumer is cancelled and what is in hand settled; "
            "what was prefetched comes back at once, with the channel",
            "AMQP 0-9-1, `basic.cancel` and `channel.close`",
        ),
        searched=False,
    ),
)

DELIVER: Final = surface_of(ROWS, ACKNOWLEDGED, "deliver")
DELIVER_AUTO: Final = surface_of(ROWS, AUTOMATIC, "deliver")
SETTLE: Final = surface_of(ROWS, ACKNOWLEDGED, "ack")
PUBLISH: Final = surface_of(ROWS, CONFIRMED, "publish")
PUBLISH_AGAIN: Final = surface_of(ROWS, AGAIN, "publish")
PUBLISH_BLINDLY: Final = surface_of(ROWS, UNCONFIRMED, "publish")
SEND: Final = surface_of(ROWS, LATER, "publish")

_WIDENED: Final[dict[tuple[int, tuple[type[Fault], ...]], Surface]] = {}


def widened(found: Surface, kinds: tuple[type[Fault], ...]) -> Surface:
    """Return a surface of which a search tries these kinds as well, where they are legal."""
    if not kinds:
        return found
    key = (id(found), kinds)
    if key not in _WIDENED:
        _WIDENED[key] = Surface(
            found.before,
            found.after,
            (*found.searched_before, *(k for k in kinds if k in found.before)),
            (*found.searched_after, *(k for k in kinds if k in found.after)),
        )
    return _WIDENED[key]
