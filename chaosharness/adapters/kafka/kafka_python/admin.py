"""The admin client of kafka-python, as far as programs use it: topics, and their log partitions.

Source:
    kafka-python 3.0, `admin/_topics.py`, `admin/_partitions.py`; what it answers and raises, as
    observed on a broker.

Not modelled:
    In what it raises, the request and the response that the client prints: the words of the cluster
    stand there alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from kafka import KafkaAdminClient, errors

from chaosharness.adapters.kafka.kafka_python.records import LIBRARY, left_out, servers_of
from chaosharness.adapters.kafka.servers import cluster_at
from chaosharness.adapters.kafka.topics import BROKER, THERE, Told, Wanted, refused, shown, too_few
from chaosharness.adapters.spoken import note_spoken
from chaosharness.adapters.unmodelled import not_modelled
from chaosharness.brokers.kafka.errors import InvalidPartitions, TopicExists
from chaosharness.handlers.blocking import blocking
from chaosharness.handlers.port import current_scope
from chaosharness.kernel.scope import Scope

DEFAULTS: Final[dict[str, Any]] = dict(KafkaAdminClient.DEFAULT_CONFIG)


class Admin:
    """What stands for a `kafka.KafkaAdminClient` inside a run."""

    def __init__(self, **configs: Any) -> None:
        scope = current_scope("kafka.KafkaAdminClient")
        strange = set(configs) - set(DEFAULTS)
        if strange:
            raise errors.KafkaConfigurationError(f"Unrecognized configs: {strange}")
        self._world = scope.world
        servers = configs.get("bootstrap_servers", "localhost")
        self._cluster = cluster_at(scope, LIBRARY, servers_of(servers))

    def __getattr__(self, name: str) -> Any:
        not_modelled(LIBRARY, "KafkaAdminClient", name)

    def __enter__(self) -> Admin:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go."""

    def _scope(self, what: str) -> Scope:
        scope = current_scope(what, self._world)
        note_spoken(scope, LIBRARY, f"{self._cluster.name}.{what}")
        return scope

    def create_topics(
        self,
        new_topics: Any,
        timeout_ms: float | None = None,
        validate_only: bool = False,
        raise_errors: bool = True,
        wait_for_metadata: bool = False,
    ) -> dict[str, Any]:
        """Make topics, one after the other.

        Raises:
            TopicAlreadyExistsError: One is there; the others are made all the same.
            KafkaTimeoutError: No answer; it may have been done.
        """
        if validate_only and wait_for_metadata:
            raise ValueError("validate_only and wait_for_metadata are mutually exclusive")
        scope = self._scope("create_topics")
        told = []
        for wanted in _wanted(new_topics):
            no = refused(scope, LIBRARY, self._cluster, wanted)
            if no is None and not validate_only:
                no = self._made(wanted)
            told.append((no or Told(wanted.name), wanted))
        self._raise([one for one, _ in told] if raise_errors else ())
        return {"topics": [_made_as(one, wanted) for one, wanted in told]}

    def _made(self, wanted: Wanted) -> Told | None:
        try:
            blocking(self._cluster.client().create_topic)(wanted.name, wanted.topic)
        except TopicExists:
            return Told(wanted.name, THERE, f"Topic '{wanted.name}' already exists.")
        except TimeoutError:
            raise errors.KafkaTimeoutError from None
        return None

    def _raise(self, told: Iterable[Told]) -> None:
        for one in told:
            if one.code:
                raise errors.for_code(one.code)(one.words)

    def create_partitions(
        self,
        topic_partitions: Any,
        timeout_ms: float | None = None,
        validate_only: bool = False,
        raise_errors: bool = True,
    ) -> Any:
        """Have topics have more log partitions, one topic after the other.

        Raises:
            InvalidPartitionsError: One has as many already, or more.
            UnknownTopicOrPartitionError: There is none such.
            KafkaTimeoutError: No answer; it may have been done.
        """
        self._scope("create_partitions")
        if validate_only:
            left_out("create_partitions(validate_only=True)")
        told = []
        for topic, asked in topic_partitions.items():
            count = asked if isinstance(asked, int) else None
            if count is None:
                count = asked["count"] if isinstance(asked, dict) else asked.total_count
            no = too_few(self._cluster, topic, count)
            told.append(no or self._grown(topic, count) or Told(topic))
        self._raise(told if raise_errors else ())
        results = [
            {"name": one.name, "error_code": one.code, "error_message": one.words} for one in told
        ]
        return {"throttle_time_ms": 0, "results": results}

    def _grown(self, topic: str, count: int) -> Told | None:
        try:
            blocking(self._cluster.client().create_partitions)(topic, count)
        except InvalidPartitions:
            return too_few(self._cluster, topic, count)
        except TimeoutError:
            raise errors.KafkaTimeoutError from None
        return None

    def list_topics(self) -> list[str]:
        """Return the names of all topics."""
        self._scope("list_topics")
        return [*self._cluster.logs]

    def describe_topics(self, topics: Any = None) -> list[dict[str, Any]]:
        """Return what topics are like: all, or those."""
        self._scope("describe_topics")
        return [
            {
                "error_code": code,
                "name": name,
                "topic_id": None,
                "is_internal": False,
                "partitions": [
                    {
                        "error_code": 0,
                        "partition_index": index,
                        "leader_id": BROKER,
                        "leader_epoch": -1,
                        "replica_nodes": [BROKER],
                        "isr_nodes": [BROKER],
                        "offline_replicas": [],
                    }
                    for index in range(count)
                ],
                "authorized_operations": None,
            }
            for name, code, count in shown(self._cluster, topics)
        ]


def _made_as(one: Told, wanted: Wanted) -> dict[str, Any]:
    made = not one.code
    return {
        "name": one.name,
        "topic_id": None,
        "error_code": one.code,
        "error_message": one.words,
        "topic_config_error_code": 0,
        "num_partitions": max(wanted.count, 1) if made else -1,
        "replication_factor": 1 if made else -1,
    }


def _wanted(topics: Any) -> Iterator[Wanted]:
    """Yield topics as they are given: names, a dict of options by name, or `NewTopic`.

    Raises:
        ValueError: There are none.
    """
    if not topics:
        raise ValueError(f"No valid topics found in new_topics: {topics}")
    if isinstance(topics, dict):
        for name, words in topics.items():
            given = words.get("assignments")
            count = len(given) if given else words.get("num_partitions", -1)
            yield Wanted(name, count, words.get("configs", {}))
        return
    for one in topics:
        if isinstance(one, str):
            yield Wanted(one, -1, {})
        else:
            given = one.replica_assignments
            yield Wanted(one.name, len(given) if given else one.num_partitions, one.topic_configs)
