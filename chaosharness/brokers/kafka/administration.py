"""Changing a cluster while it runs: a topic is made, or gets more log partitions.

Source:
    Apache Kafka 3.9, Operations, "Modifying topics": keys are not moved with their records, so a
    key whose log partition is another one now has no order across the change. Producer and
    consumer configuration, `metadata.max.age.ms` (5 minutes): when clients learn of it.
    ConsumerConfig, `auto.offset.reset`: where a group begins in a log partition that is new.

Not modelled:
    A topic never has fewer, and is not deleted: what clients see of one that goes, and of another
    that comes by its name, depends on what each has in its metadata just then. Other calls of an
    administrator; a configuration that changes.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from chaosharness.brokers.kafka.errors import InvalidPartitions, TopicExists
from chaosharness.brokers.kafka.rows import CHANGE
from chaosharness.brokers.kafka.topics import KafkaTopic
from chaosharness.handlers.port import Peer, operate
from chaosharness.kernel import allowed
from chaosharness.kernel.scope import Scope
from chaosharness.machines.kafka import KafkaMachine

VERB: Final = "create_partitions"
MAKES: Final = "create_topics"


class Changed(Peer, Protocol):
    """A cluster during one run, as who changes it needs it."""

    machine: KafkaMachine

    def check(self, topics: tuple[str, ...]) -> None:
        """Refuse topics that there are not."""

    def grow(self, topic: str, count: int) -> None:
        """Give a topic more log partitions."""

    def make_late(self, topic: str, kept: KafkaTopic) -> None:
        """Make a topic that there is not yet."""


class KafkaAdmin:
    """Changes a cluster while it runs: `env.client(bus)`. In `async` code it is awaited."""

    def __init__(self, cluster: Changed) -> None:
        self._cluster = cluster

    def create_topic(self, topic: str, partitions: int | KafkaTopic = 1) -> Any:
        """Make a topic, with so many log partitions.

        A group that subscribes to it begins there where `reset` says.

        Args:
            topic: Its name.
            partitions: How many; or a `KafkaTopic`, which says how long its records are kept, too.

        Raises:
            TopicExists: It is there.
        """
        kept = partitions
        if not isinstance(kept, KafkaTopic):
            if not allowed.is_whole(kept, 1):
                right = "a whole number from 1, or a KafkaTopic"
                raise allowed.refused("create_topic", "partitions", right, kept)
            kept = KafkaTopic(partitions=kept)
        action = f"{self._cluster.name}.{MAKES} {topic}"
        return operate(action, self._make, (topic, kept), self._cluster, CHANGE)

    def _make(
        self, scope: Scope, operation: str, attempt: int, asked: tuple[str, KafkaTopic]
    ) -> None:
        topic, kept = asked
        if topic in self._cluster.machine.logs:
            error = f"{operation}: there is a topic {topic}"
            scope.record("reply", operation, attempt, {"outcome": "failed", "error": error})
            raise TopicExists(error)
        scope.record("note", operation, attempt, {"what": f"there is a topic {topic}"})
        self._cluster.make_late(topic, kept)

    def create_partitions(self, topic: str, total: int) -> Any:
        """Have a topic have so many log partitions, more than before.

        Producers go by it at once, or by and by (`producers_learn`): a key may be in another log
        partition from then on. Groups
        learn of it at their next rebalance, after `metadata_max_age_ms` at the latest, and begin
        there where `reset` says: with `latest` they skip what came before.

        Raises:
            InvalidPartitions: It has as many already, or more.
        """
        self._cluster.check((topic,))
        if not allowed.is_whole(total, 1):
            raise allowed.refused("create_partitions", "total", "a whole number from 1", total)
        action = f"{self._cluster.name}.{VERB} {topic}"
        return operate(action, self._grow, (topic, total), self._cluster, CHANGE)

    def _grow(self, scope: Scope, operation: str, attempt: int, asked: tuple[str, int]) -> None:
        topic, total = asked
        before = len(self._cluster.machine.logs[topic])
        if total <= before:
            error = f"{operation}: {topic} has {before} log partitions, and never fewer or as many"
            scope.record("reply", operation, attempt, {"outcome": "failed", "error": error})
            raise InvalidPartitions(error)
        scope.record("note", operation, attempt, {"what": f"{topic} has {total} log partitions"})
        self._cluster.grow(topic, total)
