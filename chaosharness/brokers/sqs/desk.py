"""SQS at work in a run: who waits at which queue, and what each receive brings or loses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from chaosharness.brokers.at_work import AtWork
from chaosharness.brokers.events import set_aside
from chaosharness.brokers.facts import Journal
from chaosharness.brokers.lines import Lines
from chaosharness.brokers.message import Message, copied
from chaosharness.brokers.sqs.concurrency import Slots
from chaosharness.brokers.sqs.rows import SURFACES
from chaosharness.brokers.strikes import struck
from chaosharness.errors import InvalidDefinition
from chaosharness.faults import Delay, LostReply, NetworkPartition, Redeliver
from chaosharness.handlers.port import Surface, call_off
from chaosharness.kernel.places import asked_at
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import World
from chaosharness.machines.machine import HandedOut
from chaosharness.machines.sqs import QueueSettings, SqsMachine
from chaosharness.machines.sqs import operations as op


class Held(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One message in the hands of a consumer.

    Attributes:
        message: As the consumer sees it. Its name stays, whatever becomes of the message.
        cause: The event of its delivery.
        received: What the receive answered.
    """

    message: Message
    cause: int
    received: op.Received


class Poller:
    """One consumer that asks one queue: a long poll at a time."""

    __slots__ = (
        "incarnation",
        "label",
        "lost",
        "most",
        "operation",
        "place",
        "take",
        "unheard",
        "visibility_ms",
        "waiting",
    )

    def __init__(
        self,
        incarnation: Incarnation,
        queue: str,
        operation: str,
        take: Callable[[list[Held]], None],
        *,
        most: int = 1,
        visibility_ms: int | None = None,
    ) -> None:
        self.incarnation = incarnation
        self.label = incarnation.label
        self.place = queue
        self.operation = operation
        self.take = take
        self.most = most
        self.visibility_ms = visibility_ms
        self.waiting = False
        self.unheard = False
        self.lost: Callable[[Poller], None] | None = None


