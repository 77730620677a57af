"""What a cluster lets go of: by time, by compaction, and with a leader that fails.

Source:
    Apache Kafka 3.9, Design 4.7 (a record is committed once all in-sync replicas have it, and only
    then may consumers read it; unclean elections), 4.8 (compaction); KIP-320 (a consumer finds out
    that a log was cut off, and goes on there); `auto.offset.reset`.

Not modelled:
    A consumer that has fetched ahead may still see what is gone by now; a group whose offset lies
    behind the end of a cut log is set back for consumers that would find out. A client that
    does not find out asks again at once, and so never misses what took the place of what was lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from chaosharness.brokers.events import died
from chaosharness.brokers.kafka.members import Crew, Member
from chaosharness.brokers.kafka.rules import Settings
from chaosharness.brokers.kafka.sizes import size_of_stored
from chaosharness.brokers.kafka.topics import KafkaTopic
from chaosharness.brokers.message import Message
from chaosharness.kernel.world import World
from chaosharness.machines.kafka import KafkaMachine
from chaosharness.machines.kafka.assignors import LogPartition
from chaosharness.machines.kafka.log import Log

FAILOVER = "failover"


class Forgetting:
    """Lets go of records of one run, and tells the groups that had not read them.

    Args:
        rules: The definition of the cluster.
        world: The run.
        machine: The cluster itself.
        crews: Its groups.
        forgetful: The topics that let go of records by time.
    """

    def __init__(
        self,
        rules: Settings,
        world: World,
        machine: KafkaMachine,
        crews: Mapping[str, Crew],
        forgetful: Mapping[str, KafkaTopic],
    ) -> None:
        self._rules = rules
        self._world = world
        self._machine = machine
        self._crews = crews
        self._forgetful = forgetful
        self._cut: set[LogPartition] = set()
        for topic in forgetful.values():
            self.know(topic)

    def know(self, topic: KafkaTopic) -> None:
        """Have it known how long a topic keeps its records."""
        world = self._world
        if topic.retention_ms is not None:
            world.know_timeout(topic.retention_ms)
        if topic.compacted:
            world.know_timeout(topic.compacted_after_ms)
            world.know_duration(topic.tombstones_ms)

    # ---- by time

    def look(self, place: LogPartition) -> None:
        """Let go of what is too old by now, or too much."""
        topic = self._forgetful.get(place[0])
        if topic is None:
            return
        log = self._machine.log(place)
        if topic.retention_ms is not None:
            first = self._younger(log, topic.retention_ms)
            if first > log.start:
                self._tell(place, log.delete_before(first), "retention")
        if topic.retention_bytes is not None:
            first = self._within(log, topic.retention_bytes)
            if first > log.start:
                self._tell(place, log.delete_before(first), "size")
        if not topic.compacted:
            return
        before = self._younger(log, topic.compacted_after_ms)
        self._tell(place, log.compact(before=before), "compaction")
        before = min(before, self._younger(log, topic.tombstones_ms))
        self._tell(place, log.compact(before=before, tombstones=True), "compaction")

    def _younger(self, log: Log, age_ms: int) -> int:
        """Return where records begin that are not older than that."""
        raw, since_ms = self._world.raw, self._world.now - age_ms
        for offset in range(log.start, log.end):
            one = log.records[offset]
            if one is not None and raw[one.published][0] > since_ms:
                return offset
        return log.end

    def _within(self, log: Log, most: int) -> int:
        """Return where records begin that are no fewer bytes than that, and would be with less.

        What is deleted leaves as much as is to be kept: a log is as a rule a little larger.
        """
        sizes = {
            offset: size_of_stored(one)
            for offset in range(log.start, log.end)
            if (one := log.records[offset]) is not None
        }
        over = sum(sizes.values()) - most
        for offset, size in sizes.items():
            if over < size:
                return offset
            over -= size
        return log.end

    # ---- with a leader

    def fail_over(self, place: LogPartition, offset: int) -> bool:
        """Let a leader fail, and another lead that lacks what is from an offset on.

        Say whether that can be. In an election that is not unclean only a replica leads that has
        all that anybody could read, and what all in-sync replicas had.
        """
        log = self._machine.log(place)
        if not self._rules.unclean_elections:
            read = any(crew.high.get(place, 0) > offset for crew in self._crews.values())
            if read or offset != log.end - 1:
                return False
        gone = log.truncate(offset)
        self._tell(place, gone, FAILOVER)
        self._cut.add(place)
        for crew in self._crews.values():
            self._set_back(crew, place, offset)
        return True

    def _set_back(self, crew: Crew, place: LogPartition, end: int) -> None:
        """Have a group go on at the new end of a log, or where its members say."""
        if crew.high.get(place, 0) > end:
            crew.high[place] = end
        crew.again = {one: n for one, n in crew.again.items() if one[0] != place or one[1] < end}
        committed = crew.group.committed
        if self._rules.finds_truncation and committed.get(place, 0) > end:
            committed[place] = end
        for member in (*crew.members, *crew.solos):
            slot = member.slots.get(place)
            if slot is None:
                continue
            if slot.position > end:
                slot.position = self.place_of(member, place, slot.position)

    def place_of(self, member: Member, place: LogPartition, offset: int) -> int:
        """Return where a consumer goes on that asks for an offset."""
        log = self._machine.log(place)
        if place in self._cut and self._rules.finds_truncation:
            offset = min(offset, member.crew.high.get(place, offset))  # committed since by a zombie
        if log.start <= offset <= log.end:
            return offset
        if member.reset == "error":
            member.unset, member.unset_at = place, offset
            return offset
        if offset > log.end and self._rules.finds_truncation:
            return log.end
        return log.start if member.reset == "earliest" else log.end

    # ---- what is said

    def _tell(self, place: LogPartition, gone: Iterable[Message], why: str) -> None:
        """Write down what a group had not done with, and never gets now."""
        for message in gone:
            for group in self._missing(place, message.offset):
                died(self._world, self._rules.name, message, group, why, ())
            self._world.effects += 1

    def _missing(self, place: LogPartition, offset: int) -> Iterator[str]:
        for crew in self._crews.values():
            topics = {topic for one in (*crew.members, *crew.solos) for topic in one.topics}
            reads = place in crew.high or place in crew.group.committed or place[0] in topics
            if reads and crew.group.committed.get(place, 0) <= offset:
                yield crew.name
