"""Redis at work in a run: who waits at which stream, and what each answer brings or loses."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from chaosharness.brokers.at_work import AtWork
from chaosharness.brokers.facts import Journal
from chaosharness.brokers.lines import Lines
from chaosharness.brokers.message import Message, copied
from chaosharness.brokers.redis.errors import answered
from chaosharness.brokers.redis.rows import SURFACES
from chaosharness.brokers.strikes import struck
from chaosharness.errors import InvalidDefinition
from chaosharness.faults import LostReply, LostWrites, NetworkPartition
from chaosharness.handlers.port import call_off
from chaosharness.kernel.places import asked_at
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.kernel.world import World
from chaosharness.machines.machine import HandedOut
from chaosharness.machines.redis import RedisMachine, StreamId, ids
from chaosharness.machines.redis import operations as op

Place = tuple[str, str]
"""A stream, and a group that reads it."""


class Held(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One entry in the hands of a consumer.

    Attributes:
        message: As the consumer sees it. Its name stays, whatever becomes of the message.
        cause: The event of its delivery.
        id: Where it stands in its stream.
        times: How often it was handed out in this group.
    """

    message: Message
    cause: int
    id: StreamId
    times: int

    @property
    def words(self) -> str:
        """The id as Redis writes it."""
        return ids.text(self.id)


class Reader:
    """One consumer of a group, under its name.

    It reads what is pending for its name first, if it is told to; then it claims, if it claims;
    then it reads what is new. `missed` is called when an answer to it is lost on its way. Who
    reads without a group gets all that is `behind` an id, whoever else has it.
    """

    def __init__(
        self,
        incarnation: Incarnation,
        place: Place,
        name: str,
        operation: str,
        take: Callable[[list[Held]], None],
    ) -> None:
        self.incarnation = incarnation
        self.label = incarnation.label
        self.place = place
        self.name = name
        self.operation = operation
        self.take = take
        self.count: int | None = None
        self.no_ack = False
        self.claim_ms: int | None = None
        self.history: str | None = None
        self.behind: StreamId | None = None
        self.missed: Callable[[], None] | None = None
        self.waiting = False


