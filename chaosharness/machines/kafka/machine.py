"""A Kafka cluster as a pure machine: logs, groups, numbered producers, transactions.

Source:
    Apache Kafka 3.9: see `log.py`, `group.py`, `transactions.py`, `assignors.py` and
    `partitioners.py` for the rules and where each was read.

Not modelled:
    Several brokers: which replica has what is a free choice (`Failover`), as are retention
    (`DeleteBefore`) and compaction (`Compact`). Quotas, access control, log directories.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Final

from chaosharness.machines.kafka import operations as op
from chaosharness.machines.kafka import refusals
from chaosharness.machines.kafka.assignors import LogPartition
from chaosharness.machines.kafka.group import Group, Membership
from chaosharness.machines.kafka.log import Log
from chaosharness.machines.kafka.settings import Settings
from chaosharness.machines.kafka.transactions import Producer, Transactions
from chaosharness.machines.machine import (
    Buried,
    CameBack,
    Fact,
    Moved,
    Recognised,
    Refusal,
    Settled,
    Stored,
)


class KafkaMachine:
    """All topics and groups of one cluster."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.topics = tuple(settings.topics.items())
        """All topics, with their log partitions."""
        self.logs = {topic: [Log() for _ in range(count)] for topic, count in self.topics}
        self.compacted = set(settings.compacted)
        """The topics whose records must have keys."""
        self.groups: dict[str, Group] = {}
        self._facts: list[Fact] = []

    @cached_property
    def transactions(self) -> Transactions:
        """The producers that have a number."""
        return Transactions(self.log, self.group)

    # ---- the contract

    def apply(self, operation: Any, now: int) -> Any:
        """Do what is asked for; return an answer, or a `Refusal`."""
        self.tick(now)
        do = DO.get(type(operation))
        if do is None:
            raise TypeError(f"{operation!r} is no operation of Kafka")
        return do(self, operation, now)

    def due(self) -> int | None:
        """Return when a session, a round or a transaction is over by itself."""
        times = [group.due() for group in self.groups.values()]
        times.append(self.transactions.due())
        return min((one for one in times if one is not None), default=None)

    def tick(self, now: int) -> None:
        """Let sessions, rounds and transactions come to their end, up to now."""
        for group in self.groups.values():
            for one in (*group.expire(now), *group.leave_behind(now)):
                self._lost(group, one)
            self._try_complete(group, now)
        self.transactions.expire(now)

    def take(self) -> list[Fact]:
        """Return what happened since this was asked last, in order."""
        facts, self._facts = self._facts, []
        return facts

    # ---- what there is

    def add_topic(self, topic: str, count: int, *, compacted: bool = False) -> list[Log]:
        """Make a topic, or give it more log partitions; return these."""
        if compacted:
            self.compacted.add(topic)
        logs = self.logs.setdefault(topic, [])
        logs.extend(Log() for _ in range(count - len(logs)))
        self.topics = tuple((name, len(found)) for name, found in self.logs.items())
        return logs

    def log(self, place: LogPartition) -> Log:
        """Return a log partition that there is."""
        return self.logs[place[0]][place[1]]

    def group(self, name: str) -> Group:
        """Return a group, which is there as soon as anybody names it."""
        found = self.groups.get(name)
        if found is None:
            settings = self.settings
            found = Group(name, settings.assignment, settings.initial_delay_ms)
            self.groups[name] = found
        return found

    def _find(self, place: LogPartition) -> Log | None:
        logs = self.logs.get(place[0], ())
        return logs[place[1]] if 0 <= place[1] < len(logs) else None

    # ---- producing

    def _init(self, operation: op.InitProducer, now: int) -> op.Numbered:
        made = self.transactions.begin(operation.name, operation.timeout_ms)
        return op.Numbered(made.number, made.epoch)

    def _produce(self, operation: op.Produce, now: int) -> op.Appended | Refusal:
        place, record = operation.place, operation.record
        log = self._find(place)
        if log is None:
            return refusals.NO_TOPIC
        if operation.size > self.settings.size_max:
            return refusals.TOO_LARGE
        if place[0] in self.compacted and record.key is None:
            return refusals.NO_KEY
        if operation.producer is None:
            offset = log.append(record)
        else:
            found = self._number(log, operation, now)
            if not isinstance(found, int):
                return found
            offset = found
        self._facts.append(Stored(record, named(place)))
        return op.Appended(offset)

    def _number(self, log: Log, operation: op.Produce, now: int) -> int | op.Appended | Refusal:
        """Store the record of a numbered producer, unless it is there or out of order."""
        assert operation.producer is not None
        number, epoch = operation.producer.number, operation.producer.epoch
        producer = self.transactions.check(number, epoch)
        if isinstance(producer, Refusal):
            return producer
        before = log.check(number, epoch, operation.sequence)
        if isinstance(before, Refusal):
            return before
        if before is not None:
            fact = Recognised(operation.record, named(operation.place), log.records[before])
            self._facts.append(fact)
            return op.Appended(before, True)
        if operation.transactional:
            self.transactions.write(producer, operation.place, now)
        return log.write(
            operation.record,
            number,
            epoch,
            operation.sequence,
            transactional=operation.transactional,
        )

    def _send_offsets(self, operation: op.SendOffsets, now: int) -> Refusal | None:
        producer = self._latest(operation.producer)
        if isinstance(producer, Refusal):
            return producer
        return self.transactions.send_offsets(
            producer,
            self.group(operation.group),
            operation.member,
            operation.generation,
            operation.offsets,
            now,
        )

    def _end(self, operation: op.EndTransaction, now: int) -> Refusal | None:
        producer = self._latest(operation.producer)
        if isinstance(producer, Refusal):
            return producer
        return self.transactions.end(producer, commit=operation.commit)

    def _latest(self, numbered: op.Numbered) -> Producer | Refusal:
        return self.transactions.check(numbered.number, numbered.epoch)

    # ---- reading

    def _fetch(self, operation: op.Fetch, now: int) -> op.Fetched | Refusal:
        log = self._find(operation.place)
        if log is None:
            return refusals.NO_TOPIC
        if not log.start <= operation.offset <= log.end:
            return refusals.OUT_OF_RANGE
        committed_only = operation.isolation == "read_committed"
        found: list[tuple[int, Any]] = []
        position = operation.offset
        while len(found) < operation.most:
            at = log.next(position, committed_only=committed_only)
            if at is None:
                position = log.stable if committed_only else log.end
                break
            found.append((at, log.records[at]))
            position = at + 1
        return op.Fetched(tuple(found), max(position, operation.offset))

    def _list(self, operation: op.ListOffsets, now: int) -> int | Refusal:
        log = self._find(operation.place)
        if log is None:
            return refusals.NO_TOPIC
        if operation.which == "earliest":
            return log.start
        return log.stable if operation.isolation == "read_committed" else log.end

    # ---- groups

    def _join(self, operation: op.Join, now: int) -> op.Given | Refusal | None:
        if any(topic not in self.logs for topic in operation.topics):
            return refusals.NO_TOPIC
        group = self.group(operation.group)
        member = Membership(
            operation.member,
            operation.topics,
            operation.session_ms,
            operation.rebalance_ms,
            operation.instance,
            now,
            owned=operation.owned,
        )
        known = group.members.get(operation.member)
        if known is not None:
            member.given = known.given
        group.join(member, now)
        self._try_complete(group, now)
        return self._given(group, operation.member)

    def _try_complete(self, group: Group, now: int) -> None:
        if not group.preparing or group.waits_for(now):
            return
        before = {place: one.id for one in group.members.values() for place in one.given}
        group.complete(self.topics, now)
        for one in group.members.values():
            for place in one.given:
                if before.get(place) != one.id:
                    self._facts.append(Moved(None, named(place), str(one.id)))

    def _lost(self, group: Group, member: Membership) -> None:
        for place in member.given:
            self._facts.append(CameBack(None, named(place), member.id, group.why))

    def _given(self, group: Group, member: str) -> op.Given | Refusal | None:
        found = group.members.get(member)
        if found is None:
            return refusals.NO_MEMBER
        return None if group.preparing else op.Given(group.generation, found.given)

    def _look(self, operation: op.Look, now: int) -> op.Given | Refusal | None:
        return self._given(self.group(operation.group), operation.member)

    def _heartbeat(self, operation: op.Heartbeat, now: int) -> Refusal | None:
        return self.group(operation.group).heartbeat(operation.member, operation.generation, now)

    def _leave(self, operation: op.Leave, now: int) -> Refusal | None:
        group = self.group(operation.group)
        member = group.members.get(operation.member)
        refusal = group.leave(operation.member, "a member left", now)
        if refusal is None and member is not None:
            self._lost(group, member)
            self._try_complete(group, now)
        return refusal

    def _commit(self, operation: op.Commit, now: int) -> Refusal | None:
        if any(self._find(place) is None for place in operation.offsets):
            return refusals.NO_TOPIC
        group = self.group(operation.group)
        refusal = group.commit(operation.member, operation.generation, operation.offsets)
        if refusal is None:
            for place, offset in operation.offsets.items():
                log = self._find(place)
                record = log.records[offset - 1] if log and 0 < offset <= log.end else None
                self._facts.append(Settled(record, named(place), operation.member, up_to=True))
        return refusal

    def _committed(self, operation: op.Committed, now: int) -> int | Refusal | None:
        return self.group(operation.group).fetch(operation.place)

    # ---- what becomes of records by themselves

    def _delete_before(self, operation: op.DeleteBefore, now: int) -> Refusal | None:
        log = self._find(operation.place)
        return self._bury(
            operation.place,
            None if log is None else log.delete_before(operation.offset),
            "retention",
        )

    def _compact(self, operation: op.Compact, now: int) -> Refusal | None:
        log = self._find(operation.place)
        if log is None:
            return refusals.NO_TOPIC
        gone = log.compact(before=operation.before, tombstones=operation.tombstones)
        return self._bury(operation.place, gone, "compaction")

    def _failover(self, operation: op.Failover, now: int) -> Refusal | None:
        log = self._find(operation.place)
        return self._bury(
            operation.place, None if log is None else log.truncate(operation.offset), "failover"
        )

    def _bury(self, place: LogPartition, gone: list[Any] | None, why: str) -> Refusal | None:
        if gone is None:
            return refusals.NO_TOPIC
        self._facts.extend(Buried(one, named(place), None, why) for one in gone)
        return None


def named(place: LogPartition) -> str:
    """Spell a log partition as Kafka's tools and our histories do."""
    return f"{place[0]}[{place[1]}]"


Do = Callable[[KafkaMachine, Any, int], Any]
DO: Final[dict[type, Do]] = {
    op.InitProducer: KafkaMachine._init,
    op.Produce: KafkaMachine._produce,
    op.SendOffsets: KafkaMachine._send_offsets,
    op.EndTransaction: KafkaMachine._end,
    op.Fetch: KafkaMachine._fetch,
    op.ListOffsets: KafkaMachine._list,
    op.Join: KafkaMachine._join,
    op.Look: KafkaMachine._look,
    op.Heartbeat: KafkaMachine._heartbeat,
    op.Leave: KafkaMachine._leave,
    op.Commit: KafkaMachine._commit,
    op.Committed: KafkaMachine._committed,
    op.DeleteBefore: KafkaMachine._delete_before,
    op.Compact: KafkaMachine._compact,
    op.Failover: KafkaMachine._failover,
}
