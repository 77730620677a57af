"""Clean runs: runs of one workload without infrastructure faults, each made by a plan.

A checker never runs a system. It asks the evidence for the run of a plan, and the system
that ran makes it, under the same rules as the calm run.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final, Literal

import attrs

from chaosharness.checkers.reading import is_quiet
from chaosharness.errors import IllegalFault, InvalidDefinition
from chaosharness.faults import Delay, Fault, LostReply
from chaosharness.handlers.port import Surface
from chaosharness.kernel.history import History
from chaosharness.kernel.site import Site

SLOW_MS: Final = 2_000
"""How late a slow consumer is: later than others are done, and sooner than most time-outs."""

FOR_GOOD: Final = 40
"""Attempts that a refusal for good refuses; then the calm begins, and all is well again."""


@attrs.frozen
class Refusal:
    """An operation that is refused for good to one item: no business of infrastructure.

    Attributes:
        operation: The operation of the site.
        entity: The item, from 1; 0 for work that is nobody's.
        first: The first attempt that is refused, from 1.
        kind: How: `ErrorReply`, `LostRequest` and `FailedCommit` (it never happens), or
            `LostReply` (it happens, and nobody ever hears so).
    """

    operation: str
    entity: int
    first: int
    kind: type[Fault]

    def faults(self) -> tuple[Fault, ...]:
        """Return the faults by which it is refused."""
        phase: Literal["before", "after"] = "after" if self.kind is LostReply else "before"
        return tuple(
            self.kind(Site(self.operation, phase, self.entity, attempt))
            for attempt in range(self.first, self.first + FOR_GOOD)
        )


@attrs.frozen
class Plan:
    """How a clean run differs from the calm one. Empty is the calm run.

    Attributes:
        order: The items in their order of arrival, from 1; by default as they are given.
        absent: Items that never enter. The others keep their numbers and their places.
        gap_ms: Between two items; the system's own by default.
        start_ms: When the first item enters.
        clock_ms: How much later than usual all clocks are; below 0 for earlier.
        salt: What is mixed into chance.
        restart: When every service is restarted: never, `before` the first item, or
            `between` any two.
        latency: What the latencies of third parties are multiplied by.
        refused: What is refused for good.
        slow: Deliveries that come late, each time: `(operation, item)`.
    """

    order: tuple[int, ...] = ()
    absent: frozenset[int] = frozenset()
    gap_ms: int | None = None
    start_ms: int = 0
    clock_ms: int = 0
    salt: str = ""
    restart: Literal["", "before", "between"] = ""
    latency: int = 1
    refused: tuple[Refusal, ...] = ()
    slow: tuple[tuple[str, int], ...] = ()

    def arrivals(self, count: int, gap_ms: int) -> list[tuple[int, int]]:
        """Return when which items enter: `(at_ms, number)`, first to last."""
        gap = gap_ms if self.gap_ms is None else self.gap_ms
        order = self.order or range(1, count + 1)
        return [
            (self.start_ms + place * gap, number)
            for place, number in enumerate(order)
            if number not in self.absent
        ]

    def restarts(self, count: int, gap_ms: int) -> list[int]:
        """Return when every service is restarted."""
        gap = gap_ms if self.gap_ms is None else self.gap_ms
        match self.restart:
            case "before":
                return [max(self.start_ms // 2, 1)]
            case "between":
                return [self.start_ms + place * gap + gap // 2 for place in range(count - 1)]
            case _:
                return []

    def faults(self) -> tuple[Fault, ...]:
        """Return the faults by which things are refused for good, and those that come late."""
        late = [
            Delay(Site(operation, "before", entity, attempt), lasting=SLOW_MS)
            for operation, entity in self.slow
            for attempt in range(1, FOR_GOOD + 1)
        ]
        return (*late, *(fault for refusal in self.refused for fault in refusal.faults()))


AS_GIVEN: Final = Plan()


@attrs.frozen(eq=False)
class CleanRun:
    """One run without infrastructure faults.

    Attributes:
        history: What happened.
        surfaces: Which faults may strike at each operation that was reached.
        reached: How often each `(operation, entity)` was reached.
    """

    history: History
    surfaces: Mapping[str, Surface] = attrs.field(factory=dict, repr=False)
    reached: Mapping[tuple[str, int], int] = attrs.field(factory=dict, repr=False)


@attrs.define(eq=False)
class Family:
    """The clean runs of one workload, each made when it is first asked for.

    Attributes:
        items: The workload.
        make: Makes the run of a plan.
        known: What checkers worked out about these runs, by who asked.
        made: How many runs were made.
    """

    items: tuple[Any, ...]
    make: Callable[[Plan], CleanRun | None]
    known: dict[Hashable, Any] = attrs.field(factory=dict, repr=False)
    made: int = 0
    _calm: CleanRun | None = None

    def calm(self) -> CleanRun:
        """Return the calm run."""
        if self._calm is None:
            found = self.make(AS_GIVEN)
            self._calm = CleanRun(History()) if found is None else found
        return self._calm

    def run(self, plan: Plan) -> CleanRun | None:
        """Return the run of a plan; None if it cannot be made, or did not become quiet.

        Such a run excuses nothing.
        """
        if plan == AS_GIVEN:
            return self.calm()
        self.made += 1
        try:
            found = self.make(plan)
        except (InvalidDefinition, IllegalFault):
            return None
        return found if found is not None and is_quiet(found.history) else None
