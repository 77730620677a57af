"""What hands on to queues and has no consumers: SNS and EventBridge during one run.

Each attempt at a target is a site. A product says what an attempt is of, how it is sent to a queue,
and what becomes of one that ended; the rest is here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Final, Literal

from chaosharness.brokers.events import died
from chaosharness.brokers.facts import Journal
from chaosharness.brokers.lane import Publish
from chaosharness.brokers.message import Message, copied
from chaosharness.brokers.sqs.sqs import OpenSQS
from chaosharness.brokers.strikes import struck
from chaosharness.errors import InvalidDefinition
from chaosharness.faults import Delay, Duplicate, ErrorReply
from chaosharness.handlers.port import Surface
from chaosharness.kernel.places import asked_at
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import World
from chaosharness.machines.machine import Fact, Refusal

Arriving = tuple[Any, str, int]
"""An attempt, the operation of its site, and which one it is there."""


class Relay:
    """One product that hands on, during one run.

    Args:
        definition: What was declared: its name, and how long it takes.
        world: The run.
        desk: The queues.
        machine: The product.
    """

    refusal: ClassVar[str]
    """The error of a client that is refused for now."""
    where: ClassVar[str]
    """Where messages are to be consumed instead, of a source."""
    ended: ClassVar[tuple[type, type]]
    """The machine's operations for an attempt that came through, and for one that did not."""

    def __init__(self, definition: Any, world: World, desk: OpenSQS, machine: Any) -> None:
        self.definition = definition
        self.name: Final[str] = definition.name
        self.timeout_ms: Final[int] = definition.timeout_ms
        self.latency_ms: int = definition.latency_ms
        self.world = world
        self.desk = desk
        self.machine = machine
        self.journal = Journal(world, definition.name)
        self._armed_ms: int | None = None

    # ---- as a peer

    def lost(self, operation: str) -> BaseException:
        """Return what a caller sees when no answer comes."""
        return TimeoutError(f"{operation}: no answer from {self.name}")

    def refused(self, operation: str) -> BaseException:
        """Return what a caller sees when it is refused for now."""
        return ConnectionError(f"{operation}: {self.name} refused ({self.refusal})")

    def lose_writes(self, scope: Scope) -> None:
        """Lose nothing: what is taken is kept on several servers before that is said."""

    def consume(self, intake: Any, source: str, **_: Any) -> None:
        """Refuse to consume: what comes in is in the queues that it is handed on to."""
        raise self._no_consumers(source)

    def consumer(self, incarnation: Any, sources: tuple[str, ...], decode: Any, **_: Any) -> Any:
        """Likewise."""
        raise self._no_consumers(sources[0])

    def _no_consumers(self, source: str) -> InvalidDefinition:
        where = self.where.format(repr(source))
        return InvalidDefinition(
            f"{self.name} has no consumers: {where}; consume from one of {self.desk.name}"
            f"{asked_at()}"
        )

    def publisher(self) -> Callable[..., Any]:
        """Return what publishes. Requests do not wait for each other. See `publish`."""
        return Publish(self.publish)

    publish: Callable[..., Any]

    # ---- the machine

    def do(self, asked: Any, scope: Scope, operation: str, attempt: int) -> Any:
        """Have the machine do what is asked for; return its answer, or its `Refusal`."""
        answer = self.machine.apply(asked, self.world.now)
        self._tell(scope, operation, attempt)
        return answer

    def _tell(self, scope: Scope | None = None, operation: str = "", attempt: int = 0) -> None:
        """Write down what happened, and set out to deliver what is due."""
        for fact in self.machine.take():
            self._take_note(fact, scope, operation, attempt)
        due = self.machine.due()
        if due is not None and due != self._armed_ms:
            self._armed_ms = due
            self.world.agenda.add(due, self._tick)

    def _take_note(self, fact: Fact, scope: Scope | None, operation: str, attempt: int) -> None:
        """Take note of what happened; what is handed out sets out."""
        raise NotImplementedError

    def _tick(self, _: Any) -> None:
        self._armed_ms = None
        self.machine.tick(self.world.now)
        self._tell()

    # ---- delivering

    def site(self, attempt: Any) -> tuple[str, Surface]:
        """Return the operation of an attempt, and what may strike there."""
        raise NotImplementedError

    def send(self, attempt: Any) -> Any:
        """Have the queue take it, as a message of its own; return its answer."""
        raise NotImplementedError

    def end(self, attempt: Any, how: Any) -> None:
        """Say how it went."""
        raise NotImplementedError

    def _deliver(self, attempt: Any) -> None:
        """Deliver, at a site where faults may strike."""
        world = self.world
        operation, surface = self.site(attempt)
        message = attempt.message
        nth = world.reach(operation, message.entity, message.name)
        if operation not in world.surfaces:
            world.meet(operation, surface)
        due_ms = world.now
        for fault in self._struck(operation, "before", attempt, nth):
            if isinstance(fault, Delay):
                due_ms = max(due_ms, world.due(fault.lasting))
            elif isinstance(fault, ErrorReply):
                self.end(attempt, self.ended[1](attempt))
                return
        arriving = (attempt, operation, nth)
        if due_ms > world.now:
            world.until(due_ms, self._arrive, arriving)
        else:
            self._arrive(arriving)

    def _arrive(self, arriving: Arriving) -> None:
        attempt, operation, nth = arriving
        answer = self.send(attempt)
        for fault in self._struck(operation, "after", attempt, nth):
            if isinstance(fault, Duplicate):
                self.send(attempt)
        came, failed = self.ended
        gone = isinstance(answer, Refusal)
        self.end(attempt, failed(attempt, for_good=True) if gone else came(attempt))

    def _struck(
        self, operation: str, phase: Literal["before", "after"], attempt: Any, nth: int
    ) -> Iterator[Any]:
        message: Message = attempt.message
        return struck(self.world, self.name, operation, phase, message, nth, message.published)

    def buried(self, message: Message, place: str, to: str | None, reason: str) -> int:
        """Write down that nobody gets a message any more at a place; return the event's index."""
        return died(self.world, self.name, message, place, reason, () if to is None else (to,))


def twin_of(message: Message, name: str) -> Message:
    """Return a message that a client has sent a second time, under a name of its own."""
    again = copied(message)
    again.name = name
    return again