class Settings(Protocol):
    """What a desk goes by, as its definition says it."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def latency_ms(self) -> int:
        """From a stream to a consumer that waits."""

    @property
    def timeout_ms(self) -> int:
        """How long a caller waits for an answer."""

    @property
    def loses_ms(self) -> int | None:
        """How much a failover may lose."""

    @property
    def node_entries(self) -> int:
        """What trimming about takes at a time."""


class Desk:
    """The streams of one run, and who waits at them."""

    def __init__(self, definition: Settings, streams: tuple[str, ...], world: World) -> None:
        self.definition = definition
        self.name: Final = definition.name
        self.timeout_ms: Final = definition.timeout_ms
        self.latency_ms = definition.latency_ms
        self.world = world
        self.streams = streams
        lasting = definition.loses_ms is None
        self.profile = "lasting" if lasting else "replicated"
        self.machine = RedisMachine(
            node_entries=definition.node_entries, remembers=not lasting, epoch_ms=EPOCH_MS
        )
        self.journal = Journal(world, definition.name, self._readers)
        self.lines: Lines[Place, Reader] = Lines(
            world,
            self.name,
            self.latency_ms,
            due=self._due,
            answer=self._answer,
            rest=self.settle,
            pace_ms=self.latency_ms,
        )
        self.do = AtWork(self.machine, world, self.journal, self.lines.look).do
        self._foreseen: set[tuple[Place, int]] = set()
        world.know_duration(definition.timeout_ms)
        world.on_network.append(self._network_changed)

    def close(self) -> None:
        """Let go of the readers, at the end of a run."""
        self.lines.close()

    def _readers(self, stream: str) -> list[str]:
        """Return who reads a stream: each group is a place of its own."""
        found = self.machine.streams.get(stream)
        return [] if found is None else [*found.places]

    # ---- as a peer

    def lost(self, operation: str) -> BaseException:
        """Return what a caller sees when no answer comes."""
        return TimeoutError(f"{operation}: no answer from {self.name}")

    def refused(self, operation: str) -> BaseException:
        """Return what a caller sees when Redis refuses for now."""
        return ConnectionError(f"{operation}: {self.name} refused (LOADING)")

    def lose_writes(self, scope: Scope | None = None) -> bool:
        """Lose what a replica did not have yet; whoever writes lives on, and knows nothing."""
        assert self.definition.loses_ms is not None
        since_ms = max(self.world.now - self.definition.loses_ms, 1)
        self.machine.apply(op.Lose(since_ms), self.world.now)
        for fact in self.machine.take():
            self.journal.write(fact)
        self.world.after(0, lambda _: self.settle())
        return True

    def check(self, streams: tuple[str, ...], who: str) -> None:
        """Refuse streams that there are not."""
        for stream in streams:
            if stream not in self.streams:
                known = ", ".join(sorted(self.streams)) or "none"
                words = f"{who}: {self.name} has no stream {stream!r}; it has: {known}"
                call_off(InvalidDefinition(f"{words}{asked_at()}"))

    def know(self, streams: tuple[str, ...]) -> None:
        """Know streams that code names: on a server each is there once somebody adds to it."""
        new = [one for one in dict.fromkeys(streams) if one not in self.streams]
        if new:
            self.streams = (*self.streams, *new)

    # ---- the machine

    def settle(self) -> None:
        """Have those who wait look."""
        self.lines.look()

    def hand(
        self, reader: Reader, operation: Any, attempts: dict[Any, int], asked: str = ""
    ) -> list[Held]:
        """Have the machine hand entries to somebody; write that down.

        Args:
            reader: Who gets them.
            operation: A read or a claim, in the reader's name.
            attempts: Of entries, by the event that stored each, where a fault may have struck.
            asked: The operation of a caller who sees what Redis refuses.

        Returns:
            What it gets. Entries that were deleted meanwhile are left out.
        """
        return self.handed(reader, operation, attempts, asked)[1]

    def handed(
        self, reader: Reader, operation: Any, attempts: dict[Any, int], asked: str = ""
    ) -> tuple[Any, list[Held]]:
        """Do as `hand`; return the machine's own answer too."""
        world = self.world
        site = reader.operation
        if site not in world.surfaces:
            world.meet(site, SURFACES[self.profile, "deliver"])
        answer = self.machine.apply(operation, world.now)
        if asked:
            answered(asked, answer)
            self.foresee(reader.place, operation.min_idle_ms)
        held: list[Held] = []
        for fact in self.machine.take():
            if not isinstance(fact, HandedOut):
                self.journal.write(fact)
                continue
            message = fact.message
            published = message.published
            attempt = attempts.get(published)
            if attempt is None:
                key = (site, message.entity, message.name)
                world.counts[key] = attempt = world.counts.get(key, 0) + 1
                attempts[published] = attempt
            cause = self.journal.handed_out(fact, site, attempt)
            held.append(Held(copied(message), cause, fact.receipt, fact.times))
        return answer, held

    # ---- waiting

    def join(self, reader: Reader, start: str) -> None:
        """Make the group if it is not there (XGROUP CREATE ... MKSTREAM)."""
        stream, group = reader.place
        self.machine.apply(op.CreateGroup(stream, group, start, make=True), self.world.now)
        self.enter(reader)

    def enter(self, reader: Reader) -> None:
        """Let somebody stand in the line of its place, until its incarnation dies."""
        self.lines.open(reader.place)
        reader.incarnation.on_death.append(partial(self.lines.leave, reader))

    def foresee(self, place: Place, min_idle_ms: int) -> None:
        """Know that somebody claims what has been idle for so long: it will be, at a moment.

        A loop that asks again and again, and is told that there is nothing, is not at rest before.
        """
        due_ms = self.machine.claimable(*place, min_idle_ms)
        if due_ms is None or due_ms <= self.world.now or (place, due_ms) in self._foreseen:
            return
        self._foreseen.add((place, due_ms))
        self.world.know_timeout(min_idle_ms)
        self.world.agenda.add(due_ms, self._is_idle, (place, due_ms), False)

    def _is_idle(self, foreseen: tuple[Place, int]) -> None:
        self._foreseen.discard(foreseen)
        self.world.effects += 1

    def _due(self, reader: Reader) -> int | None:
        """Return when there is something for a reader."""
        if reader.behind is not None:
            return self.world.now if self._seen(reader) else None
        if reader.history is not None or self.machine.has_new(*reader.place):
            return self.world.now
        if reader.claim_ms is None:
            return None
        return self.machine.claimable(*reader.place, reader.claim_ms)

    def _answer(self, reader: Reader) -> tuple[list[Held], int]:
        """Read, or claim, for somebody; return what arrives, and when: at once."""
        return self.found(reader), self.world.now

    def found(self, reader: Reader) -> list[Held]:
        """Return what arrives for somebody who asks now: nothing, if its answer is lost."""
        if reader.behind is not None:
            return self._seen(reader)
        stream, group = reader.place
        count = reader.count
        if reader.history is not None:
            found = self.read_again(reader)
            reader.history = found[-1].words if found else None
            if found:
                return found
        now = self.world.now
        if reader.claim_ms is not None:
            due_ms = self.machine.claimable(stream, group, reader.claim_ms)
            if due_ms is not None and due_ms <= now:
                claim = op.AutoClaim(
                    stream, group, reader.name, reader.claim_ms, count=count or 100, holder=reader
                )
                found = self._arrives(reader, claim, {})
                if found:
                    return found
        if not self.machine.has_new(stream, group):
            return []
        attempts: dict[Any, int] = {}
        if reader.operation in self.world.armed and self._disturbed(reader, attempts):
            return []
        new = op.ReadGroup(
            stream, group, reader.name, ">", count, no_ack=reader.no_ack, holder=reader
        )
        return self._arrives(reader, new, attempts)

    def _seen(self, reader: Reader) -> list[Held]:
        """Return what there is for somebody who reads without a group (XREAD)."""
        stream = self.machine.streams.get(reader.place[0])
        assert reader.behind is not None
        kept = [] if stream is None else stream.behind(reader.behind, reader.count or None)
        return [Held(copied(one.message), one.message.published, one.id, 1) for one in kept]

    def read_again(self, reader: Reader) -> list[Held]:
        """Return what is pending for somebody's name, behind where it has come to."""
        stream, group = reader.place
        start = reader.history or "0"
        again = op.ReadGroup(stream, group, reader.name, start, reader.count, holder=reader)
        return self._arrives(reader, again, {})

    def _arrives(self, reader: Reader, operation: Any, attempts: dict[Any, int]) -> list[Held]:
        """Hand entries out; return those whose answer is not lost."""
        held = self.hand(reader, operation, attempts)
        world = self.world
        lost = False
        if reader.operation in world.armed:
            for one in held:
                attempt = attempts[one.message.published]
                lost |= self._spoilt(reader.operation, one, attempt)
        if not lost:
            return held
        self.spill(held)
        if reader.missed is not None:
            reader.missed()
        return []

    def spill(self, held: list[Held]) -> None:
        """Take note that entries were handed out, and nobody has them."""
        for one in held:
            self.world.raw[one.cause][7]["lost"] = True

    # ---- trouble at a delivery

    def _disturbed(self, reader: Reader, attempts: dict[Any, int]) -> bool:
        """Let the faults before these deliveries strike; say whether nobody is answered now."""
        world = self.world
        operation = reader.operation
        stream, group = reader.place
        entries = self.machine.streams[stream]
        for kept in entries.behind(entries.groups[group].last, reader.count):
            message = kept.message
            attempt = world.reach(operation, message.entity, message.name)
            attempts[message.published] = attempt
            for fault in struck(
                world, self.name, operation, "before", message, attempt, message.published
            ):
                if isinstance(fault, NetworkPartition):
                    service = reader.incarnation.service
                    world.part(service, self.name, fault.way, fault.lasting)
                    return True
        return False

    def _spoilt(self, operation: str, held: Held, attempt: int) -> bool:
        """Let the faults after a delivery strike; say whether its answer is lost."""
        message = held.message
        lost = False
        for fault in struck(
            self.world, self.name, operation, "after", message, attempt, held.cause
        ):
            if isinstance(fault, LostWrites):
                self.lose_writes()
            lost |= isinstance(fault, LostReply)
        return lost

    # ---- the network

    def _network_changed(self) -> None:
        self.world.after(0, lambda _: self.settle())
