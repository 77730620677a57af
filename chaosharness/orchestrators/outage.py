"""An engine's own store, away for a while: nothing is written, so nothing is decided meanwhile.

What the engine has answered stays. User code runs on, since nobody can tell it to stop. Timers are
late, and go off all at once when the store is back. How long a client or a worker goes on asking
is what the engine's library does: each says so itself.

*Not modelled*: a part of the store, one shard or one table, that is away alone; reads that go on
from a replica.
"""

from collections.abc import Callable, Sequence

from chaosharness.faults import StoreOutage
from chaosharness.handlers.script import Script
from chaosharness.kernel.agenda import DUE, Entry
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import Lasting, World

__all__ = ["Outage"]


class Outage:
    """Whether one engine's store is away, in one run.

    Args:
        world: The run.
        over: What the engine does when it is back: what is due, all at once.
    """

    def __init__(self, world: World, over: Callable[[], None]) -> None:
        self._world = world
        self._over = over
        self._ends: Entry | None = None

    @property
    def down(self) -> bool:
        """Whether it is away now."""
        return self._ends is not None

    @property
    def ends_ms(self) -> int:
        """When it is back; now, where it is there."""
        return self._world.now if self._ends is None else int(self._ends[DUE])

    def strike(self, scope: Scope) -> None:
        """Begin, where one of the faults that a scope has just suffered says so."""
        for fault in scope.struck:
            if isinstance(fault, StoreOutage):
                self.begin(fault.lasting)
        scope.struck = ()

    def begin(self, lasting: Lasting) -> None:
        """Be away from now on; where it is already, for the longer of the two."""
        world = self._world
        over_ms = world.due(lasting)
        if self._ends is None:
            world.effects += 1
            world.at_calm(self._end)
        else:
            over_ms = max(over_ms, self._ends[DUE])
            world.agenda.cancel(self._ends)
        self._ends = world.agenda.add(over_ms, self._end)

    def _end(self, _: object = None) -> None:
        if self._ends is not None:
            self._world.agenda.cancel(self._ends)
            self._ends = None
            self._world.effects += 1
            self._over()

    def reached(self, tries_ms: Sequence[int]) -> Script[bool]:
        """Ask until the store is there; say whether it was in time.

        Args:
            tries_ms: When a library asks again, in milliseconds since it first did.
        """
        asked_ms = 0
        for at_ms in tries_ms:
            if not self.down:
                return True
            yield at_ms - asked_ms
            asked_ms = at_ms
        return not self.down
