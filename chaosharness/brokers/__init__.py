"""Message brokers, each with the rules of its product and no more faults than it has."""

from __future__ import annotations

from chaosharness.brokers.kafka import Kafka
from chaosharness.brokers.kafka_consumers import CommitFailed
from chaosharness.brokers.message import Delivery

__all__ = ["CommitFailed", "Delivery", "Kafka"]
