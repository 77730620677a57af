"""Waits that are longer than a run looks ahead: a month until the next charge, a week for a yes.

A run ends when nothing is left to come, or when its calm has lasted long enough (a day, by
`Budget.calm_ms`). What an orchestrator waits for by itself is due at a time that it knows: the calm
lasts till then. Not so what it tries again and again, or looks for each hour: that is called off at
the end of the calm.

A workflow that waits so again and again may be meant to have no end: a subscription, until somebody
cancels it. It is waited for so many times, and then left: the run is at rest, and says so.
"""

from typing import Final

from chaosharness.kernel.world import World

__all__ = ["AGAIN_MIN", "LONG_MS", "LongWaits", "Rows", "how_often", "if_meant"]

LONG_MS: Final = 6 * 3_600_000
"""From how long on a wait is one that the calm is lengthened for."""
TIMES_MAX: Final = 50
"""How often it is, in a run: a workflow that waits a month, and another one, may have no end."""

AGAIN_MIN: Final = 10
"""A workflow that has waited so often may be meant to go on."""

MEANT_TIMES: Final = 12
"""And how often where the user says that it has no end: later attempts are struck by no fault."""

FAR_MS: Final = 1_000 * 365 * 24 * 3_600_000
"""What is due in a thousand years is not waited for: no calendar knows when that is."""


def if_meant(who: str, name: str) -> str:
    """Return what to say of a workflow that has waited again and again to the end of the calm."""
    return f". {who} waits again and again: if that is meant, System(..., may_wait=[{name!r}])"


def how_often(world: World, name: str) -> tuple[int, int]:
    """Return how many waits of a workflow a run goes through, and from how many ms on they count.

    One that goes on for ever is cut off after so many, whatever else happens: at the same place in
    each run, so that runs can be compared. A wait of a minute counts where it is said that the
    workflow may wait: it may be one of many, otherwise.

    Args:
        world: The run.
        name: The name of the workflow.
    """
    return (MEANT_TIMES, 0) if name in world.may_wait else (TIMES_MAX, LONG_MS)


class Rows:
    """How many waits came one after the other, of each family of workflows: one and what it has
    started, and they again, since a loop may begin another workflow each time round. Waits side by
    side count as one."""

    def __init__(self) -> None:
        self._ends: dict[str, dict[int, int]] = {}

    def add(self, family: str, now_ms: int, due_ms: int) -> int:
        """Return the place of a new wait in its row, from 1 on.

        Args:
            family: The workflow that began it all, by its id.
            now_ms: When the wait begins.
            due_ms: When it is over.
        """
        ends = self._ends.setdefault(family, {})
        place = 1 + max((ends[at] for at in ends if at <= now_ms), default=0)
        for at in [at for at in ends if at <= now_ms and ends[at] < place - 1]:
            del ends[at]
        ends[due_ms] = max(place, ends.get(due_ms, 0))
        return place


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
