"""The admin client of aiokafka, as far as programs use it at their start: are there these topics.

Source:
    aiokafka 0.14, `admin/client.py`; Kafka protocol, CreateTopics: `TOPIC_ALREADY_EXISTS` (36).
"""

from __future__ import annotations

from typing import Any, Final

from chaosharness.adapters.kafka.aiokafka.records import LIBRARY, left_out, servers_of
from chaosharness.adapters.kafka.servers import cluster_at
from chaosharness.adapters.spoken import note_spoken
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
        for name in names:
            if name not in self._cluster.logs:
                known = ", ".join(sorted(self._cluster.logs))
                left_out(
                    f"to make a topic {name!r} that {self._cluster.name} has not",
                    f": declare it in Kafka(...), which has {known}",
                )
        return Answer(names)
