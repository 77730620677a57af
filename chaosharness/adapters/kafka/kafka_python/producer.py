"""A producer of kafka-python: it sends in a thread of its own; `send` returns a future.

Source:
    kafka-python 3.0, `producer/kafka.py`, `sender.py`, `future.py`, `transaction_manager.py`: a
    record is sent until `delivery_timeout_ms` (2 minutes) is over, and is recognised when it comes
    again, unless `enable_idempotence` is turned off.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from kafka import KafkaProducer, errors
from kafka.future import Future
from kafka.producer.future import FutureRecordMetadata, RecordMetadata
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.structs import ConsumerGroupMetadata, TopicPartition
from kafka.util import ensure_valid_topic_name

from chaosharness.adapters.kafka.absent import is_absent, note_lost
from chaosharness.adapters.kafka.kafka_python.records import (
    LIBRARY,
    left_out,
    offsets_of,
    raised_for,
    servers_of,
)
from chaosharness.adapters.kafka.latch import SECOND_MS, Latch
from chaosharness.adapters.kafka.sending import (
    BACKOFF_MS,
    Record,
    Sender,
    Stored,
    sender_of,
)
from chaosharness.adapters.kafka.servers import cluster_at
from chaosharness.adapters.kafka.unnamed import Named, Reader
from chaosharness.adapters.spoken import note_spoken
from chaosharness.adapters.unmodelled import not_modelled
from chaosharness.brokers.kafka.consumers import CommitFailed
from chaosharness.brokers.kafka.profiles import Acks
from chaosharness.brokers.kafka.transactions import ProducerFenced
from chaosharness.handlers.blocking import blocking
from chaosharness.handlers.guest import beside
from chaosharness.handlers.port import current_scope
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.machines.kafka.partitioners import log_partition_for

ENDING: Final = {"commit": "COMMITTING_TRANSACTION", "abort": "ABORTING_TRANSACTION"}
DEFAULTS: Final[dict[str, Any]] = dict(KafkaProducer.DEFAULT_CONFIG)


class Producer:
    """What stands for a `kafka.KafkaProducer` inside a run."""

    def __init__(self, **configs: Any) -> None:
        scope = current_scope("kafka.KafkaProducer")
        strange = {name: value for name, value in configs.items() if name not in DEFAULTS}
        if strange:
            raise ValueError(f"Unrecognized configs: {strange}")
        self.config = {**DEFAULTS, **configs}
        self._world = scope.world
        self._cluster = cluster_at(scope, LIBRARY, servers_of(self.config["bootstrap_servers"]))
        self._check(configs)
        self._idempotent = bool(self.config["enable_idempotence"])
        self._unanswered = self._acks() == 0
        self._latch = Latch(self._world)
        self._under_way: dict[Promise, None] = {}
        self._since_ms = self._world.now
        self._transaction: Any = None
        self._begun = False
        self._wrong: BaseException | None = None
        self._closed = False
        self._sender: Sender | None = None
        self._replica = scope.incarnation.replica
        if not self.config["transactional_id"]:
            publish = self._cluster.publisher(idempotent=self._idempotent, acks=self._acks())
            self._sender = self._sending(publish)
        self._world.know_duration(self.config["linger_ms"])

    def _check(self, configs: dict[str, Any]) -> None:
        """Refuse what contradicts itself, as the client does, and what is not modelled."""
        if "partitioner" in configs:
            left_out("KafkaProducer(partitioner=...)", ": the key decides the log partition")
        asked = self.config["transactional_id"] or configs.get("enable_idempotence")
        conflict = {
            name: configs[name]
            for name, right in (("acks", (-1, "all")), ("retries", None))
            if name in configs and (configs[name] not in right if right else configs[name] == 0)
        }
        if conflict and asked:
            raise errors.KafkaConfigurationError(
                "enable_idempotence=True is incompatible with user-provided "
                + ", ".join(f"{name}={value!r}" for name, value in conflict.items())
            )
        if conflict:
            self.config["enable_idempotence"] = False
        if self.config["transactional_id"]:
            self.config["enable_idempotence"] = True

    def _acks(self) -> Acks:
        if self._idempotent or self.config["acks"] in (-1, "all"):
            return "all"
        return 1 if self.config["acks"] else 0

    def _sending(self, publish: Callable[..., Any]) -> Sender:
        single = self.config["max_in_flight_requests_per_connection"] == 1
        return Sender(
            publish,
            self._idempotent,
            asks_on=self.config["retries"] > 0,
            order="one in flight" if single else "pipelined" if self._idempotent else "none",
        )

    def __getattr__(self, name: str) -> Any:
        not_modelled(LIBRARY, "KafkaProducer", name)

    def __enter__(self) -> Producer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def bootstrap_connected(self) -> bool:
        """Say that it is connected."""
        return True

    def partitions_for(self, topic: str) -> set[int]:
        """Return the log partitions of a topic."""
        self._until_there(topic)
        return set(range(len(self._cluster.logs[topic])))

    def _until_there(self, topic: str) -> None:
        """Wait until a topic is there.

        Raises:
            KafkaTimeoutError: It was not, for `max_block_ms`.
        """
        most_ms = self.config["max_block_ms"]
        due_ms = self._world.now + most_ms
        if is_absent(self._cluster, topic):
            self._cluster.learning.when_made(topic, lambda _: self._latch.tell())
        while topic not in self._cluster.logs and self._world.now < due_ms:
            self._latch.wait((due_ms - self._world.now) / SECOND_MS)
        if topic not in self._cluster.logs:
            seconds = most_ms / SECOND_MS
            raise errors.KafkaTimeoutError(f"Failed to update metadata after {seconds:.1f} secs.")

    # ---- sending

    def send(
        self,
        topic: str,
        value: Any = None,
        key: Any = None,
        headers: Any = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> Promise:
        """Hand over a record, which is sent in the background; return what comes of it."""
        scope = current_scope("send", self._world)
        if self._closed:
            raise errors.IllegalStateError("KafkaProducer already closed!")
        if value is None and key is None:
            raise ValueError("Need at least one: key or value")
        written = self._written(topic, key, value, headers)
        if timestamp_ms is not None:
            left_out(f"send(timestamp_ms={timestamp_ms!r})")
        sender = self._sender
        if sender is None:
            raise errors.IllegalStateError("Cannot send before init_transactions()")
        if self._transaction is not None and not self._begun:
            raise errors.IllegalStateError("Cannot call send in state READY")
        ensure_valid_topic_name(topic)
        note_spoken(scope, LIBRARY, f"{self._cluster.name}.publish {topic}")
        try:
            self._until_there(topic)
        except errors.KafkaTimeoutError:
            note_lost(scope, self._cluster, topic, heard=True)
            raise
        partition = self._place_of(topic, partition, written[0], scope)
        promise = Promise(self._latch, scope, written)
        if self._unanswered:
            promise.place = topic, partition
        self._under_way[promise] = None
        record = Record(
            sender_of(scope),
            topic,
            written[1],
            written[0],
            dict(headers) if headers else None,
            self._world.now + self.config["delivery_timeout_ms"],
            partial(self._sent, promise),
            partition,
        )
        sender.send(record, after_ms=self.config["linger_ms"])
        return promise

    def _place_of(
        self, topic: str, partition: int | None, key: bytes | None, scope: Scope
    ) -> int | None:
        """Return a log partition that is named, or that nobody will name; None for any.

        Raises:
            ValueError: There is none such.
        """
        count = len(self._cluster.logs[topic])
        if partition is None:
            if not self._unanswered:
                return None
            count = self._cluster.learning.known(topic, self._since_ms, count)
            if key is None:
                return self._cluster.spread(topic, scope.entity, count, self)
            return log_partition_for(key, count)
        if partition < 0:
            raise ValueError("partition must be >= 0")
        if partition >= count:
            raise ValueError(f"Unrecognized partition {partition} for topic {topic}")
        return partition

    def _written(self, topic: str, key: Any, value: Any, headers: Any) -> list[bytes | None]:
        """Return a key and a value as bytes.

        Raises:
            TypeError: One of them, or of the headers, is something else.
            MessageSizeTooLargeError: Together they are too large.
        """
        if headers is not None and not isinstance(headers, list):
            raise TypeError("headers must be list-type")
        if not all(map(_is_header, headers or ())):
            raise TypeError("All headers items must be (str, bytes) tuples")
        found: list[bytes | None] = []
        for what, one in (("key", key), ("value", value)):
            writer = self.config[f"{what}_serializer"]
            written = one if writer is None else _write(writer, topic, headers, one)
            if written is not None and not isinstance(written, bytes | bytearray | memoryview):
                raise TypeError(f"Unsupported type for serialized {what}: {type(written)}")
            found.append(None if written is None else bytes(written))
        size = DefaultRecordBatchBuilder.estimate_size_in_bytes(*found, headers or [])
        if size > self.config["max_request_size"]:
            raise errors.MessageSizeTooLargeError(
                f"The message is {size} bytes when serialized which is larger than the maximum "
                "request size you have configured with the max_request_size configuration"
            )
        return found

    def _sent(self, promise: Promise, stored: Stored | None, error: BaseException | None) -> None:
        self._under_way.pop(promise, None)
        if isinstance(error, ProducerFenced):
            self._wrong = raised_for(error)
        if isinstance(error, ConnectionError):
            error = TimeoutError()  # it was refused until its time was over
        promise.settle(stored, None if error is None else raised_for(error))

    def flush(self, timeout: float | None = None) -> None:
        """Wait until all that was handed over is sent, or given up.

        Raises:
            KafkaTimeoutError: It is not.
        """
        meant = [*self._under_way]
        due_ms = None if timeout is None else self._world.now + round(timeout * SECOND_MS)
        while any(not one.is_done for one in meant):
            left_s = None if due_ms is None else (due_ms - self._world.now) / SECOND_MS
            if left_s is not None and left_s <= 0:
                raise errors.KafkaTimeoutError(f"Timeout waiting for flush of {timeout} secs")
            self._latch.wait(left_s)

    def close(self, timeout: float | None = None, null_logger: bool = False) -> None:
        """Wait until all is sent, or for so long, and send no more."""
        if not self._closed:
            self.flush(timeout)
            self._closed = True

    # ---- transactions

    def init_transactions(self) -> None:
        """Get a number; who had it before is fenced, and its transaction aborted."""
        self._ensure()
        if self._transaction is None:  # all replicas have one configuration
            name = f"{self.config['transactional_id']}#{self._replica}"
            self._transaction = self._cluster.publisher(transactional_id=name)
            self._sender = self._sending(self._transaction)

    def _ensure(self) -> None:
        if not self.config["transactional_id"]:
            raise errors.IllegalStateError(
                "Transactional method invoked on a non-transactional producer."
            )
        if self._wrong is not None:
            raise self._wrong

    def _inside(self, what: str) -> None:
        self._ensure()
        if not self._begun:
            raise errors.IllegalStateError(f"Cannot {what} when no transaction is begun")

    def _no_way(self, to: str) -> Exception:
        """Return what is raised of a step that the state of its transaction does not allow."""
        now = "IN_TRANSACTION" if self._begun else "READY"
        now = "UNINITIALIZED" if self._transaction is None else now
        way = f"from state {now} to state {to}"
        name = self.config["transactional_id"]
        words = f"TransactionalId {name}: Invalid transition attempted {way}"
        error: Exception = errors.KafkaError(words)
        return error

    def begin_transaction(self) -> None:
        """Begin a transaction."""
        self._ensure()
        if self._transaction is None or self._begun:
            raise self._no_way("IN_TRANSACTION")
        try:
            self._transaction.begin()
        except ProducerFenced as error:
            self._wrong = raised_for(error)
            raise self._wrong from None
        self._begun = True

    def send_offsets_to_transaction(self, offsets: Any, group_metadata: Any) -> None:
        """Have offsets of a group committed with it."""
        self._inside("send offsets to a transaction")
        places = offsets_of(offsets)
        if isinstance(group_metadata, GroupMetadata):
            whose = group_metadata.named
        else:
            named = getattr(group_metadata, "group_id", group_metadata)
            whose = Named(self._cluster.machine.group(named))
        self._asked(lambda: self._transaction.send_offsets(Reader(whose), places))

    def commit_transaction(self) -> None:
        """Decide it, when all of it is sent."""
        self._end("commit")

    def abort_transaction(self) -> None:
        """Give it up."""
        self._end("abort")

    def _end(self, how: str) -> None:
        self._ensure()
        if not self._begun:
            raise self._no_way(ENDING[how])
        self.flush()
        self._asked(getattr(self._transaction, how))
        self._begun = False

    def _asked(self, port: Callable[[], Any]) -> None:
        """Ask the cluster until it answers.

        Raises:
            KafkaError: The group has moved on, or another has its place.
        """
        while True:
            if self._wrong is not None:
                raise self._wrong
            try:
                blocking(port)()
            except ProducerFenced as error:
                self._wrong = raised_for(error)
            except CommitFailed as error:
                raise raised_for(error) from None
            except OSError:
                self._latch.wait(BACKOFF_MS / SECOND_MS)
            else:
                return


class GroupMetadata(ConsumerGroupMetadata):  # type: ignore[misc]
    """Who read, in which generation: what `KafkaConsumer.group_metadata()` returns."""

    named: Named


class Promise(FutureRecordMetadata):  # type: ignore[misc]
    """What comes of a record."""

    _callbacks: Any
    _errbacks: Any

    def __init__(self, latch: Latch, scope: Scope, written: list[bytes | None]) -> None:
        Future.__init__(self)
        self._latch = latch
        self._scope = scope
        self.place: tuple[str, int | None] | None = None
        """Where it was sent, if nobody answers for it: the client makes up offset 0."""
        self._at_ms = EPOCH_MS + scope.world.now
        self._sizes = [-1 if part is None else len(part) for part in written]

    def settle(self, stored: Stored | None, error: BaseException | None) -> None:
        """Take note of what came of it, and have whoever waits told."""
        if self.place is not None and error is None:
            words = (*self.place, TopicPartition(*self.place), 0, self._at_ms)
            self.value = RecordMetadata(*words, None, *self._sizes, -1)
        elif stored is not None and error is None:
            place = TopicPartition(stored.topic, stored.partition)
            at_ms = EPOCH_MS + stored.at_ms
            words = (*place, place, stored.offset, at_ms, None, *self._sizes, -1)
            self.value = RecordMetadata(*words)
        self.exception = error
        calls: Any = self._callbacks if error is None else self._errbacks
        self.is_done = True
        self._callbacks = self._errbacks = None
        if calls:
            told = self.value if error is None else error
            beside(self._scope, partial(_call, calls, told), lambda *_: None)
        self._latch.tell()

    def get(self, timeout: float | None = None) -> Any:
        """Wait for what comes of it.

        Raises:
            KafkaTimeoutError: Nothing has, for so long.
            KafkaError: It was not stored.
        """
        world = self._scope.world
        due_ms = None if timeout is None else world.now + round(timeout * SECOND_MS)
        while not self.is_done:
            left_s = None if due_ms is None else (due_ms - world.now) / SECOND_MS
            if left_s is not None and left_s <= 0:
                raise errors.KafkaTimeoutError(f"Timeout after waiting for {timeout} secs.")
            self._latch.wait(left_s)
        if self.exception is not None:
            raise self.exception
        return self.value


def _is_header(one: Any) -> bool:
    """Say whether the client can write a header."""
    pair = isinstance(one, tuple) and len(one) == 2
    return pair and isinstance(one[0], str) and isinstance(one[1], bytes)


def _call(calls: list[Callable[[Any], Any]], told: Any) -> None:
    for one in calls:
        one(told)


def _write(writer: Any, topic: str, headers: Any, part: Any) -> Any:
    if hasattr(writer, "serialize"):
        return writer.serialize(topic, headers, part)
    return writer(part)
