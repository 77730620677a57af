"""Sums of numbers that chance draws: each may be another in each run, and they still add up.

What a player has won is drawn anew each time; what the player has is the sum of it. Learned
from clean runs with other chance: two columns that grow by the same, whatever was drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Final

from chaosharness.checkers.outcomes.differences import Difference
from chaosharness.checkers.outcomes.outcome import Place, Reader, spelled_place
from chaosharness.checkers.outcomes.plan import Family, Plan
from chaosharness.checkers.outcomes.read_as_columns import columns
from chaosharness.checkers.outcomes.values import Path, is_number, spelled
from chaosharness.kernel.history import History

Where = tuple[Place, Path]
Grown = Mapping[Where, float]

CHANCES: Final = (Plan(), Plan(salt="third"), Plan(salt="fourth"))
OTHER_CLOCK: Final = Plan(start_ms=3_011, clock_ms=-61_003)
CLOSE: Final = 1e-6


class Sums:
    """The sums of one workload: asked for where nothing else is wrong with a run.

    Args:
        reader: Reads outcomes; it has learned what may differ.
        family: The clean runs.
        count: How many items there are.
    """

    def __init__(self, reader: Reader, family: Family, count: int) -> None:
        self._reader = reader
        self._family = family
        self._count = count

    def broken(self, history: History) -> Iterator[Difference]:
        """Yield the sums that do not add up in a run whose rows are those of a clean one."""
        for one, other, sign in self._same if self._drawn else ():
            grown = self._grown(history)
            mine, theirs = grown.get(one, 0), grown.get(other, 0)
            if abs(mine - sign * theirs) > CLOSE:
                place, path = one
                place_, path_ = other
                beside = f"{spelled_place(place_)}.{'.'.join(path_)} by {spelled(sign * theirs)}"
                yield Difference(
                    "row differs",
                    0,
                    f"{spelled_place(place)}.{'.'.join(path)}",
                    f"{'.'.join(path)} grown by {spelled(mine)} and {beside}",
                    "both by the same",
                    source=place[1],
                )

    @cached_property
    def _drawn(self) -> tuple[Where, ...]:
        """The columns of rows in which chance decides a number."""
        found = {where for where in self._reader.drawn if where[0][0] == "row" and where[1]}
        return tuple(sorted(found)) if len(found) > 1 else ()

    @cached_property
    def _before(self) -> Grown:
        everyone = frozenset(range(1, self._count + 1))
        run = self._family.run(Plan(absent=everyone))
        return {} if run is None else self._totals(run.history)

    @cached_property
    def _same(self) -> tuple[tuple[Where, Where, int], ...]:
        """The pairs of columns that grow by the same, or by the opposite, in each clean run."""
        runs = [self._family.run(plan) for plan in CHANCES]
        grown = [self._grown(run.history) for run in runs if run is not None]
        if len(grown) < len(CHANCES) or not self._drawn:
            return ()
        found = []
        for at, one in enumerate(self._drawn):
            for other in self._drawn[at + 1 :]:
                pairs = [(each.get(one), each.get(other)) for each in grown]
                for sign in (1, -1):
                    if _is_always_the_same(pairs, sign):
                        found.append((one, other, sign))
        return tuple(found) if found and not self._is_a_time(found) else ()

    def _is_a_time(self, found: list[tuple[Where, Where, int]]) -> bool:
        """Say whether another clock moves one of these as well."""
        run = self._family.run(OTHER_CLOCK)
        if run is None:
            return True
        usual = self._grown(self._family.calm().history)
        other = self._grown(run.history)
        return any(
            abs(usual.get(one, 0) - other.get(one, 0)) > CLOSE for pair in found for one in pair[:2]
        )

    def _grown(self, history: History) -> Grown:
        totals = self._totals(history)
        return {where: total - self._before.get(where, 0) for where, total in totals.items()}

    def _totals(self, history: History) -> Grown:
        """Return the sum of each column that holds nothing but numbers."""
        found: dict[Where, float] = {}
        seen = columns(self._reader, history)
        for where in self._drawn:
            held = [value for _, value in seen.get(where, ()) if value is not None]
            if all(map(is_number, held)):
                found[where] = sum(held)
        return found


def _is_always_the_same(pairs: list[tuple[float | None, float | None]], sign: int) -> bool:
    """Say whether two columns go together in runs in which they are others each time."""
    if any(one is None or other is None for one, other in pairs):
        return False
    if len({one for one, _ in pairs}) < len(pairs):
        return False
    return all(abs((one or 0) - sign * (other or 0)) <= CLOSE for one, other in pairs)
