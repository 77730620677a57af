"""What is due, earliest first; ties go to whatever was added first."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappush
from typing import Any

Entry = list[Any]

DUE, TICKET, ACTION, ARGUMENT, WAITER = range(5)
"""Places in an entry. An entry is a list, so that it can be cancelled where it lies."""


class Agenda:
    """A heap of `[due_ms, ticket, action, argument, waiter]`.

    The ticket makes the order total, so the heap never compares actions. A cancelled
    entry stays where it is with its action set to None, and is passed over when popped.

    `waiter` is None for what the world does by itself (a message on its way), and a
    `Place` for a timer somebody asked for: quiescence needs to tell the two apart.

    `tickets` is how many entries have been added so far.
    """

    __slots__ = ("entries", "tickets")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.tickets = 0

    def add(
        self,
        due_ms: int,
        action: Callable[[Any], None],
        argument: Any = None,
        waiter: Any = None,
    ) -> Entry:
        """Put `action(argument)` on the agenda and return the entry, the handle to cancel it."""
        self.tickets = ticket = self.tickets + 1
        entry: Entry = [due_ms, ticket, action, argument, waiter]
        heappush(self.entries, entry)
        return entry

    @staticmethod
    def cancel(entry: Entry) -> None:
        """Make an entry do nothing. Cancelling twice, or after it ran, is harmless."""
        entry[ACTION] = None

    def pending(self) -> list[Entry]:
        """Return what is still due, earliest first."""
        return sorted([entry for entry in self.entries if entry[ACTION] is not None])
