"""A consumer of aiokafka: `getone`, `getmany`, `async for`, and commits by itself unless told not.

Source:
    aiokafka 0.14, `consumer/consumer.py`, `fetcher.py`, `subscription_state.py`. What a
    deserializer raises comes again, until one seeks: with its record, or with all that `getmany`
    had of its log partition. What it had of others by then is lost, and will be committed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any, Final

from aiokafka import ConsumerRecord, TopicPartition, errors
from aiokafka.util import commit_structure_validate

from chaosharness.adapters.kafka.absent import check_wired
from chaosharness.adapters.kafka.aiokafka.membership import Membership
from chaosharness.adapters.kafka.aiokafka.places import Places
from chaosharness.adapters.kafka.aiokafka.records import (
    LIBRARY,
    MOVED_ON,
    Place,
    left_out,
    raised_for,
    record_of,
    servers_of,
)
from chaosharness.adapters.kafka.aiokafka.waiting import until_there
from chaosharness.adapters.kafka.sending import check_topic
from chaosharness.adapters.kafka.servers import cluster_at
from chaosharness.adapters.spoken import note_spoken
from chaosharness.brokers.kafka.consumers import InstanceFenced
from chaosharness.brokers.kafka.errors import OffsetOutOfRange
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.attribution import rest
from chaosharness.handlers.places import asked_at
from chaosharness.handlers.port import call_off, current_scope
from chaosharness.handlers.unwaited import standing
from chaosharness.kernel.scope import SCOPE, Scope

MANY: Final = 1_000_000
_SAME: Final = ("session_timeout_ms", "max_poll_interval_ms")
"""Options that the cluster's definition has, for all members of its groups alike."""
_RESETS: Final = {"earliest": "earliest", "latest": "latest", "none": "error"}
_TASKS: Final = "aiokafka: which task has which scope"
_ISOLATIONS: Final = ("read_uncommitted", "read_committed")


def _as_it_is(body: bytes | None) -> bytes | None:
    return body if body is None else bytes(body)


