"""A producer of confluent-kafka: it sends in a thread of its own, and reports later."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, Final

from confluent_kafka import KafkaError

from chaosharness.adapters.kafka.absent import is_absent, note_lost
from chaosharness.adapters.kafka.confluent.admin import metadata_of
from chaosharness.adapters.kafka.confluent.drafts import Draft, Report
from chaosharness.adapters.kafka.confluent.message import LIBRARY, Message, refusal
from chaosharness.adapters.kafka.confluent.others import refuse_asyncio
from chaosharness.adapters.kafka.confluent.places import words_of
from chaosharness.adapters.kafka.confluent.settings import Settings
from chaosharness.adapters.kafka.confluent.transactions import Transactions, not_configured
from chaosharness.adapters.kafka.sending import Line, Order, Stored, stored_as
from chaosharness.adapters.kafka.servers import cluster_at
from chaosharness.adapters.spoken import note_spoken
from chaosharness.adapters.unmodelled import not_modelled
from chaosharness.brokers.kafka.errors import InvalidRecord
from chaosharness.brokers.kafka.profiles import Acks
from chaosharness.brokers.kafka.sizes import OVERHEAD
from chaosharness.brokers.kafka.transactions import ProducerFenced
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.blocking import blocking
from chaosharness.handlers.places import asked_at
from chaosharness.handlers.port import call_off, current_scope, wait_of
from chaosharness.handlers.recall import of_stack
from chaosharness.handlers.script import Resume, Script
from chaosharness.handlers.unwaited import standing
from chaosharness.kernel.scope import Scope
from chaosharness.machines.kafka.partitioners import log_partition_by_crc32, log_partition_for

BACKOFF_MS: Final = 100
PROPAGATION_MS: Final = 30_000
SECOND_MS: Final = 1_000
ACKS_MAX: Final = 1_000
IN_FLIGHT: Final = 1_000_000
HEADER: Final = 2
"""Bytes that a header is counted for, beside its name and value."""

PARTITIONERS: Final[dict[str, Callable[[Any, int], int] | None]] = {
    **dict.fromkeys(("consistent_random", "consistent"), log_partition_by_crc32),
    **dict.fromkeys(("murmur2_random", "murmur2"), log_partition_for),
    "random": None,
}
"""librdkafka's `partitioner`; of its own, FNV-1a is not modelled."""


class Purged(Exception):
    """The transaction of a record was aborted before it was sent."""


