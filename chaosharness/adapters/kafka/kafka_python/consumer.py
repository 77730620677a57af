"""A consumer of kafka-python: `poll` and `for`; what it does by itself, it does inside of them.

Source:
    kafka-python 3.0, `consumer/group.py`, `coordinator/consumer.py`, `consumer/fetcher.py`. With
    `for`, a record is consumed when it is handed out; with `poll`, all that it returns is. After a
    deserializer has raised, 3.0.12 never comes out of the next poll, as observed on librdkafka's
    mock cluster, unless its record is passed by `seek`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from kafka import errors
from kafka.future import Future
from kafka.structs import OffsetAndMetadata, TopicPartition

from chaosharness.adapters.kafka.kafka_python.producer import GroupMetadata
from chaosharness.adapters.kafka.kafka_python.records import (
    LIBRARY,
    Place,
    left_out,
    offsets_of,
    raised_for,
    record_of,
)
from chaosharness.adapters.kafka.kafka_python.standing import Standing
from chaosharness.adapters.kafka.latch import SECOND_MS
from chaosharness.adapters.kafka.sending import BACKOFF_MS
from chaosharness.adapters.kafka.unnamed import Named
from chaosharness.adapters.spoken import note_spoken
from chaosharness.adapters.unmodelled import not_modelled
from chaosharness.brokers.kafka.consumers import CommitFailed, InstanceFenced, UnknownLogPartition
from chaosharness.brokers.kafka.errors import OffsetOutOfRange
from chaosharness.handlers.blocking import blocking
from chaosharness.handlers.port import current_scope
from chaosharness.handlers.script import Script


class Consumer(Standing):
    """What stands for a `kafka.KafkaConsumer` inside a run."""

    def __getattr__(self, name: str) -> Any:
        not_modelled(LIBRARY, "KafkaConsumer", name)

    def __enter__(self) -> Consumer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- reading

    def poll(
        self, timeout_ms: float = 0, max_records: int | None = None, update_offsets: bool = True
    ) -> dict[TopicPartition, list[Any]]:
        """Return records by log partition; none if there are none for so long."""
        most = self.config["max_poll_records"] if max_records is None else max_records
        if timeout_ms < 0:
            raise ValueError("Timeout must not be negative")
        if not isinstance(most, int):
            raise TypeError("max_records must be an integer")
        if most <= 0:
            raise ValueError("max_records must be positive")
        if self._closed:
            raise errors.IllegalStateError("KafkaConsumer is closed")
        self._rest = None
        batch = self._polled(most, timeout_ms)
        if not batch:
            return {}
        places: dict[TopicPartition, list[int]] = {}
        unopened = batch.unopened()
        for index, one in enumerate(unopened):
            places.setdefault(TopicPartition(one.topic, one.partition), []).append(index)
        found: dict[TopicPartition, list[Any]] = {}
        left = list(places.items())
        for nth, (place, indices) in enumerate(left):
            try:
                records = [self._read(unopened[one]) for one in indices]
            except Exception:
                batch[indices[0]]
                self._stick(unopened[indices[0]])
                for other, those in left[nth:]:
                    self._back(other, unopened[those[0]].offset)
                raise
            self._positions[place] = unopened[indices[-1]].offset + 1
            found[place] = Records(records, batch, indices)
        return found

    def _read(self, one: Any) -> Any:
        readers = self.config["key_deserializer"], self.config["value_deserializer"]
        return record_of(self._world, one, *readers)

    def _stick(self, one: Any) -> None:
        """Take note of a record that cannot be read: its log partition stays there."""
        self._stuck.add((one.topic, one.partition))

    def _polled(self, most: int, timeout_ms: float) -> Any:
        """Poll once; commit by itself what was consumed before, when that is due.

        Raises:
            KafkaError: As the client has it.
        """
        self._scope = scope = current_scope("poll", self._world)
        note_spoken(scope, LIBRARY, f"{self._cluster.name}.poll")
        self._asked.tell()
        if not self._topics and self._chosen is None:
            if timeout_ms == float("inf"):
                left_out("reading before subscribe()", ": it waits for ever")
            if timeout_ms:
                self._latch.wait(timeout_ms / SECOND_MS)
            return ()
        consumer = self._joined()
        while self._stuck.intersection(consumer.assignment()):
            self._latch.wait(None)
        least_ms = self._cluster.definition.latency_ms + 1
        endless = timeout_ms == float("inf")
        seconds = None if endless else max(timeout_ms, least_ms) / SECOND_MS
        self._polling = True
        self._commit_when_due()
        try:
            batch = blocking(consumer.poll)(most, seconds)
        except (InstanceFenced, OffsetOutOfRange) as error:
            raise raised_for(error) from None
        except LookupError:
            raise errors.NoOffsetForPartitionError from None
        finally:
            self._polling = False
        self._asked.tell()
        return batch

    def __iter__(self) -> Consumer:
        return self

    def __next__(self) -> Any:
        if self._closed:
            raise StopIteration("KafkaConsumer closed")
        while True:
            if self._rest is None:
                batch = self._polled(
                    self.config["max_poll_records"], self.config["consumer_timeout_ms"]
                )
                if not batch:
                    raise StopIteration
                self._rest = self._one_by_one(batch)
            for record in self._rest:
                return record
            self._rest = None

    def _one_by_one(self, batch: Any) -> Iterator[Any]:
        """Yield records; each is consumed when it is yielded. What is left goes back."""
        unopened = batch.unopened()
        for index, one in enumerate(unopened):
            place = one.topic, one.partition
            batch[index]
            try:
                record = self._read(one)
            except Exception:
                self._stick(one)
                self._give_back(unopened[index:])
                raise
            self._positions[place] = one.offset + 1
            self._unread = unopened[index + 1 :]
            yield record

    # ---- committing

    def commit(self, offsets: Any = None, timeout_ms: float | None = None) -> None:
        """Commit what was consumed, or offsets; ask again until it is answered.

        Raises:
            CommitFailedError: The group has moved on.
            KafkaTimeoutError: It was not answered for so long.
        """
        meant = self._meant(offsets)
        self._asked.tell()
        if not meant:
            return
        patience_ms = self.config["request_timeout_ms"] if timeout_ms is None else timeout_ms
        due_ms = self._world.now + patience_ms
        while True:
            try:
                self._commit_now(meant)
            except (UnknownLogPartition, OSError) as error:  # it asks again, in either case
                if self._world.now + BACKOFF_MS >= due_ms:
                    raise errors.KafkaTimeoutError(None) from None
                if isinstance(error, OSError):
                    self._latch.wait(BACKOFF_MS / SECOND_MS)
                else:
                    blocking(_moment)()  # not idle: it gives up at a time that is near
            except CommitFailed as error:
                raise raised_for(error) from None
            else:
                return

    def _meant(self, offsets: Any) -> dict[Place, int]:
        if self._group is None:
            raise errors.IllegalStateError("Requires group_id")
        scope = current_scope("commit", self._world)
        note_spoken(scope, LIBRARY, f"{self._cluster.name}.commit")
        return self._consumed() if offsets is None else offsets_of(offsets)

    def commit_async(self, offsets: Any = None, callback: Any = None) -> Any:
        """Commit without waiting; what became of it is told at the next poll or commit."""
        meant = self._meant(offsets)
        self._asked.tell()
        heard = self.config["default_offset_commit_callback"] if callback is None else callback
        future = Future()
        shown = {TopicPartition(*place): OffsetAndMetadata(at) for place, at in meant.items()}

        def settled(error: BaseException | None) -> None:
            future.exception = None if error is None else raised_for(error)
            future.is_done = True

        scope = current_scope("commit", self._world)
        port = partial(self._committing().commit, offsets=meant)
        self._asked.ask(scope, port, shown, lambda what, _: heard(what, future.exception), settled)
        return future

    # ---- by itself

    def _commit_when_due(self) -> None:
        """Commit what was consumed by now, or when the poll that begins now has lasted so long."""
        if not self._commits or not self._consumed():
            return
        if self._world.now > self._due_ms:
            self._commit_later()
        else:
            self._world.agenda.add(self._due_ms + 1, self._while_polling, None, False)

    def _while_polling(self, _: Any) -> None:
        due = self._polling and self._incarnation.alive and self._world.now > self._due_ms
        if due and self._consumed():
            self._commit_later()

    # ---- the end

    def close(self, autocommit: bool = True, timeout_ms: float | None = None) -> None:
        """Commit what was consumed, if it commits by itself; leave the group, and read no more."""
        if self._closed:
            return
        if self._consumer is not None:
            if autocommit and self._commits:
                with suppress(errors.KafkaError):
                    self.commit(timeout_ms=timeout_ms)
            self._closing = True
            blocking(self._consumer.close)()
        self._closed = True

    def group_metadata(self) -> Any:
        """Return who it is in its group: what a transaction takes."""
        group = self._cluster.machine.group(self._group)
        if not self.assignment() or self._chosen is not None:
            found = GroupMetadata(self._group)
            found.named = Named(group)
            return found
        member, _ = self._consumer.standing()
        found = GroupMetadata(self._group, member.generation, str(member.id))
        found.named = Named(member.group, member.id, member.generation, member)
        return found

    def committed(
        self, partition: Any, metadata: bool = False, timeout_ms: float | None = None
    ) -> Any:
        """Return where the group goes on, None where nothing is committed."""
        if self._group is None:
            raise errors.IllegalStateError("Requires group_id")
        if not isinstance(partition, TopicPartition):
            raise TypeError("partition must be a TopicPartition namedtuple")
        at = self._cluster.machine.group(self._group).committed.get(tuple(partition))
        return OffsetAndMetadata(at) if metadata and at is not None else at


class Records(list[Any]):
    """Records of one `poll`. Going to one says on whose behalf code runs from then on."""

    def __init__(self, records: list[Any], batch: Any, indices: list[int]) -> None:
        super().__init__(records)
        self._batch = batch
        self._indices = indices

    def __iter__(self) -> Iterator[Any]:
        for index in range(len(self)):
            yield self[index]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int):
            self._batch[self._indices[index]]
        return list.__getitem__(self, index)


def _moment() -> Any:
    """Wait a moment before a request is sent again."""
    scope = current_scope("commit")

    def script() -> Script[None]:
        yield BACKOFF_MS

    return scope.colour.drive(script(), scope)
