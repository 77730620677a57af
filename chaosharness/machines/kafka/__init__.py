"""Kafka: logs, consumer groups, numbered producers and transactions."""

from chaosharness.machines.kafka.machine import KafkaMachine
from chaosharness.machines.kafka.settings import ClusterSettings

__all__ = ["ClusterSettings", "KafkaMachine"]
