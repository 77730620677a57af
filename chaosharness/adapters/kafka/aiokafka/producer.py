"""A producer of aiokafka: `send` hands a record over and returns a future.

Source:
    aiokafka 0.14, `producer/producer.py`, `sender.py`, `message_accumulator.py`,
    `transaction_manager.py`: a record is sent until `request_timeout_ms` (40 s) is over; one that
    was not answered has used that up, unless the producer is idempotent, which never gives up. The
    offsets of a transaction name a group and no member: nothing fences them but the producer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from aiokafka import TopicPartition, errors
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.producer import _missing as UNSAID
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import RecordMetadata
from aiokafka.util import commit_structure_validate

from chaosharness.adapters.kafka.absent import is_absent, note_lost
from chaosharness.adapters.kafka.aiokafka.records import (
    LIBRARY,
    left_out,
    raised_for,
    servers_of,
)
from chaosharness.adapters.kafka.aiokafka.waiting import until_there
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
from chaosharness.brokers.kafka.profiles import Acks
from chaosharness.brokers.kafka.transactions import ProducerFenced
from chaosharness.handlers.port import current_scope
from chaosharness.kernel.spans import EPOCH_MS

SECOND_MS: Final = 1_000
UNSTARTED: Final = "TransactionState.UNINITIALIZED"
READY: Final = "TransactionState.READY"
IN_TRANSACTION: Final = "TransactionState.IN_TRANSACTION"
ENDING: Final = {
    "commit": "TransactionState.COMMITTING_TRANSACTION",
    "abort": "TransactionState.ABORTING_TRANSACTION",
}
"""What the client calls the states of a transaction."""


class Producer:
    """What stands for an `aiokafka.AIOKafkaProducer` inside a run."""

    def __init__(
        self,
        *,
        bootstrap_servers: Any = "localhost",
        acks: Any = UNSAID,
        partitioner: Any = None,
        key_serializer: Any = None,
        value_serializer: Any = None,
        max_request_size: int = 1_048_576,
        request_timeout_ms: int = 40_000,
        linger_ms: int = 0,
        enable_idempotence: bool = False,
        transactional_id: str | None = None,
        **options: Any,
    ) -> None:
        scope = current_scope("aiokafka.AIOKafkaProducer")
        self._world = scope.world
        self._loop = asyncio.get_running_loop()
        self._cluster = cluster_at(scope, LIBRARY, servers_of(bootstrap_servers))
        if partitioner is not None and not isinstance(partitioner, DefaultPartitioner):
            left_out("AIOKafkaProducer(partitioner=...)", ": the key decides the log partition")
        if acks not in (UNSAID, 0, 1, -1, "all"):
            raise ValueError("Invalid ACKS parameter")
        if (enable_idempotence or transactional_id) and acks in (0, 1):
            raise ValueError(f"acks={acks} not supported if enable_idempotence=True")
        self._writers = key_serializer, value_serializer
        self._most = max_request_size
        self._lasts_ms = request_timeout_ms
        self._linger_ms = linger_ms
        self._idempotent = enable_idempotence or transactional_id is not None
        self._acks: Acks = "all" if self._idempotent or acks in (-1, "all") else 1
        if acks == 0:
            self._acks = 0
        self._transactional_id = transactional_id
        self._sender: Sender | None = None
        self._under_way: dict[asyncio.Future[Any], None] = {}
        self._transaction: Any = None
        self._state = UNSTARTED
        self._wrong: BaseException | None = None
        self.closed = False
        self._world.know_duration(linger_ms)

    @property
    def is_fenced(self) -> bool:
        """Whether another has its place."""
        return self._wrong is not None

    async def start(self) -> None:
        """Connect; a transactional one fences who had its id before."""
        scope = current_scope("aiokafka.start", self._world)
        if self._transactional_id is None:
            publish = self._cluster.publisher(idempotent=self._idempotent, acks=self._acks)
        else:  # all replicas have one configuration: each is taken for its own
            name = f"{self._transactional_id}#{scope.incarnation.replica}"
            publish = self._transaction = self._cluster.publisher(transactional_id=name)
            self._state = READY
        self._sender = Sender(publish, self._idempotent, asks_on=False, order="one in flight")

    async def stop(self) -> None:
        """Wait until all is sent, or given up, and send no more."""
        if not self.closed:
            self.closed = True
            await self.flush()

    async def flush(self) -> None:
        """Wait until all is sent, or given up."""
        if self._under_way:
            await asyncio.wait(list(self._under_way))

    async def partitions_for(self, topic: str) -> set[int]:
        """Return the log partitions of a topic."""
        await until_there(self._cluster, topic, self._lasts_ms)
        return set(range(len(self._cluster.logs[topic])))

    # ---- sending

    async def send(
        self,
        topic: str,
        value: Any = None,
        key: Any = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Any = None,
    ) -> asyncio.Future[Any]:
        """Hand a record over, and return what comes of it as a future."""
        scope = current_scope("send", self._world)
        if value is None and key is None:
            raise AssertionError("Need at least one: key or value")
        sender = self._sender
        if sender is None:
            left_out("send() before start()", ": it waits for ever")
        if self.closed:
            raise errors.ProducerClosed
        if timestamp_ms is not None:
            left_out(f"send(timestamp_ms={timestamp_ms!r})")
        if is_absent(self._cluster, topic):
            note_spoken(scope, LIBRARY, f"{self._cluster.name}.publish {topic}")
            try:
                await until_there(self._cluster, topic, self._lasts_ms)
            except errors.UnknownTopicOrPartitionError:
                note_lost(scope, self._cluster, topic, heard=True)
                raise
        if partition is not None:
            if partition < 0:
                raise AssertionError
            if partition >= len(self._cluster.logs[topic]):
                raise AssertionError("Unrecognized partition")
        if self._transactional_id is not None and self._state != IN_TRANSACTION:
            raise errors.IllegalOperation("Can't send messages while not in transaction")
        note_spoken(scope, LIBRARY, f"{self._cluster.name}.publish {topic}")
        written = self._written(key, value, headers)
        future: asyncio.Future[Any] = self._loop.create_future()
        self._under_way[future] = None
        record = Record(
            sender_of(scope),
            topic,
            written[1],
            written[0],
            dict(headers) if headers else None,
            self._world.now + self._lasts_ms if not self._idempotent else 1 << 62,
            lambda stored, error: self._sent(future, stored, error),
            partition,
        )
        sender.send(record, after_ms=self._linger_ms)
        return future

    async def send_and_wait(
        self,
        topic: str,
        value: Any = None,
        key: Any = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Any = None,
    ) -> Any:
        """Send a record, and return where it is stored."""
        future = await self.send(topic, value, key, partition, timestamp_ms, headers)
        return await future

    def _written(self, key: Any, value: Any, headers: Any) -> list[bytes | None]:
        """Return a key and a value as bytes.

        Raises:
            TypeError: One is something else.
            MessageSizeTooLargeError: Together they are too large.
        """
        found: list[bytes | None] = []
        for writer, one in zip(self._writers, (key, value), strict=True):
            written = one if writer is None else writer(one)
            if written is not None and not isinstance(written, bytes | bytearray | memoryview):
                raise TypeError(f"a bytes-like object is required, not '{type(written).__name__}'")
            found.append(None if written is None else bytes(written))
        size = DefaultRecordBatchBuilder.estimate_size_in_bytes(*found, headers or [])
        if size > self._most:
            raise errors.MessageSizeTooLargeError(
                f"The message is {size} bytes when serialized which is larger than the maximum "
                "request size you have configured with the max_request_size configuration"
            )
        return found

    def _sent(
        self, future: asyncio.Future[Any], stored: Stored | None, error: BaseException | None
    ) -> None:
        self._under_way.pop(future, None)
        if isinstance(error, ProducerFenced):
            self._wrong = raised_for(error)
        if future.done() or self._loop.is_closed():
            return
        if error is not None:
            future.set_exception(raised_for(error))
            future.exception()  # whether anybody asks is the business of that code
            return
        if self._acks == 0:
            future.set_result(None)
            return
        assert stored is not None
        place = TopicPartition(stored.topic, stored.partition)
        at_ms = EPOCH_MS + stored.at_ms
        future.set_result(RecordMetadata(*place, place, stored.offset, at_ms, 0, 0))

    # ---- transactions

    def _ensure(self) -> None:
        if self._transactional_id is None:
            raise errors.IllegalOperation(
                "You need to configure transaction_id to use transactions"
            )

    def _go(self, before: str, after: str) -> None:
        if self._state != before:
            raise AssertionError(f"Invalid state transition {self._state} -> {after}")
        self._state = after

    async def begin_transaction(self) -> None:
        """Begin a transaction."""
        self._ensure()
        if self._wrong is not None:
            raise self._wrong
        if self._state == UNSTARTED:
            left_out("begin_transaction() before start()", ": it waits for ever")
        self._go(READY, IN_TRANSACTION)
        try:
            self._transaction.begin()
        except ProducerFenced as error:
            self._wrong = raised_for(error)
            raise self._wrong from None

    async def commit_transaction(self) -> None:
        """Decide it, when all of it is sent."""
        await self._end("commit")

    async def abort_transaction(self) -> None:
        """Give it up."""
        await self._end("abort")

    async def _end(self, how: str) -> None:
        self._ensure()
        self._go(IN_TRANSACTION, ENDING[how])
        await self.flush()
        await self._asked(getattr(self._transaction, how))
        self._state = READY

    async def send_offsets_to_transaction(self, offsets: Any, group_id: str) -> None:
        """Have offsets of a group committed with it; no member of the group is named."""
        self._ensure()
        if self._state != IN_TRANSACTION:
            raise errors.IllegalOperation("Not in the middle of a transaction")
        if not group_id or not isinstance(group_id, str):
            raise ValueError(group_id)
        found = commit_structure_validate(offsets)
        places = {(one.topic, one.partition): at.offset for one, at in found.items()}
        whose = Reader(Named(self._cluster.machine.group(group_id)))
        await self._asked(lambda: self._transaction.send_offsets(whose, places))

    async def _asked(self, port: Callable[[], Any]) -> None:
        """Ask the cluster until it answers.

        Raises:
            ProducerFenced: Another has its place.
        """
        while True:
            if self._wrong is not None:
                raise self._wrong
            try:
                await port()
            except ProducerFenced as error:
                self._wrong = raised_for(error)
            except OSError:
                await asyncio.sleep(BACKOFF_MS / SECOND_MS)
            else:
                return
