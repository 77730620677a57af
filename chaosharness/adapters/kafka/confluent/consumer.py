"""A consumer of confluent-kafka: it polls, and commits by itself unless told otherwise.

Source:
    confluent-kafka 2.16 and librdkafka, as observed on its mock cluster: what is raised, returned
    or handed out as a record with an error; INTRODUCTION.md and `rdkafka_assignment.c`: stored
    offsets are committed when log partitions are revoked, and not when they are lost.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_INVALID,
    OFFSET_STORED,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from chaosharness.adapters.kafka.absent import check_wired, is_absent
from chaosharness.adapters.kafka.confluent.admin import metadata_of as cluster_metadata
from chaosharness.adapters.kafka.confluent.agreed import check_agreed
from chaosharness.adapters.kafka.confluent.assigned import (
    EAGER,
    check_added,
    check_assigned,
    check_there,
)
from chaosharness.adapters.kafka.confluent.ends import poll_of
from chaosharness.adapters.kafka.confluent.handed import Records, absent, error_of, words_for
from chaosharness.adapters.kafka.confluent.message import LIBRARY, Message, refusal
from chaosharness.adapters.kafka.confluent.others import refuse_asyncio
from chaosharness.adapters.kafka.confluent.places import (
    RESETS,
    TAIL,
    Place,
    behind,
    place_of,
    places_of,
    set_out,
    shown,
    since,
    words_of,
)
from chaosharness.adapters.kafka.confluent.settings import Settings
from chaosharness.adapters.kafka.confluent.transactions import GroupMetadata, metadata_of
from chaosharness.adapters.kafka.servers import cluster_at
from chaosharness.adapters.spoken import note_spoken
from chaosharness.adapters.unmodelled import not_modelled
from chaosharness.brokers.kafka.asking import AskedCommits
from chaosharness.brokers.kafka.consumers import ISOLATIONS, CommitFailed, InstanceFenced
from chaosharness.brokers.kafka.members import Standing
from chaosharness.brokers.message import Delivery
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.blocking import blocking
from chaosharness.handlers.places import asked_at
from chaosharness.handlers.port import call_off, current_scope
from chaosharness.handlers.unwaited import unwaited
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.spans import EPOCH_MS

REFRESH_MS: Final = 300_000
Rebalanced = Callable[[Any, list[TopicPartition]], Any]


def _as_it_is(body: bytes | None) -> bytes | None:
    return body if body is None else bytes(body)


RESET_OFFSETS: Final = {"earliest": OFFSET_BEGINNING, "latest": OFFSET_END}
KNOWN: Final = (OFFSET_STORED, OFFSET_INVALID)


class Consumer:
    """What stands for `confluent_kafka.Consumer` inside a run."""

    _own: tuple[str, ...] = ()
    """Properties that its Python class has for itself."""

    def __init__(self, *given: Any, **options: Any) -> None:
        refuse_asyncio()
        self._settings = settings = Settings("Consumer", given, options, self._own)
        scope = current_scope("confluent_kafka.Consumer")
        self._cluster = cluster_at(scope, LIBRARY, settings.get("bootstrap.servers"))
        if not settings.get("group.id"):
            words = "Failed to create consumer: group.id must be set"
            raise refusal(KafkaError._INVALID_ARG, words)
        self._world = scope.world
        self._incarnation = scope.incarnation
        self._commits = settings.flag("enable.auto.commit", True)
        self._stores = settings.flag("enable.auto.offset.store", True)
        self._interval_ms = round(settings.number("auto.commit.interval.ms", 5_000))
        self._heard = settings.get("on_commit")
        self._reset = RESETS.get(settings.get("auto.offset.reset", "largest"))
        if self._reset is None:
            raise settings.wrong("auto.offset.reset", settings.get("auto.offset.reset"))
        self._isolation = settings.get("isolation.level", "read_committed")
        if self._isolation not in ISOLATIONS:
            raise settings.wrong("isolation.level", self._isolation)
        check_agreed(settings, self._cluster)
        self._consumer: Any = None
        self._wanted: tuple[Any, ...] = ()
        self._missing: list[str] = []
        self._untold: list[str] = []
        self._looks_at = 0
        self._chosen = self._too_slow = False
        self._begins: dict[Place, int] = {}
        self._met: set[str] = set()
        self._open = True
        self._stored: dict[Place, int] = {}
        self._positions: dict[Place, int] = {}
        self._settled: dict[Place, int] = {}
        self._asked = AskedCommits()
        self._poll = poll_of(settings, self._isolation)
        self._timer: Any = None
        if self._commits:
            self._world.know_timeout(self._interval_ms)

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any:
        """Return what the cluster is like: all topics, or one."""
        if not self._open:
            raise RuntimeError("Handle has been closed")
        note_spoken(current_scope("list_topics", self._world), LIBRARY, self._cluster.name)
        if topic is not None:
            self._met.add(topic)
        return cluster_metadata(self._cluster, topic)

    def __getattr__(self, name: str) -> Any:
        not_modelled(LIBRARY, "Consumer", name)

    def __enter__(self) -> Consumer:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _alive(self) -> None:
        if not self._open:
            raise RuntimeError("Consumer closed")

    # ---- subscribing

    def subscribe(
        self,
        topics: Any,
        on_assign: Rebalanced | None = None,
        on_revoke: Rebalanced | None = None,
        on_lost: Rebalanced | None = None,
    ) -> None:
        """Read these topics from the next poll on."""
        self._alive()
        if isinstance(topics, str) or not all(isinstance(one, str) for one in topics):
            raise TypeError("expected list of topic unicode strings")
        if not topics:
            code = KafkaError._INVALID_ARG
            raise refusal(code, f"Failed to set subscription: {words_of(code)}")
        for listener in (on_assign, on_revoke, on_lost):
            if listener is not None and not callable(listener):
                raise TypeError("expected callable for listeners")
        self._drop()
        check_wired(self._cluster, LIBRARY, topics)
        self._wanted = (topics, on_assign, on_revoke, on_lost)
        listeners: dict[str, Any] = {}
        if on_assign is not None:
            listeners["on_assign"] = partial(self._call, on_assign)
        if on_revoke is not None or self._commits:
            listeners["on_revoke"] = partial(self._revoked, on_revoke)
            listeners["on_lost"] = partial(self._lost, on_lost or on_revoke)
        elif on_lost is not None:
            listeners["on_lost"] = partial(self._lost, on_lost)
        named = self._named(topics)
        self._missing = [one for one in named if is_absent(self._cluster, one)]
        self._untold = [*self._missing]
        if self._missing:
            interval_ms = self._settings.number("topic.metadata.refresh.interval.ms", REFRESH_MS)
            self._looks_at = self._world.now + max(round(interval_ms), 0)
        if there := [one for one in named if one not in self._missing]:
            self._consumer = self._made(tuple(there), **listeners)

    def _look_again(self) -> None:
        """Subscribe anew, where a topic that was missing has been made since."""
        found = any(one in self._cluster.logs for one in self._missing)
        if found and self._world.now >= self._looks_at:
            self.subscribe(*self._wanted)

    def _made(self, topics: tuple[str, ...], **options: Any) -> Any:
        instance = self._settings.get("group.instance.id")
        if instance is not None:  # all replicas have one configuration: each is taken for its own
            options["instance"] = f"{instance}#{self._incarnation.replica}"
        made = self._cluster.consumer(
            self._incarnation,
            topics,
            _as_it_is,
            service=self._incarnation.service,
            group=self._settings.get("group.id"),
            reset=self._reset,
            isolation=self._isolation,
            **options,
        )
        made.by_client = True
        return made

    def unsubscribe(self) -> None:
        """Leave the group. What was assigned by hand stays."""
        self._alive()
        if not self._chosen:
            self._drop()

    def _drop(self) -> None:
        """Leave the group, or read no more of what was assigned by hand."""
        self._begins.clear()
        consumer, self._consumer = self._consumer, None
        self._chosen = False
        self._missing, self._untold = [], []
        self._stored.clear()
        if consumer is not None:
            blocking(consumer.close)()

    def _call(self, listener: Rebalanced | None, places: tuple[Place, ...]) -> None:
        if listener is not None:
            listener(self, shown(places))

    def _revoked(self, listener: Rebalanced | None, places: tuple[Place, ...]) -> None:
        """Tell that log partitions go, and commit what is stored of them."""
        self._call(listener, places)
        for place in places:
            self._begins.pop(place, None)
        mine = {place: self._stored.pop(place) for place in places if place in self._stored}
        if mine and self._commits:
            with suppress(CommitFailed, OSError):
                blocking(self._consumer.commit)(offsets=mine)

    def _lost(self, listener: Rebalanced | None, places: tuple[Place, ...]) -> None:
        for place in places:
            self._stored.pop(place, None)
            self._begins.pop(place, None)
        self._call(listener, places)

    # ---- what it has

    def assign(self, partitions: Any) -> None:
        """Read these log partitions; inside a listener, go on where they say."""
        self._alive()
        places = places_of(partitions)
        try:
            check_assigned(partitions)
        except KafkaException:
            if self._chosen:
                self._consumer.assign()  # what was there is gone before the client looks
                self._begins.clear()
            raise
        self._begins = {place_of(one): one.offset for one in partitions}
        if self._consumer is None or self._chosen:
            self._choose(places)
        mine = set(self._consumer.assignment())
        set_out(self._consumer, [one for one in partitions if place_of(one) in mine])

    def _choose(self, places: list[Place]) -> None:
        """Read what was chosen by hand, in no group."""
        topics = tuple(dict.fromkeys(topic for topic, _ in places))
        self._cluster.check(topics)
        if self._consumer is None:
            self._consumer = self._made(topics)
        logs = self._cluster.machine.logs
        self._consumer.assign(*(one for one in places if 0 <= one[1] < len(logs.get(one[0], ()))))
        self._chosen = True
        self._met.update(topics)

    def _choose_anew(self, places: list[Place]) -> None:
        """Likewise, and go on in what it had already as if nothing had happened."""
        consumer = self._consumer
        before = [] if consumer is None else consumer.assignment()
        kept = {one: consumer.position(*one) for one in before if one in places}
        paused = [one for one in kept if one in consumer.paused()]
        self._choose(places)
        for place, offset in kept.items():
            self._consumer.seek(*place, offset)
        self._consumer.pause(*paused)

    def incremental_assign(self, partitions: Any) -> None:
        """Read these log partitions too; inside a listener, go on where they say."""
        self._alive()
        places = places_of(partitions)
        before = [] if self._consumer is None else self._consumer.assignment()
        if self._consumer is None or self._chosen:
            check_added(partitions, before)
            self._begins |= {place_of(one): one.offset for one in partitions}
            self._choose_anew([*before, *places])
        elif before and self._cluster.definition.assignment != "cooperative-sticky":
            raise refusal(KafkaError._STATE, EAGER)
        mine = set(self._consumer.assignment())
        set_out(self._consumer, [one for one in partitions if place_of(one) in mine])

    def unassign(self) -> None:
        """Read nothing more of what was assigned by hand; inside a listener, say that it is so."""
        self._alive()
        if self._chosen:
            self._drop()

    def incremental_unassign(self, partitions: Any) -> None:
        """Likewise of some log partitions."""
        self._alive()
        places = places_of(partitions)
        before = [] if self._consumer is None else self._consumer.assignment()
        check_there(places, before)
        if self._chosen:
            self._begins = {
                one: offset for one, offset in self._begins.items() if one not in places
            }
            self._choose_anew([one for one in before if one not in places])

    def assignment(self) -> list[TopicPartition]:
        """Return the log partitions that it has, with the offset that each was assigned with.

        *Source*: librdkafka, `rdkafka_assignment.c`: without one it is where the group was.
        """
        self._alive()
        begins = self._begins
        places = [] if self._consumer is None else self._consumer.assignment()
        at = dict.fromkeys(places, OFFSET_STORED)
        at |= {
            one: OFFSET_STORED if offset == OFFSET_INVALID else offset
            for one, offset in begins.items()
            if self._chosen or one in at
        }
        return behind(dict(sorted(at.items())))

    def position(self, partitions: Any) -> list[TopicPartition]:
        """Return the offset behind the last record that was handed out, of each."""
        self._alive()
        self._met.update(topic for topic, _ in places_of(partitions))
        at = {place: self._positions.get(place, OFFSET_INVALID) for place in places_of(partitions)}
        return behind(at, read=True)

    def committed(self, partitions: Any, timeout: float | None = None) -> list[TopicPartition]:
        """Return where the group goes on, in each."""
        self._alive()
        group = self._cluster.machine.group(self._settings.get("group.id"))
        places = places_of(partitions)
        return behind({place: group.committed.get(place, OFFSET_INVALID) for place in places})

    def get_watermark_offsets(
        self, partition: Any, timeout: float | None = None, cached: bool = False
    ) -> tuple[int, int]:
        """Return the first offset of a log partition, and that of the next record."""
        self._alive()
        [(topic, index)] = places_of([partition])
        if cached:
            self._met.add(topic)
        logs = self._cluster.machine.logs.get(topic, ())
        if not 0 <= index < len(logs):
            if cached:
                return OFFSET_INVALID, OFFSET_INVALID
            code = KafkaError._UNKNOWN_PARTITION
            raise refusal(code, f"Failed to get watermark offsets: {words_of(code)}")
        log = logs[index]
        if cached or self._isolation == "read_uncommitted":
            return log.start, log.end
        return log.start, log.stable

    def offsets_for_times(self, partitions: Any, timeout: float | None = None) -> list[Any]:
        """Return the first record of each that is no older than its `offset` says."""
        self._alive()
        committed_only = self._isolation == "read_committed"
        return since(self._cluster, partitions, committed_only=committed_only)

    def seek(self, partition: Any) -> None:
        """Go on at an offset."""
        self._alive()
        [place] = places_of([partition])
        mine = [] if self._consumer is None else self._consumer.assignment()
        self._met.update(topic for topic, _ in mine)
        if self._consumer is None or place not in mine:
            known = place[0] in self._met  # of others it has never asked the cluster
            code = KafkaError._STATE if known else KafkaError._UNKNOWN_PARTITION
            raise refusal(code, f"Failed to seek to offset {partition.offset}: {words_of(code)}")
        if partition.offset == OFFSET_STORED:
            code = KafkaError._INVALID_ARG
            raise refusal(code, f"Failed to seek to offset {partition.offset}: {words_of(code)}")
        if TAIL < partition.offset < OFFSET_BEGINNING and partition.offset not in KNOWN:
            call_off(
                InvalidDefinition(
                    f"{LIBRARY}: seek to offset {partition.offset}{asked_at()} is not modelled: "
                    "seek to an offset, OFFSET_BEGINNING, OFFSET_END or OffsetTail(n)"
                )
            )
        if partition.offset == OFFSET_INVALID:
            self._positions.pop(place, None)
            partition = TopicPartition(*place, RESET_OFFSETS.get(self._reset or "", OFFSET_END))
        set_out(self._consumer, [partition])

    def pause(self, partitions: Any) -> None:
        """Hand out nothing of these until `resume`."""
        self._consumer_of(partitions, "pause")

    def resume(self, partitions: Any) -> None:
        """Hand them out again."""
        self._consumer_of(partitions, "resume")

    def _consumer_of(self, partitions: Any, what: str) -> None:
        """Have something done with those of the log partitions that it has."""
        self._alive()
        places = places_of(partitions)
        mine = [] if self._consumer is None else self._consumer.assignment()
        if mine:
            getattr(self._consumer, what)(*(one for one in places if one in mine))

    def _named(self, topics: Any) -> list[str]:
        """Return topics by name; those that begin with ^ are patterns."""
        found: list[str] = []
        for one in topics:
            if one.startswith("^"):
                found += [name for name in self._cluster.logs if re.match(one, name)]
            else:
                found.append(one)
        return list(dict.fromkeys(found))

    # ---- polling

    def poll(self, timeout: float | None = None) -> Message | None:
        """Return the next record, or None if there is none for so long."""
        found = self._polled(1, timeout)
        if isinstance(found, Message):
            return found
        return self._message(found[0]) if found else None

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Message]:
        """Return up to so many records."""
        if not 0 <= num_messages <= 1_000_000:
            raise ValueError("num_messages must be between 0 and 1000000 (1M)")
        if not num_messages:
            return []
        found = self._polled(num_messages, timeout)
        return [found] if isinstance(found, Message) else Records(self, found)

    def _polled(self, most: int, timeout: float | None) -> Any:
        """Return deliveries, or what the client hands out as a record with an error."""
        self._alive()
        scope = current_scope("poll", self._world)
        note_spoken(scope, LIBRARY, f"{self._cluster.name}.poll")
        self._asked.tell()
        seconds = None if timeout is None or timeout < 0 else max(timeout, 0.001)
        self._look_again()
        if self._untold:
            return absent(self._untold.pop(0))
        if self._consumer is None:
            if seconds is None:
                why = "before subscribe()"
                if self._missing:
                    why = f"once told that {self._cluster.no_topic(self._missing[0])}:"
                words = f"{LIBRARY}: poll() {why} waits for ever{asked_at()}"
                call_off(InvalidDefinition(words))
            self._stand_aside()
        if self._consumer.was_too_slow and not self._too_slow:
            self._too_slow = True
            return error_of(KafkaError._MAX_POLL_EXCEEDED)
        self._too_slow = False
        try:
            batch = self._poll(self._consumer, self._cluster.machine.logs, most, seconds)
        except InstanceFenced:
            return error_of(KafkaError.FENCED_INSTANCE_ID)
        except LookupError:
            return error_of(KafkaError._AUTO_OFFSET_RESET)
        self._asked.tell()
        return batch

    def _stand_aside(self) -> None:
        """Read nothing, and be in no group: offsets of its group are taken while that is empty."""
        self._consumer, self._chosen = self._made(()), True
        self._consumer.assign()

    def _message(self, one: Delivery) -> Message:
        place = one.topic, one.partition
        self._positions[place] = one.offset + 1
        if self._stores:
            self._store({place: one.offset + 1})
        settings, headers = self._settings, one.headers or None
        key = one.key.encode() if isinstance(one.key, str) else one.key
        return Message(
            one.topic,
            partition=one.partition,
            offset=one.offset,
            key=settings.serialized("key", key, one.topic, headers),
            value=settings.serialized("value", one.value, one.topic, headers),
            headers=headers,
            timestamp_ms=EPOCH_MS + self._world.raw[one.message.published][0],
        )

    # ---- committing

    def _store(self, offsets: dict[Place, int]) -> None:
        """Have offsets committed by and by."""
        self._stored.update(offsets)
        if self._commits and self._timer is None:
            world = self._world
            due_ms = world.now + self._interval_ms
            self._timer = world.agenda.add(
                due_ms, self._commit_stored, current_scope("poll"), False
            )

    def _commit_stored(self, scope: Scope) -> None:
        self._timer = None
        if self._open and self._incarnation.alive and self._stored:
            stored, self._stored = self._stored, {}
            unwaited(scope, partial(self._consumer.commit, offsets=stored), self._unwatched)

    def _unwatched(self, _: Any, error: BaseException | None) -> None:
        """An automatic commit that fails is tried again with the next one."""

    def store_offsets(self, message: Message | None = None, offsets: Any = None) -> None:
        """Have offsets committed by and by, which were not stored when they were handed out."""
        self._alive()
        meant = self._meant(message, offsets)
        mine = [] if self._consumer is None else self._consumer.assignment()
        code = None
        if self._stores:
            code = KafkaError._INVALID_ARG
        elif any(place not in mine for place in meant):
            code = KafkaError._STATE
        if code is not None:
            raise refusal(code, f"StoreOffsets failed: {words_of(code)}")
        self._store(meant)

    def commit(
        self, message: Message | None = None, offsets: Any = None, asynchronous: bool = True
    ) -> Any:
        """Commit behind a record, at offsets, or all that was handed out."""
        self._alive()
        scope = current_scope("commit", self._world)
        note_spoken(scope, LIBRARY, f"{self._cluster.name}.commit")
        if message is None and offsets is None:
            meant = dict(self._stored) if not self._stores else self._latest()
        else:
            meant = self._meant(message, offsets)
        asked = behind(meant, read=offsets is None)
        if not any(offset >= 0 for offset in meant.values()):
            code = KafkaError._NO_OFFSET
            raise refusal(code, f"Commit failed: {words_of(code)}")
        if self._consumer is None:
            self._stand_aside()
        meant = {place: offset for place, offset in meant.items() if offset >= 0}
        self._settled.update(meant)
        port = partial(self._consumer.commit, offsets=meant)
        if asynchronous:
            self._asked.ask(scope, port, asked, self._heard and self._hear)
            return None
        try:
            blocking(port)()
        except (CommitFailed, OSError) as error:
            raise refusal(*words_for(error)) from None
        return asked

    def _latest(self) -> dict[Place, int]:
        """Return where each log partition is, where it has moved since the last time."""
        settled = self._settled
        found = self._positions.items()
        return {place: offset for place, offset in found if offset != settled.get(place)}

    def _hear(self, offsets: list[TopicPartition], error: BaseException | None) -> None:
        """Tell what became of a commit that nobody waited for."""
        self._heard(None if error is None else KafkaError(*words_for(error)), offsets)

    def _meant(self, message: Message | None, offsets: Any) -> dict[Place, int]:
        """Return where one goes on."""
        if message is not None and offsets is not None:
            raise ValueError("message and offsets are mutually exclusive")
        if message is not None:
            return {(message.topic(), message.partition()): (message.offset() or 0) + 1}
        return dict(zip(places_of(offsets), [one.offset for one in offsets], strict=True))

    def close(self) -> None:
        """Commit what is stored, leave the group, and read no more."""
        if not self._open:
            return
        if self._consumer is not None:
            if self._commits and self._stored and self._chosen:
                self._revoked(None, tuple(self._stored))
            blocking(self._consumer.close)()
        self._open = False

    def consumer_group_metadata(self) -> GroupMetadata:
        """Return who it is in its group, for `send_offsets_to_transaction`."""
        self._alive()
        standing = None if self._consumer is None else self._consumer.standing_in_group()
        if standing is None:
            standing = Standing(self._cluster.machine.group(self._settings.get("group.id")))
        return metadata_of(standing, self.memberid() if standing.id else None)

    def memberid(self) -> str | None:
        """Return its name in its group; None before it is in one."""
        self._alive()
        return f"rdkafka-{self._incarnation.label}" if self.assignment() else None


class DeserializingConsumer(Consumer):
    """What stands for `confluent_kafka.DeserializingConsumer` inside a run."""

    _own = ("key.deserializer", "value.deserializer")

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Message]:
        """There is none, as the client has it.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError
