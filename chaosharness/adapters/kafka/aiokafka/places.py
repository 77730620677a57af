"""Where a consumer of aiokafka is in what it reads, and where it goes on.

Source:
    aiokafka 0.14, `consumer/consumer.py`, `consumer/subscription_state.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiokafka import OffsetAndTimestamp, TopicPartition, errors

from chaosharness.adapters.kafka.aiokafka.membership import Membership
from chaosharness.adapters.kafka.aiokafka.records import (
    Partitions,
    Place,
    partitions,
)
from chaosharness.adapters.kafka.aiokafka.waiting import until_known
from chaosharness.adapters.kafka.moments import first_since, times_of


class Places:
    """What a consumer has, log partition by log partition."""

    _cluster: Any
    _how: dict[str, Any]
    _group: str | None
    _lasts_ms: int
    _in: Membership | None

    def assignment(self) -> Partitions:
        """Return the log partitions that it has."""
        return partitions(() if self._in is None else self._in.consumer.assignment())

    # ---- where it is

    def _mine(self, places: tuple[TopicPartition, ...]) -> tuple[TopicPartition, ...]:
        """Return log partitions that it has: these, or all.

        Raises:
            IllegalStateError: It has not.
        """
        if not all(isinstance(one, TopicPartition) for one in places):
            raise TypeError("partitions must be TopicPartition namedtuples")
        mine = self.assignment()
        for one in places:
            if one not in mine:
                raise errors.IllegalStateError(f"No current assignment for partition {one}")
        return places or tuple(mine)

    def _consumer(self) -> Any:
        if self._in is None:
            raise errors.IllegalStateError("Not subscribed to any topics")
        return self._in.consumer

    async def position(self, partition: TopicPartition) -> int:
        """Return the offset of the next record."""
        if partition not in self.assignment():
            raise errors.IllegalStateError(f"Partition {partition} is not assigned")
        found: int = self._consumer().position(*partition)
        return found

    def highwater(self, partition: TopicPartition) -> int:
        """Return the offset that the next record to be stored gets."""
        assert partition in self.assignment(), "Partition is not assigned"
        found: int = self._consumer().watermarks(*partition)[1]
        return found

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Go on at an offset."""
        if not isinstance(offset, int) or offset < 0:
            raise ValueError("Offset must be a positive integer")
        self._mine((partition,))
        self._consumer().seek(*partition, offset)

    async def seek_to_beginning(self, *partitions: TopicPartition) -> bool:
        """Go on at the first record of these log partitions, or of all."""
        return self._seek_to(0, partitions)

    async def seek_to_end(self, *partitions: TopicPartition) -> bool:
        """Go on behind the last record of these log partitions, or of all."""
        return self._seek_to(1, partitions)

    def _seek_to(self, which: int, places: tuple[TopicPartition, ...]) -> bool:
        consumer = self._consumer()
        for one in self._mine(places):
            consumer.seek(*one, consumer.watermarks(*one)[which])
        return True

    async def seek_to_committed(self, *partitions: TopicPartition) -> dict[TopicPartition, Any]:
        """Go on where the group has committed, of these log partitions, or of all."""
        found = {one: await self.committed(one) for one in self._mine(partitions)}
        for one, offset in found.items():
            if offset:
                self._consumer().seek(*one, offset)
        return found

    async def beginning_offsets(self, partitions: Any) -> dict[TopicPartition, int]:
        """Return the first offset of each log partition."""
        await until_known(self._cluster, partitions, self._lasts_ms)
        return {one: self._log(one).start for one in partitions}

    async def end_offsets(self, partitions: Any) -> dict[TopicPartition, int]:
        """Return the offset of the next record of each log partition."""
        await until_known(self._cluster, partitions, self._lasts_ms)
        return {one: self._log(one).end for one in partitions}

    async def offsets_for_times(
        self, timestamps: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        """Return the first record of each that is no older than a moment; None where none is."""
        committed_only = self._how["isolation"] == "read_committed"
        found: dict[TopicPartition, OffsetAndTimestamp | None] = {}
        moments = times_of(timestamps)
        await until_known(self._cluster, moments, self._lasts_ms)
        for one, at_ms in moments.items():
            first = first_since(
                self._cluster, one.topic, one.partition, at_ms, committed_only=committed_only
            )
            found[one] = None if first is None else OffsetAndTimestamp(*first)
        return found

    def _log(self, one: TopicPartition) -> Any:
        return self._cluster.machine.log((one.topic, one.partition))

    def pause(self, *partitions: TopicPartition) -> None:
        """Hand out nothing of these until `resume`."""
        if partitions:
            self._consumer().pause(*self._mine(partitions))

    def resume(self, *partitions: TopicPartition) -> None:
        """Hand them out again."""
        if partitions:
            self._consumer().resume(*self._mine(partitions))

    def paused(self) -> Partitions:
        """Return the log partitions that are paused."""
        return partitions(() if self._in is None else self._in.consumer.paused())

    async def committed(self, partition: TopicPartition) -> int | None:
        """Return where the group goes on."""
        if self._group is None:
            raise errors.IllegalOperation("Requires group_id")
        found: dict[Place, int] = self._cluster.machine.group(self._group).committed
        return found.get((partition.topic, partition.partition))
