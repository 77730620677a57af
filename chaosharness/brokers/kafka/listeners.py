"""What a consumer is told of its log partitions: given, taken back, lost.

Source:
    Apache Kafka 3.9, javadoc of ConsumerRebalanceListener: listeners are called inside `poll` and
    `close`, by whoever calls these. Everything is revoked before an eager round and assigned after
    it; in a cooperative one (KIP-429) only what changes hands is. Where a member was given up for
    dead its log partitions are lost; who has no listener for that hears that they are revoked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from chaosharness.brokers.kafka.members import Member
from chaosharness.machines.kafka.assignors import LogPartition

Listener = Callable[[tuple[LogPartition, ...]], Any]
Call = tuple[Listener | None, tuple[LogPartition, ...]]


class Listeners:
    """The listeners of one consumer, and what they were told so far."""

    __slots__ = ("_generation", "on_assign", "on_lost", "on_revoke", "told")

    def __init__(
        self, on_assign: Listener | None, on_revoke: Listener | None, on_lost: Listener | None
    ) -> None:
        self.on_assign = on_assign
        self.on_revoke = on_revoke
        self.on_lost = on_lost or on_revoke
        self.told: tuple[LogPartition, ...] = ()
        self._generation = 0

    @property
    def any(self) -> bool:
        """Whether there is somebody to tell."""
        return bool(self.on_assign or self.on_revoke or self.on_lost)

    def due(self, member: Member) -> bool:
        """Say whether there is something to tell."""
        return bool(self._gone(member)) or self._is_new(member)

    def _gone(self, member: Member) -> tuple[LogPartition, ...]:
        group = member.group
        if member.expelled or (group.preparing and group.eager):
            return self.told
        if not member.stale:
            return ()
        return tuple(place for place in self.told if place not in member.given)

    def _is_new(self, member: Member) -> bool:
        group = member.group
        waits = member.stale or (group.preparing and group.eager)
        return not waits and member.generation != self._generation

    def calls(self, member: Member) -> Iterator[Call]:
        """Yield who is to be called with what, one after the other."""
        gone = self._gone(member)
        if gone:
            self.told = tuple(place for place in self.told if place not in gone)
            yield (self.on_lost if member.expelled else self.on_revoke), gone
        if self._is_new(member):
            self._generation = member.generation
            new = tuple(place for place in member.slots if place not in self.told)
            self.told += new
            yield self.on_assign, new

    def last(self, member: Member) -> Iterator[Call]:
        """Yield the call that a consumer makes when it is closed."""
        gone, self.told = self.told, ()
        if gone:
            yield (self.on_lost if member.expelled else self.on_revoke), gone


async def called(listener: Listener | None, places: tuple[LogPartition, ...]) -> None:
    """Call a listener, which may be `async`."""
    found: Any = None if listener is None else listener(places)
    if hasattr(found, "__await__"):
        await found
