"""Waits that are longer than a run looks ahead: a month until the next charge, a week for a yes.

A run ends when nothing is left to come, or when its calm has lasted long enough (a day, by
`Budget.calm_ms`). What an orchestrator waits for by itself is due at a time that it knows: the calm
lasts till then. Not so what it tries again and again, or looks for each hour: that is called off at
the end of the calm.
"""

from typing import Final

from chaosharness.kernel.world import World

__all__ = ["LONG_MS", "LongWaits"]

LONG_MS: Final = 6 * 3_600_000
"""From how long on a wait is one that the calm is lengthened for."""
TIMES_MAX: Final = 50
"""How often it is, in a run: a workflow that waits a month, and another one, may have no end."""

FAR_MS: Final = 1_000 * 365 * 24 * 3_600_000
"""What is due in a thousand years is not waited for: no calendar knows when that is."""


class LongWaits:
    """Lengthens the calm of one run for what one engine waits for."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._times = 0

    def until(self, due_ms: int | None, *, more_ms: int = 0) -> None:
        """Have the calm last until something is due, and long enough for what comes of it.

        Args:
            due_ms: When it is due.
            more_ms: How long that may take, where it is longer than the chaos.
        """
        if due_ms is not None and due_ms - self._world.now >= LONG_MS:
            self.past(due_ms, more_ms=more_ms)

    def past(self, due_ms: int, *, more_ms: int = 0) -> None:
        """The same for what has an end, and only looks often: however soon it looks next."""
        world = self._world
        if world.chaos:
            return
        ends_ms = max(world.calm_since + world.budget.calm_ms, world.promised_ms)
        if ends_ms < due_ms < FAR_MS and self._times < TIMES_MAX:
            self._times += 1
            world.promise(due_ms + max(world.budget.chaos_ms, more_ms))
