"""What clients ask of a cluster, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

from chaosharness.machines.kafka.assignors import LogPartition

Isolation = Literal["read_uncommitted", "read_committed"]


# ---- producing


@attrs.frozen
class InitProducer:
    """Ask for a number (InitProducerId); with a transactional id, fence who had it before."""

    name: str | None = None
    timeout_ms: int = 60_000


@attrs.frozen
class Numbered:
    """What a producer is known by."""

    number: int
    epoch: int


@attrs.frozen
class Produce:
    """Append a record. `sequence` is counted for each log partition, by a numbered producer.

    Attributes:
        place: The log partition.
        record: What is kept; compaction reads its `key` and `body`.
        producer: Of a numbered one.
        transactional: Whether it belongs to the open transaction of that producer.
        size: In bytes, as the broker counts them; 0 is not checked.
    """

    place: LogPartition
    record: Any
    producer: Numbered | None = None
    sequence: int = 0
    transactional: bool = False
    size: int = 0


@attrs.frozen
class Appended:
    """Where a record is; `repeated` where it had been there already."""

    offset: int
    repeated: bool = False


@attrs.frozen
class SendOffsets:
    """Commit offsets as part of a transaction (TxnOffsetCommit)."""

    producer: Numbered
    group: str
    offsets: Mapping[LogPartition, int]
    member: str = ""
    generation: int = -1


@attrs.frozen
class EndTransaction:
    """Decide a transaction (EndTxn)."""

    producer: Numbered
    commit: bool = True


# ---- reading


@attrs.frozen
class Fetch:
    """Read one log partition from an offset on."""

    place: LogPartition
    offset: int
    most: int = 500
    isolation: Isolation = "read_uncommitted"


@attrs.frozen
class Fetched:
    """Records with their offsets, and where to go on."""

    records: tuple[tuple[int, Any], ...]
    next: int


@attrs.frozen
class ListOffsets:
    """Ask where a log partition begins, or where its next record will be."""

    place: LogPartition
    which: Literal["earliest", "latest"] = "latest"
    isolation: Isolation = "read_uncommitted"


# ---- groups


@attrs.frozen(kw_only=True)
class Join:
    """Join a group, or join it again (JoinGroup and SyncGroup in one)."""

    group: str
    member: str
    topics: tuple[str, ...]
    session_ms: int = 45_000
    rebalance_ms: int = 300_000
    instance: str | None = None
    owned: tuple[LogPartition, ...] = ()


@attrs.frozen
class Heartbeat:
    """Say that a member lives."""

    group: str
    member: str
    generation: int


@attrs.frozen
class Leave:
    """Leave a group."""

    group: str
    member: str


@attrs.frozen
class Look:
    """Ask what a member has: None while a round is under way."""

    group: str
    member: str


@attrs.frozen
class Given:
    """What a member has, and in which generation."""

    generation: int
    places: tuple[LogPartition, ...]


@attrs.frozen
class Commit:
    """Commit offsets; `member` and `generation` are empty for a consumer in no group."""

    group: str
    offsets: Mapping[LogPartition, int]
    member: str = ""
    generation: int = -1


@attrs.frozen
class Committed:
    """Ask where a group is."""

    group: str
    place: LogPartition


# ---- what becomes of records by themselves: free choices of a cluster


@attrs.frozen
class DeleteBefore:
    """Retention: what is before an offset is gone."""

    place: LogPartition
    offset: int


@attrs.frozen
class Compact:
    """The cleaner: the last record of each key stays, of those before an offset (None: of all).

    Tombstones may go with the rest once `delete.retention.ms` is over.
    """

    place: LogPartition
    tombstones: bool = False
    before: int | None = None


@attrs.frozen
class Failover:
    """A new leader, which has not got what is from an offset on (acks=1)."""

    place: LogPartition
    offset: int
