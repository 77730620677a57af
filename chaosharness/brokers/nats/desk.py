"""JetStream at work in a run: who waits at which consumer, and what each pull brings or loses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Protocol

import attrs
import msgspec

from chaosharness.brokers.at_work import AtWork
from chaosharness.brokers.events import settled_by
from chaosharness.brokers.facts import Journal
from chaosharness.brokers.lines import Lines
from chaosharness.brokers.message import NO_HEADERS, Message, copied
from chaosharness.brokers.nats.rows import DELIVER, ORDERED
from chaosharness.brokers.strikes import struck
from chaosharness.faults import Delay, LostReply, NetworkPartition
from chaosharness.kernel.message_names import named
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import World
from chaosharness.machines.machine import HandedOut, Refusal, Settled
from chaosharness.machines.nats import ConsumerSettings, NatsMachine, StreamSettings
from chaosharness.machines.nats import operations as op

NOTICED_MS: Final = 10_000
"""An ordered consumer is made anew when two heartbeats, of five seconds each, are missing."""

Key = tuple[str, str]
"""A stream, and a consumer of it."""


class Held(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One message in the hands of a consumer.

    Attributes:
        message: As the consumer sees it. Its name stays, whatever becomes of the message.
        cause: The event of its delivery.
        handle: What settling it takes.
        pending: Messages that the consumer had not handed out yet.
        stored_ms: When the stream took it.
    """

    message: Message
    cause: int
    handle: op.Handle
    pending: int
    stored_ms: int


class Puller:
    """One client that pulls from one consumer: a request at a time."""

    __slots__ = ("incarnation", "label", "most", "operation", "place", "profile", "take", "waiting")

    def __init__(
        self,
        incarnation: Incarnation,
        place: Key,
        operation: str,
        profile: str,
        take: Callable[[list[Held]], None],
        *,
        most: int = 1,
    ) -> None:
        self.incarnation = incarnation
        self.label = incarnation.label
        self.place = place
        self.operation = operation
        self.profile = profile
        self.take = take
        self.most = most
        self.waiting = False


