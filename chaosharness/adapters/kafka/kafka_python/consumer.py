"""A consumer of kafka-python: `poll` and `for`; what it does by itself, it does inside of them.

Source:
    kafka-python 3.0, `consumer/group.py`, `coordinator/consumer.py`, `consumer/fetcher.py`. With
    `for`, a record is consumed when it is handed out; with `poll`, all that it returns is. After a
    deserializer has raised, 3.0.12 never comes out of the next poll, as observed on librdkafka's
    mock cluster, unless its record is passed by `seek`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any, Final

from kafka import KafkaConsumer, errors
from kafka.future import Future
from kafka.structs import OffsetAndMetadata, TopicPartition

from chaosharness.adapters.kafka.kafka_python.producer import GroupMetadata
from chaosharness.adapters.kafka.kafka_python.records import (
    LIBRARY,
    Partitions,
    Place,
    left_out,
    offsets_of,
    partitions,
    raised_for,
    record_of,
    servers_of,
)
from chaosharness.adapters.kafka.latch import SECOND_MS, Latch
from chaosharness.adapters.kafka.sending import BACKOFF_MS, check_topic
from chaosharness.adapters.kafka.servers import cluster_at
from chaosharness.adapters.kafka.unnamed import Named
from chaosharness.adapters.kafka.unwaited import unwaited
from chaosharness.adapters.spoken import note_spoken
from chaosharness.adapters.unmodelled import not_modelled
from chaosharness.brokers.kafka.consumers import CommitFailed, InstanceFenced
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.blocking import blocking
from chaosharness.handlers.places import asked_at
from chaosharness.handlers.port import call_off, current_scope

DEFAULTS: Final[dict[str, Any]] = dict(KafkaConsumer.DEFAULT_CONFIG)
_SAME: Final = ("session_timeout_ms", "max_poll_interval_ms")
"""Options that the cluster's definition has, for all members of its groups alike."""
_RESETS: Final = {
    "earliest": "earliest",
    "smallest": "earliest",
    "latest": "latest",
    "largest": "latest",
    "none": "error",
}
ONE_WAY: Final = "You must choose only one way to configure your consumer"


def _as_it_is(body: bytes | None) -> bytes | None:
    return body if body is None else bytes(body)


