"""A stream of DynamoDB as a pure machine: changes in shards, and how far each reader has come.

Source:
    Amazon DynamoDB Developer Guide, "Change data capture for DynamoDB Streams": each change once,
    the changes of one item in their order, kept for 24 hours.

Not modelled:
    Shards that split, close and have children: here they are there from the start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from zlib import crc32

import attrs

from chaosharness.machines.machine import Buried, Fact, HandedOut, Settled, Stored

KEPT_MS: Final = 86_400_000


@attrs.define(eq=False)
class Record:
    """One change.

    Attributes:
        number: Its place among all: the sequence number.
        shard: Where it is.
        at_ms: When it was made.
        times: How often each reader was handed it.
    """

    number: int
    shard: int
    at_ms: int
    message: Any
    times: dict[str, int] = attrs.field(factory=dict)


@attrs.frozen
class Append:
    """A change of an item. `key` says which: those of one item keep their order."""

    key: str
    message: Any


@attrs.frozen
class Subscribe:
    """A reader, from now on."""

    reader: str


@attrs.frozen
class Take:
    """Read on from where a reader is, in one shard."""

    reader: str
    shard: int
    most: int
    holder: Any


@attrs.frozen
class Checkpoint:
    """A reader is done with a shard up to a record, this included.

    Attributes:
        given_up: Why, where it is done with them without having handled them.
        to: What is told of that.
    """

    reader: str
    shard: int
    number: int
    holder: Any = None
    given_up: str = ""
    to: str | None = None


class StreamMachine:
    """The stream of one table.

    Args:
        name: Of the table: the place where changes are stored.
        shards: How many there are.
    """

    def __init__(self, name: str, shards: int = 1) -> None:
        self.name = name
        self.shards: list[list[Record]] = [[] for _ in range(shards)]
        self.done: dict[str, list[int]] = {}
        self._facts: list[Fact] = []
        self._numbers = 0

    def apply(self, operation: Any, now: int) -> Any:
        """Do what is asked for, and return the answer."""
        self.tick(now)
        do = DO.get(type(operation))
        if do is None:
            raise TypeError(f"{operation!r} is no operation of a stream")
        return do(self, operation, now)

    def due(self) -> int | None:
        """Nobody is woken: what is too old is gone the next time anybody looks."""
        return None

    def tick(self, now: int) -> None:
        """Forget what has been kept for a day; who has not read it by then never will."""
        for shard, records in enumerate(self.shards):
            while records and now - records[0].at_ms >= KEPT_MS:
                record = records.pop(0)
                for reader, done in self.done.items():
                    if done[shard] < record.number:
                        done[shard] = record.number
                        times = record.times.get(reader, 0)
                        self._facts.append(Buried(record.message, reader, None, "expired", times))

    def take(self) -> list[Fact]:
        """Return what happened since this was asked last, in order."""
        facts, self._facts = self._facts, []
        return facts

    def left(self, reader: str, shard: int) -> list[Record]:
        """Return what a reader has before it in a shard."""
        done = self.done[reader][shard]
        return [one for one in self.shards[shard] if one.number > done]

    # ----

    def _append(self, operation: Append, now: int) -> Record:
        self._numbers += 1
        shard = crc32(operation.key.encode()) % len(self.shards)
        record = Record(self._numbers, shard, now, operation.message)
        self.shards[shard].append(record)
        self._facts.append(Stored(operation.message, self.name, tuple(self.done)))
        return record

    def _subscribe(self, operation: Subscribe, now: int) -> None:
        self.done.setdefault(operation.reader, [self._numbers] * len(self.shards))

    def _take(self, operation: Take, now: int) -> list[Record]:
        found = self.left(operation.reader, operation.shard)[: operation.most]
        for one in found:
            times = one.times[operation.reader] = one.times.get(operation.reader, 0) + 1
            self._facts.append(
                HandedOut(one.message, operation.reader, operation.holder, times, False, one)
            )
        return found

    def _checkpoint(self, operation: Checkpoint, now: int) -> None:
        reader = operation.reader
        for one in self.left(reader, operation.shard):
            if one.number > operation.number:
                break
            if operation.given_up:
                times = one.times.get(reader, 0)
                fact: Fact = Buried(one.message, reader, operation.to, operation.given_up, times)
            else:
                fact = Settled(one.message, reader, operation.holder)
            self._facts.append(fact)
        done = self.done[reader]
        done[operation.shard] = max(done[operation.shard], operation.number)


Do = Callable[[StreamMachine, Any, int], Any]
DO: Final[dict[type, Do]] = {
    Append: StreamMachine._append,
    Subscribe: StreamMachine._subscribe,
    Take: StreamMachine._take,
    Checkpoint: StreamMachine._checkpoint,
}
