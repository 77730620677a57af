"""A machine in a run: what it does is written down, and time acts on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chaosharness.brokers.facts import WRITE, Journal
from chaosharness.kernel.agenda import Entry
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import World
from chaosharness.machines.lease import Alarm
from chaosharness.machines.machine import Machine


class AtWork:
    """A machine, its journal, and the moment when it wants to be woken.

    Args:
        machine: The product.
        world: The run.
        journal: What writes down what happened.
        look: Called when others may have something to do: after each operation, and when time
            has acted. By then it is known when this wants to be woken.
        alarm: Of the machine, where time changes anything in it.
    """

    __slots__ = (
        "_alarm",
        "_apply",
        "_entry",
        "_journal",
        "_look",
        "_machine",
        "_moves",
        "_take",
        "_wake_ms",
        "_world",
    )

    def __init__(
        self,
        machine: Machine,
        world: World,
        journal: Journal,
        look: Callable[[], None],
        alarm: Alarm | None = None,
    ) -> None:
        self._alarm = Alarm() if alarm is None else alarm
        self._moves = self._alarm.moves
        self._machine = machine
        self._apply = machine.apply
        self._take = machine.take
        self._world = world
        self._journal = journal
        self._look = look
        self._entry: Entry | None = None
        self._wake_ms: int | None = None

    def do(
        self, operation: Any, scope: Scope | None = None, site: str = "", attempt: int = 0
    ) -> Any:
        """Have the machine do something; write down what happened; let others look."""
        world = self._world
        answer = self._apply(operation, world.now)
        for fact in self._take():
            WRITE[type(fact)](self._journal, fact, scope, site, attempt)
        if self._alarm.moves != self._moves:
            self.be_woken()
        self._look()
        return answer

    def be_woken(self) -> None:
        """Be woken when time changes something."""
        moves = self._alarm.moves
        if moves == self._moves:
            return
        self._moves = moves
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
        self._moves = -1  # whatever is due next, nobody is woken for it yet
        self._machine.tick(self._world.now)
        for fact in self._take():
            self._journal.write(fact)
        self.be_woken()
        self._look()