class Producer:
    """What stands for `confluent_kafka.Producer` inside a run."""

    _own: tuple[str, ...] = ()
    """Properties that its Python class has for itself."""

    def __init__(self, *given: Any, **options: Any) -> None:
        refuse_asyncio()
        settings = Settings("Producer", given, options, self._own)
        scope = current_scope("confluent_kafka.Producer")
        self._cluster = cluster_at(scope, LIBRARY, settings.get("bootstrap.servers"))
        self._settings = settings
        self._world = scope.world
        name = settings.get("transactional.id")
        self._transactions = None if not name else self._transactional(name, scope)
        self._idempotent = settings.flag("enable.idempotence", bool(name))
        self._publish: Any = None
        acks = self._acks()
        self._answered = acks != 0
        if self._transactions is None:
            self._publish = self._cluster.publisher(idempotent=self._idempotent, acks=acks)
        single = settings.number("max.in.flight.requests.per.connection", IN_FLIGHT) == 1
        kept: Order = "pipelined" if self._idempotent else "none"
        self._line = Line("one in flight" if single else kept)
        self._linger_ms = round(settings.number("linger.ms", 5))
        self._timeout_ms = self._patience_ms()
        self._size_max = round(settings.number("message.max.bytes", 1_000_000))
        self._propagation_ms = round(
            settings.number("topic.metadata.propagation.max.ms", PROPAGATION_MS)
        )
        self._asked_for: dict[str, int] = {}
        self._met: dict[str, int] = {}
        self._given_up: set[str] = set()
        self._since_ms = self._world.now
        self._purged = 0
        self._by_key = self._partitioner(settings.get("partitioner", "consistent_random"))
        self._most = round(settings.number("queue.buffering.max.messages", 100_000))
        self._report: Report | None = settings.get("on_delivery")
        self._under_way = 0
        self._reports: deque[tuple[Report | None, KafkaError | None, Message]] = deque()
        self._waiting: Resume | None = None
        self._world.know_duration(self._linger_ms)

    def _acks(self) -> Acks:
        """Return whose acknowledgement it waits for."""
        given = self._settings.get("acks", self._settings.get("request.required.acks", -1))
        words = str(given).lower()
        if words in ("-1", "all"):
            return "all"
        if not words.isdecimal() or int(words) > ACKS_MAX:
            raise self._settings.wrong("request.required.acks", given)
        if words not in ("0", "1"):
            what = f"Producer(acks={given}) is not modelled: 'all', 1 and 0 are"
            call_off(InvalidDefinition(f"{LIBRARY}: {what}{asked_at()}"))
        if self._idempotent:
            words = "`acks` must be set to `all` when `enable.idempotence` is true"
            raise refusal(KafkaError._INVALID_ARG, f"Failed to create producer: {words}")
        return 1 if words == "1" else 0

    def _transactional(self, name: str, scope: Scope) -> Transactions:
        """Return what its transactions go by: each replica is taken for a producer of its own."""
        settings = self._settings
        if not settings.flag("enable.idempotence", True):
            words = "`transactional.id` requires `enable.idempotence=true`"
            raise refusal(KafkaError._INVALID_ARG, f"Failed to create producer: {words}")
        timeout_ms = round(settings.number("transaction.timeout.ms", 60_000))
        own = f"{name}#{scope.incarnation.replica}"
        publisher = self._cluster.publisher
        make = partial(publisher, transactional_id=own, transaction_timeout_ms=timeout_ms)
        return Transactions(make, self._delivered, self._purge)

    def _partitioner(self, name: Any) -> Callable[[bytes, int], int] | None:
        """Return what decides the log partition of a key; None where keys decide nothing."""
        if name not in PARTITIONERS:
            raise self._settings.wrong("partitioner", name)
        return PARTITIONERS[name]

    def _patience_ms(self) -> int:
        """Return how long a record is tried; no longer than its transaction may take."""
        settings = self._settings
        wanted = settings.get("message.timeout.ms")
        most_ms = 300_000
        if self._transactions is not None:
            most_ms = round(settings.number("transaction.timeout.ms", 60_000))
            if wanted is not None and settings.number("message.timeout.ms", 0) > most_ms:
                words = "`message.timeout.ms` must be set <= `transaction.timeout.ms`"
                raise refusal(KafkaError._INVALID_ARG, f"Failed to create producer: {words}")
        return round(settings.number("message.timeout.ms", most_ms))

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any:
        """Return what the cluster is like: all topics, or one."""
        note_spoken(current_scope("list_topics", self._world), LIBRARY, self._cluster.name)
        return metadata_of(self._cluster, topic)

    def __getattr__(self, name: str) -> Any:
        not_modelled(LIBRARY, "Producer", name)

    def __len__(self) -> int:
        return self._under_way + len(self._reports)

    def __bool__(self) -> bool:
        return True

    # ---- producing

    def produce(
        self,
        topic: str,
        value: Any = None,
        key: Any = None,
        partition: int = -1,
        on_delivery: Report | None = None,
        timestamp: int = 0,
        headers: Any = None,
        *,
        callback: Report | None = None,
    ) -> None:
        """Hand over a record, which is sent a little later."""
        scope = current_scope("produce", self._world)
        if not isinstance(topic, str):
            raise TypeError(f"argument 1 must be str, not {_kind(topic)}")
        for one in (value, key):
            if one is not None and not isinstance(one, str | bytes | bytearray):
                raise TypeError(f"a bytes-like object is required, not '{type(one).__name__}'")
        _check_headers(headers)
        if self._transactions is not None:
            self._transactions.check_produce()
        self._check_size(value, key, headers)
        if len(self) >= self._most:
            raise BufferError("Local: Queue full")
        missing = is_absent(self._cluster, topic)
        if missing and topic in self._given_up:
            raise _unable(KafkaError._UNKNOWN_TOPIC)
        far = partition != -1 and not missing and partition not in self._places(topic)
        if far and self._has_met(topic):
            raise _unable(KafkaError._UNKNOWN_PARTITION)
        self._met.setdefault(topic, scope.world.now)
        note_spoken(scope, LIBRARY, f"{self._cluster.name}.publish {topic}")
        due_ms = scope.world.now + self._timeout_ms
        report = callback or on_delivery or self._report
        draft = Draft(
            standing(scope, scope.colour),
            topic,
            value,
            key,
            _by_name(headers),
            None if partition == -1 else partition,
            report,
            due_ms,
            0 if self._transactions is None else self._transactions.number,
        )
        self._under_way += 1
        if missing:
            self._wait_for(draft)
        elif far:
            scope.world.after(self._cluster.definition.latency_ms, self._refuse, draft)
        else:
            self._place(draft, scope)
            self._send(draft, self._linger_ms)

    def _has_met(self, topic: str) -> bool:
        """Say whether it knows a topic's log partitions; it asks for them with its first record."""
        since = self._met.setdefault(topic, self._world.now)
        return self._world.now >= since + self._cluster.definition.latency_ms

    def _refuse(self, draft: Draft) -> None:
        """Report a record whose log partition is not there, as it turned out."""
        if draft.scope.incarnation.alive:
            heard = draft.report is not None
            note_lost(draft.scope, self._cluster, draft.topic, heard=heard)
            self._report_of(draft, None, KafkaError(KafkaError._UNKNOWN_PARTITION))

    def _places(self, topic: str) -> range:
        return range(len(self._cluster.logs[topic]))

    def _waits_ms(self, draft: Draft) -> int:
        """Return how long a record waits for its topic: from when that was first asked for."""
        now = self._world.now
        asked_at = self._asked_for.setdefault(draft.topic, now)
        return max(min(asked_at + self._propagation_ms, draft.due_ms) - now, 0)

    def _wait_for(self, draft: Draft) -> None:
        """Keep a record until its topic is there, or until it is given up."""
        draft.waits = True
        self._cluster.learning.when_made(draft.topic, lambda _: self._found(draft))
        self._world.after(self._waits_ms(draft), lambda _: self._give_up(draft))

    def _found(self, draft: Draft) -> None:
        self._asked_for.pop(draft.topic, None)
        if draft.waits and draft.scope.incarnation.alive:
            draft.waits = False
            self._place(draft, draft.scope)
            self._send(draft, 0)

    def _give_up(self, draft: Draft) -> None:
        """Report a record whose topic is not there."""
        if not draft.waits or not draft.scope.incarnation.alive:
            return
        draft.waits = False
        code = KafkaError._MSG_TIMED_OUT
        if draft.transaction and draft.transaction <= self._purged:
            code = KafkaError._PURGE_QUEUE
        elif self._world.now < draft.due_ms:
            code = KafkaError.UNKNOWN_TOPIC_OR_PART
            self._given_up.add(draft.topic)
        note_lost(draft.scope, self._cluster, draft.topic, heard=draft.report is not None)
        if self._transactions is not None and code != KafkaError._PURGE_QUEUE:
            self._transactions.fail_by(code)
        self._report_of(draft, None, KafkaError(code))

    def _place(self, draft: Draft, scope: Scope) -> None:
        """Decide the log partition of a record that has a key, or that nobody answers for."""
        if draft.partition is None and (draft.key is not None or not self._answered):
            key = _bytes(draft.key or b"")
            draft.partition = self._place_of(draft.topic, key, scope)

    def _place_of(self, topic: str, key: bytes, scope: Scope) -> int:
        """Return the log partition of a key; an empty one decides nothing."""
        there = len(self._cluster.logs[topic])
        count = self._cluster.learning.known(topic, self._since_ms, there)
        if self._by_key is None or not key:
            return self._cluster.spread(topic, scope.entity, count, self)
        return self._by_key(key, count)

    def _check_size(self, value: Any, key: Any, headers: Any) -> None:
        """Refuse a record that is larger than the client takes."""
        size = OVERHEAD + sum(len(_bytes(one)) for one in (value, key) if one is not None)
        for name, one in (_by_name(headers) or {}).items():
            size += HEADER + len(name.encode()) + len(_bytes(one or b""))
        if size > self._size_max:
            raise _unable(KafkaError.MSG_SIZE_TOO_LARGE)

    def _send(self, draft: Draft, after_ms: int) -> None:
        def port() -> Any:
            if draft.transaction and draft.transaction <= self._purged:
                raise Purged
            value = bytes(draft.value) if isinstance(draft.value, bytearray) else draft.value
            publish = self._publish or self._transactions.producer  # type: ignore[union-attr]
            return publish(
                draft.topic,
                value,
                key=draft.key,
                headers=draft.headers,
                partition=draft.partition,
            )

        def done(_: Any, error: BaseException | None) -> None:
            self._sent(draft, error)

        self._line.send(draft, port, done, after_ms)

    def _sent(self, draft: Draft, error: BaseException | None) -> None:
        """Take note that a record is stored; else send it again, as the client does."""
        world = self._world
        stored = stored_as(draft)
        if error is not None and isinstance(error, OSError):  # refused, or not answered
            if not (stored and self._idempotent):
                if world.now + BACKOFF_MS < draft.due_ms:
                    self._send(draft, BACKOFF_MS)
                    return
            else:
                error = None  # the broker recognises it when it comes again
        elif error is not None and not isinstance(error, Purged | ProducerFenced | InvalidRecord):
            world.refuse(error if isinstance(error, InvalidDefinition) else _mistake(error))
            return
        self._line.leave(draft)
        self._report_of(draft, stored, None if error is None else self._what_failed(error))

    def _report_of(self, draft: Draft, stored: Stored | None, failed: KafkaError | None) -> None:
        """Have told, at the next poll, what became of a record."""
        world = self._world
        self._under_way -= 1
        self._reports.append((draft.report, failed, self._message(draft, stored)))
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            world.after(0, waiting)

    def _what_failed(self, error: BaseException) -> KafkaError:
        """Return what is reported of a record; where it fails, its transaction has."""
        if isinstance(error, Purged):
            return KafkaError(KafkaError._PURGE_QUEUE)
        if isinstance(error, InvalidRecord):
            return KafkaError(KafkaError.INVALID_RECORD)
        if self._transactions is not None:
            self._transactions.fail(error)
        if isinstance(error, ProducerFenced):
            return KafkaError(KafkaError._PURGE_QUEUE)
        return KafkaError(KafkaError._MSG_TIMED_OUT)

    def _message(self, draft: Draft, stored: Stored | None) -> Message:
        return Message(
            draft.topic,
            partition=_partition_of(draft, stored, self._answered),
            offset=stored.offset if stored is not None and self._answered else None,
            key=draft.key.encode() if isinstance(draft.key, str) else draft.key,
            value=draft.value.encode() if isinstance(draft.value, str) else draft.value,
        )

    # ---- hearing of it

    def poll(self, timeout: float | None = None) -> int:
        """Call back for what has been delivered; return how often."""
        seconds = -1.0 if timeout is None else timeout
        if not self._reports and seconds != 0:
            self._wait(None if seconds < 0 else round(seconds * SECOND_MS), sys._getframe(1))
        return self._serve()

    def flush(self, timeout: float | None = None) -> int:
        """Wait until all is delivered, and call back; return how much is not."""
        world = self._world
        seconds = -1.0 if timeout is None else timeout
        due_ms = None if seconds < 0 else world.now + round(seconds * SECOND_MS)
        self._serve()
        while self._under_way:
            left_ms = None if due_ms is None else due_ms - world.now
            if left_ms is not None and left_ms <= 0:
                break
            self._wait(left_ms, sys._getframe(1))
            self._serve()
        return len(self)

    def _serve(self) -> int:
        served = 0
        while self._reports:
            report, error, message = self._reports.popleft()
            served += 1
            if report is not None:
                report(error, message)
        return served

    @blocking
    def _wait(self, most_ms: int | None, at: FrameType) -> None:
        scope = current_scope("poll", self._world)
        scope.colour.drive(self._until_reported(scope, most_ms, at), scope)

    def _until_reported(self, scope: Scope, most_ms: int | None, at: FrameType) -> Script[None]:
        world = self._world
        if self._under_way:
            nap: Any = None
        elif most_ms is None:
            raise refusal(KafkaError._FAIL, "poll() for ever, with nothing under way")
        else:
            nap = wait_of(scope, most_ms, of_stack, at)
        timer: Any = None

        def give_up(_: Any) -> None:
            if nap is not None:
                nap.woke()
            waiting, self._waiting = self._waiting, None
            if waiting is not None:
                waiting(None)

        def keep(resume: Resume) -> None:
            nonlocal timer
            self._waiting = resume
            if most_ms is not None:
                timer = world.timer(max(most_ms, 0), give_up, None, nap)

        try:
            yield keep
        finally:
            if timer is not None:
                world.agenda.cancel(timer)

    def close(self) -> None:
        """Wait until all is delivered."""
        self.flush()

    # ---- transactions

    def _begun(self) -> Transactions:
        note_spoken(current_scope("transaction", self._world), LIBRARY, self._cluster.name)
        return self._transactions or not_configured()

    def init_transactions(self, timeout: float | None = None) -> None:
        """Get a number, and fence who had the same `transactional.id`."""
        self._begun().init()

    def begin_transaction(self) -> None:
        """Begin a transaction: what is produced from now on belongs to it."""
        self._begun().begin()

    def send_offsets_to_transaction(
        self, positions: Any, group_metadata: Any, timeout: float | None = None
    ) -> None:
        """Commit offsets of a consumer with the transaction."""
        self._begun().send_offsets(positions, group_metadata, timeout)

    def commit_transaction(self, timeout: float | None = None) -> None:
        """Wait until all is delivered, and decide that it counts."""
        self._begun().end("commit", timeout)

    def abort_transaction(self, timeout: float | None = None) -> None:
        """Take back what is not sent yet, and decide that nothing counts."""
        self._begun().end("abort", timeout)

    def _purge(self) -> None:
        assert self._transactions is not None
        self._purged = self._transactions.number

    def _delivered(self) -> None:
        """Wait until nothing is under way any more."""
        self._serve()
        while self._under_way:
            self._wait(None, sys._getframe(2))
            self._serve()