class Settings(Protocol):
    """What a desk goes by, as its definition says it."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def latency_ms(self) -> int:
        """From a queue to a consumer that waits."""

    @property
    def timeout_ms(self) -> int:
        """How long a caller waits for an answer."""

    @property
    def fifo(self) -> bool:
        """Whether FIFO queues keep what FIFO promises."""

    @property
    def settings(self) -> Mapping[str, QueueSettings]:
        """Of each queue."""


class Desk:
    """The queues of one run, and who waits at them."""

    def __init__(self, definition: Settings, world: World) -> None:
        self.definition = definition
        self.name: Final = definition.name
        self.timeout_ms: Final = definition.timeout_ms
        self.latency_ms = definition.latency_ms
        self.world = world
        self.machine = SqsMachine()
        self.journal = Journal(world, definition.name)
        self.profiles: dict[str, str] = {}
        self.ways: dict[str, tuple[str, Surface, bool]] = {}
        """Of each queue: how sending there is called, what may strike, and whether it is FIFO."""
        self.slots: dict[tuple[str, str], Slots] = {}
        self.lines: Lines[str, Poller] = Lines(
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
        for queue, settings in definition.settings.items():
            self.machine.apply(op.Configure(queue, settings), 0)
            self.opened(queue)
        world.know_duration(definition.timeout_ms)
        world.on_network.append(self._network_changed)

    def opened(self, queue: str) -> None:
        """Have a line at a queue that the machine has."""
        settings = self.machine.queues[queue].settings
        profile = self.profiles[queue] = "fifo" if settings.keeps_order else "standard"
        action = f"/{self.name}.publish {queue}"
        self.ways[queue] = (action, SURFACES[profile, "publish"], settings.fifo)
        self.lines.open(queue)
        self.world.know_timeout(settings.visibility_ms)
        self.world.know_duration(settings.delay_ms)

    def close(self) -> None:
        """Let go of the pollers, at the end of a run."""
        self.lines.close()

    # ---- as a peer

    def lost(self, operation: str) -> BaseException:
        """Return what a caller sees when no answer comes."""
        return TimeoutError(f"{operation}: no answer from {self.name}")

    def refused(self, operation: str) -> BaseException:
        """Return what a caller sees when SQS refuses for now."""
        return ConnectionError(f"{operation}: {self.name} refused (ServiceUnavailable)")

    def lose_writes(self, scope: Scope) -> None:
        """Lose nothing: a message is kept on several servers before SQS answers."""

    def check(self, queues: tuple[str, ...], who: str) -> None:
        """Refuse queues that there are not."""
        for queue in queues:
            if queue not in self.profiles:
                known = ", ".join(sorted(self.profiles)) or "none"
                words = f"{who}: {self.name} has no queue {queue!r}; it has: {known}"
                call_off(InvalidDefinition(f"{words}{asked_at()}"))

    # ---- the machine

    def settle(self) -> None:
        """Be woken when time changes something; have those who wait look."""
        self._work.be_woken()
        self.lines.look()

    def _due(self, poller: Poller) -> int | None:
        now = self.world.now
        queue = self.machine.queues.get(poller.place)
        return now if queue is not None and queue.has_some(now) else None

    def _answer(self, poller: Poller) -> tuple[list[Held], int]:
        """Receive for somebody; return what arrives, and when: at once."""
        world = self.world
        attempts: dict[int, int] = {}
        operation = poller.operation
        if operation not in world.surfaces:
            world.meet(operation, SURFACES[self.profiles[poller.place], "deliver"])
        armed = operation in world.armed
        if armed and self._disturbed(poller, attempts):
            return [], world.now
        lost = False
        answer = self.machine.apply(
            op.Receive(poller.place, poller, poller.most, poller.visibility_ms), world.now
        )
        assert type(answer) is list, answer
        received = iter(answer)  # in the order of the facts
        held: list[Held] = []
        for fact in self.machine.take():
            if not isinstance(fact, HandedOut):
                self.journal.write(fact)
                continue
            message = fact.message
            one = next(received)
            attempt = attempts.get(fact.receipt.number) if attempts else None
            if attempt is None:
                key = (operation, message.entity, message.name)
                world.counts[key] = attempt = world.counts.get(key, 0) + 1
            cause = self.journal.handed_out(fact, operation, attempt)
            seen = copied(message)
            if fact.times > 1:
                seen.redelivered = True
            held.append(Held(seen, cause, one))
            if armed and self._spoilt(fact, operation, attempt):
                lost = True
        if not lost:
            return held, world.now
        for spilt in held:  # it was handed out, and nobody has it
            world.raw[spilt.cause][7]["lost"] = True
        poller.unheard = True
        if poller.lost is not None:
            poller.lost(poller)
        return [], world.now

    # ---- trouble at a delivery

    def _disturbed(self, poller: Poller, attempts: dict[int, int]) -> bool:
        """Let the faults before these deliveries strike; say whether nobody is answered now."""
        world = self.world
        operation = poller.operation
        while True:
            again = False
            for record in self.machine.peek(poller.place, poller.most, world.now):
                if record.number in attempts:
                    continue
                message = record.message
                attempt = world.reach(operation, message.entity, message.name)
                attempts[record.number] = attempt
                for fault in struck(
                    world, self.name, operation, "before", message, attempt, message.published
                ):
                    if isinstance(fault, Delay):
                        self._withhold(poller.place, record.number, world.due(fault.lasting))
                        again = True
                    elif isinstance(fault, NetworkPartition):
                        service = poller.incarnation.service
                        world.part(service, self.name, fault.way, fault.lasting)
                        return True
                if again:
                    break
            if not again:
                return not self.machine.queues[poller.place].has_some(world.now)

    def _spoilt(self, fact: HandedOut, operation: str, attempt: int) -> bool:
        """Let the faults after a delivery strike; say whether its answer is lost."""
        message = fact.message
        lost = False
        cause = len(self.world.raw) - 1
        for fault in struck(self.world, self.name, operation, "after", message, attempt, cause):
            if isinstance(fault, Redeliver):
                self.machine.apply(op.Copy(fact.receipt), self.world.now)
            elif isinstance(fault, LostReply):
                lost = True
        return lost

    def _withhold(self, queue: str, number: int, until: int) -> None:
        self.machine.apply(op.Withhold(queue, number, until), self.world.now)
        self.world.until(until, self._surface, (queue, number))

    def _surface(self, withheld: tuple[str, int]) -> None:
        self.world.effects += 1
        self.do(op.Surface(*withheld))

    # ---- the network

    def _network_changed(self) -> None:
        self.world.after(0, lambda _: self.settle())

    # ---- putting aside

    def dead_letter(self, held: Held, queue: str, scope: Scope, error: BaseException) -> None:
        """Put a message aside as a consumer does: send it to the dead letters, and delete it."""
        to = self.machine.queues[queue].settings.dead_letter
        assert to is not None
        message = held.message
        set_aside(scope, message, to, error)
        letter = copied(message)
        letter.topic = to
        received = held.received
        fifo = self.machine.queues[to].settings.fifo
        unique = (received.deduplication or received.id) if fifo else None
        send = op.Send(to, received.body, letter, group=received.group, deduplication=unique)
        self.do(send, scope)
        self.do(op.Delete(queue, received.handle), scope)


def poller_for(
    desk: Desk,
    incarnation: Incarnation,
    queue: str,
    service: str,
    take: Callable[[list[Held]], None],
    **settings: Any,
) -> Poller:
    """Return who asks a queue for an incarnation, until that dies."""
    operation = f"{desk.name}.{queue}/deliver to {service}"
    poller = Poller(incarnation, queue, operation, take, **settings)
    incarnation.on_death.append(partial(desk.lines.leave, poller))
    return poller
