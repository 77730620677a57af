"""Producers with a number, and transactions: who may write, and what is decided together.

Source:
    KIP-98 (idempotent producers, transactions), KIP-360 (epochs), KIP-447 (offsets of a
    transaction are fenced by the generation); Apache Kafka 3.9, `TransactionCoordinator`.

Not modelled:
    Markers reach all log partitions at once. Transaction ids never expire. KIP-890 (4.0: a new
    epoch with each transaction).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from chaosharness.machines.kafka import refusals
from chaosharness.machines.kafka.assignors import LogPartition
from chaosharness.machines.kafka.group import Group
from chaosharness.machines.kafka.log import Log
from chaosharness.machines.machine import Refusal

TRANSACTION_TIMEOUT_MS: Final = 60_000


@attrs.define(eq=False)
class Producer:
    """A producer, as the coordinator knows it."""

    number: int
    epoch: int = 0
    name: str | None = None
    timeout_ms: int = TRANSACTION_TIMEOUT_MS
    began: int | None = None
    decided: bool | None = None
    places: dict[LogPartition, None] = attrs.field(factory=dict)
    groups: dict[str, None] = attrs.field(factory=dict)


class Transactions:
    """The producers of a cluster that have a number."""

    __slots__ = ("_by_name", "_group", "_log", "by_number")

    def __init__(self, log: Callable[[LogPartition], Log], group: Callable[[str], Group]) -> None:
        self._log = log
        self._group = group
        self.by_number: dict[int, Producer] = {}
        self._by_name: dict[str, Producer] = {}

    def begin(self, name: str | None, timeout_ms: int) -> Producer:
        """Give out a number; who has the same name gets the same with the next epoch.

        The one before is fenced by it, and its open transaction is aborted.
        """
        found = None if name is None else self._by_name.get(name)
        if found is None:
            found = Producer(len(self.by_number) + 1, name=name, timeout_ms=timeout_ms)
            self.by_number[found.number] = found
            if name is not None:
                self._by_name[name] = found
            return found
        self._end(found, commit=False)
        found.decided = None
        found.epoch += 1
        found.timeout_ms = timeout_ms
        return found

    def undecided(self, name: str | None) -> list[Any]:
        """Return the records that who has a name has written, and not decided yet."""
        found = None if name is None else self._by_name.get(name)
        if found is None:
            return []
        return [one for place in found.places for one in self._log(place).undecided(found.number)]

    def check(self, number: int, epoch: int) -> Producer | Refusal:
        """Return a producer, if it is the latest of its name."""
        found = self.by_number.get(number)
        if found is None:
            return refusals.OLD_EPOCH
        if epoch < found.epoch:
            return refusals.FENCED if found.name is not None else refusals.OLD_EPOCH
        return found

    def write(self, producer: Producer, place: LogPartition, now: int) -> None:
        """Add a log partition to the transaction of a producer."""
        if producer.began is None:
            producer.began = now
        producer.places[place] = None

    def send_offsets(
        self,
        producer: Producer,
        group: Group,
        id: str | int,
        generation: int,
        offsets: Mapping[LogPartition, int],
        now: int,
    ) -> Refusal | None:
        """Add offsets to a transaction: they count once it is committed."""
        if id:
            member = group.members.get(id)
            if member is None:
                return refusals.NO_MEMBER
            if generation != group.generation:
                return refusals.OLD_GENERATION
        if producer.began is None:
            producer.began = now
        producer.groups[group.name] = None
        group.pending.setdefault(producer.number, {}).update(offsets)
        return None

    def end(self, producer: Producer, *, commit: bool) -> Refusal | None:
        """Decide a transaction; the same decision again is the same one."""
        if producer.began is None:
            return None if producer.decided is commit else refusals.NO_TRANSACTION
        self._end(producer, commit=commit)
        producer.decided = commit
        return None

    def _end(self, producer: Producer, *, commit: bool) -> None:
        for place in producer.places:
            self._log(place).mark(producer.number, commit=commit)
        for name in producer.groups:
            group = self._group(name)
            offsets = group.pending.pop(producer.number, {})
            if commit:
                group.committed.update(offsets)
        producer.places.clear()
        producer.groups.clear()
        producer.began = None

    # ---- time

    def due(self) -> int | None:
        """Return when a transaction is aborted because it takes too long."""
        times = [
            one.began + one.timeout_ms for one in self.by_number.values() if one.began is not None
        ]
        return min(times, default=None)

    def expire(self, now: int) -> list[Producer]:
        """Abort what takes too long, and fence who began it."""
        late = [
            one
            for one in self.by_number.values()
            if one.began is not None and now >= one.began + one.timeout_ms
        ]
        for one in late:
            self._end(one, commit=False)
            one.epoch += 1
        return late
