"""Kafka by the clients that user code imports: confluent-kafka, aiokafka, kafka-python.

Its libraries are met from when this is loaded: a module that is imported later may make clients
at its top.
"""

from __future__ import annotations

from typing import Final

from chaosharness.adapters.libraries import speak

MET: Final = ("aiokafka", "confluent_kafka", "faststream", "kafka")
"""The packages that are met."""

speak(MET)
