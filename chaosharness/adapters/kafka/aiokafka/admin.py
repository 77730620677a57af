"""The admin client of aiokafka, as far as programs use it: are there these topics, have them grow.

Source:
    aiokafka 0.14, `admin/client.py`; Kafka protocol, CreateTopics: `TOPIC_ALREADY_EXISTS` (36).
"""

from __future__ import annotations

from typing import Any, Final

from aiokafka import errors

from chaosharness.adapters.kafka.aiokafka.records import LIBRARY, left_out, servers_of
from chaosharness.adapters.kafka.servers import cluster_at
from chaosharness.adapters.spoken import note_spoken
from chaosharness.brokers.kafka import InvalidPartitions
from chaosharness.handlers.port import current_scope

THERE: Final = 36
"""The code of `TOPIC_ALREADY_EXISTS`."""


class Answer:
    """What the cluster answers about topics."""

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def to_object(self) -> dict[str, Any]:
        """Return it as the client reads it."""
        words = "Topic already exists."
        return {
            "topic_errors": [
                {"topic": one, "error_code": THERE, "error_message": words} for one in self._topics
            ]
        }


class Grown:
    """What the cluster answers about topics that have more log partitions."""

    def __init__(self, topic_errors: list[tuple[str, int, str | None]]) -> None:
        self.topic_errors = topic_errors


class Admin:
    """What stands for an `aiokafka.admin.AIOKafkaAdminClient` inside a run."""

    def __init__(self, *, bootstrap_servers: Any = "localhost", **options: Any) -> None:
        scope = current_scope("aiokafka.AIOKafkaAdminClient")
        self._world = scope.world
        self._cluster = cluster_at(scope, LIBRARY, servers_of(bootstrap_servers))

    async def start(self) -> None:
        """Connect."""

    async def close(self) -> None:
        """Let go."""

    async def create_topics(
        self, new_topics: Any, timeout_ms: int | None = None, validate_only: bool = False
    ) -> Answer:
        """Say of each topic that it is there; one that is not belongs into the system."""
        scope = current_scope("create_topics", self._world)
        note_spoken(scope, LIBRARY, f"{self._cluster.name}.create_topics")
        names = [one.name for one in new_topics]
        self._check(names)
        return Answer(names)

    async def create_partitions(
        self,
        topic_partitions: Any,
        timeout_ms: int | None = None,
        validate_only: bool = False,
    ) -> Grown:
        """Have topics have more log partitions, one topic after the other.

        Raises:
            InvalidPartitionsError: One has as many already, or more.
            RequestTimedOutError: No answer; it may have been done.
        """
        scope = current_scope("create_partitions", self._world)
        note_spoken(scope, LIBRARY, f"{self._cluster.name}.create_partitions")
        if validate_only:
            left_out("create_partitions(validate_only=True)")
        self._check(list(topic_partitions))
        admin = self._cluster.client()
        for topic, wanted in topic_partitions.items():
            try:
                await admin.create_partitions(topic, wanted.total_count)
            except InvalidPartitions as error:
                words = f"Could not create partitions for {topic}: {error}"
                raise errors.InvalidPartitionsError(words) from None
            except TimeoutError:
                raise errors.RequestTimedOutError() from None
        return Grown([(topic, 0, None) for topic in topic_partitions])

    def _check(self, names: list[str]) -> None:
        for name in names:
            if name not in self._cluster.logs:
                known = ", ".join(sorted(self._cluster.logs))
                left_out(
                    f"to make a topic {name!r} that {self._cluster.name} has not",
                    f": declare it in Kafka(...), which has {known}",
                )
