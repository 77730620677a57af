"""Where a consumer is, and where it goes on: what a loop may ask, and change.

Source:
    Apache Kafka 3.9, javadoc of KafkaConsumer: position and committed offset, `seek`, `pause`,
    `assign` beside `subscribe`, `offsetsForTimes`; `UnifiedLog.fetchOffsetByTimestamp`.

Not modelled:
    `message.timestamp.type=LogAppendTime`, and times that producers set: a record is as old as its
    `publish` in the history.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal, get_args

from chaosharness.brokers.kafka.cluster import Cluster
from chaosharness.brokers.kafka.coordination import TOO_SLOW
from chaosharness.brokers.kafka.members import Member, Slot
from chaosharness.brokers.message import Message
from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.places import asked_at
from chaosharness.machines.kafka.assignors import LogPartition

Reset = Literal["earliest", "latest", "error"]
RESETS: Final = get_args(Reset)


class Whereabouts:
    """Where one consumer is: the part of it that reads nothing and commits nothing."""

    _broker: Cluster
    _member: Member | None
    _group: str
    _reset: Reset
    _committed_only: bool
    _buffer: list[tuple[Message, int]]
    _attach: Callable[..., Member]

    @property
    def was_too_slow(self) -> bool:
        """Whether it has lost its place because it had not polled for too long."""
        member = self._member
        return member is not None and member.expelled and member.why == TOO_SLOW

    def assignment(self) -> list[LogPartition]:
        """Return the log partitions that it has."""
        return [] if self._member is None else list(self._member.slots)

    def assign(self, *places: LogPartition) -> None:
        """Read these log partitions, in no group: no rebalance, and no other is kept from them.

        It goes on where its group id has committed. A commit is taken while that group has no
        members.
        """
        if self._member is not None and not self._member.solo:
            raise InvalidDefinition(f"a consumer that has polled cannot assign{asked_at()}")
        for topic, index in places:
            self._broker.check((topic,))
            if not 0 <= index < len(self._broker.logs[topic]):
                raise InvalidDefinition(f"there is no log partition {topic}[{index}]{asked_at()}")
        if self._member is not None:
            self._broker.groups.take_away(self._member)
        self._member = self._attach(places, self._member)
        self._member.committed_only = self._committed_only

    def _slot(self, topic: str, partition: int) -> Slot:
        member = self._member
        slot = None if member is None else member.slots.get((topic, partition))
        if slot is None:
            raise LookupError(f"no current assignment for partition {topic}[{partition}]")
        return slot

    def position(self, topic: str, partition: int) -> int:
        """Return the offset that is polled next.

        Raises:
            LookupError: It does not have that log partition.
        """
        return self._slot(topic, partition).position

    def committed(self, topic: str, partition: int) -> int | None:
        """Return where its group goes on; None where nothing is committed."""
        self._broker.check((topic,))
        group = self._broker.machine.group(self._group)
        return group.committed.get((topic, partition))

    def watermarks(self, topic: str, partition: int) -> tuple[int, int]:
        """Return the first offset of a log partition, and the one that the next record gets."""
        self._broker.check((topic,))
        log = self._broker.machine.logs[topic][partition]
        return log.start, log.end

    def offsets_for_times(
        self, times: Mapping[LogPartition, int]
    ) -> dict[LogPartition, int | None]:
        """Return, of each log partition, the first record that is no older than a moment.

        Args:
            times: A moment of each, in milliseconds since the run began, as `env.now_ms` has it.

        Returns:
            Its offset; None where all there are are older. One that reads what is committed
            alone is told of nothing behind an open transaction.
        """
        found = {}
        for (topic, partition), at_ms in times.items():
            self._broker.check((topic,))
            committed_only = self._committed_only
            found[topic, partition] = self._broker.since(
                (topic, partition), at_ms, committed_only=committed_only
            )
        return found

    def seek(self, topic: str, partition: int, offset: int) -> None:
        """Go on at an offset; where there is none such, as `reset` says: with `error` the next
        poll raises, for only the fetch hears of it.

        Raises:
            LookupError: It does not have that log partition.
        """
        slot = self._slot(topic, partition)
        first, end = self.watermarks(topic, partition)
        place, member = (topic, partition), self._member
        absent = not first <= offset <= end
        if absent and self._reset != "error":
            absent, offset = False, first if self._reset == "earliest" else end
        slot.position = offset
        if member is not None and absent:
            member.unset, member.unset_at = place, offset
            self._broker.groups.tell(member)
        elif member is not None and member.unset == place:
            member.unset, member.unset_at = None, -1
        self._buffer = [one for one in self._buffer if (one[0].topic, one[0].partition) != place]

    def pause(self, *places: LogPartition) -> None:
        """Poll nothing of these log partitions until `resume`; a rebalance forgets it."""
        order = None if self._member is None else self._member.order
        for slot in [self._slot(*place) for place in places]:
            if order is not None and slot in order:
                order.remove(slot)

    def resume(self, *places: LogPartition) -> None:
        """Poll these log partitions again."""
        order = None if self._member is None else self._member.order
        for slot in [self._slot(*place) for place in places]:
            if order is not None and slot not in order:
                order.append(slot)
        if self._member is not None:
            self._broker.groups.wake(self._member)

    def paused(self) -> list[LogPartition]:
        """Return the log partitions that are paused."""
        member = self._member
        if member is None:
            return []
        return [place for place, one in member.slots.items() if one not in member.order]
