"""What clients can ask of JetStream: operations as values, and what it answers."""

from __future__ import annotations

from typing import Any

import attrs

from chaosharness.machines.nats.settings import ConsumerSettings, StreamSettings


@attrs.define(unsafe_hash=True)
class Handle:
    """What settling a message takes: the words of the reply subject that matter.

    Attributes:
        stream: Its stream.
        consumer: Who handed it out.
        sequence: Of the message in its stream.
        delivery: Of this delivery, among all of the consumer.
        times: How often the message had been handed out by then.
    """

    stream: str
    consumer: str
    sequence: int
    delivery: int
    times: int

    def __str__(self) -> str:
        return f"{self.stream}.{self.consumer}.{self.times}.{self.sequence}.{self.delivery}"


@attrs.define(unsafe_hash=True)
class CreateStream:
    """STREAM.CREATE."""

    stream: str
    settings: StreamSettings


@attrs.define(unsafe_hash=True)
class UpdateStream:
    """STREAM.UPDATE: a stream goes by other settings from now on."""

    stream: str
    settings: StreamSettings


@attrs.define(unsafe_hash=True)
class DeleteStream:
    """STREAM.DELETE: with its messages and its consumers."""

    stream: str


@attrs.define(unsafe_hash=True)
class PurgeStream:
    """STREAM.PURGE: take messages out of a stream, whoever wants them still.

    Attributes:
        subject: Only those of it, wildcards and all.
        sequence: Only those before it; 0: all.
        keep: How many of the newest stay.
    """

    stream: str
    subject: str | None = None
    sequence: int = 0
    keep: int = 0


@attrs.define(unsafe_hash=True)
class DeleteMessage:
    """STREAM.MSG.DELETE."""

    stream: str
    sequence: int


@attrs.define(unsafe_hash=True)
class CreateConsumer:
    """CONSUMER.CREATE.

    Attributes:
        place: What facts call it; None: its name.
        or_update: Whether one that is there goes by these settings from now on, as far as they
            may change; else it must have them already.
    """

    stream: str
    consumer: str
    settings: ConsumerSettings
    place: str | None = None
    or_update: bool = False


@attrs.define(unsafe_hash=True)
class DeleteConsumer:
    """CONSUMER.DELETE, or the end of an ephemeral consumer that nobody uses."""

    stream: str
    consumer: str


@attrs.frozen(kw_only=True)
class Expected:
    """What a message expects of its stream.

    Attributes:
        stream: `Nats-Expected-Stream`: its name.
        id: `Nats-Expected-Last-Msg-Id`: the id of its last message.
        sequence: `Nats-Expected-Last-Sequence`.
        of_subject: `Nats-Expected-Last-Subject-Sequence`: the sequence of the subject's last
            message, 0 for a subject without any.
    """

    stream: str | None = None
    id: str | None = None
    sequence: int | None = None
    of_subject: int | None = None


@attrs.frozen(kw_only=True)
class Asks:
    """What a message asks of its stream for itself.

    Attributes:
        rollup: `Nats-Rollup`: whose place it takes, all messages of its subject (`sub`), or of the
            stream (`all`).
        ttl_ms: `Nats-TTL`: how long it is kept; 0: for good; -1: what is no such time.
    """

    rollup: str | None = None
    ttl_ms: int | None = None


@attrs.define(unsafe_hash=True)
class Publish:
    """A message on a subject that a stream keeps.

    Attributes:
        message: What is kept and handed on with all facts; None for a name of its own.
        id: `Nats-Msg-Id`: by it a message is recognised that was published before.
        expected: What it expects of its stream, which refuses it else.
        asks: What else it asks of it.
    """

    subject: str
    body: bytes
    message: Any = None
    id: str | None = None
    expected: Expected | None = None
    asks: Asks | None = None


@attrs.define(unsafe_hash=True)
class Fetch:
    """CONSUMER.MSG.NEXT with `no_wait`. Waiting is up to whoever drives the machine."""

    stream: str
    consumer: str
    holder: Any = None
    most: int = 1


@attrs.define(unsafe_hash=True)
class Ack:
    """`+ACK`: it is done."""

    handle: Handle


@attrs.define(unsafe_hash=True)
class Nak:
    """`-NAK`: hand it out again, at once or after a time."""

    handle: Handle
    delay_ms: int | None = None


@attrs.define(unsafe_hash=True)
class InProgress:
    """`+WPI`: the time to hold it begins anew."""

    handle: Handle


@attrs.define(unsafe_hash=True)
class Term:
    """`+TERM`: never hand it out again."""

    handle: Handle
    reason: str = ""


@attrs.define(unsafe_hash=True)
class Get:
    """STREAM.MSG.GET: read a message by its sequence."""

    stream: str
    sequence: int


@attrs.define(unsafe_hash=True)
class InspectStream:
    """STREAM.INFO."""

    stream: str


@attrs.define(unsafe_hash=True)
class InspectConsumer:
    """CONSUMER.INFO."""

    stream: str
    consumer: str


# ---- answers


@attrs.define(unsafe_hash=True)
class Published:
    """The answer to `Publish`: the sequence of the message, or of the first one of its id."""

    stream: str
    sequence: int
    duplicate: bool = False


@attrs.define(unsafe_hash=True)
class Fetched:
    """One message of the answer to `Fetch`."""

    subject: str
    body: bytes
    handle: Handle
    message: Any
    pending: int
    stored_ms: int


@attrs.define(unsafe_hash=True)
class StreamState:
    """The answer to `InspectStream`."""

    messages: int
    first: int
    last: int


@attrs.define(unsafe_hash=True)
class ConsumerState:
    """The answer to `InspectConsumer`.

    Attributes:
        delivered: Deliveries so far, and the last sequence that was looked at.
        floor: Up to which delivery, and which sequence, all is settled.
        ack_pending: Messages in hands, or on their way back.
        redelivered: Messages that were handed out more than once, or too often.
        pending: Messages that were never handed out.
    """

    delivered: tuple[int, int]
    floor: tuple[int, int]
    ack_pending: int
    redelivered: int
    pending: int
