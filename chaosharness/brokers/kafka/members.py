"""The consumers of a run: who reads for a group, what of it, and how far each has read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import msgspec

from chaosharness.brokers.message import Message
from chaosharness.kernel.scope import Incarnation
from chaosharness.machines.kafka.assignors import LogPartition
from chaosharness.machines.kafka.group import Group, Membership


@attrs.frozen
class Standing:
    """Who commits offsets: a member of a generation; an empty id where it is in no group.

    Attributes:
        group: The group that they are of.
        id: What the member is called there.
        generation: As the member knows it.
    """

    group: Group
    id: str | int = ""
    generation: int = -1


class Crew(msgspec.Struct, eq=False):
    """The consumers of one group. `group` is what the coordinator knows of them."""

    group: Group
    name: str
    members: list[Member] = []
    solos: list[Member] = []
    """Who reads under its name and is no member."""
    listens: bool = False
    """Whether a member wants to be told what it is given."""
    high: dict[LogPartition, int] = {}
    again: dict[tuple[LogPartition, int], int] = {}
    tried_at: int = -1

    def count(self, place: LogPartition, offset: int) -> int:
        """Count a repeated delivery of the record at an offset; return the how-manieth it is.

        `high` is behind the last record of a log partition that was ever delivered.
        """
        key = (place, offset)
        self.again[key] = times = self.again.get(key, 1) + 1
        return times


class Slot(msgspec.Struct, eq=False, gc=False):
    """One log partition, as it is assigned to a member: the log, and how far it has read.

    It is `unstable` while a transaction may still move where its group has committed.
    """

    place: LogPartition
    operation: str
    log: list[Any]
    position: int
    unstable: bool = False


def take_nothing(member: Member, message: Message, cause: int) -> None:
    """Be given a message when the run is over."""


class Member(Membership):
    """One consumer in a group, and what the coordinator knows of it.

    `take` is what it does with a message. While it is `stale` it has something to learn from the
    coordinator: that it is `expelled` (`why`), or what a cooperative round has led to. `attend`
    has a poll that waits return, where its code is to be told something. One that works `aside`
    joins again while its code is busy, and no round waits for it. It is `solo` where it
    reads what it chose itself, in no group, and `fenced` where another has come in its place.
    It `leaves` where it was told to stop, once nothing is in hand.
    `unset` is a log partition that nobody can say where to begin, or (`unset_at`) where that
    offset is out of range.
    """

    attend: Callable[[], bool] | None = None
    unset: LogPartition | None = None
    unset_at = -1
    busy_since = -1
    generation = turn = 0
    expelled = stale = fetching = watched = False
    fenced = solo = committed_only = aside = leaves = False
    why = ""

    def __init__(
        self,
        crew: Crew,
        incarnation: Incarnation,
        number: int,
        topics: tuple[str, ...],
        session_ms: int,
        rebalance_ms: int,
        take: Callable[[Member, Message, int], None],
        instance: str | None = None,
        reset: str = "latest",
    ) -> None:
        self.crew = crew
        self.group = crew.group
        self.incarnation = incarnation
        self.id = number
        self.topics = topics
        self.session_ms = session_ms
        self.rebalance_ms = rebalance_ms
        self.take = take
        self.instance = instance
        self.heard = None  # heartbeats go on, unless they are seen to stop
        self.reset = reset
        self.owned = self.given = ()
        self.slots: dict[LogPartition, Slot] = {}
        self.order: list[Slot] = []

    def standing(self) -> Standing:
        """Return who it is in its group, as it knows it."""
        if self.solo:
            return Standing(self.crew.group)
        return Standing(self.group, self.id, self.generation)
