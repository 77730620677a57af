"""What each client of Kafka does by default: named by client and version, as data.

A cluster that is told `client="aiokafka"` takes that client's defaults for all that is not said;
reports print whose they were. Without a client the defaults are the broker's own words and the
weaker of what clients do: a producer that is not idempotent.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import attrs

from chaosharness.brokers.profiles import Profiles, yes
from chaosharness.machines.kafka.assignors import Assignment
from chaosharness.machines.kafka.operations import Isolation
from chaosharness.machines.kafka.partitioners import Partitioner
from chaosharness.machines.kafka.settings import SIZE_MAX

Acks = Literal["all", 1, 0]
ACKS: Final = get_args(Acks)
Client = Literal["java", "librdkafka", "confluent-kafka", "aiokafka", "kafka-python"]
CLIENTS: Final = get_args(Client)


@attrs.frozen(kw_only=True)
class Profile:
    """The defaults of one client.

    Attributes:
        name: Client and version; empty where nobody said which.
        source: Where they were read.
        session_timeout_ms: `session.timeout.ms`.
        max_poll_interval_ms: `max.poll.interval.ms`.
        idempotent_producer: `enable.idempotence`.
        assignment: The first of `partition.assignment.strategy`.
        partitioner: What decides the log partition of a key.
        isolation: `isolation.level`.
        size_max: Bytes of a record that its producer takes.
        acks: Whose acknowledgement its producer waits for: of all in-sync replicas, or of the
            leader alone. One that is idempotent waits for all.
        finds_truncation: Whether its consumer finds out that a log was cut off (KIP-320).
    """

    name: str
    source: str
    session_timeout_ms: int = 45_000
    max_poll_interval_ms: int = 300_000
    idempotent_producer: bool = False
    assignment: Assignment = "range"
    partitioner: Partitioner = "murmur2"
    isolation: Isolation = "read_uncommitted"
    size_max: int = 1_048_576
    acks: Acks = "all"
    finds_truncation: bool = True

    def __str__(self) -> str:
        return (
            f"{self.name}: session {self.session_timeout_ms:,} ms, poll interval "
            f"{self.max_poll_interval_ms:,} ms, "
            f"{'' if self.idempotent_producer else 'no '}idempotent producer, acks={self.acks}, "
            f"{self.assignment}, {self.partitioner}, {self.isolation}"
        )


UNNAMED: Final = Profile(
    name="",
    source="`message.max.bytes` of a broker",
    size_max=SIZE_MAX,
    finds_truncation=False,
)
_RDKAFKA: Final = Profile(
    name="librdkafka 2.16",
    source="librdkafka 2.16, CONFIGURATION.md; seen with confluent-kafka 2.16.1",
    partitioner="crc32",
    isolation="read_committed",
    size_max=1_000_000,
)
_KNOWN: Final[dict[str, Profile]] = {
    "java": Profile(
        name="Java 3.9",
        source="Apache Kafka 3.9, ProducerConfig and ConsumerConfig",
        idempotent_producer=True,
    ),
    "librdkafka": _RDKAFKA,
    "confluent-kafka": attrs.evolve(_RDKAFKA, name="confluent-kafka 2.16"),
    "aiokafka": Profile(
        name="aiokafka 0.14",
        source="aiokafka 0.14.0, AIOKafkaProducer and AIOKafkaConsumer",
        session_timeout_ms=10_000,
        assignment="round-robin",
        acks=1,
        finds_truncation=False,
    ),
    "kafka-python": Profile(
        name="kafka-python 3.0",
        source="kafka-python 3.0.12, KafkaProducer and KafkaConsumer: DEFAULT_CONFIG",
        idempotent_producer=True,
    ),
}
PROFILES: Final = Profiles(
    _KNOWN,
    UNNAMED,
    {
        "session": lambda one: f"{one.session_timeout_ms:,} ms",
        "poll interval": lambda one: f"{one.max_poll_interval_ms:,} ms",
        "idempotent producer": lambda one: yes(one.idempotent_producer),
        "acks": lambda one: str(one.acks),
        "assignment": lambda one: one.assignment,
        "key by": lambda one: one.partitioner,
        "isolation": lambda one: one.isolation,
        "largest record": lambda one: f"{one.size_max:,} bytes",
        "a cut log": lambda one: "is found out" if one.finds_truncation else "reset",
    },
)
