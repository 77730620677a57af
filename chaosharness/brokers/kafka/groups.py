"""Kafka's consumer groups: who is in, who has which log partitions, how far each has read."""

from __future__ import annotations

from collections.abc import Callable

from chaosharness.brokers.message import Message
from chaosharness.kernel.scope import Incarnation

LogPartition = tuple[str, int]
"""Topic, and number of the log partition."""


class Group:
    """A consumer group: who is in, who has what, how far they are."""

    __slots__ = (
        "again",
        "committed",
        "generation",
        "high",
        "members",
        "name",
        "preparing",
        "topics",
        "tried_at",
        "why",
    )

    def __init__(self, name: str, topics: tuple[str, ...]) -> None:
        self.name = name
        self.topics = topics
        self.members: list[Member] = []
        self.committed: dict[LogPartition, int] = {}
        self.high: dict[LogPartition, int] = {}
        self.again: dict[tuple[LogPartition, int], int] = {}
        self.generation = 0
        self.preparing = False
        self.tried_at = -1
        self.why = ""

    def count(self, place: LogPartition, offset: int) -> int:
        """Count a delivery of the record at an offset; return the how-manieth it is."""
        if offset >= self.high.get(place, 0):
            self.high[place] = offset + 1
            return 1
        key = (place, offset)
        self.again[key] = times = self.again.get(key, 1) + 1
        return times


class Slot:
    """One log partition, as it is assigned to a member: the log, and how far it has read."""

    __slots__ = ("log", "operation", "place", "position")

    def __init__(
        self, place: LogPartition, operation: str, log: list[Message], position: int
    ) -> None:
        self.place = place
        self.operation = operation
        self.log = log
        self.position = position


def take_nothing(member: Member, message: Message, cause: int) -> None:
    """Be given a message when the run is over."""


class Member:
    """One consumer in a group. `take` is what it does with a message."""

    __slots__ = (
        "busy_since",
        "expelled",
        "fetching",
        "generation",
        "group",
        "incarnation",
        "order",
        "slots",
        "take",
        "turn",
        "watched",
    )

    def __init__(
        self, group: Group, incarnation: Incarnation, take: Callable[[Member, Message, int], None]
    ) -> None:
        self.group = group
        self.incarnation = incarnation
        self.take = take
        self.slots: dict[LogPartition, Slot] = {}
        self.order: list[Slot] = []
        self.generation = 0
        self.busy_since = -1
        self.expelled = False
        self.fetching = False
        self.turn = 0
        self.watched = False
