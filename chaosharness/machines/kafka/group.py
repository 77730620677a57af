"""A consumer group: one for each group id, over all the topics of its members.

Source:
    Apache Kafka 3.9, protocol guide (JoinGroup, SyncGroup, Heartbeat, LeaveGroup, OffsetCommit)
    and `GroupMetadataManager`, classic groups; KIP-62 (rebalance timeout), KIP-134 (initial
    delay), KIP-345 (static membership), KIP-429 (cooperative rebalance).

Not modelled:
    The leader works out the assignment in no time: joining and syncing are one. A member id
    that must be sent back first (KIP-394). Members that disagree about their assignor. Groups
    whose broker assigns (KIP-848), share groups (KIP-932). Committed offsets never expire.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from chaosharness.machines.kafka import refusals
from chaosharness.machines.kafka.assignors import Assignment, LogPartition, shares
from chaosharness.machines.machine import Refusal


@attrs.define(eq=False)
class Membership:
    """One member, as the coordinator knows it.

    Attributes:
        id: What it is called.
        topics: What it has subscribed to.
        session_ms: How long it may be silent.
        rebalance_ms: How long it may take to join again.
        instance: Its name for life, if it has one (`group.instance.id`).
        heard: When it was heard of last; None while its heartbeats are known to go on.
        joined: Whether it has joined the round that is under way.
        owned: What it said it has, when it joined last.
        given: What it was given in this generation.
    """

    id: str | int
    topics: tuple[str, ...]
    session_ms: int
    rebalance_ms: int
    instance: str | None = None
    heard: int | None = None
    joined: bool = True
    owned: tuple[LogPartition, ...] = ()
    given: tuple[LogPartition, ...] = ()


class Group:
    """A consumer group: who is in, who has what, how far they are."""

    __slots__ = (
        "_deadline",
        "_initial_delay_ms",
        "_not_before",
        "assignment",
        "committed",
        "eager",
        "fenced",
        "generation",
        "members",
        "name",
        "pending",
        "preparing",
        "sticky",
        "why",
    )

    def __init__(self, name: str, assignment: Assignment, initial_delay_ms: int = 0) -> None:
        self.name = name
        self.assignment = assignment
        self.eager = assignment != "cooperative-sticky"
        """Whether everybody gives up everything before a rebalance."""
        self.sticky = assignment in ("sticky", "cooperative-sticky")
        self.fenced: set[str | int] = set()
        """Ids of static members in whose place others have come."""
        self.members: dict[str | int, Membership] = {}
        self.committed: dict[LogPartition, int] = {}
        self.pending: dict[int, dict[LogPartition, int]] = {}
        """Offsets that open transactions would commit, by the number of the producer."""
        self.generation = 0
        self.preparing = False
        self.why = ""
        self._deadline: int | None = None
        self._not_before = 0
        self._initial_delay_ms = initial_delay_ms

    # ---- coming and going

    def join(self, member: Membership, now: int, why: str = "") -> None:
        """Let a member in, or let it join again; a round begins, unless it changes nothing."""
        members = self.members
        member.joined = True
        if self.preparing and member.instance is None:
            members[member.id] = member
            self.why = why or self.why
            due = now + member.rebalance_ms
            if self._deadline is not None and due > self._deadline:
                self._deadline = due
            return
        if not members:
            members[member.id] = member
            self._not_before = now + self._initial_delay_ms
            self._deadline = now + member.rebalance_ms
            self.preparing = True
            self.why = why or "a member joined"
            return
        known = members.get(member.id)
        if known is None and member.instance is not None:
            before = self._of_instance(member.instance)
            if before is not None and self._replace(before, member):
                return
        leads = next(iter(members), member.id) == member.id
        members[member.id] = member
        if known is None:
            self.prepare(why or "a member joined", now)
        elif leads or (known.topics, known.owned) != (member.topics, member.owned):
            self.prepare("a member joined again", now)
        member.joined = True

    def _of_instance(self, instance: str) -> Membership | None:
        return next((one for one in self.members.values() if one.instance == instance), None)

    def _replace(self, before: Membership, member: Membership) -> bool:
        """Put a static member in the place of the one before; say whether nothing else changes."""
        self.fenced.add(before.id)
        names = [member if one is before else one for one in self.members.values()]
        self.members = {one.id: one for one in names}
        member.given = before.given
        member.joined = before.joined
        return before.topics == member.topics and not self.preparing

    def leave(self, id: str | int, why: str, now: int) -> Refusal | None:
        """Let a member go, at its own wish or because it is not heard of."""
        if self.members.pop(id, None) is None:
            return refusals.NO_MEMBER
        self.prepare(why, now)
        return None

    def heartbeat(self, id: str | int, generation: int, now: int) -> Refusal | None:
        """Hear of a member; tell it what it has to do."""
        refusal = self._refuse(id, generation)
        if refusal is not None:
            return refusal
        member = self.members[id]
        if member.heard is not None:
            member.heard = now
        return refusals.REBALANCING if self.preparing else None

    def _refuse(self, id: str | int, generation: int) -> Refusal | None:
        if id not in self.members:
            return refusals.FENCED_INSTANCE if id in self.fenced else refusals.NO_MEMBER
        return refusals.OLD_GENERATION if generation != self.generation else None

    # ---- a round

    def prepare(self, why: str, now: int) -> None:
        """Begin a round: everybody joins again, or is left behind."""
        self.why = why
        if not self.preparing:
            for one in self.members.values():
                one.joined = False
        self.preparing = True
        longest = max([one.rebalance_ms for one in self.members.values()], default=0)
        self._deadline = now + longest

    def waits_for(self, now: int) -> bool:
        """Say whether the round that is under way cannot end yet."""
        if now < self._not_before:
            return True
        return not all(one.joined for one in self.members.values())

    def complete(self, topics: tuple[tuple[str, int], ...], now: int) -> None:
        """End the round: a new generation, in which everybody has what it is given now.

        Sessions begin anew: nobody has to send a heartbeat while it waits for the end of a round.

        Args:
            topics: All topics that there are, with their log partitions.
            now: The time.
        """
        assert self.preparing
        self.preparing = False
        self._deadline = None
        self.generation += 1
        sticky = self.sticky
        members = self.members.values()
        wishes = tuple([(one.topics, one.owned if sticky else ()) for one in members])
        found = shares(self.assignment, topics, wishes)
        for one, given in zip(members, found, strict=True):
            one.given = given
            if one.heard is not None and one.joined:
                one.heard = now

    def leave_behind(self, now: int) -> list[Membership]:
        """Drop those who have not joined when the time of a round is over.

        A static member stays until its session is over (KIP-345).
        """
        if not self.preparing or self._deadline is None or now < self._deadline:
            return []
        gone = [one for one in self.members.values() if not (one.joined or one.instance)]
        for one in gone:
            del self.members[one.id]
        self._deadline = None
        for one in self.members.values():
            one.joined = True
        return gone

    # ---- time

    def due(self) -> int | None:
        """Return when a session or a round is over by itself."""
        times = [when for one in self.members.values() if (when := self._over(one)) is not None]
        if self.preparing:
            if self._deadline is not None:
                times.append(self._deadline)
            if all(one.joined for one in self.members.values()):
                times.append(self._not_before)
        return min(times, default=None)

    def expire(self, now: int) -> list[Membership]:
        """Drop those whose session is over."""
        gone = [
            one
            for one in self.members.values()
            if (when := self._over(one)) is not None and now >= when
        ]
        for one in gone:
            self.leave(one.id, "session timeout", now)
        return gone

    def _over(self, member: Membership) -> int | None:
        """Return when the session of a member is over; None where nothing ends it."""
        if member.heard is None or (self.preparing and member.joined):
            return None
        return member.heard + member.session_ms

    # ---- offsets

    def commit(
        self, id: str | int, generation: int, offsets: Mapping[LogPartition, int]
    ) -> Refusal | None:
        """Take offsets of a member of this generation; the last writer wins.

        A consumer that is in no group (`assign`) commits with an empty id, which is taken
        while the group has no members. Of a group that there has never been nobody is a member of
        any generation.
        """
        if id or self.members:
            if not (self.members or self.generation or self.committed or self.pending):
                return refusals.OLD_GENERATION
            refusal = self._refuse(id, generation)
            if refusal is not None:
                return refusal
        self.committed.update(offsets)
        return None

    def fetch(self, place: LogPartition) -> int | Refusal | None:
        """Return where a log partition was committed; refuse while a transaction may move it."""
        if any(place in offsets for offsets in self.pending.values()):
            return refusals.UNSTABLE  # KIP-447: `require.stable`
        return self.committed.get(place)