class Consumer(Places):
    """What stands for an `aiokafka.AIOKafkaConsumer` inside a run."""

    def __init__(
        self,
        *topics: str,
        bootstrap_servers: Any = "localhost",
        group_id: str | None = None,
        group_instance_id: str | None = None,
        key_deserializer: Any = None,
        value_deserializer: Any = None,
        auto_offset_reset: str = "latest",
        enable_auto_commit: bool = True,
        auto_commit_interval_ms: int = 5_000,
        max_poll_records: int | None = None,
        isolation_level: str = "read_uncommitted",
        **options: Any,
    ) -> None:
        scope = current_scope("aiokafka.AIOKafkaConsumer")
        self._world = scope.world
        self._incarnation = scope.incarnation
        self._cluster = cluster_at(scope, LIBRARY, servers_of(bootstrap_servers))
        self._check(options)
        if max_poll_records is not None and max_poll_records < 1:
            raise ValueError("`max_poll_records` should be positive Integer")
        if auto_offset_reset not in _RESETS:
            raise ValueError(f"Incorrect offset reset strategy {auto_offset_reset}")
        if isolation_level not in _ISOLATIONS:
            raise ValueError(f"Incorrect isolation level {isolation_level}")
        self._group = group_id
        self._instance = group_instance_id
        self._readers = key_deserializer, value_deserializer
        self._most = max_poll_records or MANY
        self._interval_ms = auto_commit_interval_ms if enable_auto_commit and group_id else None
        self._how = {"reset": _RESETS[auto_offset_reset], "isolation": isolation_level}
        self._topics: tuple[str, ...] = topics
        self._chosen: tuple[Place, ...] | None = None
        self._listener: Any = None
        self._in: Membership | None = None
        self._early: set[Place] = set()
        self._last: dict[Place, int] = {}
        self._ends: dict[Place, int] = {}
        self._started = self.closed = False
        self._lasts_ms: int = options.get("request_timeout_ms", 40_000)
        self.label = f"aiokafka-{self._incarnation.label}"
        self._turn = asyncio.Lock()
        self._joining: asyncio.Task[None] | None = None

    def _check(self, options: dict[str, Any]) -> None:
        """Refuse what contradicts the cluster, which has it for all members alike."""
        definition = self._cluster.definition
        for name in _SAME:
            mine = options.get(name)
            if mine is not None and mine != getattr(definition, name):
                self._contradicts(f"{name}={mine}", f"{name}={getattr(definition, name)}")
        if definition.assignment == "cooperative-sticky":
            self._contradicts("no such assignor", f"assignment={definition.assignment!r}")
        given = options.get("partition_assignment_strategy")
        if given and given[0].name != definition.assignment.replace("-", ""):
            mine = f"partition_assignment_strategy of {given[0].name!r}"
            self._contradicts(mine, f"assignment={definition.assignment!r}")

    def _contradicts(self, mine: str, theirs: str) -> None:
        call_off(
            InvalidDefinition(
                f"{LIBRARY}: this consumer has {mine}{asked_at()}, and its cluster {theirs}: both "
                "must say the same"
            )
        )

    # ---- coming and going

    async def start(self) -> None:
        """Join the group, and wait until it has been shared out."""
        assert not self._started, "Did you call `start` twice?"
        self._started = True
        await self._enter()

    async def stop(self) -> None:
        """Commit what was handed out, if it commits by itself; leave the group."""
        if not self.closed:
            self.closed = True
            if self._in is not None:  # what it had it goes on to show
                consumer = self._in.consumer
                self._chosen, self._early = consumer.assignment(), set()
                self._last = {one: consumer.position(*one) for one in self._chosen}
                if self._in.has_fetched:
                    self._ends = {one: consumer.watermarks(*one)[1] for one in self._chosen}
            await self._leave()

    async def _enter(self) -> None:
        check_wired(self._cluster, LIBRARY, self._topics)
        for topic in self._topics:
            await until_there(self._cluster, topic, self._lasts_ms)
        if self._group is None or self._chosen is not None:
            if self._topics or self._chosen is not None:
                self._read_alone()
        elif self._topics:
            mine = self._member_of(self._topics, self._group)
            await mine.first_call()
            self._in = mine
            await mine.join()

    def _member_of(self, topics: tuple[str, ...], group: str) -> Membership:
        scope = current_scope("aiokafka.start", self._world)
        options: dict[str, Any] = dict(self._how)
        if self._instance is not None:  # all replicas have one configuration
            options["instance"] = f"{self._instance}#{self._incarnation.replica}"
        consumer = self._cluster.consumer(
            self._incarnation,
            topics,
            _as_it_is,
            service=self._incarnation.service,
            group=group,
            **options,
        )
        consumer.by_client = True
        return Membership(consumer, self._cluster, scope, self._listener, self._interval_ms)

    def _read_alone(self) -> None:
        """Read what was chosen, or all there is where nobody shares it out."""
        self._in = mine = self._member_of((), self._group or f"{self._incarnation.label} alone")
        places = self._chosen
        if places is None:
            logs = self._cluster.logs
            places = tuple((one, index) for one in self._topics for index in range(len(logs[one])))
        mine.choose(places)
        if self._early:
            mine.consumer.pause(*self._early)
        if self._group is None and self._how["reset"] == "latest":
            for place in places:
                mine.consumer.seek(*place, mine.consumer.watermarks(*place)[1])

    async def _leave(self) -> None:
        mine, self._in = self._in, None
        if mine is not None:
            await mine.leave()

    # ---- what it reads

    def subscribe(self, topics: Any = (), pattern: str | None = None, listener: Any = None) -> None:
        """Read these topics, or those that a pattern matches."""
        if not (topics or pattern):
            raise TypeError("You should provide either `topics` or `pattern`")
        if topics and pattern:
            raise TypeError("You can't provide both `topics` and `pattern`")
        if topics and not isinstance(topics, tuple | set | list):
            raise TypeError("Topics should be list of strings")
        self._only_one_way(self._chosen is None)
        if self._in is not None or self._joining is not None:
            left_out("subscribe() again, after start()")
        if pattern:
            wanted = re.compile(pattern)
            topics = [one for one in self._cluster.logs if wanted.match(one)]
        self._topics = tuple(sorted(topics) if isinstance(topics, set) else topics)
        self._listener = listener
        if self._started:
            self._joining = asyncio.get_running_loop().create_task(self._enter())

    def assign(self, partitions: Any) -> None:
        """Read these log partitions, in no group."""
        self._only_one_way(not self._topics)
        self._chosen = tuple((one.topic, one.partition) for one in partitions)
        for topic, _ in self._chosen:
            check_topic(self._cluster, topic)
        if self._in is not None:
            self._in.choose(self._chosen)
        elif self._started:
            self._read_alone()

    def _only_one_way(self, right: bool) -> None:
        if not right:
            raise errors.IllegalStateError(
                "Subscription to topics, partitions and pattern are mutually exclusive"
            )

    def subscription(self) -> frozenset[str]:
        """Return the topics that it reads."""
        return frozenset(self._topics)

    async def topics(self) -> set[str]:
        """Return all topics."""
        return set(self._cluster.logs)

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """Return the log partitions of a topic, None where there is none."""
        logs = self._cluster.logs.get(topic)
        return None if logs is None else set(range(len(logs)))

    # ---- reading

    async def getone(self, *partitions: TopicPartition) -> Any:
        """Return the next record; wait until there is one."""
        async with self._turn:
            while True:
                mine = await self._ready("getone")
                batch = await self._polled(mine, partitions, 1, None)
                if batch:
                    break
        mine.handed_out()
        one = batch[0]
        try:
            return record_of(self._world, one, *self._readers)
        except Exception:
            self._back(mine, one.topic, one.partition, one.offset)
            raise

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[Any]]:
        """Return records by log partition; none if there are none for so long."""
        if max_records is not None and (not isinstance(max_records, int) or max_records < 1):
            raise ValueError("`max_records` must be a positive Integer")
        async with self._turn:
            mine = await self._ready("getmany")
            least_ms = self._cluster.definition.latency_ms + 1  # it has fetched ahead
            most = max_records or self._most
            batch = await self._polled(mine, partitions, most, max(timeout_ms, least_ms) / 1_000)
        if not batch:
            return {}
        mine.handed_out()
        return self._by_place(mine, batch)

    def _by_place(self, mine: Membership, batch: Any) -> dict[TopicPartition, list[Any]]:
        places: dict[TopicPartition, list[int]] = {}
        unopened = batch.unopened()
        for index, one in enumerate(unopened):
            places.setdefault(TopicPartition(one.topic, one.partition), []).append(index)
        found: dict[TopicPartition, list[Any]] = {}
        left = list(places.items())
        for nth, (place, indices) in enumerate(left):
            try:
                read = [record_of(self._world, unopened[one], *self._readers) for one in indices]
            except Exception:
                batch[indices[0]]
                for other, those in left[nth:]:  # what was read before is not given back
                    self._back(mine, other.topic, other.partition, unopened[those[0]].offset)
                raise
            found[place] = Records(read, batch, indices)
        return found

    def _back(self, mine: Membership, topic: str, partition: int, offset: int) -> None:
        """Go back to a record that could not be read."""
        if (topic, partition) in mine.consumer.assignment():
            mine.consumer.seek(topic, partition, offset)

    async def _ready(self, what: str) -> Membership:
        if self.closed:
            raise errors.ConsumerStoppedError
        self._begun("check_errors")
        if self._joining is not None:
            await self._joining
        if self._in is None:
            left_out(f"{what}() of nothing", ": it waits for ever")
        return self._in

    async def _polled(
        self, mine: Membership, only: tuple[Any, ...], most: int, timeout_s: float | None
    ) -> Any:
        """Poll once, of some log partitions only where they are named.

        Raises:
            KafkaError: As the client has it.
        """
        scope = self._scope_of_task()
        note_spoken(scope, LIBRARY, f"{self._cluster.name}.poll")
        consumer = mine.consumer
        wanted = {(one.topic, one.partition) for one in only}
        held = [one for one in consumer.assignment() if only and one not in wanted]
        held = [one for one in held if one not in consumer.paused()]
        if held:
            consumer.pause(*held)
        try:
            batch = await consumer.poll(most, timeout_s)
        except (InstanceFenced, OffsetOutOfRange) as error:
            raise raised_for(error) from None
        except LookupError:
            raise errors.NoOffsetForPartitionError from None
        finally:
            if held:
                consumer.resume(*(one for one in held if one in consumer.assignment()))
        if self.closed:
            raise errors.ConsumerStoppedError
        return batch

    def _scope_of_task(self) -> Scope:
        """Return the scope of the task that polls: of several, each follows its own record.

        A task that polls once, as in `asyncio.wait_for(consumer.getone(), 5)`, leaves its record
        to whoever waited for it, and its place to the next.
        """
        scope, task = current_scope("poll", self._world), asyncio.current_task()
        tasks = self._incarnation.clients.setdefault(_TASKS, {})
        polling = tasks.get(scope)
        if polling is not None and polling is not task and not polling.done():
            scope = standing(scope, scope.colour)
            rest(scope)
            SCOPE.set(scope)
        tasks[scope] = task
        return scope

    # ---- committing

    async def commit(self, offsets: Any = None) -> None:
        """Commit what was handed out, or offsets."""
        if self._group is None:
            raise errors.IllegalOperation("Requires group_id")
        mine = self._in
        if mine is None and not self.closed:
            wanted = self._topics or self._chosen is not None
            words = "No partitions assigned" if wanted else "Not subscribed to any topics"
            raise errors.IllegalStateError(words)
        scope = current_scope("commit", self._world)
        note_spoken(scope, LIBRARY, f"{self._cluster.name}.commit")
        meant: dict[Place, int] | None = None
        if offsets is not None:
            found = commit_structure_validate(offsets)
            meant = {(one.topic, one.partition): at.offset for one, at in found.items()}
            for one in () if mine is not None and mine.expelled else found:
                if one not in self.assignment():
                    raise errors.IllegalStateError(f"Partition {one} is not assigned")
        if mine is None:  # it has left its group
            raise errors.CommitFailedError(MOVED_ON)
        await mine.commit(meant)


class Records(list[Any]):
    """Records of one `getmany`. Going to one says on whose behalf code runs from then on."""

    def __init__(self, records: list[ConsumerRecord[Any, Any]], batch: Any, indices: list[int]):
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
