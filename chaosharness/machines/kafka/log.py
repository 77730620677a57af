"""One log partition: records by offset, who wrote them, and how far a reader may see.

Source:
    Apache Kafka 3.9, "Design" 4.8 (log, compaction); KIP-98 (sequence numbers, transactions,
    markers, last stable offset); `ProducerStateManager` (the last five batches are remembered).

Not modelled:
    Segments: retention and compaction take any record.
    Batches: each record is one.
"""

from __future__ import annotations

from typing import Any, Final

import attrs

from chaosharness.machines.kafka import refusals
from chaosharness.machines.machine import Refusal

REMEMBERED: Final = 5
"""Batches of a producer by which a repeat is recognised: with one more it is out of order."""


@attrs.define
class Written:
    """What a log partition knows of a producer: its epoch, and where its last records are."""

    epoch: int
    last: int = -1
    offsets: dict[int, int] = attrs.field(factory=dict)


@attrs.define(eq=False)
class Marks:
    """What is out of the ordinary in a log partition.

    Attributes:
        open: Where the open transaction of each producer began.
        written: What is known of each numbered producer.
        writers: Whose each record of a transaction is, by offset.
        aborted: Offsets of records whose transaction was aborted.
    """

    open: dict[int, int] = attrs.field(factory=dict)
    written: dict[int, Written] = attrs.field(factory=dict)
    writers: dict[int, int] = attrs.field(factory=dict)
    aborted: set[int] = attrs.field(factory=set)


class Log:
    """One log partition. An offset whose record is None is a mark, or its record is gone.

    It is `plain` while every offset has a record that every reader may see, as most are for ever.
    """

    start = 0
    plain = True
    _marks: Marks | None = None

    def __init__(self) -> None:
        self.records: list[Any] = []

    @property
    def marks(self) -> Marks:
        """What is out of the ordinary here."""
        if self._marks is None:
            self._marks = Marks()
        return self._marks

    @property
    def end(self) -> int:
        """The offset of the next record."""
        return len(self.records)

    @property
    def stable(self) -> int:
        """The last stable offset: all before it is decided (KIP-98)."""
        if self._marks is None:
            return len(self.records)
        return min(self._marks.open.values(), default=len(self.records))

    # ---- writing

    def append(self, record: Any) -> int:
        """Store a record of a producer that has no number; return its offset."""
        self.records.append(record)
        return len(self.records) - 1

    def check(self, producer: int, epoch: int, sequence: int) -> int | Refusal | None:
        """Say what becomes of a numbered record: an offset, where it is there already.

        Source: `ProducerAppendInfo.checkSequence`. A producer without a state here may begin
        with any number.
        """
        written = self.marks.written.get(producer)
        if written is None:
            return None
        if epoch < written.epoch:
            return refusals.OLD_EPOCH
        if epoch > written.epoch:
            return None if sequence == 0 else refusals.OUT_OF_ORDER
        if sequence in written.offsets:
            return written.offsets[sequence]
        return None if sequence == written.last + 1 else refusals.OUT_OF_ORDER

    def write(
        self, record: Any, producer: int, epoch: int, sequence: int, *, transactional: bool
    ) -> int:
        """Store a numbered record that was checked; return its offset."""
        offset = self.append(record)
        written = self.marks.written.get(producer)
        if written is None or written.epoch != epoch:
            written = self.marks.written[producer] = Written(epoch)
        written.last = sequence
        written.offsets[sequence] = offset
        if len(written.offsets) > REMEMBERED:
            del written.offsets[min(written.offsets)]
        if transactional:
            self.enlist(offset, producer)
        return offset

    def enlist(self, offset: int, producer: int) -> None:
        """Let a record that was stored be part of a producer's open transaction."""
        self.plain = False
        self.marks.writers[offset] = producer
        self.marks.open.setdefault(producer, offset)

    def undecided(self, producer: int) -> list[Any]:
        """Return the records of a producer's open transaction."""
        if self._marks is None or producer not in self._marks.open:
            return []
        first = self._marks.open[producer]
        mine = [at for at, whose in self._marks.writers.items() if whose == producer]
        return [self.records[at] for at in mine if at >= first]

    def mark(self, producer: int, *, commit: bool) -> None:
        """End a transaction here, with a mark that takes an offset of its own."""
        first = self.marks.open.pop(producer, None)
        if first is None:
            return
        if not commit:
            writers = self.marks.writers
            self.marks.aborted.update(
                offset for offset, whose in writers.items() if whose == producer and offset >= first
            )
        self.append(None)

    # ---- reading

    def next(self, offset: int, *, committed_only: bool = False) -> int | None:
        """Return where the next record is that a reader may see, from an offset on."""
        end = self.stable if committed_only else len(self.records)
        aborted = self.marks.aborted if committed_only else ()
        for at in range(max(offset, self.start), end):
            if self.records[at] is not None and at not in aborted:
                return at
        return None

    # ---- forgetting

    def begin_at(self, offset: int) -> None:
        """Let the first record have an offset: what was before it is gone."""
        assert not self.records
        self.records.extend([None] * offset)
        self.start = offset

    def delete_before(self, offset: int) -> list[Any]:
        """Let retention take what is before an offset; return what went."""
        offset = min(offset, len(self.records))
        gone = [one for one in self.records[self.start : offset] if one is not None]
        self.records[self.start : offset] = [None] * (offset - self.start)
        self.start = max(self.start, offset)
        self.plain = False
        return gone

    def compact(self, *, before: int | None = None, tombstones: bool = False) -> list[Any]:
        """Keep the last record of each key; return what went.

        Args:
            before: The cleaner looks no further than this offset; None: at all of it.
            tombstones: Whether those without a value are old enough to go as well.
        """
        stable = self.stable if before is None else min(self.stable, before)
        last: dict[Any, int] = {}
        for offset in range(self.start, stable):
            one = self.records[offset]
            if one is not None and one.key is not None and offset not in self.marks.aborted:
                last[one.key] = offset
        gone: list[Any] = []
        self.plain = False
        for offset in range(self.start, stable):
            one = self.records[offset]
            if one is None or one.key is None:
                continue
            if last.get(one.key) != offset or (tombstones and one.body is None):
                gone.append(one)
                self.records[offset] = None
        return gone

    def truncate(self, offset: int) -> list[Any]:
        """Lose what is from an offset on: a new leader did not have it (acks=1)."""
        lost = [one for one in self.records[offset:] if one is not None]
        del self.records[offset:]
        self.plain = False  # a group may be further than its end
        self.start = min(self.start, offset)
        marks = self.marks
        marks.open = {whose: first for whose, first in marks.open.items() if first < offset}
        marks.writers = {at: whose for at, whose in marks.writers.items() if at < offset}
        marks.aborted = {at for at in marks.aborted if at < offset}
        for written in marks.written.values():
            written.offsets = {n: at for n, at in written.offsets.items() if at < offset}
            written.last = max(written.offsets, default=-1)
        return lost
