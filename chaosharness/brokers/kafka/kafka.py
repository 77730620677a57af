"""Kafka: topics of log partitions, consumer groups, commits, generations.

Source:
    Apache Kafka 3.9 documentation, "Design" 4.6 (delivery semantics), 4.8 (log), and the
    javadoc of KafkaConsumer and KafkaProducer; KIP-62 (max.poll.interval.ms), KIP-98
    (idempotent producer), KIP-429 (cooperative rebalance). The rules themselves are those of
    the machine, `chaosharness/machines/kafka`, each with its source.

Not modelled:
    Broker-side (KIP-848) rebalancing;
    share groups; several brokers: which replica has what is decided by faults (`forgetting.py`). A
    producer with `acks=0` that has noticed that the cluster is out of reach, and keeps what it has
    until it is back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

import attrs

from chaosharness.brokers.intake import Intake, check_options
from chaosharness.brokers.kafka.administration import KafkaAdmin
from chaosharness.brokers.kafka.batches import UNKEYED, Unkeyed
from chaosharness.brokers.kafka.beginnings import LEARNS, Learns
from chaosharness.brokers.kafka.cluster import Cluster, Draft
from chaosharness.brokers.kafka.consumers import (
    ISOLATIONS,
    OPTIONS,
    USUAL,
    Subscription,
    subscribed,
)
from chaosharness.brokers.kafka.leaving import Leaving
from chaosharness.brokers.kafka.loop import LOOP_OPTIONS, Consumer
from chaosharness.brokers.kafka.profiles import ACKS, CLIENTS, PROFILES, Acks, Client, Profile
from chaosharness.brokers.kafka.rows import IDEMPOTENT, LEADER, NOBODY, PLAIN, SURFACES
from chaosharness.brokers.kafka.topics import Topics, topics_of
from chaosharness.brokers.kafka.transactions import TransactionalProducer
from chaosharness.brokers.lane import (
    Lane,
    Publish,
    blindly,
    in_turn,
    is_disturbed,
    never_arrives,
)
from chaosharness.brokers.message import NO_HEADERS, POISON, Decode, encode, key_of
from chaosharness.brokers.trouble import refuse_words, wired_wrongly
from chaosharness.errors import InvalidDefinition
from chaosharness.faults import Duplicate, Poison
from chaosharness.handlers.later import LaterEffect
from chaosharness.handlers.port import (
    Surface,
    call_off,
    current_scope,
    on_behalf,
)
from chaosharness.kernel import allowed
from chaosharness.kernel.places import asked_at
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import World
from chaosharness.machines.kafka.assignors import ASSIGNMENTS, Assignment
from chaosharness.machines.kafka.operations import Isolation
from chaosharness.machines.kafka.partitioners import PARTITIONER_BY_NAME, PARTITIONERS, Partitioner
from chaosharness.machines.kafka.transactions import TRANSACTION_TIMEOUT_MS

_positive: Final = allowed.whole(1)
NOT_BOTH: Final = "acks={} and an idempotent producer contradict each other: it waits for all"


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
    - `isolation`: `read_uncommitted`, or `read_committed`: the handler is called with nothing of a
      transaction before it is committed. By default what the cluster says.
    - `reset`: where it goes on where nothing is committed, or what comes next is gone: `latest`
      (the default) or `earliest`.

    Options of `env.consumer(bus, *topics, ...)`, whose `poll(records_max=1, timeout_s=None)`
    returns deliveries and whose `commit(upto=None, offsets=None)` commits. It has `assignment`,
    `position`, `committed`, `watermarks`, `offsets_for_times`, `seek`, `pause`, `resume`, `paused`,
    `assign` and `close` beside; a log partition is a pair, `("orders", 0)`:

    - `group`: as above.
    - `on_assign`, `on_revoke`, `on_lost`: called inside `poll` and `close` with the log partitions
      that it is given, must give back, or has lost (by default as `on_revoke`).
    - `instance`: its name for life (`group.instance.id`), one of its own for each replica.
    - `reset`: where it begins where nothing is committed (`latest`, the default, `earliest` or
      `error`); see `new_groups`.
    - `isolation`: as above.
    - `on_unreadable`: `raise`: `poll` raises what the decoder raised, and the next one goes on
      behind it (as confluent-kafka does; the default). `skip`: it is left out. `dead-letter`:
      it goes to `<topic>.DLT`.

    Options of `env.publisher(bus, ...)`: `transactional_id` makes a producer with `begin`,
    `send_offsets(consumer)`, `commit` and `abort`; see `ProducerFenced`. `idempotent` and `acks`
    say for one producer what `idempotent_producer` and `acks` say for all.

    Args:
        name: What reports call it.
        topics: Log partitions of each topic, `{"orders": 8}`, or a `KafkaTopic` that says how
            long its records are kept. A list of names: 1 each.
        client: Whose defaults there are for all that is not said: `java`, `librdkafka`,
            `confluent-kafka`, `aiokafka` or `kafka-python`; reports say so. Without one they are
            those named here.
        session_timeout_ms: After this a crashed member is noticed. Java and librdkafka:
            45 s; aiokafka: 10 s.
        max_poll_interval_ms: A handler slower than this loses its log partitions while it
            still runs.
        idempotent_producer: Whether a producer's own retry is recognised. Java and kafka-python:
            yes; librdkafka and aiokafka, and so here: no. Where not, `Duplicate` is a legal fault.
        acks: Whose acknowledgement a producer waits for: `"all"` in-sync replicas (Java,
            librdkafka, kafka-python), or 1: the leader alone (aiokafka). There `LostWrites` is a
            legal fault: a record that was confirmed is gone with its leader. Or 0: of nobody. What
            is lost on its way, or refused, is lost, and the producer goes on as if it were stored.
        as_asked: Whether a producer that says itself what it asks for (`publisher(acks="all")`, the
            configuration of a client) has that. False: no more than is said here, which is how
            `chaosharness guarantees` tries it. Transactions keep what they are.
        assignment: How a group shares out its log partitions. `range`: equal numbers of all
            its topics to the same member (Java and librdkafka, unless told otherwise).
            `round-robin`: one by one (aiokafka). `sticky`: everybody keeps what it had as far
            as is even. `cooperative-sticky`: and goes on reading it during a rebalance.
        partitioner: What decides the log partition of a key: `murmur2` (Java, aiokafka,
            kafka-python) or `crc32` (librdkafka).
        unkeyed: Where records without a key go. `spread`: those of one workload item to one log
            partition after the other (which any client may do: aiokafka draws one, and a batch of
            the others may be over). `sticky`: those of one producer to the same one for
            `linger_ms`, and then to the next (Java, librdkafka, kafka-python).
        linger_ms: How long a batch of a sticky producer is open.
        isolation: What consumers see that do not say: `read_uncommitted`; of librdkafka
            `read_committed`.
        size_max: Bytes of a record that is taken, at most: 1,048,588.
        finds_truncation: Whether consumers find out that a log was cut off, and go on where it
            was (KIP-320: Java, librdkafka, kafka-python). Others (aiokafka) go by `reset`.
        unclean_elections: `unclean.leader.election.enable`: a replica may lead that had fallen
            behind. Then `LostWrites` is legal for any record, read or not.
        new_groups: Whether groups have committed nothing when a run begins, so that `reset`
            says where they do. By default they are old ones, which read all from then on.
        metadata_max_age_ms: When clients learn that a topic has more log partitions, at the latest:
            see `KafkaAdmin`, which `env.client(bus)` gives.
        producers_learn: When producers do: `at once`, as one may that has just asked, or `by age`:
            each asks when it is made, and every `metadata_max_age_ms` from then on, so that one
            that is older and one that is younger may send one key to two log partitions.
        offsets_retention_ms: `offsets.retention.minutes`: how long what a group has committed is
            kept once it has no members; then it begins where `reset` says. None: for ever.
        latency_ms: From the log to a consumer.
    """

    name: str = attrs.field(validator=allowed.text())
    topics: Topics = attrs.field(converter=topics_of)
    client: Client | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(allowed.one_of(*CLIENTS)),
        kw_only=True,
    )
    session_timeout_ms: int = attrs.field(
        default=PROFILES.default("session_timeout_ms"), validator=_positive, kw_only=True
    )
    max_poll_interval_ms: int = attrs.field(
        default=PROFILES.default("max_poll_interval_ms"), validator=_positive, kw_only=True
    )
    idempotent_producer: bool = attrs.field(
        default=PROFILES.default("idempotent_producer"), validator=allowed.flag(), kw_only=True
    )
    assignment: Assignment = attrs.field(
        default=PROFILES.default("assignment"), validator=allowed.one_of(*ASSIGNMENTS), kw_only=True
    )
    acks: Acks = attrs.field(
        default=attrs.Factory(
            lambda self: "all" if self.idempotent_producer else PROFILES.of(self.client).acks,
            takes_self=True,
        ),
        validator=allowed.one_of(*ACKS),
        kw_only=True,
    )
    as_asked: bool = attrs.field(default=True, validator=allowed.flag(), kw_only=True)
    partitioner: Partitioner = attrs.field(
        default=PROFILES.default("partitioner"),
        validator=allowed.one_of(*PARTITIONERS),
        kw_only=True,
    )
    unkeyed: Unkeyed = attrs.field(
        default="spread", validator=allowed.one_of(*UNKEYED), kw_only=True
    )
    linger_ms: int = attrs.field(default=5, validator=allowed.whole(0), kw_only=True)
    isolation: Isolation = attrs.field(
        default=PROFILES.default("isolation"), validator=allowed.one_of(*ISOLATIONS), kw_only=True
    )
    size_max: int = attrs.field(
        default=PROFILES.default("size_max"), validator=_positive, kw_only=True
    )
    finds_truncation: bool = attrs.field(
        default=PROFILES.default("finds_truncation"), validator=allowed.flag(), kw_only=True
    )
    unclean_elections: bool = attrs.field(default=False, validator=allowed.flag(), kw_only=True)
    latency_ms: int = attrs.field(default=1, validator=allowed.whole(0), kw_only=True)
    new_groups: bool = attrs.field(default=False, validator=allowed.flag(), kw_only=True)
    metadata_max_age_ms: int = attrs.field(default=300_000, validator=_positive, kw_only=True)
    producers_learn: Learns = attrs.field(
        default="at once", validator=allowed.one_of(*LEARNS), kw_only=True
    )
    offsets_retention_ms: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(_positive), kw_only=True
    )
    initial_delay_ms: ClassVar[int] = 0
    timeout_ms: int = attrs.field(default=30_000, validator=_positive, kw_only=True)

    producer: str = attrs.field(init=False, repr=False, eq=False)
    """The kind of its producers, as its rows have it."""

    @producer.default
    def _kind(self) -> str:
        return kind_of(self.idempotent_producer, self.acks)

    def __attrs_post_init__(self) -> None:
        if self.idempotent_producer and self.acks != "all":
            raise InvalidDefinition(
                f"{NOT_BOTH.format(self.acks)}, of Kafka({self.name!r}){asked_at()}"
            )

    @property
    def compacted(self) -> frozenset[str]:
        """The topics whose records must have keys."""
        return self.topics.compacted

    @property
    def profile(self) -> str:
        """Whose defaults it goes by, and what they are, as reports print it; else empty."""
        if self.client is None:
            return ""
        known = PROFILES.of(self.client)
        names = [one.name for one in attrs.fields(Profile) if one.name not in ("name", "source")]
        return str(attrs.evolve(known, **{name: getattr(self, name) for name in names}))

    def open(self, world: World) -> OpenKafka:
        """Return this cluster, empty, for one run."""
        return OpenKafka(self, world)


