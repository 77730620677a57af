"""What a cluster and its clients go by, as a definition says it."""

from __future__ import annotations

from typing import Protocol

from chaosharness.brokers.kafka.batches import Unkeyed
from chaosharness.brokers.kafka.beginnings import Patience
from chaosharness.brokers.kafka.profiles import Acks
from chaosharness.machines.kafka.operations import Isolation
from chaosharness.machines.kafka.settings import Settings as ClusterRules


class Settings(ClusterRules, Patience, Protocol):
    """What a cluster and its clients go by, as its definition says it."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def max_poll_interval_ms(self) -> int:
        """A handler slower than this loses its log partitions."""

    @property
    def isolation(self) -> Isolation:
        """What consumers see that do not say."""

    @property
    def idempotent_producer(self) -> bool:
        """Whether a producer's own retry is recognised."""

    @property
    def acks(self) -> Acks:
        """Whose acknowledgement a producer waits for."""

    @property
    def as_asked(self) -> bool:
        """Whether a producer that says itself what it asks for has that."""

    @property
    def unkeyed(self) -> Unkeyed:
        """Where records without a key go."""

    @property
    def linger_ms(self) -> int:
        """How long a batch of a sticky producer is open."""

    @property
    def unclean_elections(self) -> bool:
        """Whether a replica may lead that had fallen behind."""

    @property
    def finds_truncation(self) -> bool:
        """Whether consumers find out that a log was cut off."""

    @property
    def latency_ms(self) -> int:
        """From the log to a consumer."""

    @property
    def timeout_ms(self) -> int:
        """How long a producer waits for an answer."""