class Consumer:
    """What stands for a `kafka.KafkaConsumer` inside a run."""

    def __init__(self, *topics: str, **configs: Any) -> None:
        scope = current_scope("kafka.KafkaConsumer")
        strange = set(configs) - set(DEFAULTS)
        if strange:
            raise errors.KafkaConfigurationError(f"Unrecognized configs: {strange}")
        self.config = {**DEFAULTS, **configs}
        self._world = scope.world
        self._incarnation = scope.incarnation
        self._cluster = cluster_at(scope, LIBRARY, servers_of(self.config["bootstrap_servers"]))
        self._check(configs)
        self._group = self.config["group_id"]
        self._latch = Latch(self._world)
        self._topics: tuple[str, ...] = topics
        self._chosen: tuple[Place, ...] | None = None
        self._listener: Any = None
        self._consumer: Any = None
        self._positions: dict[Place, int] = {}
        self._rest: Iterator[Any] | None = None
        self._told: list[tuple[Any, Any, Any]] = []
        self._commits = bool(self.config["enable_auto_commit"]) and self._group is not None
        self._due_ms = self._world.now + self.config["auto_commit_interval_ms"]
        self._polling = False
        self._scope = scope
        self._unread: list[Any] = []
        self._stuck: set[Place] = set()
        self._closed = self._closing = False
        if self._commits:
            self._world.know_timeout(self.config["auto_commit_interval_ms"])

    def _check(self, configs: dict[str, Any]) -> None:
        """Refuse what is no configuration, or contradicts the cluster's."""
        definition = self._cluster.definition
        if self.config["auto_offset_reset"] not in _RESETS:
            raise errors.KafkaConfigurationError("Unrecognized auto_offset_reset")
        if self.config["isolation_level"] not in ("read_uncommitted", "read_committed"):
            raise errors.KafkaConfigurationError("Unrecognized isolation_level")
        if self.config["group_instance_id"] is not None and self.config["group_id"] is None:
            raise errors.KafkaConfigurationError("group_instance_id requires group_id")
        for name in _SAME:
            theirs = getattr(definition, name)
            if name in configs and configs[name] != theirs:
                self._contradicts(f"{name}={configs[name]}", f"{name}={theirs}")
        given = configs.get("partition_assignment_strategy")
        if given and given[0].name != definition.assignment.replace("round-robin", "roundrobin"):
            mine = f"partition_assignment_strategy of {given[0].name!r}"
            self._contradicts(mine, f"assignment={definition.assignment!r}")

    def _contradicts(self, mine: str, theirs: str) -> None:
        call_off(
            InvalidDefinition(
                f"{LIBRARY}: this consumer has {mine}{asked_at()}, and its cluster {theirs}: both "
                "must say the same"
            )
        )

    def __getattr__(self, name: str) -> Any:
        not_modelled(LIBRARY, "KafkaConsumer", name)

    def __enter__(self) -> Consumer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def bootstrap_connected(self) -> bool:
        """Say that it is connected."""
        return True

    # ---- what it reads

    def subscribe(self, topics: Any = (), pattern: str | None = None, listener: Any = None) -> None:
        """Read these topics, or those that a pattern matches, from the next poll on."""
        if not topics and not pattern:
            raise ValueError("Must provide topics or pattern")
        if (topics and pattern) or self._chosen is not None:
            raise errors.IllegalStateError(ONE_WAY)
        if topics and (isinstance(topics, str) or not hasattr(topics, "__getitem__")):
            raise TypeError("Topics must be a list (or non-str sequence)")
        if listener is not None and type(listener).__name__.startswith("Async"):
            left_out("a listener that is async")
        if self._consumer is not None:
            self._leave()
        if pattern:
            wanted = re.compile(pattern)
            topics = [one for one in self._cluster.logs if wanted.match(one)]
        self._topics, self._listener = tuple(topics), listener

    def assign(self, partitions: Any) -> None:
        """Read these log partitions, in no group."""
        if not partitions:
            self.unsubscribe()
            return
        if self._topics:
            raise errors.IllegalStateError(ONE_WAY)
        self._chosen = tuple((one.topic, one.partition) for one in partitions)
        for topic, _ in self._chosen:
            check_topic(self._cluster, topic)
        if self._consumer is not None:
            self._consumer.assign(*self._chosen)
        else:
            self._joined()

    def unsubscribe(self) -> None:
        """Commit what was consumed, if it commits by itself, and leave the group."""
        if self._commits and self._positions:
            self._commit_later()
        self._topics, self._chosen, self._listener = (), None, None
        if self._consumer is not None:
            self._leave()

    def _leave(self) -> None:
        consumer, self._consumer = self._consumer, None
        blocking(consumer.close)()
        self._positions.clear()
        self._rest = None

    def subscription(self) -> set[str] | None:
        """Return the topics that it reads."""
        return set(self._topics) or None

    def assignment(self) -> Partitions:
        """Return the log partitions that it has."""
        return partitions(() if self._consumer is None else self._consumer.assignment())

    def topics(self) -> set[str]:
        """Return all topics."""
        return set(self._cluster.logs)

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """Return the log partitions of a topic, None where there is none."""
        logs = self._cluster.logs.get(topic)
        return None if logs is None else set(range(len(logs)))

    def _joined(self) -> Any:
        """Return the consumer at the cluster."""
        if self._consumer is not None:
            return self._consumer
        for topic in self._topics:
            check_topic(self._cluster, topic)
        options: dict[str, Any] = {
            "reset": _RESETS[self.config["auto_offset_reset"]],
            "isolation": self.config["isolation_level"],
        }
        if self.config["group_instance_id"] is not None:  # all replicas have one configuration
            name = f"{self.config['group_instance_id']}#{self._incarnation.replica}"
            options["instance"] = name
        alone = self._group is None or self._chosen is not None
        if not alone and (self._commits or self._listener):
            options["on_revoke"] = partial(self._revoked, "on_partitions_revoked")
            options["on_lost"] = partial(self._revoked, "on_partitions_lost")
        if not alone and self._listener:
            options["on_assign"] = partial(self._call, "on_partitions_assigned")
        self._consumer = self._cluster.consumer(
            self._incarnation,
            () if alone else self._topics,
            _as_it_is,
            service=self._incarnation.service,
            group=self._group or f"{self._incarnation.label} alone",
            **options,
        )
        if alone:
            self._read_alone(options["reset"])
        return self._consumer

    def _read_alone(self, reset: str) -> None:
        """Read what was chosen, or all there is where nobody shares it out."""
        logs, consumer = self._cluster.logs, self._consumer
        places = self._chosen
        if places is None:
            places = tuple((one, index) for one in self._topics for index in range(len(logs[one])))
        consumer.assign(*places)
        if self._group is None and reset == "latest":
            for place in places:
                consumer.seek(*place, consumer.watermarks(*place)[1])

    # ---- a round

    def _revoked(self, name: str, places: tuple[Place, ...]) -> None:
        """Commit what was consumed, if it commits by itself, and tell that all of it goes."""
        if self._commits and name == "on_partitions_revoked" and not self._closing:
            with suppress(CommitFailed, OSError):
                self._commit_now(self._consumed())
        self._call(name, places)
        for place in places:
            self._positions.pop(place, None)

    def _call(self, name: str, places: tuple[Place, ...]) -> None:
        if self._listener is None:
            return
        call = getattr(self._listener, name, self._listener.on_partitions_revoked)
        try:
            call(partitions(places))
        except InvalidDefinition:
            raise
        except Exception as error:
            raise errors.KafkaError("User rebalance callback throws an error") from error

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

    def _back(self, place: Place, offset: int) -> None:
        """Go back to a record, if its log partition is still there."""
        if tuple(place) in self._consumer.assignment():
            self._consumer.seek(*place, offset)

    def _polled(self, most: int, timeout_ms: float) -> Any:
        """Poll once; commit by itself what was consumed before, when that is due.

        Raises:
            KafkaError: As the client has it.
        """
        self._scope = scope = current_scope("poll", self._world)
        note_spoken(scope, LIBRARY, f"{self._cluster.name}.poll")
        self._call_back()
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
        except InstanceFenced as error:
            raise raised_for(error) from None
        except LookupError:
            raise errors.NoOffsetForPartitionError from None
        finally:
            self._polling = False
        self._call_back()
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

    def _give_back(self, unread: Any) -> None:
        """Have records that were fetched, and not handed out, fetched again."""
        first: dict[Place, int] = {}
        for one in unread:
            first.setdefault((one.topic, one.partition), one.offset)
        for place, offset in first.items():
            self._back(place, offset)
        self._rest, self._unread = None, []

    # ---- where it is

    def _mine(self, places: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return log partitions that it has: these, or all.

        Raises:
            ValueError: It has not.
        """
        if not all(isinstance(one, TopicPartition) for one in places):
            raise TypeError("partitions must be TopicPartition namedtuples")
        mine = self.assignment()
        for one in places:
            if one not in mine:
                raise ValueError(f"Unassigned partition: {one}")
        if not (places or mine):
            raise ValueError("No partitions are currently assigned")
        return places or tuple(mine)

    def position(self, partition: Any, timeout_ms: float | None = None) -> int:
        """Return the offset of the next record."""
        if not isinstance(partition, TopicPartition):
            raise TypeError("partition must be a TopicPartition namedtuple")
        if partition not in self.assignment():
            raise errors.IllegalStateError("Partition is not assigned")
        known = self._positions.get((partition.topic, partition.partition))
        found: int = self._consumer.position(*partition)
        return found if known is None else known

    def highwater(self, partition: Any) -> int:
        """Return the offset that the next record to be stored gets."""
        if partition not in self.assignment():
            raise errors.IllegalStateError("Partition is not assigned")
        found: int = self._log(partition).end
        return found

    def seek(self, partition: Any, offset: int) -> None:
        """Go on at an offset."""
        if not isinstance(partition, TopicPartition):
            raise TypeError("partition must be a TopicPartition namedtuple")
        if not isinstance(offset, int) or offset < 0:
            raise ValueError("Offset must be int >= 0")
        if partition not in self.assignment():
            raise ValueError("Unassigned partition")
        self._seek({partition: offset})

    def _seek(self, offsets: dict[Any, int]) -> None:
        self._give_back(self._unread)
        for place, offset in offsets.items():
            self._consumer.seek(*place, offset)
            self._positions[place] = offset
            self._stuck.discard(place)

    def seek_to_beginning(self, *partitions: Any) -> None:
        """Go on at the first record of these log partitions, or of all."""
        self._seek({one: self._log(one).start for one in self._mine(partitions)})

    def seek_to_end(self, *partitions: Any) -> None:
        """Go on behind the last record of these log partitions, or of all."""
        self._seek({one: self._log(one).end for one in self._mine(partitions)})

    def beginning_offsets(self, partitions: Any) -> dict[Any, int]:
        """Return the first offset of each log partition."""
        return {one: self._log(one).start for one in partitions}

    def end_offsets(self, partitions: Any) -> dict[Any, int]:
        """Return the offset of the next record of each log partition."""
        return {one: self._log(one).end for one in partitions}

    def _log(self, one: Any) -> Any:
        check_topic(self._cluster, one.topic)
        return self._cluster.machine.log((one.topic, one.partition))

    def pause(self, *partitions: Any) -> None:
        """Hand out nothing of these until `resume`."""
        if partitions:
            mine = self._mine(partitions)
            self._give_back([one for one in self._unread if (one.topic, one.partition) in mine])
            self._consumer.pause(*mine)

    def resume(self, *partitions: Any) -> None:
        """Hand them out again."""
        if partitions:
            self._consumer.resume(*self._mine(partitions))

    def paused(self) -> Partitions:
        """Return the log partitions that are paused."""
        return partitions(() if self._consumer is None else self._consumer.paused())

    # ---- committing

    def _consumed(self) -> dict[Place, int]:
        """Return how far it has consumed what it has."""
        mine = set(() if self._consumer is None else self._consumer.assignment())
        return {place: at for place, at in self._positions.items() if place in mine}

    def commit(self, offsets: Any = None, timeout_ms: float | None = None) -> None:
        """Commit what was consumed, or offsets; ask again until it is answered.

        Raises:
            CommitFailedError: The group has moved on.
            KafkaTimeoutError: It was not answered for so long.
        """
        meant = self._meant(offsets)
        self._call_back()
        if not meant:
            return
        patience_ms = self.config["request_timeout_ms"] if timeout_ms is None else timeout_ms
        due_ms = self._world.now + patience_ms
        while True:
            try:
                self._commit_now(meant)
            except CommitFailed as error:
                raise raised_for(error) from None
            except OSError:
                if self._world.now + BACKOFF_MS >= due_ms:
                    raise errors.KafkaTimeoutError from None
                self._latch.wait(BACKOFF_MS / SECOND_MS)
            else:
                return

    def _meant(self, offsets: Any) -> dict[Place, int]:
        if self._group is None:
            raise errors.IllegalStateError("Requires group_id")
        scope = current_scope("commit", self._world)
        note_spoken(scope, LIBRARY, f"{self._cluster.name}.commit")
        return self._consumed() if offsets is None else offsets_of(offsets)

    def _commit_now(self, meant: dict[Place, int]) -> None:
        if meant:
            blocking(partial(self._joined().commit, offsets=meant))()

    def commit_async(self, offsets: Any = None, callback: Any = None) -> Any:
        """Commit without waiting; what became of it is told at the next poll or commit."""
        meant = self._meant(offsets)
        self._call_back()
        heard = self.config["default_offset_commit_callback"] if callback is None else callback
        future = Future()
        shown = {TopicPartition(*place): OffsetAndMetadata(at) for place, at in meant.items()}

        def done(_: Any, error: BaseException | None) -> None:
            told = None if error is None else raised_for(error)
            future.exception, future.is_done = told, True
            self._told.append((heard, shown, told))

        scope = current_scope("commit", self._world)
        unwaited(scope, partial(self._joined().commit, offsets=meant), done)
        return future

    def _call_back(self) -> None:
        while self._told:
            heard, offsets, told = self._told.pop(0)
            heard(offsets, told)

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

    def _commit_later(self) -> None:
        self._due_ms = self._world.now + self.config["auto_commit_interval_ms"]

        def done(_: Any, error: BaseException | None) -> None:
            if isinstance(error, OSError):
                self._due_ms = min(self._due_ms, self._world.now + BACKOFF_MS)

        unwaited(self._scope, partial(self._consumer.commit, offsets=self._consumed()), done)

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
        check_topic(self._cluster, partition.topic)
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
