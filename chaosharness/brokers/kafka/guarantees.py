"""How little Kafka may promise: a producer whose own retries are not recognised, and less."""

from __future__ import annotations

from typing import Final

import attrs

from chaosharness.brokers.guarantees import Guarantee
from chaosharness.brokers.kafka.kafka import Kafka


def _plain_producer(cluster: Kafka) -> Kafka:
    return attrs.evolve(cluster, as_asked=False, idempotent_producer=False)


def _leader_only(cluster: Kafka) -> Kafka:
    return attrs.evolve(cluster, as_asked=False, idempotent_producer=False, acks=1)


def _unanswered(cluster: Kafka) -> Kafka:
    return attrs.evolve(cluster, as_asked=False, idempotent_producer=False, acks=0)


GUARANTEES: Final = (
    Guarantee(
        "Kafka",
        "plain_producer",
        "an idempotent producer",
        "at least once",
        "of a log partition",
        "a record whose acknowledgement was lost is sent again by the client, and is there twice",
        'Kafka documentation, "Design" 4.6; `enable.idempotence` is off in librdkafka, aiokafka',
        _plain_producer,
    ),
    Guarantee(
        "Kafka",
        "leader_only",
        "acks=all",
        "at most once",
        "of a log partition",
        "a record that was confirmed is gone when its leader fails before a follower has it",
        'Kafka documentation, "Design" 4.7; `acks` is 1 in aiokafka',
        _leader_only,
    ),
    Guarantee(
        "Kafka",
        "unanswered",
        "an acknowledgement",
        "at most once",
        "of a log partition",
        "a record that is lost on its way is lost, and its producer goes on",
        'Kafka documentation, "Producer configs": `acks=0`',
        _unanswered,
    ),
)
