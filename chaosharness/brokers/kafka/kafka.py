"""Kafka: topics of log partitions, consumer groups, commits, generations.

Source:
    Apache Kafka 3.9 documentation, "Design" 4.6 (delivery semantics), 4.8 (log), and the
    javadoc of KafkaConsumer and KafkaProducer; KIP-62 (max.poll.interval.ms), KIP-98
    (idempotent producer), KIP-345 (static membership, not modelled).

Not modelled:
    Transactions and isolation levels; compaction and retention; static membership;
    cooperative and broker-side (KIP-848) rebalancing: every rebalance is eager; share
    groups; several brokers, hence `acks` below `all`. A consumer group is taken to be an
    old one, with offsets committed, so `auto.offset.reset` never decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from chaosharness.brokers.cycle import cycle
from chaosharness.brokers.intake import Intake, check_options
from chaosharness.brokers.kafka.consumers import LOOP_OPTIONS, OPTIONS, Consumer, Subscription
from chaosharness.brokers.kafka.faults import DELIVER, PUBLISH, PUBLISH_TWICE
from chaosharness.brokers.kafka.groups import Group, LogPartition, Member, Slot, take_nothing
from chaosharness.brokers.kafka.partitioner import log_partition_for
from chaosharness.brokers.message import NO_HEADERS, POISON, Message, encode
from chaosharness.errors import InvalidDefinition
from chaosharness.faults import (
    Delay,
    Duplicate,
    NetworkPartition,
    PartitionDelay,
    Poison,
    Rebalance,
)
from chaosharness.handlers.later import LaterEffect
from chaosharness.handlers.port import (
    careful,
    current_scope,
    on_behalf,
)
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import BACKGROUND, World

Draft = tuple[str, int, str | None, Mapping[str, str], bytes, int]
"""A message to be stored: topic, log partition, key, headers, body, workload item."""

_positive: Final = attrs.validators.ge(1)


def _topics(topics: Mapping[str, int]) -> dict[str, int]:
    for name, count in topics.items():
        if not isinstance(count, int) or count < 1:
            raise InvalidDefinition(f"topic {name!r} must have at least 1 log partition: {count!r}")
    return dict(topics)


@attrs.frozen
class Kafka:
    """A Kafka cluster.

    Options of `env.consume(bus, topic, handler, ...)`:

    - `group`: the consumer group; by default the name of the service.
    - `acknowledge`: `after` the handler has returned (at least once, the default), or
      `before` it is called (at most once).
    - `on_error`: what an exception of the handler leads to. `retry`: again and again, and
      its log partition waits (the default). `skip`: go on. `dead-letter`: after
      `retries_max` tries (3), publish to `<topic>.DLT` and go on. `crash`: the process dies.
    - `on_unreadable`: the same for a payload that cannot be decoded, where `dead-letter` does
      it at once; by default what `on_error` says.

    Options of `env.consumer(bus, *topics, ...)`, whose `poll(records_max=1, timeout_s=None)`
    returns deliveries and whose `commit(upto=None)` commits:

    - `group`: as above.
    - `on_unreadable`: `raise`: `poll` raises what the decoder raised, and the next one goes on
      behind it (as confluent-kafka does; the default). `skip`: it is left out. `dead-letter`:
      it goes to `<topic>.DLT`.

    Args:
        name: What reports call it.
        topics: Log partitions of each topic: `{"orders": 8}`.
        session_timeout_ms: After this a crashed member is noticed. Java and librdkafka:
            45 s; aiokafka: 10 s.
        max_poll_interval_ms: A handler slower than this loses its log partitions while it
            still runs.
        idempotent_producer: Whether a producer's own retry is recognised. Java: yes;
            librdkafka and aiokafka: no. Where not, `Duplicate` is a legal fault.
        latency_ms: From the log to a consumer.
    """

    name: str = attrs.field(validator=attrs.validators.instance_of(str))
    topics: Mapping[str, int] = attrs.field(converter=_topics)
    session_timeout_ms: int = attrs.field(default=45_000, validator=_positive, kw_only=True)
    max_poll_interval_ms: int = attrs.field(default=300_000, validator=_positive, kw_only=True)
    idempotent_producer: bool = attrs.field(default=True, kw_only=True)
    latency_ms: int = attrs.field(default=1, validator=attrs.validators.ge(0), kw_only=True)
    timeout_ms: int = attrs.field(default=30_000, validator=_positive, kw_only=True)

    def open(self, world: World) -> OpenKafka:
        """Return this cluster, empty, for one run."""
        return OpenKafka(self, world)


class OpenKafka:
    """A Kafka cluster during one run."""

    def __init__(self, definition: Kafka, world: World) -> None:
        self.definition = definition
        self.name = definition.name
        self.timeout_ms = definition.timeout_ms
        self.world = world
        self.logs: dict[str, list[list[Message]]] = {
            topic: [[] for _ in range(count)] for topic, count in definition.topics.items()
        }
        self.groups: dict[tuple[str, tuple[str, ...]], Group] = {}
        self.owners: dict[LogPartition, list[Member]] = {}
        self.held: dict[tuple[str, LogPartition], int] = {}
        self.surface = PUBLISH if definition.idempotent_producer else PUBLISH_TWICE
        world.know_timeout(definition.max_poll_interval_ms)
        world.know_timeout(definition.session_timeout_ms)
        world.on_network.append(self._network_changed)

    def close(self) -> None:
        """Let go of the members, at the end of a run."""
        for group in self.groups.values():
            for member in group.members:
                member.take = take_nothing
            group.members.clear()
        self.groups.clear()
        self.owners.clear()
        self.logs.clear()

    # ---- as a peer

    def lost(self, operation: str) -> BaseException:
        """Return what a producer or committer sees when no answer comes."""
        return TimeoutError(f"{operation}: no answer from {self.name}")

    def refused(self, operation: str) -> BaseException:
        """Return what a producer sees when the cluster refuses for now."""
        return ConnectionError(f"{operation}: {self.name} refused (NOT_ENOUGH_REPLICAS)")

    def lose_writes(self, scope: Scope) -> None:
        """Lose nothing: with acks=all a record is on every in-sync replica."""

    # ---- producing

    def publish(
        self,
        topic: str,
        value: Any,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Append a message to the log partition of its key, and wait for the answer.

        In an `async` handler, await it.

        Args:
            topic: One of the cluster's topics.
            value: A dict, an attrs or dataclass instance, a pydantic model, bytes.
            key: Decides the log partition: one key, one order. Without a key the workload
                item decides.
            headers: Handed on to the consumer.

        Raises:
            UnserialisablePayload: The value has no JSON form.
            TimeoutError: No answer: it may have been stored.
            ConnectionError: Refused for now: it was not stored.
        """
        scope = current_scope("publish")
        world = self.world
        try:
            partitions = self.logs[topic]
        except KeyError:
            raise self._no_topic(topic) from None
        body = encode(value, topic)
        entity = scope.entity
        if key is not None:
            if entity:
                if key not in world.entities:
                    world.entities[key] = entity
            else:
                entity = world.entities.get(key, 0)
            index = log_partition_for(key, len(partitions)) if len(partitions) > 1 else 0
        else:
            index = entity % len(partitions)
        operation = f"{scope.place}/{self.name}.publish {topic}"
        place = (operation, entity)
        world.counts[place] = attempt = world.counts.get(place, 0) + 1
        if operation not in world.surfaces:
            world.meet(operation, self.surface)
        draft = (topic, index, key, headers or NO_HEADERS, body, entity)
        if operation in world.armed or world.unreachable:
            script = careful(scope, operation, attempt, self._append, draft, self)
            return scope.colour.drive(on_behalf(scope, entity, script), scope)
        if scope.colour.is_async:
            return LaterEffect(scope, entity, self._append, operation, attempt, draft)
        own, scope.entity = scope.entity, entity
        self._store(scope, operation, attempt, draft)
        scope.entity = own
        return None

    def _no_topic(self, topic: str) -> InvalidDefinition:
        known = ", ".join(sorted(self.logs))
        return InvalidDefinition(f"{self.name} has no topic {topic!r}; it has: {known}")

    def _append(self, scope: Scope, operation: str, attempt: int, draft: Draft) -> None:
        """Store a message at a site where a fault may have changed what is stored."""
        copies = 1
        for fault in scope.struck:
            if isinstance(fault, Poison):
                poison = (draft[0], draft[1], None, NO_HEADERS, POISON[fault.content], 0)
                self._store(scope, "", 0, poison)
            elif isinstance(fault, Duplicate):
                copies = 2
        for _ in range(copies):
            self._store(scope, operation, attempt, draft)

    def _store(self, scope: Scope, operation: str, attempt: int, draft: Draft) -> None:
        world = self.world
        topic, index, key, headers, body, entity = draft
        log = self.logs[topic][index]
        offset = len(log)
        data = {
            "broker": self.name,
            "topic": topic,
            "partition": index,
            "offset": offset,
            "key": key,
            "value": body,
        }
        published = scope.record("publish", operation, attempt, data)
        hops = scope.hops + 1
        log.append(Message(topic, key, headers, body, entity, hops, published, index, offset))
        world.effects += 1
        if hops > world.budget.hops_max:
            world.end("budget", cycle(world.history, published, hops))
        for member in self.owners.get((topic, index), ()):
            if not member.fetching:
                self._wake(member)

    # ---- consuming

    def consume(
        self, intake: Intake, topic: str, *, service: str, group: str | None = None, **options: Any
    ) -> None:
        """Have a handler called per message: see `Subscription` for the options."""
        try:
            check_options(options, OPTIONS)
            subscription = Subscription(self, intake, **options)
        except (TypeError, ValueError) as error:
            raise InvalidDefinition(f"{intake.place} consumes {topic!r}: {error}") from None
        self.join(intake.incarnation, (topic,), group or service, subscription.take)

    def consumer(
        self,
        incarnation: Incarnation,
        topics: tuple[str, ...],
        decode: Callable[[bytes], Any],
        *,
        service: str,
        group: str | None = None,
        **options: Any,
    ) -> Any:
        """Return a consumer that a main loop polls: see `Consumer` for the options."""
        self.check(topics)
        try:
            check_options(options, LOOP_OPTIONS)
            return Consumer(self, incarnation, topics, group or service, decode, **options)
        except (TypeError, ValueError) as error:
            raise InvalidDefinition(f"{service} polls {', '.join(topics)}: {error}") from None

    def check(self, topics: tuple[str, ...]) -> None:
        """Refuse topics that there are not."""
        for topic in topics:
            if topic not in self.logs:
                raise self._no_topic(topic)

    def join(
        self,
        incarnation: Incarnation,
        topics: tuple[str, ...],
        group: str,
        take: Callable[[Member, Message, int], None],
    ) -> Member:
        """Add a consumer to a group. Called again for each incarnation."""
        self.check(topics)
        key = (group, topics)
        found = self.groups.get(key)
        if found is None:
            found = self.groups[key] = Group(group, topics)
        member = Member(found, incarnation, take)
        found.members.append(member)
        incarnation.on_death.append(lambda: self._died(member))
        self._rebalance(found)
        return member

    def _died(self, member: Member) -> None:
        """A hard crash is noticed when the session times out, and not before."""
        self.world.after(self.definition.session_timeout_ms, self._expire, member)

    def _expire(self, member: Member) -> None:
        if member in member.group.members:
            self.expel(member, "session timeout")

    def expel(self, member: Member, why: str) -> None:
        """Take a member out of its group. It may not know: it is a zombie until it polls."""
        if member.expelled:
            return
        group = member.group
        group.members.remove(member)
        member.expelled = True
        self._take_away(member)
        self._rebalance(group, why)

    def _rebalance(self, group: Group, why: str = "a member joined") -> None:
        """Begin to hand out the log partitions anew; it is done when all have rejoined."""
        group.why = why
        if group.preparing and group.tried_at == self.world.now:
            return  # it will be tried at this very moment anyway
        group.preparing = True
        group.tried_at = self.world.now
        self.world.after(0, self._try_complete, group)

    def _try_complete(self, group: Group) -> None:
        group.tried_at = -1
        if not group.preparing:
            return
        for member in group.members:
            if member.busy_since >= 0 or not member.incarnation.alive:
                return  # goes on when it settles, or is expelled
        group.preparing = False
        group.generation += 1
        world = self.world
        world.effects += 1
        members = group.members
        for member in members:
            self._take_away(member)
            member.generation = group.generation
        if not members:
            return
        turn = 0
        for topic in group.topics:
            operation = f"{self.name}.{topic}/deliver to {group.name}"
            for index, log in enumerate(self.logs[topic]):
                member = members[turn % len(members)]
                turn += 1
                place = (topic, index)
                slot = Slot(place, operation, log, group.committed.get(place, 0))
                member.slots[place] = slot
                member.order.append(slot)
                self.owners.setdefault(place, []).append(member)
        self._tell(group)
        for member in members:
            self._wake(member)

    def _take_away(self, member: Member) -> None:
        for place in member.slots:
            self.owners[place].remove(member)
        member.slots = {}
        member.order = []

    def _tell(self, group: Group) -> None:
        members = {
            member.incarnation.label: [f"{topic}[{index}]" for topic, index in member.slots]
            for member in group.members
        }
        data = {
            "group": group.name,
            "generation": group.generation,
            "why": group.why,
            "members": members,
        }
        self.world.record("rebalance", self.name, data=data)

    def _wake(self, member: Member) -> None:
        """See to it that the member looks for a message soon."""
        if member.fetching or member.busy_since >= 0:
            return
        for slot in member.order:
            if slot.position < len(slot.log):
                member.fetching = True
                world = self.world
                world.agenda.add(world.now + self.definition.latency_ms, self._fetch, member)
                return

    def _fetch(self, member: Member) -> None:
        """Look for a message for an idle member."""
        member.fetching = False
        group = member.group
        if member.busy_since >= 0 or group.preparing or not member.incarnation.alive:
            return
        self.hand_over(member)

    def hand_over(self, member: Member) -> bool:
        """Hand the next message to a member, if there is one; its log partitions take turns."""
        world = self.world
        group = member.group
        if world.unreachable and self.cut(member):
            return False
        order = member.order
        count = len(order)
        for step in range(count):
            slot = order[(member.turn + step) % count]
            if slot.position >= len(slot.log):
                continue
            if self.held and self._is_held(group, slot.place):
                continue
            message = slot.log[slot.position]
            operation = slot.operation
            key = (operation, message.entity)
            world.counts[key] = attempt = world.counts.get(key, 0) + 1
            if operation not in world.surfaces:
                world.meet(operation, DELIVER)
            if operation in world.armed and self._disturbed(member, message, operation, attempt):
                return False
            member.turn += step + 1
            slot.position += 1
            self._deliver(member, slot, message, operation, attempt)
            return True
        return False

    def _deliver(
        self, member: Member, slot: Slot, message: Message, operation: str, attempt: int
    ) -> None:
        world = self.world
        group = member.group
        times = group.count(slot.place, message.offset)
        data = {
            "message": message.published,
            "to": member.incarnation.label,
            "group": group.name,
            "times": times,
            "topic": message.topic,
        }
        raw = world.raw
        cause = len(raw)
        published = message.published
        entity = message.entity
        raw.append((world.now, "deliver", self.name, operation, entity, attempt, published, data))
        world.effects += 1
        if times > world.budget.deliveries_max:
            world.end("budget", f"{operation} handed out one message {times - 1:,} times")
            return
        member.busy_since = world.now
        if not member.watched:
            member.watched = True
            self._watch(member)
        member.take(member, message, cause)

    def _watch(self, member: Member) -> None:
        due = member.busy_since + self.definition.max_poll_interval_ms
        self.world.agenda.add(due, self._check_poll, member, BACKGROUND)

    def _check_poll(self, member: Member) -> None:
        """Expel a member that has not polled for max.poll.interval.ms."""
        member.watched = False
        if member.busy_since < 0 or member.expelled or not member.incarnation.alive:
            return
        if self.world.now - member.busy_since >= self.definition.max_poll_interval_ms:
            self.expel(member, "max.poll.interval.ms exceeded")
        else:
            member.watched = True
            self._watch(member)

    # ---- trouble at a delivery

    def _disturbed(self, member: Member, message: Message, operation: str, attempt: int) -> bool:
        """Let the faults of this delivery strike; say whether it is off for now."""
        world = self.world
        off = False
        group = member.group
        place = (message.topic, message.partition)
        for fault in world.strikes(operation, "before", message.entity, attempt):
            world.record(
                "fault",
                self.name,
                operation=operation,
                entity=message.entity,
                attempt=attempt,
                cause=message.published,
                data={"fault": str(fault)},
            )
            off = True
            match fault:
                case Delay() | PartitionDelay():
                    whom = group.name if isinstance(fault, Delay) else ""
                    self.held[whom, place] = due_ms = world.due(fault.lasting)
                    world.until(due_ms, self._release, (whom, place))
                    self._wake(member)
                case Rebalance():
                    self.expel(member, "a heartbeat was missed")
                    self._rejoin(member)
                case NetworkPartition():
                    service = member.incarnation.service
                    world.part(service, self.name, fault.way, fault.lasting)
        return off

    def hold(self, group: str, place: LogPartition, due_ms: int) -> None:
        """Keep a log partition from one group, or (group '') from all."""
        self.held[group, place] = due_ms
        self.world.agenda.add(due_ms, self._release, (group, place))

    def _release(self, held: tuple[str, LogPartition]) -> None:
        if self.held.pop(held, None) is not None:
            self._wake_all()

    def _is_held(self, group: Group, place: LogPartition) -> bool:
        return (group.name, place) in self.held or ("", place) in self.held

    def _wake_all(self) -> None:
        for group in self.groups.values():
            for member in group.members:
                self._wake(member)

    def cut(self, member: Member) -> bool:
        """Say whether a member and the cluster cannot talk."""
        pair = (self.name, member.incarnation.service)
        return pair in self.world.unreachable or pair[::-1] in self.world.unreachable

    def _network_changed(self) -> None:
        """Members that are cut off miss their heartbeats; those that are back fetch again."""
        for group in self.groups.values():
            for member in group.members:
                if self.cut(member):
                    self.world.after(self.definition.session_timeout_ms, self._missed, member)
                else:
                    self._wake(member)
            if group.preparing:
                self._rebalance(group, "the network healed")

    def _missed(self, member: Member) -> None:
        if self.cut(member) and member in member.group.members:
            self.expel(member, "session timeout")
            self._rejoin(member)

    def _rejoin(self, member: Member) -> None:
        """Join anew at the next poll: now if idle, else when the handler is done."""
        if member.busy_since >= 0 or not member.incarnation.alive or not member.expelled:
            return
        if self.cut(member):
            self.world.after(self.definition.session_timeout_ms, self._rejoin, member)
            return
        member.expelled = False
        member.group.members.append(member)
        self._rebalance(member.group, "a member joined again")

    # ---- settling

    def free(self, member: Member) -> None:
        """The member polls again: it rejoins if it was expelled, else it gets the next."""
        member.busy_since = -1
        if not member.incarnation.alive:
            return
        if member.expelled:
            self._rejoin(member)
        elif member.group.preparing:
            self._try_complete(member.group)
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
            self.expel(member, "a heartbeat was missed")

    def dead_letter(self, message: Message, scope: Scope, error: BaseException) -> None:
        """Put a message aside, in the topic `<topic>.DLT`, made when first needed."""
        topic = f"{message.topic}.DLT"
        if topic not in self.logs:
            self.logs[topic] = [[]]
        data = {"message": message.published, "to": topic, "error": type(error).__name__}
        scope.record("dead", "", 0, data)
        draft = (topic, 0, message.key, message.headers, message.body, message.entity)
        self._store(scope, "", 0, draft)
