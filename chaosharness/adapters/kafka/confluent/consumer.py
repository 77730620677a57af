"""A consumer of confluent-kafka: it polls, and commits by itself unless told otherwise."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, TopicPartition

from chaosharness.adapters.kafka.confluent.message import LIBRARY, Message, place_of, refusal
from chaosharness.adapters.kafka.confluent.settings import Settings
from chaosharness.adapters.kafka.servers import cluster_at
from chaosharness.adapters.kafka.unwaited import unwaited
from chaosharness.adapters.spoken import note_spoken
from chaosharness.adapters.unmodelled import not_modelled
from chaosharness.brokers.kafka.consumers import CommitFailed
from chaosharness.brokers.message import Delivery
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.blocking import blocking
from chaosharness.handlers.places import asked_at
from chaosharness.handlers.port import call_off, current_scope
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.spans import EPOCH_MS

Place = tuple[str, int]
KEPT_MAX: Final = 1_000
"""Deliveries of a log partition that a commit by offset can still mean."""

_SAME: Final = {
    "session.timeout.ms": ("session_timeout_ms", 45_000),
    "max.poll.interval.ms": ("max_poll_interval_ms", 300_000),
}
"""Properties that the cluster's definition has, for all members of its groups alike."""


def _as_it_is(body: bytes | None) -> bytes | None:
    return body if body is None else bytes(body)


