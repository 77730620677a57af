"""A machine in a run: what it does is written down, and time acts on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chaosharness.brokers.facts import Journal
from chaosharness.kernel.agenda import Entry
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import World
from chaosharness.machines.machine import Machine


class AtWork:
    """A machine, its journal, and the moment when it wants to be woken.

    Args:
        machine: The product.
        world: The run.
        journal: What writes down what happened.
        look: Called when others may have something to do: after each operation, and when time
            has acted.
    """

    __slots__ = ("_entry", "_look", "_machine", "_wake_ms", "_world", "_write")

    def __init__(
        self, machine: Machine, world: World, journal: Journal, look: Callable[[], None]
    ) -> None:
        self._machine = machine
        self._world = world
        self._write = journal.write
        self._look = look
        self._entry: Entry | None = None
        self._wake_ms: int | None = None

    def do(
        self, operation: Any, scope: Scope | None = None, site: str = "", attempt: int = 0
    ) -> Any:
        """Have the machine do something; write down what happened; let others look."""
        answer = self._machine.apply(operation, self._world.now)
        for fact in self._machine.take():
            self._write(fact, scope, site, attempt)
        self._look()
        return answer

    def be_woken(self) -> None:
        """Be woken when time changes something."""
        due_ms = self._machine.due()
        if due_ms == self._wake_ms:
            return
        agenda = self._world.agenda
        if self._entry is not None:
            agenda.cancel(self._entry)
        self._wake_ms = due_ms
        self._entry = None
        if due_ms is not None:  # a timer: trouble may be sized to last just longer than it
            self._entry = agenda.add(max(due_ms, self._world.now), self._tick, None, False)

    def _tick(self, _: Any) -> None:
        self._entry = self._wake_ms = None
        self._machine.tick(self._world.now)
        for fact in self._machine.take():
            self._write(fact)
        self._look()
