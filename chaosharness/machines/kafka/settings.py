"""What a cluster goes by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import attrs

from chaosharness.machines.kafka.assignors import Assignment

SIZE_MAX = 1_048_588
"""Bytes of a record batch that a broker takes: `message.max.bytes`."""


class Settings(Protocol):
    """What a machine goes by: see `ClusterSettings`."""

    @property
    def topics(self) -> Mapping[str, int]:
        """Log partitions of each topic."""

    @property
    def compacted(self) -> frozenset[str]:
        """The topics whose records must have keys."""

    @property
    def assignment(self) -> Assignment:
        """How the log partitions of a group are shared out."""

    @property
    def initial_delay_ms(self) -> int:
        """How long an empty group waits for more members."""

    @property
    def size_max(self) -> int:
        """Bytes of a record, at most."""


@attrs.frozen(kw_only=True)
class ClusterSettings:
    """A cluster, and how its groups share out what they read.

    Attributes:
        topics: Log partitions of each topic.
        assignment: `partition.assignment.strategy` of the members of all groups.
        initial_delay_ms: `group.initial.rebalance.delay.ms`: how long an empty group waits for
            more members. 3 s in a broker, none in most tests of brokers.
        size_max: `message.max.bytes`.
        compacted: The topics whose `cleanup.policy` is `compact`: their records must have keys.
    """

    topics: Mapping[str, int]
    assignment: Assignment = "range"
    initial_delay_ms: int = 0
    size_max: int = SIZE_MAX
    compacted: frozenset[str] = frozenset()