class Consumer:
    """What stands for `confluent_kafka.Consumer` inside a run."""

    def __init__(self, *given: Any, **options: Any) -> None:
        self._settings = settings = Settings("Consumer", given, options)
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
        self._check()
        self._consumer: Any = None
        self._open = True
        self._stored: dict[Place, Delivery] = {}
        self._handed: dict[Place, dict[int, Delivery]] = {}
        self._settled: dict[Place, int] = {}
        self._told: list[tuple[Any, list[TopicPartition]]] = []
        self._timer: Any = None
        if self._commits:
            self._world.know_timeout(self._interval_ms)

    def _check(self) -> None:
        """Refuse what contradicts the cluster, which has it for all members alike."""
        for name, (option, default) in _SAME.items():
            mine = round(self._settings.number(name, default))
            theirs = getattr(self._cluster.definition, option)
            if self._settings.get(name) is not None and mine != theirs:
                call_off(
                    InvalidDefinition(
                        f"{LIBRARY}: this consumer has {name}={mine}{asked_at()}, and its cluster "
                        f"{option}={theirs}: say Kafka(..., {option}={mine})"
                    )
                )

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
        self, topics: Any, on_assign: Any = None, on_revoke: Any = None, on_lost: Any = None
    ) -> None:
        """Read these topics from the next poll on."""
        self._alive()
        if isinstance(topics, str) or not all(isinstance(one, str) for one in topics):
            raise TypeError("expected list of topic unicode strings")
        for name, given in (("on_assign", on_assign), ("on_revoke", on_revoke)):
            if given is not None:
                self._unheard(name)
        if on_lost is not None:
            self._unheard("on_lost")
        if self._consumer is not None:
            not_modelled(LIBRARY, "Consumer", "subscribe (a second time)")
        self._consumer = self._cluster.consumer(
            self._incarnation,
            tuple(self._named(topics)),
            _as_it_is,
            service=self._incarnation.service,
            group=self._settings.get("group.id"),
        )

    def _named(self, topics: Any) -> list[str]:
        """Return topics by name; those that begin with ^ are patterns."""
        found: list[str] = []
        for one in topics:
            if one.startswith("^"):
                found += [name for name in self._cluster.logs if re.match(one, name)]
            else:
                found.append(one)
        return list(dict.fromkeys(found))

    def _unheard(self, name: str) -> None:
        not_modelled(LIBRARY, "Consumer", f"subscribe({name}=...)")

    # ---- polling

    def poll(self, timeout: float | None = None) -> Message | None:
        """Return the next record, or None if there is none for so long."""
        found = self._polled(1, timeout)
        return found[0] if found else None

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Message]:
        """Return up to so many records."""
        if not 0 <= num_messages <= 1_000_000:
            raise ValueError("num_messages must be between 0 and 1000000 (1M)")
        return Records(self, self._deliveries(num_messages, timeout)) if num_messages else []

    def _polled(self, most: int, timeout: float | None) -> list[Message]:
        return [self._message(one) for one in self._deliveries(most, timeout)]

    def _deliveries(self, most: int, timeout: float | None) -> Any:
        self._alive()
        scope = current_scope("poll", self._world)
        note_spoken(scope, LIBRARY, f"{self._cluster.name}.poll")
        self._call_back()
        if self._consumer is None:
            words = "poll() before subscribe() waits for ever"
            raise refusal(KafkaError._INVALID_ARG, words)
        seconds = None if timeout is None or timeout < 0 else max(timeout, 0.001)
        batch = blocking(self._consumer.poll)(most, seconds)
        self._call_back()
        return batch

    def _message(self, one: Delivery) -> Message:
        place = one.topic, one.partition
        kept = self._handed.setdefault(place, {})
        kept[one.offset] = one
        if len(kept) > KEPT_MAX:
            del kept[next(iter(kept))]
        if self._stores:
            self._store(one)
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

    def _store(self, one: Delivery) -> None:
        """Have an offset committed by and by."""
        self._stored[one.topic, one.partition] = one
        if self._commits and self._timer is None:
            world = self._world
            due_ms = world.now + self._interval_ms
            self._timer = world.agenda.add(
                due_ms, self._commit_stored, current_scope("poll"), False
            )

    def _commit_stored(self, scope: Scope) -> None:
        self._timer = None
        if self._open and self._incarnation.alive:
            for one in self._take_stored():
                unwaited(scope, partial(self._consumer.commit, one), self._unwatched)

    def _take_stored(self) -> list[Delivery]:
        stored, self._stored = self._stored, {}
        return list(stored.values())

    def _unwatched(self, _: Any, error: BaseException | None) -> None:
        """An automatic commit that fails is tried again with the next one."""

    def store_offsets(self, message: Message | None = None, offsets: Any = None) -> None:
        """Have offsets committed by and by, which were not stored when they were handed out."""
        self._alive()
        if self._stores:
            words = "store_offsets() needs enable.auto.offset.store=False"
            raise refusal(KafkaError._INVALID_ARG, words)
        for one in self._meant(message, offsets):
            self._store(one)

    def commit(
        self, message: Message | None = None, offsets: Any = None, asynchronous: bool = True
    ) -> Any:
        """Commit behind a record, at offsets, or all that was handed out."""
        self._alive()
        scope = current_scope("commit", self._world)
        if self._consumer is None:
            raise refusal(KafkaError._NO_OFFSET, "Commit failed: Local: No offset stored")
        note_spoken(scope, LIBRARY, f"{self._cluster.name}.commit")
        if message is None and offsets is None:
            meant = list(self._stored.values()) if not self._stores else self._latest()
        else:
            meant = self._meant(message, offsets)
        if not meant:
            raise refusal(KafkaError._NO_OFFSET, "Commit failed: Local: No offset stored")
        self._settled.update({(one.topic, one.partition): one.offset for one in meant})
        if not asynchronous:
            return [self._commit_now(one) for one in meant]
        for one in meant:
            unwaited(scope, partial(self._consumer.commit, one), partial(self._committed, one))
        return None

    def _latest(self) -> list[Delivery]:
        """Return the last record of each log partition that was handed out since the last time."""
        last = {place: kept[max(kept)] for place, kept in self._handed.items() if kept}
        return [one for place, one in last.items() if one.offset > self._settled.get(place, -1)]

    def _commit_now(self, one: Delivery) -> TopicPartition:
        try:
            blocking(self._consumer.commit)(one)
        except (CommitFailed, OSError) as error:
            raise refusal(*_words(error)) from None
        return _behind(one)

    def _committed(self, one: Delivery, _: Any, error: BaseException | None) -> None:
        """Remember what to tell of a commit that nobody waited for."""
        if self._heard is not None:
            told = None if error is None else KafkaError(*_words(error))
            self._told.append((told, [_behind(one)]))

    def _call_back(self) -> None:
        while self._told:
            self._heard(*self._told.pop(0))

    def _meant(self, message: Message | None, offsets: Any) -> list[Delivery]:
        """Return the records behind which one commits."""
        if message is not None and offsets is not None:
            raise ValueError("message and offsets are mutually exclusive")
        if message is not None:
            wanted = [((message.topic(), message.partition()), (message.offset() or 0) + 1)]
        else:
            wanted = [(place_of(one), one.offset) for one in offsets]
        found: list[Delivery] = []
        for place, offset in wanted:
            one = self._handed.get(place, {}).get(offset - 1)
            if one is None:
                not_modelled(LIBRARY, "Consumer", "commit of an offset that it was not handed")
            found.append(one)
        return found

    def close(self) -> None:
        """Commit what is stored, and read no more."""
        if not self._open:
            return
        if self._commits and self._consumer is not None:
            for one in self._take_stored():
                with suppress(CommitFailed, OSError):
                    blocking(self._consumer.commit)(one)
        self._open = False

    def memberid(self) -> str:
        """Return its name in its group."""
        return f"rdkafka-{self._incarnation.label}"


class DeserializingConsumer(Consumer):
    """What stands for `confluent_kafka.DeserializingConsumer` inside a run."""


class Records(list[Message]):
    """The records of one `consume`. Going to one says on whose behalf code runs from then on."""

    def __init__(self, consumer: Consumer, batch: Any) -> None:
        super().__init__([consumer._message(one) for one in batch])
        self._batch = batch

    def __iter__(self) -> Any:
        for index in range(len(self)):
            yield self[index]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int):
            self._batch[index]
        return list.__getitem__(self, index)


def _behind(one: Delivery) -> TopicPartition:
    return TopicPartition(one.topic, one.partition, one.offset + 1)


def _words(error: BaseException) -> tuple[int, str]:
    """Return what the client calls an error of a commit."""
    if isinstance(error, CommitFailed):
        return KafkaError.ILLEGAL_GENERATION, "Commit failed: Broker: Specified group generation id"
    if isinstance(error, TimeoutError):
        return KafkaError._TIMED_OUT, "Commit failed: Local: Timed out"
    return KafkaError.COORDINATOR_NOT_AVAILABLE, "Commit failed: Broker: Coordinator not available"