class Settings(Protocol):
    """What a desk goes by, as its definition says it."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def latency_ms(self) -> int:
        """From the server to a client that waits."""

    @property
    def timeout_ms(self) -> int:
        """How long a caller waits for an answer."""

    @property
    def settings(self) -> Mapping[str, tuple[StreamSettings, Mapping[str, ConsumerSettings]]]:
        """Of each stream, and of its consumers."""


class Desk:
    """The streams of one run, and who waits at their consumers."""

    def __init__(self, definition: Settings, world: World) -> None:
        self.definition = definition
        self.name: Final = definition.name
        self.timeout_ms: Final = definition.timeout_ms
        self.latency_ms = definition.latency_ms
        self.world = world
        self.machine = NatsMachine(_notice, _header_bytes)
        self.journal = Journal(world, definition.name)
        self.consumers: dict[str, Key] = {}
        self._called: dict[Key, str] = {}
        self.lines: Lines[Key, Puller] = Lines(
            world,
            self.name,
            self.latency_ms,
            due=self._due,
            answer=self._answer,
            rest=self.settle,
            alike=True,
        )
        self._work = AtWork(self.machine, world, self.journal, self.lines.look, self.machine.alarm)
        self.do = self._work.do
        self._ordered = 0
        self._missing: dict[Key, int] = {}
        for stream, (settings, consumers) in definition.settings.items():
            self.machine.apply(op.CreateStream(stream, settings), 0)
            self.know_stream(stream)
            for name, one in consumers.items():
                self.machine.apply(op.CreateConsumer(stream, name, one), 0)
                self.consumers[name] = stream, name
                self.know_consumer((stream, name), name)
        world.know_duration(definition.timeout_ms)
        world.on_network.append(self._network_changed)

    def close(self) -> None:
        """Let go of the pullers, at the end of a run."""
        self.lines.close()

    def know_stream(self, stream: str) -> None:
        """Know a stream that has been made, or changed."""
        settings = self.machine.streams[stream].settings
        self.world.know_duration(settings.window_ms)
        self.world.know_duration(settings.age_ms_max)

    def know_consumer(self, key: Key, called: str) -> None:
        """Know a consumer that has been made, and what sites call it."""
        settings = self.machine.consumers[key].settings
        self._called[key] = called
        self.lines.open(key)
        for wait_ms in settings.backoff_ms or (settings.ack_wait_ms,):
            self.world.know_timeout(wait_ms)

    # ---- as a peer

    def lost(self, operation: str) -> BaseException:
        """Return what a caller sees when no answer comes."""
        return TimeoutError(f"{operation}: no answer from {self.name}")

    def refused(self, operation: str) -> BaseException:
        """Return what a caller sees when the server refuses for now."""
        return ConnectionError(f"{operation}: {self.name} refused (JetStream not available)")

    def lose_writes(self, scope: Scope) -> None:
        """Lose nothing: what was acknowledged is on disk, or on other servers."""

    # ---- the machine

    def settle(self) -> None:
        """Be woken when time changes something; have those who wait look."""
        self._work.be_woken()
        self.lines.look()

    def _settle_later(self, _: Any) -> None:
        self.settle()

    def _due(self, puller: Puller) -> int | None:
        key = puller.place
        if key in self._missing:
            return None
        consumer = self.machine.consumers.get(key)
        return self.world.now if consumer is not None and consumer.has_some() else None

    def _answer(self, puller: Puller) -> tuple[list[Held], int]:
        """Hand out what there is; return what arrives, and when."""
        world = self.world
        operation = puller.operation
        if operation not in world.surfaces:
            world.meet(operation, DELIVER[puller.profile])
        armed = operation in world.armed
        attempts: dict[int, int] = {}
        due_ms = world.now
        if armed:
            due_ms = self._disturbed(puller, attempts)
            if due_ms < 0:
                return [], 0
        fetch = op.Fetch(*puller.place, puller, puller.most)
        answer = self.machine.apply(fetch, world.now)
        assert not isinstance(answer, Refusal), answer
        fetched = iter(answer)  # in the order of the facts
        held: list[Held] = []
        lost = False
        for fact in self.machine.take():
            if isinstance(fact, HandedOut):
                one = self._handed_out(fact, next(fetched), operation, attempts)
                held.append(one)
                if armed:
                    attempt = world.raw[one.cause][5]
                    if self._spoilt(fact.message, operation, attempt, one.cause):
                        lost = True
            elif isinstance(fact, Settled):  # by the server, once it is sent
                settled_by(world, self.name, fact.message, held[-1].cause)
            else:
                self.journal.write(fact)
                world.after(0, self._settle_later)  # a notice of it may be for others
        if lost:
            self._lose(puller, held)
            return [], 0
        return held, due_ms

    def _handed_out(
        self,
        fact: HandedOut,
        one: op.Fetched,
        operation: str,
        attempts: dict[int, int],
    ) -> Held:
        """Write a delivery down; return it."""
        message, handle = fact.message, fact.receipt
        sequence = handle.sequence
        attempt = attempts.get(sequence) if attempts else None
        if attempt is None:
            counts = self.world.counts
            key = (operation, message.entity, message.name)
            counts[key] = attempt = counts.get(key, 0) + 1
        cause = self.journal.handed_out(fact, operation, attempt)
        seen = copied(message)
        seen.offset = sequence
        if fact.again:
            seen.redelivered = True
        return Held(seen, cause, handle, one.pending, one.stored_ms)

    def _lose(self, puller: Puller, held: list[Held]) -> None:
        """Let an answer never arrive. The client of an ordered consumer will notice that."""
        for one in held:
            self.world.raw[one.cause][7]["lost"] = True
        if puller.profile == ORDERED:
            self._missing[puller.place] = held[0].handle.sequence
            self.world.after(NOTICED_MS, self._make_anew, puller)

    def _make_anew(self, puller: Puller) -> None:
        """Make an ordered consumer again, from where something is missing."""
        if not puller.incarnation.alive:
            return
        key, now = puller.place, self.world.now
        consumer = self.machine.consumers[key]
        settings = attrs.evolve(
            consumer.settings, deliver="by_start_sequence", start=self._missing.pop(key)
        )
        self.machine.apply(op.DeleteConsumer(*key), now)
        self.machine.apply(op.CreateConsumer(*key, settings, consumer.place), now)
        self.world.effects += 1
        self.settle()

    # ---- trouble at a delivery

    def _disturbed(self, puller: Puller, attempts: dict[int, int]) -> int:
        """Let the faults before these deliveries strike; return when they arrive, -1 for never."""
        world = self.world
        operation = puller.operation
        due_ms = world.now
        for record in self.machine.peek(*puller.place, puller.most, world.now):
            message = record.message
            attempt = world.reach(operation, message.entity, message.name)
            attempts[record.sequence] = attempt
            for fault in struck(
                world, self.name, operation, "before", message, attempt, message.published
            ):
                if isinstance(fault, Delay):
                    due_ms = max(due_ms, world.due(fault.lasting))
                elif isinstance(fault, NetworkPartition):
                    service = puller.incarnation.service
                    world.part(service, self.name, fault.way, fault.lasting)
                    return -1
        return due_ms

    def _spoilt(self, message: Message, operation: str, attempt: int, cause: int) -> bool:
        """Let the faults after a delivery strike; say whether its answer is lost."""
        lost = False
        for fault in struck(self.world, self.name, operation, "after", message, attempt, cause):
            lost = lost or isinstance(fault, LostReply)
        return lost

    # ---- the network

    def _network_changed(self) -> None:
        self.world.after(0, self._settle_later)

    # ---- who pulls

    def takes_acks(self, source: str) -> bool:
        """Say whether a consumer's messages are acknowledged."""
        return self.acknowledges(self.consumers[source])

    def acknowledges(self, key: Key) -> bool:
        """Say whether a consumer is there whose messages are acknowledged."""
        consumer = self.machine.consumers.get(key)
        return consumer is not None and consumer.acks

    def puller(
        self,
        incarnation: Incarnation,
        source: str,
        service: str,
        take: Callable[[list[Held]], None],
        *,
        ordered: ConsumerSettings | None = None,
        most: int = 1,
    ) -> Puller:
        """Return who pulls for an incarnation, until that dies.

        Args:
            incarnation: For whom.
            source: A consumer; a stream where it is `ordered`.
            service: As sites name it.
            take: Called with what arrives.
            ordered: How to make an ordered consumer of the stream, for this incarnation alone.
            most: Messages at a time.
        """
        if ordered is None:
            puller = self.puller_at(incarnation, self.consumers[source], service, take)
        else:
            operation = f"{self.name}.{source}/deliver to {service}"
            self._ordered += 1
            key = source, f"ordered-{self._ordered}"
            place = f"{source} by {incarnation.service}#{incarnation.replica}"
            self.do(op.CreateConsumer(*key, ordered, place))
            self.lines.open(key)
            puller = Puller(incarnation, key, operation, ORDERED, take)
            incarnation.on_death.append(partial(self._abandon, puller))
        puller.most = most
        return puller

    def puller_at(
        self,
        incarnation: Incarnation,
        key: Key,
        service: str,
        take: Callable[[list[Held]], None],
    ) -> Puller:
        """Return who pulls from a consumer of a stream, until its process dies."""
        operation = f"{self.name}.{self._called[key]}/deliver to {service}"
        profile = self.machine.consumers[key].settings.ack
        puller = Puller(incarnation, key, operation, profile, take)
        incarnation.on_death.append(partial(self.lines.leave, puller))
        return puller

    def _abandon(self, puller: Puller) -> None:
        """Let an ordered consumer be gone with its client."""
        self.lines.leave(puller)
        self.machine.apply(op.DeleteConsumer(*puller.place), self.world.now)


def _header_bytes(message: Message) -> int:
    """Return how many bytes the headers of a message take."""
    headers = message.headers
    length = sum(len(str(name)) + len(str(value)) + 4 for name, value in headers.items())
    return 0 if headers is NO_HEADERS else length + 12


def _notice(subject: str, body: bytes, about: Message) -> Message:
    """Return the message of a notice: it is of the same workload item."""
    name = named(1, subject, about.name)
    return Message(subject, about.key, NO_HEADERS, body, about.entity, about.hops + 1, name=name)
