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
    left_out,
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
    _started: bool
    _chosen: tuple[Place, ...] | None
    _early: set[Place]
    _last: dict[Place, int]
    _ends: dict[Place, int]

    def assignment(self) -> Partitions:
        """Return the log partitions that it has."""
        if self._in is None:
            return partitions(self._chosen or ())
        return partitions(self._in.consumer.assignment())

    # ---- where it is

    def _check_own(self, one: TopicPartition) -> None:
        """Refuse a log partition that it has not.

        Raises:
            AssertionError: It has none yet, or no more.
            IllegalStateError: It has others.
        """
        if self._in is None and self._chosen is None:
            raise AssertionError
        if one not in self.assignment():
            raise errors.IllegalStateError(f"No current assignment for partition {one}")

    def _meant(self, places: tuple[TopicPartition, ...]) -> tuple[TopicPartition, ...]:
        """Return log partitions that it has: these, or all.

        Raises:
            IllegalStateError: It has not.
            AssertionError: It has none.
        """
        if not all(isinstance(one, TopicPartition) for one in places):
            raise TypeError("partitions must be TopicPartition instances")
        mine = self.assignment()
        if not places:
            if not mine:
                raise AssertionError("No partitions are currently assigned")
            return tuple(mine)
        others = {*places} - {*mine}
        if others:
            raise errors.IllegalStateError(f"Partitions {others} are not assigned")
        return places

    def _begun(self, what: str) -> None:
        """Raise what the client stumbles over whose parts are made by `start`."""
        if not self._started:
            raise AttributeError(f"'NoneType' object has no attribute {what!r}")

    async def position(self, partition: TopicPartition) -> int:
        """Return the offset of the next record."""
        if partition not in self.assignment():
            raise errors.IllegalStateError(f"Partition {partition} is not assigned")
        self._begun("check_errors")
        if self._in is None:  # it has stopped
            return self._last[partition.topic, partition.partition]
        found: int = self._in.consumer.position(*partition)
        return found

    def highwater(self, partition: TopicPartition) -> int | None:
        """Return the offset that the next record to be stored gets; None before it has fetched."""
        if partition not in self.assignment():
            raise AssertionError("Partition is not assigned")
        if self._in is None:  # it has not started, or has stopped and shows what it knew
            return self._ends.get((partition.topic, partition.partition))
        if not self._in.has_fetched:
            return None
        found: int = self._in.consumer.watermarks(*partition)[1]
        return found

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Go on at an offset."""
        if not isinstance(offset, int) or offset < 0:
            raise ValueError("Offset must be a positive integer")
        self._begun("seek_to")
        self._check_own(partition)
        if self._in is not None:
            self._in.consumer.seek(*partition, offset)

    async def seek_to_beginning(self, *partitions: TopicPartition) -> bool:
        """Go on at the first record of these log partitions, or of all."""
        return self._seek_to(0, partitions)

    async def seek_to_end(self, *partitions: TopicPartition) -> bool:
        """Go on behind the last record of these log partitions, or of all."""
        return self._seek_to(1, partitions)

    def _seek_to(self, which: int, places: tuple[TopicPartition, ...]) -> bool:
        meant = self._meant(places)
        self._begun("request_offset_reset")
        if self._in is None:
            left_out("to seek an end of a log after stop()", ": it waits for ever")
        consumer = self._in.consumer
        for one in meant:
            consumer.seek(*one, consumer.watermarks(*one)[which])
        return True

    async def seek_to_committed(self, *partitions: TopicPartition) -> dict[TopicPartition, Any]:
        """Go on where the group has committed, of these log partitions, or of all."""
        found = {one: await self.committed(one) for one in self._meant(partitions)}
        for one, offset in found.items():
            if offset:
                self.seek(one, offset)
        return found

    async def beginning_offsets(self, partitions: Any) -> dict[TopicPartition, int]:
        """Return the first offset of each log partition."""
        self._begun("beginning_offsets")
        await until_known(self._cluster, partitions, self._lasts_ms)
        return {one: self._log(one).start for one in partitions}

    async def end_offsets(self, partitions: Any) -> dict[TopicPartition, int]:
        """Return the offset of the next record of each log partition."""
        self._begun("end_offsets")
        await until_known(self._cluster, partitions, self._lasts_ms)
        return {one: self._log(one).end for one in partitions}

    async def offsets_for_times(
        self, timestamps: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        """Return the first record of each that is no older than a moment; None where none is."""
        committed_only = self._how["isolation"] == "read_committed"
        found: dict[TopicPartition, OffsetAndTimestamp | None] = {}
        moments = times_of(timestamps)
        self._begun("get_offsets_by_times")
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
        self._hold(partitions, "pause")

    def resume(self, *partitions: TopicPartition) -> None:
        """Hand them out again."""
        self._hold(partitions, "resume")

    def _hold(self, places: tuple[TopicPartition, ...], what: str) -> None:
        if not all(isinstance(one, TopicPartition) for one in places):
            raise TypeError("partitions must be TopicPartition namedtuples")
        for one in places:
            self._check_own(one)
            if self._in is not None:
                getattr(self._in.consumer, what)(one)
            elif what == "pause":
                self._early.add((one.topic, one.partition))
            else:
                self._early.discard((one.topic, one.partition))

    def paused(self) -> Partitions:
        """Return the log partitions that are paused."""
        return partitions(self._early if self._in is None else self._in.consumer.paused())

    async def committed(self, partition: TopicPartition) -> int | None:
        """Return where the group goes on."""
        if self._group is None:
            raise errors.IllegalOperation("Requires group_id")
        self._begun("fetch_committed_offsets")
        found: dict[Place, int] = self._cluster.machine.group(self._group).committed
        offset = found.get((partition.topic, partition.partition), -1)
        return offset if offset >= 0 else None
