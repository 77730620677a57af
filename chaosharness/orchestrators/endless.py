"""Workflows that never end: each ends its run with a verdict, long before memory or patience do.

Engines count what they decide for a workload item: the workflow that it started, its children, the
runs that follow it, and what undoes it. `Budget.decisions_max` says how many there may be within an
hour of virtual time. One that asks each minute for a day is slow, and not without an end: those are
called off where the calm is over.
"""

from typing import Final

from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import World

__all__ = ["Decisions"]

HOUR_MS: Final = 3_600_000

NAME_MAX: Final = 60
"""How much of a workflow's id a sentence has room for: those of nested ones grow."""


class Decisions:
    """How often an engine has decided, for each item; for each workflow where nobody asked."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._counts: dict[int | str, tuple[int, int]] = {}
        """For whom: since when they are counted, and how many there were."""

    def count(self, scope: Scope, workflow: str) -> bool:
        """Count a decision; say whether the run goes on.

        Args:
            scope: Of the workflow.
            workflow: Its id, which the verdict names.
        """
        world = self._world
        key: int | str = scope.entity or workflow
        since_ms, count = self._counts.get(key, (world.now, 0))
        if world.now - since_ms >= HOUR_MS:
            since_ms, count = world.now, 0
        if count >= world.budget.decisions_max:
            whose = f" for item {scope.entity}" if scope.entity else ""
            world.end(
                "budget",
                f"{scope.place}: {count:,} decisions{whose} within an hour, and no end; the last "
                f"is of workflow {workflow[:NAME_MAX]!r}. If it does end, allow more with "
                "Budget(decisions_max=...)",
            )
            return False
        self._counts[key] = (since_ms, count + 1)
        return world.ending is None

    def nest(self, scope: Scope, workflow: str) -> bool:
        """Say whether a workflow may start another one: not in a cycle without an end."""
        world = self._world
        if scope.hops > world.hops_max and world.too_far(scope.hops):
            world.end(
                "budget", f"a cycle of workflows through {scope.place} ({workflow[:NAME_MAX]!r})"
            )
        return world.ending is None
