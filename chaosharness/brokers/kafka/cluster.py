"""A Kafka cluster at work: its logs, its groups, and who is handed which message when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache

from chaosharness.brokers.cycle import cycle
from chaosharness.brokers.events import delivered, published, set_aside, words_of
from chaosharness.brokers.kafka.batches import Batches
from chaosharness.brokers.kafka.coordination import Coordination
from chaosharness.brokers.kafka.errors import InvalidRecord, RecordTooLarge
from chaosharness.brokers.kafka.forgetting import Forgetting
from chaosharness.brokers.kafka.learning import Learning
from chaosharness.brokers.kafka.members import Member, Slot
from chaosharness.brokers.kafka.rows import ANY, DELIVERIES
from chaosharness.brokers.kafka.rules import Settings
from chaosharness.brokers.kafka.sizes import size_of
from chaosharness.brokers.kafka.stored import stored_by
from chaosharness.brokers.kafka.topics import KafkaTopic
from chaosharness.brokers.message import Message
from chaosharness.errors import InvalidDefinition
from chaosharness.faults import (
    Delay,
    Fault,
    LostWrites,
    NetworkPartition,
    PartitionDelay,
    Rebalance,
)
from chaosharness.handlers.port import Surface
from chaosharness.kernel.places import asked_at
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import World
from chaosharness.machines.kafka import KafkaMachine
from chaosharness.machines.kafka.assignors import LogPartition

Draft = tuple[str, int, str | bytes | None, Mapping[str, str], bytes | None, int, str]
"""A message to be stored: topic, log partition, key, headers, body, workload item; then the name
of the message in hand, or what it is called itself where no operation stores it."""


@lru_cache(maxsize=256)
def routes_of(name: str, topics: tuple[tuple[str, int], ...]) -> dict[str, tuple[int, str]]:
    """Return, of each topic of a cluster, how many log partitions, and how to call a publish."""
    return {topic: (count, f"/{name}.publish {topic}") for topic, count in topics}


class Cluster:
    """The logs and the consumer groups of one run."""

    def __init__(self, definition: Settings, world: World) -> None:
        self.definition = definition
        self.name = definition.name
        self.timeout_ms = definition.timeout_ms
        self._transit_ms = definition.latency_ms
        self.world = world
        self.machine = KafkaMachine(definition)
        self.logs: dict[str, list[list[Message]]] = {
            topic: [log.records for log in logs] for topic, logs in self.machine.logs.items()
        }
        """The records of the machine's own logs: what is most often done does it by hand."""
        self.routes = routes_of(definition.name, self.machine.topics).copy()
        self.learning = Learning(world, definition.metadata_max_age_ms)
        self.grew = self.learning.grew
        self.groups = Coordination(self.name, definition, world, self.machine, self._wake)
        self.owners = self.groups.owners
        forgetful: Mapping[str, KafkaTopic] = getattr(definition.topics, "forgetful", {})
        self.forgetful = dict(forgetful)
        self._deliveries = DELIVERIES[ANY, definition.unclean_elections]
        self.has_gaps = bool(forgetful)
        """Whether a record may be hidden from some, or be gone, or be none."""
        if forgetful:
            _ = self.forgetting  # it is known from the beginning how long records are kept
        self.size_nearly = definition.size_max // 2
        """What is no larger than that needs no second look."""
        sticky = definition.unkeyed == "sticky"
        self._batches = Batches(definition.linger_ms) if sticky else None
        self.unkeyed: dict[tuple[str, int], int] = {}
        self.held: dict[tuple[str, LogPartition], int] = {}
        world.know_duration(definition.timeout_ms)
        world.on_network.append(self.groups.network_changed)

    def close(self) -> None:
        """Let go of the members, at the end of a run."""
        self.groups.close()
        self.logs.clear()

    @cached_property
    def forgetting(self) -> Forgetting:
        """What lets go of records."""
        made = Forgetting(
            self.definition, self.world, self.machine, self.groups.crews, self.forgetful
        )
        self.groups.place_of = made.place_of
        return made

    def begin_at(self, offset: int) -> None:
        """Let all logs begin at an offset: what was before it is gone, and was read."""
        for logs in self.machine.logs.values():
            for log in logs:
                log.begin_at(offset)

    # ---- as a peer

    def lost(self, operation: str) -> BaseException:
        """Return what a producer or committer sees when no answer comes."""
        return TimeoutError(f"{operation}: no answer from {self.name}")

    def refused(self, operation: str) -> BaseException:
        """Return what a producer sees when the cluster refuses for now."""
        return ConnectionError(f"{operation}: {self.name} refused (NOT_ENOUGH_REPLICAS)")

    def lose_writes(self, scope: Scope) -> bool:
        """Let the leader fail that has just taken a record: the next one lacks it.

        Whoever wrote it lives on, and knows nothing.
        """
        found = stored_by(scope)
        if found >= 0:
            data = self.world.raw[found][7]
            if self.forgetting.fail_over((data["topic"], data["partition"]), data["offset"]):
                self._go_on_without()
        return True

    def _go_on_without(self) -> None:
        self.has_gaps = True
        self.world.after(0, lambda _: self.wake_all())

    # ---- the logs

    def check(self, topics: tuple[str, ...]) -> None:
        """Refuse topics that there are not."""
        for topic in topics:
            if topic not in self.logs:
                raise self._no_topic(topic)

    def _no_topic(self, topic: str) -> InvalidDefinition:
        return InvalidDefinition(f"{self.no_topic(topic)}{asked_at()}")

    def no_topic(self, topic: str) -> str:
        """Say that there is no such topic, and which there are."""
        known = ", ".join(sorted(self.logs))
        return f"{self.name} has no topic {topic!r}; it has: {known}"

    def spread(self, topic: str, entity: int, count: int, producer: object) -> int:
        """Return the log partition of the next record without a key, of `count`.

        Those of one workload item go to one log partition after the other, wherever they
        come from: what other items do moves nothing. Where producers are sticky, those of one
        producer stay together for a while.
        """
        if self._batches is not None:
            return self._batches.place(producer, topic, count, self.world.now)
        place = (topic, entity)
        nth = self.unkeyed.get(place, 0)
        self.unkeyed[place] = nth + 1
        return (entity + nth) % count

    def absent(self, places: Iterable[LogPartition]) -> tuple[LogPartition, ...]:
        """Return those log partitions that there are not."""
        logs = self.logs
        return tuple(one for one in places if not 0 <= one[1] < len(logs.get(one[0], ())))

    def check_key(self, topic: str, key: str | bytes | None) -> None:
        """Refuse a record without a key, where its topic is compacted.

        Raises:
            InvalidRecord: It is.
        """
        if key is None and topic in self.machine.compacted:
            raise InvalidRecord(f"{self.name}: a record of {topic}, which is compacted, has no key")

    def check_size(
        self, key: str | bytes | None, headers: Mapping[str, str] | None, body: bytes
    ) -> None:
        """Refuse a record that is too large.

        Raises:
            RecordTooLarge: Together they are too many bytes.
        """
        size, most = size_of(key, headers, body), self.definition.size_max
        if size > most:
            raise RecordTooLarge(f"{self.name}: a record of {size:,} bytes; it takes {most:,}")

    def chosen(self, topic: str, partition: int) -> int:
        """Return a log partition that a producer names itself.

        Raises:
            LookupError: There is none such.
        """
        count = len(self.logs[topic])
        if not 0 <= partition < count:
            raise LookupError(f"{self.name} has no log partition {topic}[{partition}]: {count} are")
        return partition

    def make_topic(self, topic: str, count: int, *, compacted: bool = False) -> None:
        """Make a topic that there is not yet."""
        logs = self.machine.add_topic(topic, count, compacted=compacted)
        self.logs[topic] = [log.records for log in logs]
        self.routes |= routes_of(self.name, ((topic, count),))
        self.learning.made(topic)

    def make_late(self, topic: str, kept: KafkaTopic) -> None:
        """Make a topic that somebody asks for: its groups begin in it where their reset says."""
        if kept.forgets:
            self.forgetful[topic] = kept
            self.forgetting.know(kept)
            self.has_gaps = True
        self.make_topic(topic, kept.partitions, compacted=kept.compacted)
        self.groups.beginnings.grown(topic, 0, kept.partitions)
        self.world.effects += 1

    def grow(self, topic: str, count: int) -> None:
        """Give a topic more log partitions."""
        before = len(self.logs[topic])
        self.logs[topic] = [log.records for log in self.machine.add_topic(topic, count)]
        self.routes |= routes_of(self.name, ((topic, count),))
        self.groups.beginnings.grown(topic, before, count)
        self.world.effects += 1

    def _store(
        self,
        scope: Scope,
        operation: str,
        attempt: int,
        topic: str,
        index: int,
        key: str | bytes | None,
        headers: Mapping[str, str],
        body: bytes | None,
        entity: int,
        name: str,
    ) -> None:
        """Store a message: see `Draft`."""
        world = self.world
        log = self.logs[topic][index]
        offset = len(log)
        where = {"partition": index, "offset": offset}
        words = words_of(self.name, topic, where, key, body, headers)
        event = published(scope, operation, attempt, entity or scope.entity, words)
        hops = scope.hops + 1
        if operation:
            name = world.publications.name(operation, entity, name, body)
        log.append(
            Message(topic, key, headers, body, entity, hops, event, index, offset, name=name)
        )
        if hops > world.hops_max and world.too_far(hops):
            world.end("budget", cycle(world.history, event, hops))
        for member in self.owners.get((topic, index), ()):
            if not member.fetching and member.busy_since < 0:
                member.fetching = True
                world.agenda.add(world.now + self._transit_ms, self._fetch, member)

    def dead_letter(self, message: Message, scope: Scope, error: BaseException) -> None:
        """Put a message aside, in the topic `<topic>.DLT`, made when first needed."""
        topic = f"{message.topic}.DLT"
        if topic not in self.logs:
            self.make_topic(topic, 1)
        set_aside(scope, message, topic, error)
        name = message.name  # it is the same message, elsewhere
        draft = (topic, 0, message.key, message.headers, message.body, message.entity, name)
        self._store(scope, "", 0, *draft)

    def since(self, place: LogPartition, at_ms: int, *, committed_only: bool) -> int | None:
        """Return where the first record is that is no older than a moment; None for nowhere."""
        if self.forgetful:
            self.forgetting.look(place)
        log, raw = self.machine.log(place), self.world.raw
        for offset in range(log.start, log.stable if committed_only else log.end):
            one = log.records[offset]
            if one is not None and raw[one.published][0] >= at_ms:
                return offset
        return None

    # ---- handing out

    def _wake(self, member: Member) -> None:
        """See to it that the member looks for a message soon."""
        if member.fetching or member.busy_since >= 0:
            return
        for slot in member.order:
            if slot.position < len(slot.log):
                member.fetching = True
                world = self.world
                world.agenda.add(world.now + self._transit_ms, self._fetch, member)
                return

    def _fetch(self, member: Member) -> None:
        """Look for a message for an idle member."""
        member.fetching = False
        group = member.group
        if member.busy_since >= 0 or not member.incarnation.alive:
            return
        if group.preparing and group.eager:
            return
        self.hand_over(member)

    def hand_over(self, member: Member) -> bool:
        """Hand the next message to a member, if there is one; its log partitions take turns."""
        world = self.world
        if world.unreachable and self.groups.cut(member):
            return False
        order = member.order
        count = len(order)
        for step in range(count):
            slot = order[(member.turn + step) % count]
            log, position = slot.log, slot.position
            if position >= len(log):
                continue
            if self.held and self._is_held(member, slot):
                continue
            if self.has_gaps:
                if not self._is_decided(member, slot):
                    continue
                position = slot.position
            message = log[position]
            operation = slot.operation
            key = (operation, message.entity, message.name)
            world.counts[key] = attempt = world.counts.get(key, 0) + 1
            if operation not in world.surfaces:
                found = self._delivery(message.topic) if self.forgetful else self._deliveries
                world.meet(operation, found)
            if operation in world.armed and self._disturbed(member, message, operation, attempt):
                return False
            member.turn += step + 1
            slot.position = position + 1
            self._deliver(member, slot, message, operation, attempt)
            return True
        return False

    def _delivery(self, topic: str) -> Surface:
        """Return what may strike where a record of a topic is delivered."""
        kept = self.forgetful.get(topic)
        if kept is None:
            return self._deliveries
        return DELIVERIES[kept.kept, self.definition.unclean_elections]

    def _is_decided(self, member: Member, slot: Slot) -> bool:
        """Go to the next record that a member may see; say whether there is one just now."""
        if self.forgetful:
            self.forgetting.look(slot.place)
        if slot.unstable:
            if any(slot.place in one for one in member.group.pending.values()):
                return False  # KIP-447: nobody reads an offset that a transaction may move
            slot.unstable = False
            slot.position = member.group.committed.get(slot.place, slot.position)
        log = self.machine.log(slot.place)
        if log.plain:
            return True
        if slot.position < log.start:
            slot.position = self.forgetting.place_of(member, slot.place, slot.position)
            if member.unset is not None:
                self.groups.tell(member)
                return False
        at = log.next(slot.position, committed_only=member.committed_only)
        if at is None:
            end = log.stable if member.committed_only else log.end
            slot.position = max(slot.position, end)
            return False
        slot.position = at
        return True

    def _deliver(
        self, member: Member, slot: Slot, message: Message, operation: str, attempt: int
    ) -> None:
        world, crew, place = self.world, member.crew, slot.place
        offset, high = message.offset, crew.high
        if offset >= high.get(place, 0):
            high[place] = offset + 1
            times = 1
        else:
            times = crew.count(place, offset)
        to = member.incarnation.label
        cause = delivered(world, self.name, operation, attempt, message, to, crew.name, times)
        if times > 1 and times > world.budget.deliveries_max and world.too_often(times, operation):
            return
        member.busy_since = world.now
        if not member.watched:
            member.watched = True
            self.groups.watch(member)
        member.take(member, message, cause)

    # ---- trouble at a delivery

    def _disturbed(self, member: Member, message: Message, operation: str, attempt: int) -> bool:
        """Let the faults of this delivery strike; say whether it is off for now."""
        world = self.world
        off = False
        group = member.group
        place = (message.topic, message.partition)
        for fault in world.strikes(operation, "before", message.entity, attempt, message.name):
            self._record(fault, message, operation, attempt, message.published)
            off = True
            match fault:
                case Delay() | PartitionDelay():
                    whom = group.name if isinstance(fault, Delay) else ""
                    self.held[whom, place] = due_ms = world.due(fault.lasting)
                    world.until(due_ms, self._release, (whom, place))
                    self._wake(member)
                case Rebalance():
                    self.groups.expel(member, "a heartbeat was missed")
                    self.groups.rejoin(member)
                case NetworkPartition():
                    service = member.incarnation.service
                    world.part(service, self.name, fault.way, fault.lasting)
        if not off and self.definition.unclean_elections:
            self._cut_off_behind(member, operation, attempt)
        return off

    def _cut_off_behind(self, member: Member, operation: str, attempt: int) -> None:
        """See to it that the leader may fail that hands out the next record."""
        take = member.take

        def then(member: Member, message: Message, cause: int) -> None:
            member.take = take
            world, place = self.world, (message.topic, message.partition)
            for fault in world.strikes(operation, "after", message.entity, attempt, message.name):
                self._record(fault, message, operation, attempt, cause)
                log = self.machine.log(place)
                there = message.offset < log.end and log.records[message.offset] is message
                if isinstance(fault, LostWrites) and there:
                    self.forgetting.fail_over(place, message.offset)
                    self._go_on_without()
            take(member, message, cause)

        member.take = then

    def _record(
        self, fault: Fault, message: Message, operation: str, attempt: int, cause: int
    ) -> None:
        self.world.record(
            "fault",
            self.name,
            operation=operation,
            entity=message.entity,
            attempt=attempt,
            cause=cause,
            data={"fault": str(fault)},
        )

    def hold(self, group: str, place: LogPartition, due_ms: int) -> None:
        """Keep a log partition from one group, or (group '') from all."""
        self.held[group, place] = due_ms
        self.world.agenda.add(due_ms, self._release, (group, place))

    def _release(self, held: tuple[str, LogPartition]) -> None:
        if self.held.pop(held, None) is not None:
            self.wake_all()

    def wake_all(self) -> None:
        """Let everybody look for messages."""
        for member in self.groups.members():
            self._wake(member)

    def _is_held(self, member: Member, slot: Slot) -> bool:
        """Say whether there is nothing to be had of a log partition for now."""
        name, place = member.crew.name, slot.place
        return (name, place) in self.held or ("", place) in self.held

    # ---- settling

    def free(self, member: Member) -> None:
        """The member polls again: it rejoins if it was expelled, else it gets the next."""
        member.busy_since = -1
        if not member.incarnation.alive:
            return
        if member.stale:
            self.groups.catch_up(member)
        elif member.group.preparing:
            self.groups.try_complete(member.crew)
            if not member.group.eager:
                self._wake(member)
        else:
            self._wake(member)

    def again(self, member: Member, message: Message, delay_ms: int) -> None:
        """Seek back to a message: its log partition waits, the others of the member go on."""
        place = (message.topic, message.partition)
        slot = member.slots.get(place)
        if slot is not None:
            slot.position = min(slot.position, message.offset)
            self.hold(member.group.name, place, self.world.now + delay_ms)
        self.free(member)

    def suffer_rebalance(self, member: Member, scope: Scope) -> None:
        """Let a `Rebalance` that struck this very commit take effect."""
        if any(isinstance(fault, Rebalance) for fault in scope.struck):
            self.groups.expel(member, "a heartbeat was missed")
