"""Handlers that take turns: what has arrived is handled as far as there is a free slot."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from chaosharness.brokers.intake import Intake
from chaosharness.kernel.scope import Incarnation

H = TypeVar("H")


def slots_of(intake: Intake, concurrency: int | None, batch: int) -> int:
    """Return how many messages are handled at a time; by default, in async code, a batch.

    Raises:
        ValueError: Plain code handles one.
    """
    if intake.colour.is_async:
        return concurrency or batch
    if (concurrency or 1) > 1:
        raise ValueError("a plain handler runs one message at a time: concurrency must be 1")
    return 1


class Turns(Generic[H]):
    """The messages of one subscription, on their way through its handler.

    Args:
        incarnation: Whose handler it is.
        slots: How many are handled at a time.
        handle: Begins with one; `free` is called when it is done.
        more: Asks for more, once nothing is in hand.
        leave: Asks for nothing any more: its process is told to stop. What has arrived and is not
            in hand yet is left as it is, for somebody else.
    """

    def __init__(
        self,
        incarnation: Incarnation,
        slots: int,
        *,
        handle: Callable[[H], None],
        more: Callable[[], None],
        leave: Callable[[], None],
    ) -> None:
        self._incarnation = incarnation
        self._slots = slots
        self._handle = handle
        self._more = more
        self._buffer: deque[H] = deque()
        self._running = 0
        self._looping = False
        self._leave = leave
        incarnation.takers.append(self)

    def cease(self) -> None:
        """Take nothing more: what has arrived comes again, to whomever it is for then."""
        self._leave()
        self._buffer.clear()

    def is_busy(self) -> bool:
        """Say whether something is in hand."""
        return self._running > 0

    def take(self, held: list[H]) -> None:
        """Handle what has arrived, each in its turn."""
        if self._incarnation.stopping is not None:
            return
        self._buffer.extend(held)
        self._next()

    def free(self, _: Any = None) -> None:
        """Be done with one."""
        self._running -= 1
        if not self._looping:
            self._next()

    def _next(self) -> None:
        """Go on with what is there; then ask for more.

        A handler that ends at once frees its slot before `take` returns: what is next is then
        left to the loop here, or a long batch would be as deep a recursion.
        """
        if self._looping:
            return
        self._looping = True
        buffer, handle, slots = self._buffer, self._handle, self._slots
        incarnation = self._incarnation
        try:
            while buffer and self._running < slots:
                if not incarnation.alive:
                    return  # it died at the message before
                self._running += 1
                handle(buffer.popleft())
        finally:
            self._looping = False
        if not self._running and incarnation.alive:
            if incarnation.stopping is None:
                self._more()
            else:
                incarnation.stopping.look()
