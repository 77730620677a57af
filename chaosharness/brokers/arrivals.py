"""What has arrived for a service's own main loop, and the loop that waits for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from chaosharness.brokers.batch import Taken
from chaosharness.brokers.lines import Lines
from chaosharness.brokers.message import Decode, Message, delivery
from chaosharness.handlers.places import told
from chaosharness.handlers.port import Nap
from chaosharness.handlers.script import Resume, Script
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import World


class Holding(Protocol):
    """One message in the hands of a consumer, as a desk hands it over."""

    @property
    def message(self) -> Message:
        """As the consumer sees it."""

    @property
    def cause(self) -> int:
        """The event of its delivery."""


H = TypeVar("H", bound=Holding)


class Arrivals(Generic[H]):
    """Messages that have arrived, and who waits for them.

    Args:
        world: The run.
        lines: Where to wait.
    """

    def __init__(self, world: World, lines: Lines[Any, Any]) -> None:
        self._world = world
        self._lines = lines
        self._buffer: deque[H] = deque()
        self._waiting: Resume | None = None

    def __len__(self) -> int:
        return len(self._buffer)

    def keep(self, held: list[H]) -> None:
        """Keep what was handed over."""
        self._buffer.extend(held)

    def take(self, held: list[H]) -> None:
        """Keep what has arrived, and wake who waits."""
        self._buffer.extend(held)
        self._wake()

    def all(self) -> list[H]:
        """Return what has arrived, and keep nothing."""
        held = list(self._buffer)
        self._buffer.clear()
        return held

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting(None)

    def wait(self, waiter: Any, due_ms: int, nap: Nap) -> Script[None]:
        """Wait in line until something has arrived, at most until a moment."""
        world, lines = self._world, self._lines
        timer: Any = None

        def give_up(_: Any) -> None:
            nap.woke()
            lines.leave(waiter)
            self._wake()

        def keep(resume: Resume) -> None:
            nonlocal timer
            self._waiting = resume
            timer = world.timer(max(due_ms - world.now, 0), give_up, None, nap)
            lines.ask(waiter)

        try:
            yield keep
        except GeneratorExit:  # the task that waited was cancelled
            nap.woke()  # its loop goes on
            self._waiting = None
            lines.leave(waiter)
            raise
        finally:
            if timer is not None:
                world.agenda.cancel(timer)

    def read(
        self, decode: Decode, scope: Scope, aside: Callable[[H, Exception], None] | None
    ) -> list[Taken]:
        """Return the messages that can be read.

        Args:
            decode: How.
            scope: Whose code asks.
            aside: What becomes of a message that cannot be read. None: its error is raised, on
                behalf of that message, once nothing stands before it.
        """
        found: list[Taken] = []
        while self._buffer:
            held = self._buffer[0]
            message, cause = held.message, held.cause
            try:
                found.append((delivery(decode, message, held), message, cause))
            except Exception as error:
                if aside is None:
                    if found:
                        return found  # who asks next is told
                    self._buffer.popleft()
                    on_behalf_of(scope, held)
                    raise
                aside(held, error)
            self._buffer.popleft()
        return found


def on_behalf_of(scope: Scope, held: Holding) -> None:
    """Have code go on in the name of a message."""
    message = held.message
    scope.entity, scope.hops, scope.cause = message.entity, message.hops, held.cause
    scope.message = message.name


def begin_wait(scope: Scope) -> None:
    """Let go of the message before: whoever asks for more works for nobody."""
    scope.entity = scope.hops = 0
    scope.message = ""
    scope.world.in_flight.pop(scope, None)


def unread(scope: Scope, held: Holding, site: str, error: Exception) -> Scope:
    """Write down that a message cannot be read; return the scope in which it is put aside."""
    message = held.message
    aside = Scope(
        scope.world, scope.incarnation, scope.place, message.entity, held.cause, scope.colour
    )
    aside.message = message.name
    aside.record("raised", f"{scope.place}/{site}", 0, told(error))
    return aside
