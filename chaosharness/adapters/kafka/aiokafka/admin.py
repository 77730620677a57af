"""The admin client of aiokafka, as far as programs use it: which topics, make them, have them grow.

Source:
    aiokafka 0.14, `admin/client.py`; what it answers and raises, as observed on a broker.
"""

from __future__ import annotations

from typing import Any

from aiokafka import errors

from chaosharness.adapters.kafka.aiokafka.records import LIBRARY, left_out, servers_of
from chaosharness.adapters.kafka.servers import cluster_at
from chaosharness.adapters.kafka.topics import BROKER, THERE, Told, Wanted, refused, shown, too_few
from chaosharness.adapters.spoken import note_spoken
from chaosharness.brokers.kafka.errors import InvalidPartitions, TopicExists
from chaosharness.handlers.port import current_scope
from chaosharness.kernel.scope import Scope


class Answer:
    """What the cluster answers about topics."""

    def __init__(self, told: list[Told]) -> None:
        self.topic_errors = [(one.name, one.code, one.words) for one in told]

    def to_object(self) -> dict[str, Any]:
        """Return it as the client reads it."""
        names = ("topic", "error_code", "error_message")
        return {"topic_errors": [dict(zip(names, one, strict=True)) for one in self.topic_errors]}


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

    def _scope(self, what: str) -> Scope:
        scope = current_scope(what, self._world)
        note_spoken(scope, LIBRARY, f"{self._cluster.name}.{what}")
        return scope

    async def create_topics(
        self, new_topics: Any, timeout_ms: int | None = None, validate_only: bool = False
    ) -> Answer:
        """Make topics, one after the other; what becomes of each stands in the answer.

        Raises:
            RequestTimedOutError: No answer; it may have been done.
        """
        scope = self._scope("create_topics")
        told = []
        for one in new_topics:
            given = one.replica_assignments
            count = len(given) if given else one.num_partitions
            wanted = Wanted(one.name, count, one.topic_configs or {})
            no = refused(scope, LIBRARY, self._cluster, wanted)
            if no is None and not validate_only:
                no = await self._made(wanted)
            told.append(no or Told(one.name))
        return Answer(told)

    async def _made(self, wanted: Wanted) -> Told | None:
        try:
            await self._cluster.client().create_topic(wanted.name, wanted.topic)
        except TopicExists:
            return Told(wanted.name, THERE, f"Topic '{wanted.name}' already exists.")
        except TimeoutError:
            raise errors.RequestTimedOutError() from None
        return None

    async def create_partitions(
        self,
        topic_partitions: Any,
        timeout_ms: int | None = None,
        validate_only: bool = False,
    ) -> Answer:
        """Have topics have more log partitions, one topic after the other.

        Raises:
            InvalidPartitionsError: One has as many already, or more.
            UnknownTopicOrPartitionError: There is none such.
            RequestTimedOutError: No answer; it may have been done.
        """
        self._scope("create_partitions")
        if validate_only:
            left_out("create_partitions(validate_only=True)")
        for topic, wanted in topic_partitions.items():
            no = too_few(self._cluster, topic, wanted.total_count)
            if no is None:
                no = await self._grown(topic, wanted.total_count)
            if no is not None:
                raise errors.for_code(no.code)(
                    f"Could not create partitions for {topic}: {no.words}"
                )
        return Answer([Told(topic) for topic in topic_partitions])

    async def _grown(self, topic: str, count: int) -> Told | None:
        try:
            await self._cluster.client().create_partitions(topic, count)
        except InvalidPartitions:
            return too_few(self._cluster, topic, count)
        except TimeoutError:
            raise errors.RequestTimedOutError() from None
        return None

    async def list_topics(self) -> list[str]:
        """Return the names of all topics."""
        self._scope("list_topics")
        return [*self._cluster.logs]

    async def describe_topics(self, topics: list[str] | None = None) -> list[dict[str, Any]]:
        """Return what topics are like: all, or those."""
        self._scope("describe_topics")
        return [
            {
                "error_code": code,
                "topic": name,
                "is_internal": False,
                "partitions": [
                    {
                        "error_code": 0,
                        "partition": index,
                        "leader": BROKER,
                        "replicas": [BROKER],
                        "isr": [BROKER],
                        "offline_replicas": [],
                    }
                    for index in range(count)
                ],
            }
            for name, code, count in shown(self._cluster, topics)
        ]