def kind_of(idempotent: bool, acks: Acks) -> str:
    """Return the kind of a producer, as the rows of what may strike have it."""
    if idempotent:
        return IDEMPOTENT
    return PLAIN if acks == "all" else LEADER if acks else NOBODY


class OpenKafka(Cluster):
    """A Kafka cluster during one run, as services use it."""

    def __init__(self, definition: Kafka, world: World) -> None:
        super().__init__(definition, world)
        self.disturbed = is_disturbed(world, definition.name)
        self.place_of_key = PARTITIONER_BY_NAME[definition.partitioner]
        self.committed_only = definition.isolation == "read_committed"
        self.surface = SURFACES[definition.producer, definition.unclean_elections]
        self._asks = definition.acks != 0
        self.learns = definition.producers_learn

    def grow(self, topic: str, count: int) -> None:
        """Give a topic more log partitions."""
        if self.learns == "by age":
            self.grew.setdefault(topic, []).append((self.world.now, len(self.logs[topic])))
        super().grow(topic, count)

    def client(self) -> KafkaAdmin:
        """Return what changes the cluster while it runs."""
        return KafkaAdmin(self)

    # ---- producing

    def publisher(
        self,
        *,
        idempotent: bool | None = None,
        acks: Acks | None = None,
        transactional_id: str | None = None,
        transaction_timeout_ms: int = TRANSACTION_TIMEOUT_MS,
    ) -> Callable[..., Any]:
        """Return a producer: what publishes through a lane of its own. See `publish`.

        Args:
            idempotent: Whether the cluster recognises its retries; by default as the cluster's
                definition says of all.
            acks: Whose acknowledgement it waits for: `"all"`, 1 or 0; by default likewise.
            transactional_id: Makes it a `TransactionalProducer`, one for each replica.
            transaction_timeout_ms: How long its transactions may take.
        """
        if idempotent is None and acks is None and transactional_id is None:
            lane = Lane(asks=self._asks, since_ms=self.world.now)
            return Publish(self.publish, lane=lane, surface=self.surface)
        if transactional_id is not None:
            return TransactionalProducer(self, transactional_id, transaction_timeout_ms)
        surface = self.surface
        if idempotent is not None or acks is not None:
            surface = self.surface_of(idempotent, acks)
        asks = (self.definition.acks if acks is None else acks) != 0 or bool(idempotent)
        if not self.definition.as_asked:
            asks = asks and self._asks
        return Publish(self.publish, lane=Lane(asks=asks, since_ms=self.world.now), surface=surface)

    def _refuse_without_key(self, topic: str, lane: Lane, surface: Surface) -> Any:
        """Refuse a record that must have a key; whoever asks for no answer is not told so."""
        if lane.asks:
            self.check_key(topic, None)
        scope = current_scope("publish", self.world)
        operation = scope.place + self.routes[topic][1]
        attempt = self.world.reach(operation, scope.entity, scope.message)
        if operation not in self.world.surfaces:
            self.world.meet(operation, surface)
        script = blindly(lane, scope, operation, attempt, never_arrives, None, self)
        script = on_behalf(scope, scope.entity, scope.message, script)
        return scope.colour.drive(script, scope)

    def surface_of(self, idempotent: bool | None, acks: Acks | None) -> Surface:
        """Return what may strike where a producer publishes: None is as the definition says.

        Raises:
            InvalidDefinition: There is no such producer.
        """
        definition = self.definition
        if idempotent is None:
            idempotent = definition.idempotent_producer and acks in (None, "all")
        if acks not in (None, *ACKS) or (idempotent and acks in (0, 1)):
            what = f"acks must be 'all', 1 or 0, not {acks!r}"
            if acks in ACKS:
                what = NOT_BOTH.format(acks)
            raise InvalidDefinition(f"{what}, of a publisher of {self.name}{asked_at()}")
        asked = definition.acks if acks is None else acks
        if not definition.as_asked:
            idempotent = idempotent and definition.idempotent_producer
            asked = max(asked, definition.acks, key=ACKS.index)
        producer = kind_of(idempotent, asked)
        return SURFACES[producer, definition.unclean_elections]

    def publish(
        self,
        topic: str,
        value: Any,
        *,
        key: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        partition: int | None = None,
        lane: Lane,
        surface: Surface,
        **unknown: Any,
    ) -> Any:
        """Append a message to the log partition of its key, and wait for the answer.

        In an `async` handler, await it.

        Args:
            topic: One of the cluster's topics.
            value: A dict, an attrs or dataclass instance, a pydantic model; text and bytes
                as they are. None: a record without a value, a tombstone.
            key: Text or bytes. Decides the log partition: one key, one order. Records without
                a key are spread: two of one workload item are in different log partitions, and
                nothing keeps their order (see `unkeyed`).
            headers: Handed on to the consumer.
            partition: The number of a log partition, whatever the key.
            lane: Of its producer.
            surface: What may go wrong for its producer.

        Raises:
            UnserialisablePayload: The value has no JSON form.
            RecordTooLarge: It was not stored, and never will be.
            InvalidRecord: Likewise: its topic is compacted, and it has no key.
            LookupError: There is no such log partition.
            TimeoutError: No answer: it may have been stored.
            ConnectionError: Refused for now: it was not stored.
        """
        if unknown:
            refuse_words(self.publish, self.name, unknown)
        scope = current_scope("publish", self.world)
        world = self.world
        try:
            count, action = self.routes[topic]
        except KeyError:
            call_off(self._no_topic(topic))
        if value is None:
            body = None
        else:
            body = encode(value, topic)
            if len(body) > self.size_nearly:
                self.check_size(key, headers, body)
        if self.grew:
            count = self.learning.known(topic, lane.since_ms, count)
        entity = scope.entity
        if key is not None:
            name = key if type(key) is str else key_of(key, topic)
            if entity:
                if name not in world.entities:
                    world.entities[name] = entity
            else:
                entity = world.entities.get(name, 0)
            index = self.place_of_key(key, count) if count > 1 else 0
        elif topic in self.machine.compacted:
            return self._refuse_without_key(topic, lane, surface)
        else:
            index = self.spread(topic, entity, count, lane) if count > 1 else 0
        if partition is not None:
            index = self.chosen(topic, partition)
        operation = scope.place + action
        in_hand = scope.message
        place = (operation, entity, in_hand)
        world.counts[place] = attempt = world.counts.get(place, 0) + 1
        if operation not in world.surfaces:
            world.meet(operation, surface)
        if not headers:
            headers = NO_HEADERS
        if self.disturbed or world.unreachable:
            draft = (topic, index, key, headers, body, entity, in_hand)
            send = in_turn if lane.asks else blindly
            script = send(lane, scope, operation, attempt, self._append, draft, self)
            return scope.colour.drive(on_behalf(scope, entity, in_hand, script), scope)
        if scope.colour.is_async:
            draft = (topic, index, key, headers, body, entity, in_hand)
            return LaterEffect(scope, entity, self._append, operation, attempt, draft)
        self._store(scope, operation, attempt, topic, index, key, headers, body, entity, in_hand)
        return None

    def _append(self, scope: Scope, operation: str, attempt: int, draft: Draft) -> None:
        """Store a message at a site where a fault may have changed what is stored."""
        if not scope.struck:
            self._store(scope, operation, attempt, *draft)
            return
        copies = 1
        for fault in scope.struck:
            if isinstance(fault, Poison):
                ahead_of = self.world.publications.name_to_be(operation, *draft[5:], draft[4])
                name = self.world.publications.poison_at(ahead_of)
                poison = (draft[0], draft[1], None, NO_HEADERS, POISON[fault.content], 0, name)
                self._store(scope, "", 0, *poison)
            elif isinstance(fault, Duplicate):
                copies = 2
        for _ in range(copies):
            self._store(scope, operation, attempt, *draft)

    # ---- consuming

    def consume(
        self, intake: Intake, topic: str, *, service: str, group: str | None = None, **options: Any
    ) -> None:
        """Have a handler called per message: see `subscribed` for the options."""
        if options:
            try:
                check_options(options, OPTIONS)
                subscription = subscribed(self, intake, **options)
            except (TypeError, ValueError) as error:
                raise wired_wrongly(intake.place, repr(topic), error) from None
        else:
            subscription = Subscription(self, intake, f"{intake.place}/{self.name}.commit", USUAL)
        if topic not in self.logs:
            self.check((topic,))
        after = subscription.acknowledge == "after"
        take = subscription.take if after else subscription.take_for_good
        reset = subscription.reset
        name = group or service
        member = self.groups.join(intake.incarnation, (topic,), name, take, reset=reset)
        intake.incarnation.takers.append(Leaving(self.groups, member))
        if options and "isolation" in options:
            member.committed_only = options["isolation"] == "read_committed"
        elif self.committed_only:
            member.committed_only = True

    def consumer(
        self,
        incarnation: Incarnation,
        topics: tuple[str, ...],
        decode: Decode,
        *,
        service: str,
        group: str | None = None,
        **options: Any,
    ) -> Any:
        """Return a consumer that a main loop polls: see `Consumer` for the options."""
        self.check(topics)
        try:
            check_options(options, LOOP_OPTIONS)
            options.setdefault("isolation", self.definition.isolation)
            return Consumer(self, incarnation, topics, group or service, decode, **options)
        except (TypeError, ValueError) as error:
            raise wired_wrongly(service, ", ".join(topics), error, verb="polls") from None
