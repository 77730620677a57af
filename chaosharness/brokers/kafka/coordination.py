"""The groups of a cluster in a run: who comes, who is given up for dead, who gets what."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Final, Protocol

from chaosharness.brokers.kafka.beginnings import Beginnings, Patience
from chaosharness.brokers.kafka.members import Crew, Member, Slot, take_nothing
from chaosharness.brokers.message import Message
from chaosharness.kernel.scope import Incarnation
from chaosharness.kernel.world import BACKGROUND, World
from chaosharness.machines.kafka import KafkaMachine
from chaosharness.machines.kafka.assignors import LogPartition, shares
from chaosharness.machines.kafka.group import Group
from chaosharness.machines.kafka.log import Log

TOO_SLOW: Final = "max.poll.interval.ms exceeded"


class Times(Patience, Protocol):
    """How patient a cluster and its clients are."""

    @property
    def max_poll_interval_ms(self) -> int:
        """A handler slower than this loses its log partitions."""


@lru_cache(maxsize=4_096)
def _spelled(places: tuple[LogPartition, ...]) -> tuple[str, ...]:
    """Return log partitions as histories spell them."""
    return tuple([f"{topic}[{index}]" for topic, index in places])


@lru_cache(maxsize=4_096)
def _ways(
    cluster: str, group: str, places: tuple[LogPartition, ...]
) -> tuple[tuple[LogPartition, str, int, str], ...]:
    """Return log partitions in parts, each with how it is called to deliver a record of it."""
    return tuple([(one, *one, f"{cluster}.{one[0]}/deliver to {group}") for one in places])


class Coordination:
    """Drives the groups of a machine on behalf of the consumers of a run.

    Args:
        name: Of the cluster.
        times: How patient it is.
        world: The run.
        machine: The cluster itself.
        wake: Lets a member look for messages.
    """

    def __init__(
        self,
        name: str,
        times: Times,
        world: World,
        machine: KafkaMachine,
        wake: Callable[[Member], None],
    ) -> None:
        self.name = name
        self.times = times
        self.world = world
        self.machine = machine
        self.wake = wake
        self.crews: dict[str, Crew] = {}
        self._joined = 0
        self._gone: list[Member] = []
        self.owners: dict[LogPartition, list[Member]] = {}
        self.place_of: Callable[[Member, LogPartition, int], int] | None = None
        """Where a consumer goes on that asks for an offset, where records may be gone."""
        self.beginnings = Beginnings(times, world, self.crews, self.rebalance, self._record)
        self._leaves_some_behind = times.session_timeout_ms > times.max_poll_interval_ms
        world.know_timeout(times.max_poll_interval_ms)
        world.know_timeout(times.session_timeout_ms)

    def close(self) -> None:
        """Let go of the members, at the end of a run."""
        gone = self._gone
        # What knows each other is freed by nothing but the collector of garbage, and late.
        for crew in self.crews.values():
            crew.group.members.clear()
            gone += crew.members
            crew.members.clear()
            if crew.solos:
                gone += crew.solos
                crew.solos.clear()
        for member in gone:
            member.take = take_nothing
        gone.clear()
        self.crews.clear()
        self.owners.clear()
        del self.beginnings, self.wake

    def members(self) -> Iterable[Member]:
        """Return everybody, group by group."""
        for crew in self.crews.values():
            yield from crew.members
            yield from crew.solos

    # ---- coming and going

    def join(
        self,
        incarnation: Incarnation,
        topics: tuple[str, ...],
        group: str,
        take: Callable[[Member, Message, int], None],
        instance: str | None = None,
        reset: str = "latest",
    ) -> Member:
        """Add a consumer to a group. Called again for each incarnation."""
        crew = self.crews.get(group) or self._crew(group)
        times = self.times
        self._joined = number = self._joined + 1
        session_ms, rebalance_ms = times.session_timeout_ms, times.max_poll_interval_ms
        member = Member(
            crew, incarnation, number, topics, session_ms, rebalance_ms, take, instance, reset
        )
        incarnation.on_death.append(partial(self._died, member))
        incarnation.on_stall.append(partial(self._stalled, member))
        incarnation.on_resume.append(partial(self.rejoin, member))
        self._enter(crew, member, "a member joined")
        return member

    def _crew(self, group: str) -> Crew:
        crew = self.crews.get(group)
        if crew is None:
            crew = self.crews[group] = Crew(self.machine.group(group), group)
        return crew

    def attach(
        self,
        incarnation: Incarnation,
        group: str,
        take: Callable[[Member, Message, int], None],
        reset: str,
        places: Iterable[LogPartition],
        before: Member | None,
    ) -> Member:
        """Let a consumer read what it chose itself, under the name of a group that it is not in."""
        crew = self._crew(group)
        if before is None:
            self._joined = number = self._joined + 1
            topics = tuple(dict.fromkeys(topic for topic, _ in places))
            before = Member(crew, incarnation, number, topics, 0, 0, take, None, reset)
            before.solo = True
            before.group = Group(group, crew.group.assignment)
            before.group.committed = crew.group.committed
            before.group.pending = crew.group.pending
            crew.solos.append(before)
        self._give(before, tuple(places))
        return before

    def _enter(self, crew: Crew, member: Member, why: str) -> None:
        now = self.world.now
        before = None if member.instance is None else self._of_instance(crew, member)
        crew.group.join(member, now, why)
        if before is not None:
            self._replace(crew, before, member)
            return
        crew.members.append(member)
        if crew.tried_at != now:  # else it will be tried at this very moment anyway
            self._try_soon(crew, now)

    def _of_instance(self, crew: Crew, member: Member) -> Member | None:
        return next((one for one in crew.members if one.instance == member.instance), None)

    def _replace(self, crew: Crew, before: Member, member: Member) -> None:
        """Let a static member have what the one before it had; that one is out for good."""
        crew.members[crew.members.index(before)] = member
        before.expelled = before.stale = before.fenced = True
        self.take_away(before)
        self._tells(before)
        group = crew.group
        self.world.effects += 1
        if not group.preparing:
            member.generation = group.generation
            self._give(member, member.given)
            self._tells(member)
            self.wake(member)
        elif crew.tried_at != self.world.now:
            self._try_soon(crew, self.world.now)

    def depart(self, member: Member) -> None:
        """Let a member leave because it is closed; a static one is missed when its time is over."""
        crew = member.crew
        member.busy_since = self.world.now  # it never polls again
        if member.solo:
            crew.solos.remove(member)
            self.take_away(member)
        elif member.instance is not None and not member.expelled:
            self.take_away(member)
            self._died(member)
        else:
            self.expel(member, "a member left")

    def _died(self, member: Member) -> None:
        """A hard crash is noticed when the session times out, and not before."""
        self.world.after(self.times.session_timeout_ms, self._expire, member)

    def _expire(self, member: Member) -> None:
        if member in member.crew.members:
            self.expel(member, "session timeout")

    def _stalled(self, member: Member, until_ms: int) -> None:
        """A process that stands still sends no heartbeats: it is missed as a crashed one is."""
        world = self.world
        since = member.incarnation.stalled_since
        assert since is not None
        due_ms = since + self.times.session_timeout_ms
        if until_ms > due_ms >= world.now:
            world.agenda.add(due_ms, self._unheard, (member, since), BACKGROUND)

    def _unheard(self, missed: tuple[Member, int]) -> None:
        member, since = missed
        incarnation = member.incarnation
        if incarnation.alive and incarnation.stalled_since == since:
            self.expel(member, "session timeout")

    def expel(self, member: Member, why: str) -> None:
        """Take a member out of its group. It may not know: it is a zombie until it polls."""
        if member.expelled or member.solo:
            return
        crew = member.crew
        crew.members.remove(member)
        self._gone.append(member)
        member.expelled = member.stale = True
        member.why = why
        self.take_away(member)
        crew.group.leave(member.id, why, self.world.now)
        self.beginnings.left(crew)
        self.rebalance(crew, why)

    def rejoin(self, member: Member) -> None:
        """Join anew at the next poll: now if idle, else when the handler is done."""
        incarnation = member.incarnation
        if not incarnation.alive or not member.expelled:
            return
        if member.busy_since >= 0 and not (member.aside and member.why != TOO_SLOW):
            return
        if incarnation.stalled_since is not None:
            return  # it joins again when it goes on
        if member.fenced or self._tells(member):
            return  # it is out for good, or hears first that it was
        if self.cut(member):
            self.world.after(self.times.session_timeout_ms, self.rejoin, member)
            return
        member.expelled = member.stale = False
        member.owned = ()
        had = member.given
        self._enter(member.crew, member, "a member joined again")
        if had and not member.crew.group.sticky:
            self._stand_elsewhere(member, had)

    def _stand_elsewhere(self, member: Member, had: tuple[LogPartition, ...]) -> None:
        """Let what a member had change hands, which was out of its group and is in it again.

        Assignors go by the order of ids, and it has a new one, drawn by chance: it may stand
        anywhere, and where it would have everything back nobody would notice that it was away.
        """
        crew = member.crew
        group, last = crew.group, crew.members[-1]
        if last is not member or len(crew.members) == 1 or not group.preparing:
            return
        wishes = tuple([(one.topics, ()) for one in group.members.values()])
        if shares(group.assignment, self.machine.topics, wishes)[-1] == had:
            crew.members.insert(0, crew.members.pop())
            group.members = {member.id: member, **group.members}

    # ---- a round

    def rebalance(self, crew: Crew, why: str) -> None:
        """Begin to hand out the log partitions anew; it is done when all have rejoined."""
        now = self.world.now
        group = crew.group
        if group.preparing:
            group.why = why
        else:
            group.prepare(why, now)
        if crew.tried_at != now:
            self._try_soon(crew, now)

    def _try_soon(self, crew: Crew, now: int) -> None:
        """See to it that a round ends as soon as all have joined it, or without who does not."""
        crew.tried_at = now
        self._stir()  # a member that is not polling just now has to come round to it
        agenda = self.world.agenda
        agenda.add(now, self.try_complete, crew)
        if self._leaves_some_behind:
            late_ms = now + self.times.max_poll_interval_ms
            agenda.add(late_ms, self._leave_behind, crew, BACKGROUND)

    def _stir(self) -> None:
        """Have all who sleep look once more.

        By itself it is no news: one that joins and leaves each time round, and finds nothing,
        would go on for ever.
        """
        self.world.effects += 1
        self.world.rest.by_background += 1

    def _leave_behind(self, crew: Crew) -> None:
        """End a round without those who are dead, and not yet known to be."""
        for one in crew.members:
            one.joined = one.joined or (one.incarnation.alive and one.busy_since < 0)
        gone = crew.group.leave_behind(self.world.now)
        for member in [one for one in crew.members if one in gone]:
            crew.members.remove(member)
            self._gone.append(member)
            member.expelled = member.stale = True
            self.take_away(member)
        if gone:
            self.beginnings.left(crew)
            self.try_complete(crew)

    def try_complete(self, crew: Crew) -> None:
        """End a round, if everybody has joined it: it goes on when the last one does."""
        crew.tried_at = -1
        group = crew.group
        if not group.preparing:
            return
        for member in crew.members if group.eager else ():
            if (member.busy_since >= 0 and not member.aside) or not member.incarnation.alive:
                return
        if crew.listens and any([self._tells(one) for one in crew.members]):
            return  # it ends when they have given back what they have
        if group.sticky and not self._have_joined(crew):
            return
        world = self.world
        group.complete(self.machine.topics, world.now)
        self._stir()
        members = crew.members
        if not members:
            return
        if group.eager:
            generation = group.generation
            for member in members:
                if member.slots:
                    self.take_away(member)
                member.generation = generation
                given = member.given
                if given:
                    self._give(member, given)
        self._record(crew)
        if not group.eager:
            for member in tuple(members):
                self._catch_up(member)
        if crew.listens:
            for member in members:
                self._tells(member)
        for member in members:
            if member.slots:
                self.wake(member)

    def _have_joined(self, crew: Crew) -> bool:
        """Say whether all have joined a round, each with what it had.

        In a cooperative round it is enough that each has polled since the round began.
        """
        eager = crew.group.eager
        for one in crew.members:
            if one.incarnation.alive and one.busy_since < 0:
                one.joined = True
                one.owned = tuple(one.slots)
        return eager or not crew.group.waits_for(self.world.now)

    def catch_up(self, member: Member) -> None:
        """Learn, at a poll, what has become of the group since the last one."""
        if member.leaves:
            member.leaves = False
            self.depart(member)
            member.incarnation.stopping.look()
        elif member.expelled:
            self.rejoin(member)
        else:
            self._catch_up(member)
            self.wake(member)

    def _catch_up(self, member: Member) -> None:
        """Take over what a cooperative round has given and taken, unless the member is busy."""
        if member.busy_since >= 0:
            member.stale = True
            return
        if member.crew.listens:
            member.stale = True
            if self._tells(member):
                return  # it gives up what changes hands when it has heard of it
        member.stale = False
        group = member.group
        member.generation = group.generation
        given = member.given
        lost = tuple(place for place in member.slots if place not in given)
        new = tuple(place for place in given if place not in member.slots)
        for place in lost:
            slot = member.slots.pop(place)
            if slot in member.order:  # it may be paused
                member.order.remove(slot)
            self.owners[place].remove(member)
        if lost:
            member.owned = tuple(member.slots)
            self.rebalance(member.crew, "log partitions were given up")
        self._give(member, new)

    def _give(self, member: Member, places: tuple[LogPartition, ...]) -> None:
        """Let a member read log partitions."""
        crew = member.crew
        committed = member.group.committed
        logs, owners = self.machine.logs, self.owners
        slots, order = member.slots, member.order
        pending = bool(member.group.pending)
        from_start = member.reset == "earliest" or self.beginnings.usual
        as_they_are = from_start and not committed
        for place, topic, index, operation in _ways(self.name, crew.name, places):
            log = logs[topic][index]
            at = log.start if as_they_are else self._place(member, place, log, from_start)
            slots[place] = slot = Slot(place, operation, log.records, at, pending)
            order.append(slot)
            owners.setdefault(place, []).append(member)

    def _place(self, member: Member, place: LogPartition, log: Log, from_start: bool) -> int:
        """Return where a member goes on in a log partition."""
        at = member.group.committed.get(place, -1)
        if at < 0:
            if from_start or not self.beginnings.by_reset(member.crew, place):
                return log.start
            return self._begin(member, place)
        if not log.plain and self.place_of is not None:
            return self.place_of(member, place, at)
        return at

    def _begin(self, member: Member, place: LogPartition) -> int:
        """Return where a new group begins that does not want what is there already."""
        if member.reset == "error":
            member.unset = place
        return self.machine.log(place).end

    def _tells(self, member: Member) -> bool:
        """Have the code of a member hear its news, if it polls; say whether it does now."""
        return member.attend is not None and member.attend()

    def tell(self, member: Member) -> None:
        """Have the code of a member hear its news, if it polls."""
        self._tells(member)

    def take_away(self, member: Member) -> None:
        """Let a member read nothing any more."""
        for place in member.slots:
            self.owners[place].remove(member)
        member.slots = {}
        member.order = []

    def _record(self, crew: Crew) -> None:
        members: dict[str, list[str]] = {}
        for member in crew.members:
            members.setdefault(member.incarnation.label, []).extend(_spelled(member.given))
        group = crew.group
        data = {
            "group": crew.name,
            "generation": group.generation,
            "why": group.why,
            "members": members,
        }
        self.world.record("rebalance", self.name, data=data)

    # ---- the network

    def cut(self, member: Member) -> bool:
        """Say whether a member and the cluster cannot talk."""
        unreachable = self.world.unreachable
        if not unreachable:
            return False
        pair = (self.name, member.incarnation.service)
        return pair in unreachable or pair[::-1] in unreachable

    def network_changed(self) -> None:
        """Members that are cut off miss their heartbeats; those that are back fetch again."""
        for crew in self.crews.values():
            for member in crew.members:
                if self.cut(member):
                    self.world.after(self.times.session_timeout_ms, self._missed, member)
                else:
                    self.wake(member)
            if crew.group.preparing:
                self.rebalance(crew, "the network healed")

    def _missed(self, member: Member) -> None:
        if self.cut(member) and member in member.crew.members:
            self.expel(member, "session timeout")
            self.rejoin(member)

    # ---- a member that does not poll

    def watch(self, member: Member) -> None:
        """See to it that a member which does not poll any more is noticed."""
        due = member.busy_since + self.times.max_poll_interval_ms
        self.world.agenda.add(due, self._check_poll, member, BACKGROUND)

    def _check_poll(self, member: Member) -> None:
        """Expel a member that has not polled for max.poll.interval.ms."""
        member.watched = False
        if member.busy_since < 0 or member.expelled or not member.incarnation.alive:
            return
        if self.world.now - member.busy_since >= self.times.max_poll_interval_ms:
            self.expel(member, TOO_SLOW)
        else:
            member.watched = True
            self.watch(member)
