"""What clients ask of Redis Streams, and what it answers: a command each, by its own name.

Ids are texts, as clients write them: `*`, `>`, `$`, `0`, `1718-0`.
"""

from __future__ import annotations

from typing import Any, Literal

import attrs

from chaosharness.machines.redis.ids import StreamId, text

Fields = Any
"""What an entry holds: the machine keeps it as it was given, and does not look."""


@attrs.define(unsafe_hash=True)
class Cut:
    """How a stream is trimmed: MAXLEN or MINID, exactly or about.

    Attributes:
        strategy: `MAXLEN` (keep so many) or `MINID` (keep from this id on).
        threshold: A number, or an id.
        about: `~`: only whole nodes go, so more may be kept.
        limit: With `about`, entries that go at most; None: 100 nodes full; 0: no limit.
    """

    strategy: Literal["MAXLEN", "MINID"]
    threshold: int | str
    about: bool = False
    limit: int | None = None


@attrs.define(unsafe_hash=True)
class Add:
    """XADD. Answers the id; None with `no_make` where there is no stream."""

    stream: str
    fields: Fields
    id: str = "*"
    cut: Cut | None = None
    no_make: bool = False
    message: Any = None


@attrs.define(unsafe_hash=True)
class Trim:
    """XTRIM. Answers how many went."""

    stream: str
    cut: Cut


@attrs.define(unsafe_hash=True)
class Delete:
    """XDEL. Answers how many there were."""

    stream: str
    ids: tuple[str, ...]


@attrs.define(unsafe_hash=True)
class DeleteStream:
    """DEL: the stream and its groups are gone. Answers how many there were."""

    stream: str


@attrs.define(unsafe_hash=True)
class Length:
    """XLEN."""

    stream: str


@attrs.define(unsafe_hash=True)
class Range:
    """XRANGE, or XREVRANGE. Answers entries, the oldest first unless `backwards`.

    Attributes:
        start: `-`, an id, or `(` and an id: behind it.
        end: `+`, an id, or `(` and an id: before it.
        count: At most so many; None: all.
        backwards: From the end on: XREVRANGE.
    """

    stream: str
    start: str = "-"
    end: str = "+"
    count: int | None = None
    backwards: bool = False


@attrs.define(unsafe_hash=True)
class Read:
    """XREAD of one stream. Answers entries; whoever asks again is answered again.

    Attributes:
        id: What is behind it.
        count: At most so many; None: all.
    """

    stream: str
    id: str
    count: int | None = None


@attrs.define(unsafe_hash=True)
class CreateGroup:
    """XGROUP CREATE."""

    stream: str
    group: str
    id: str = "$"
    make: bool = False


@attrs.define(unsafe_hash=True)
class SetId:
    """XGROUP SETID: what the group has been handed so far."""

    stream: str
    group: str
    id: str


@attrs.define(unsafe_hash=True)
class DestroyGroup:
    """XGROUP DESTROY. Answers whether there was one."""

    stream: str
    group: str


@attrs.define(unsafe_hash=True)
class CreateConsumer:
    """XGROUP CREATECONSUMER. Answers whether it is new."""

    stream: str
    group: str
    consumer: str


@attrs.define(unsafe_hash=True)
class DeleteConsumer:
    """XGROUP DELCONSUMER. Answers how many pending entries went with it."""

    stream: str
    group: str
    consumer: str


@attrs.define(unsafe_hash=True)
class ReadGroup:
    """XREADGROUP of one stream. Answers entries; one that was deleted has no fields.

    Attributes:
        id: `>`: what nobody was handed yet. An id: what is pending for this consumer, behind it.
        count: At most so many; None: all.
        no_ack: Nothing becomes pending.
        holder: Who that is, for facts; by default the name of the consumer.
    """

    stream: str
    group: str
    consumer: str
    id: str = ">"
    count: int | None = None
    no_ack: bool = False
    holder: Any = None


@attrs.define(unsafe_hash=True)
class Ack:
    """XACK. Answers how many were pending, for whichever consumer.

    Attributes:
        ids: As texts, or as they were handed out.
    """

    stream: str
    group: str
    ids: tuple[str | StreamId, ...]


@attrs.define(unsafe_hash=True)
class Claim:
    """XCLAIM. Answers entries."""

    stream: str
    group: str
    consumer: str
    min_idle_ms: int
    ids: tuple[str, ...]
    idle_ms: int | None = None
    times: int | None = None
    force: bool = False
    just_id: bool = False
    holder: Any = None


@attrs.define(unsafe_hash=True)
class AutoClaim:
    """XAUTOCLAIM. Answers `Claimed`."""

    stream: str
    group: str
    consumer: str
    min_idle_ms: int
    start: str = "0-0"
    count: int = 100
    just_id: bool = False
    holder: Any = None


@attrs.define(unsafe_hash=True)
class PendingSummary:
    """XPENDING without a range. Answers `Summary`."""

    stream: str
    group: str


@attrs.define(unsafe_hash=True)
class PendingRange:
    """XPENDING with a range, as that of `Range`. Answers `PendingEntry`s."""

    stream: str
    group: str
    count: int
    consumer: str | None = None
    min_idle_ms: int = 0
    start: str = "-"
    end: str = "+"


@attrs.define(unsafe_hash=True)
class Groups:
    """XINFO GROUPS. Answers name, consumers, pending and last id of each."""

    stream: str


@attrs.define(unsafe_hash=True)
class Lose:
    """A failover, or a crash of the server: what was written from a moment on is gone.

    Only a machine that was made with `remembers=True` can.
    """

    since_ms: int


@attrs.define(unsafe_hash=True)
class Entry:
    """An entry as it is answered.

    Attributes:
        id: Where it stands.
        fields: What it holds; None: it was deleted meanwhile.
        message: As it was given with `Add`.
        times: How often it was handed out in this group.
    """

    id: StreamId
    fields: Fields
    message: Any = attrs.field(default=None, eq=False)
    times: int = attrs.field(default=0, eq=False)

    @property
    def words(self) -> str:
        """The id as Redis writes it."""
        return text(self.id)


@attrs.define(unsafe_hash=True)
class Claimed:
    """What XAUTOCLAIM answers: where to go on, entries, and ids of those that were deleted."""

    start: StreamId
    entries: list[Entry]
    deleted: list[StreamId]


@attrs.define(unsafe_hash=True)
class Summary:
    """What XPENDING answers: how many, the first, the last, and how many for whom."""

    count: int
    first: StreamId | None
    last: StreamId | None
    consumers: dict[str, int]


@attrs.define(unsafe_hash=True)
class PendingEntry:
    """One pending entry: for whom, for how long, and how often it was handed out."""

    id: StreamId
    consumer: str
    idle_ms: int
    times: int
