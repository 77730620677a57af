"""What a consumer of kafka-python reads, where it is there, and what it gives back in a round.

Source:
    kafka-python 3.0, `consumer/group.py`, `consumer/subscription_state.py`,
    `coordinator/consumer.py` (`_on_join_prepare_async`): what was consumed is committed ahead of a
    round, and then the listener hears of it, inside `poll`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any, Final

from kafka import KafkaConsumer, errors
from kafka.structs import OffsetAndTimestamp, TopicPartition

from chaosharness.adapters.kafka.absent import is_unknown
from chaosharness.adapters.kafka.kafka_python.records import (
    LIBRARY,
    Partitions,
    Place,
    left_out,
    partitions,
    servers_of,
)
from chaosharness.adapters.kafka.latch import SECOND_MS, Latch
from chaosharness.adapters.kafka.moments import first_since, times_of
from chaosharness.adapters.kafka.sending import BACKOFF_MS, check_topic
from chaosharness.adapters.kafka.servers import cluster_at
from chaosharness.brokers.kafka.asking import AskedCommits
from chaosharness.brokers.kafka.consumers import CommitFailed
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.blocking import blocking
from chaosharness.handlers.places import asked_at
from chaosharness.handlers.port import call_off, current_scope
from chaosharness.handlers.unwaited import unwaited

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
ONE_WAY: Final = (
    "You must choose only one way to configure your consumer: (1) subscribe to specific topics by "
    "name, (2) subscribe to topics matching a regex pattern, (3) assign itself specific "
    "topic-partitions."
)


def _as_it_is(body: bytes | None) -> bytes | None:
    return body if body is None else bytes(body)


class Standing:
    """What a consumer reads, and where it is."""

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
        self._aside: Any = None
        self._positions: dict[Place, int] = {}
        self._rest: Iterator[Any] | None = None
        self._asked = AskedCommits()
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
        self._consumer.by_client = True
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

    # ---- where it is

    def _paused(self, places: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return log partitions that it has.

        Raises:
            KeyError: It has not: the client looks them up, and does not check.
        """
        try:
            return self._mine(places)
        except ValueError:
            mine = self.assignment()
            raise KeyError(next(one for one in places if one not in mine)) from None

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
        self._until_known(partitions)
        return {one: self._log(one).start for one in partitions}

    def end_offsets(self, partitions: Any) -> dict[Any, int]:
        """Return the offset of the next record of each log partition."""
        self._until_known(partitions)
        return {one: self._log(one).end for one in partitions}

    def _until_known(self, partitions: Any) -> None:
        """Wait until the log partitions of which offsets are asked are there.

        Raises:
            KafkaTimeoutError: They were not, for `request_timeout_ms`.
        """
        most_ms = self.config["request_timeout_ms"]
        for one in partitions:
            if is_unknown(self._cluster, one):
                self._latch.wait(most_ms / SECOND_MS)
            if is_unknown(self._cluster, one):
                words = f"Failed to get offsets by timestamps in {most_ms} ms"
                raise errors.KafkaTimeoutError(words)

    def offsets_for_times(
        self, timestamps: dict[Any, Any], timeout_ms: float | None = None
    ) -> dict[Any, Any]:
        """Return the first record of each that is no older than a moment; None where none is."""
        committed_only = self.config["isolation_level"] == "read_committed"
        found: dict[Any, Any] = {}
        moments = times_of(timestamps)
        self._until_known(moments)
        for one, at_ms in moments.items():
            first = first_since(
                self._cluster, one.topic, one.partition, at_ms, committed_only=committed_only
            )
            found[one] = None if first is None else OffsetAndTimestamp(*first, -1)
        return found

    def _log(self, one: Any) -> Any:
        return self._cluster.machine.log((one.topic, one.partition))

    def pause(self, *partitions: Any) -> None:
        """Hand out nothing of these until `resume`."""
        if partitions:
            mine = self._paused(partitions)
            self._give_back([one for one in self._unread if (one.topic, one.partition) in mine])
            self._consumer.pause(*mine)

    def resume(self, *partitions: Any) -> None:
        """Hand them out again."""
        if partitions:
            mine = self._paused(partitions)  # it may have nothing to do that with
            self._consumer.resume(*mine)

    def paused(self) -> Partitions:
        """Return the log partitions that are paused."""
        return partitions(() if self._consumer is None else self._consumer.paused())

    def _back(self, place: Place, offset: int) -> None:
        """Go back to a record, if its log partition is still there."""
        if tuple(place) in self._consumer.assignment():
            self._consumer.seek(*place, offset)

    def _give_back(self, unread: Any) -> None:
        """Have records that were fetched, and not handed out, fetched again."""
        first: dict[Place, int] = {}
        for one in unread:
            first.setdefault((one.topic, one.partition), one.offset)
        for place, offset in first.items():
            self._back(place, offset)
        self._rest, self._unread = None, []

    # ---- what it commits by itself

    def _consumed(self) -> dict[Place, int]:
        """Return how far it has consumed what it has."""
        mine = set(() if self._consumer is None else self._consumer.assignment())
        return {place: at for place, at in self._positions.items() if place in mine}

    def _committing(self) -> Any:
        """Return who commits: one that reads nothing is in no group, whose offsets it may set."""
        if self._topics or self._chosen is not None:
            return self._joined()
        if self._aside is None:
            self._aside = self._cluster.consumer(
                self._incarnation,
                (),
                _as_it_is,
                service=self._incarnation.service,
                group=self._group,
            )
            self._aside.by_client = True
            self._aside.assign()
        return self._aside

    def _commit_now(self, meant: dict[Place, int]) -> None:
        if meant:
            blocking(partial(self._committing().commit, offsets=meant))()

    def _commit_later(self) -> None:
        self._due_ms = self._world.now + self.config["auto_commit_interval_ms"]

        def done(_: Any, error: BaseException | None) -> None:
            if isinstance(error, OSError):
                self._due_ms = min(self._due_ms, self._world.now + BACKOFF_MS)

        unwaited(self._scope, partial(self._consumer.commit, offsets=self._consumed()), done)
