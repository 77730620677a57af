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
class Exists:
    """EXISTS. Answers how many of these there are."""

    names: tuple[str, ...]


@attrs.define(unsafe_hash=True)
class Type:
    """TYPE. Answers `stream` or `none`."""

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
    """XGROUP CREATE.

    Attributes:
        read: ENTRIESREAD: how many entries it counts as handed out; -1 and None: nobody knows.
    """

    stream: str
    group: str
    id: str = "$"
    make: bool = False
    read: int | None = None


@attrs.define(unsafe_hash=True)
class SetId:
    """XGROUP SETID: what the group has been handed so far; `read` as for `CreateGroup`."""

    stream: str
    group: str
    id: str
    read: int | None = None


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
    """XCLAIM. Answers entries.

    Attributes:
        idle_ms: For how long they count as idle; by default they were handed out now.
        time_ms: TIME, instead of that: when they count as handed out, by the server's clock.
        times: RETRYCOUNT: how often they count as handed out.
        force: FORCE: what is not pending becomes so.
        just_id: JUSTID: without fields, and without counting.
        last: LASTID: the group has been handed all up to this id at least.
    """

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
    time_ms: int | None = None
    last: str | None = None


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
class Streams:
    """XINFO STREAM. Answers `StreamInfo`.

    Attributes:
        full: FULL: with entries, and with what is pending in each group.
        count: With `full`, at most so many entries and pending entries of each; 0: all.
    """

    stream: str
    full: bool = False
    count: int = 10


@attrs.define(unsafe_hash=True)
class Groups:
    """XINFO GROUPS. Answers `GroupInfo` of each."""

    stream: str


@attrs.define(unsafe_hash=True)
class Consumers:
    """XINFO CONSUMERS. Answers `ConsumerInfo` of each."""

    stream: str
    group: str


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


@attrs.define(unsafe_hash=True)
class StreamInfo:
    """What XINFO STREAM answers.

    Attributes:
        length: How many entries there are.
        keys: In how many nodes.
        nodes: Of the tree that finds those: what it takes in memory goes by it.
        last: The highest id there ever was.
        deleted: The highest that XDEL took.
        added: How many entries there ever were.
        first: The lowest id that is there.
        entries: The first and the last one; with FULL the first ones.
        groups: How many; with FULL each.
    """

    length: int
    keys: int
    nodes: int
    last: StreamId
    deleted: StreamId
    added: int
    first: StreamId
    entries: list[Entry]
    groups: int | list[GroupInfo]


@attrs.define(unsafe_hash=True)
class GroupInfo:
    """What XINFO says of a group.

    Attributes:
        name: Of the group.
        consumers: How many; with FULL each.
        pending: How many entries.
        last: The id that was handed out last.
        read: How many entries were handed out since the stream began, if that is known.
        lag: How many were not handed out yet, if that is known.
        held: With FULL, the first that are pending: what, for whom, since when, how often.
    """

    name: str
    consumers: int | list[ConsumerInfo]
    pending: int
    last: StreamId
    read: int | None
    lag: int | None
    held: list[tuple[StreamId, str, int, int]] = attrs.field(factory=list)


@attrs.define(unsafe_hash=True)
class ConsumerInfo:
    """What XINFO says of a consumer: how many entries it has, and when it was seen last."""

    name: str
    pending: int
    seen_ms: int
    idle_ms: int
    held: list[tuple[StreamId, int, int]] = attrs.field(factory=list)