class SerializingProducer(Producer):
    """What stands for `confluent_kafka.SerializingProducer` inside a run."""

    _own = ("key.serializer", "value.serializer")

    def produce(  # type: ignore[override]
        self,
        topic: str,
        key: Any = None,
        value: Any = None,
        partition: int = -1,
        on_delivery: Report | None = None,
        timestamp: int = 0,
        headers: Any = None,
    ) -> None:
        """Hand over a record, written by the serializers of the configuration."""
        key = self._settings.serialized("key", key, topic, headers)
        value = self._settings.serialized("value", value, topic, headers)
        super().produce(topic, value, key, partition, on_delivery, timestamp, headers)


def _bytes(one: Any) -> bytes:
    return one.encode() if isinstance(one, str) else bytes(one)


def _partition_of(draft: Draft, stored: Stored | None, answered: bool) -> int:
    """Return the log partition that is reported; -1 where it is not known."""
    if (stored is None or not answered) and draft.partition is not None:
        return draft.partition
    return -1 if stored is None else stored.partition


def _unable(code: int) -> Exception:
    return refusal(code, f"Unable to produce message: {words_of(code)}")


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__


def _check_headers(headers: Any) -> None:
    """Refuse headers that the client cannot write.

    Raises:
        TypeError: They are no names with text, bytes or None.
    """
    if headers is None:
        return
    if not isinstance(headers, dict | list):
        right = "dict or list of (key, value) tuples"
        raise TypeError(f"expected headers to be {right}, not {_kind(headers)}")
    for _, value in headers.items() if isinstance(headers, dict) else headers:
        if not isinstance(value, str | bytes | bytearray | None):
            right = "None, binary, or unicode string"
            raise TypeError(f"expected header value to be {right}, not {_kind(value)}")


def _by_name(headers: Any) -> dict[str, Any] | None:
    return dict(headers) if headers else None


def _mistake(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else InvalidDefinition(str(error))
