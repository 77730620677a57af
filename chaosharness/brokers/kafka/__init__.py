"""Kafka, as its documentation says it behaves."""

from __future__ import annotations

from chaosharness.brokers.kafka.consumers import CommitFailed
from chaosharness.brokers.kafka.errors import (
    InvalidPartitions,
    InvalidRecord,
    RecordTooLarge,
    TopicExists,
)
from chaosharness.brokers.kafka.kafka import Kafka
from chaosharness.brokers.kafka.topics import KafkaTopic
from chaosharness.brokers.kafka.transactions import ProducerFenced

__all__ = [
    "CommitFailed",
    "InvalidPartitions",
    "InvalidRecord",
    "Kafka",
    "KafkaTopic",
    "ProducerFenced",
    "RecordTooLarge",
    "TopicExists",
]
