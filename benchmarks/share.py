"""What a search spends beside its runs, in bytecodes: the same figures on every machine.

    python -m benchmarks share          # needs CPython 3.13

A search of 200 runs for each system, as `chaosharness run` makes it. Counted are the bytecodes
of the runs that it makes, of judging them (with the clean runs that they are held against), of
the planner (with what it wants to know of each run), and of the rest: shrinking, coverage.
Wanted: judging and planner at most a quarter. The last columns are those of one calm run, of
one without any item, and of one more item.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import attrs

from benchmarks.bytecodes import systems
from benchmarks.measure import count, table, watch
from chaosharness import System
from chaosharness.search.claims import Claim
from chaosharness.search.explore import explore
from chaosharness.search.marks import Beside
from chaosharness.search.portfolio import Portfolio
from chaosharness.search.seen import Examiner

RUNS: Final = 200
SHARE_MAX: Final = 0.25
SYSTEMS: Final = ("order: good", "saga: good", "hybrid: good", "small: cashier", "small: wallet")
WATCHED: Final[tuple[tuple[str, type[Any], str], ...]] = (
    ("judging", Examiner, "look"),
    ("judging", Claim, "take"),
    ("planning", Beside, "marks_of"),
    ("planning", Portfolio, "propose"),
    ("planning", Portfolio, "observe"),
)
"""What counts as what: functions that a search calls for each run."""

_WARM: Final = 7


@attrs.frozen
class Shares:
    """Bytecodes of one search.

    Attributes:
        whole: All of it.
        judging: Claims, with the clean runs made for them.
        planning: Proposing and observing, and what is read of a run for that.
    """

    whole: int
    judging: int
    planning: int

    @property
    def beside(self) -> float:
        """What judging and planner take of it."""
        return (self.judging + self.planning) / self.whole


class Meter:
    """Counts all bytecodes, and those inside some functions; those of an inner one are its own."""

    def __init__(self) -> None:
        self.counted = 0
        self.inside: dict[str, int] = {}
        self._inner: list[int] = []

    def instruction(self, _: Any, __: int) -> None:
        self.counted += 1

    def within(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose bytecodes are counted under a name."""

        def watched(*arguments: Any, **keywords: Any) -> Any:
            before = self.counted
            self._inner.append(0)
            try:
                return function(*arguments, **keywords)
            finally:
                whole = self.counted - before
                own = whole - self._inner.pop()
                self.inside[name] = self.inside.get(name, 0) + own
                if self._inner:
                    self._inner[-1] += whole

        return watched


def shares(system: System, runs: int = RUNS) -> Shares:
    """Return what a search of so many runs spends, and where."""
    for _ in range(_WARM):
        system.run()
    explore(system, faults_max=2, runs_max=20, thorough=True)
    meter = Meter()
    kept = [(kind, name, getattr(kind, name)) for _, kind, name in WATCHED]
    try:
        for word, kind, name in WATCHED:
            setattr(kind, name, meter.within(word, getattr(kind, name)))
        search = partial(explore, system, faults_max=2, runs_max=runs, thorough=True)
        watch(search, meter.instruction)
    finally:
        for kind, name, function in kept:
            setattr(kind, name, function)
    return Shares(meter.counted, meter.inside.get("judging", 0), meter.inside.get("planning", 0))


def a_run(system: System, items: tuple[Any, ...] | None = None) -> int:
    """Return the bytecodes of a calm run, after a few that fill the caches."""
    for _ in range(_WARM):
        system.run(items)
    return count(lambda: system.run(items))


def an_item(system: System) -> int:
    """Return the bytecodes of one more workload item, with all that it leads to."""
    costs = []
    for items in (system.examples[:1], (system.examples * 2)[:2]):
        for _ in range(_WARM):
            system.run(items)
        costs.append(count(lambda items=items: system.run(items)))  # type: ignore[misc]
    return costs[1] - costs[0]


def main() -> int:
    """Print a line for each system; 1 if a share is above a quarter."""
    if sys.version_info < (3, 13):
        print("bytecodes are counted on CPython 3.13")
        return 0
    rows = [("", "a search of 200", "judging", "planner", "together", "a run", "idle", "an item")]
    worst = 0.0
    for name, system in systems().items():
        if name not in SYSTEMS:
            continue
        found = shares(system)
        worst = max(worst, found.beside)
        rows.append(
            (
                name,
                f"{found.whole:,}",
                f"{found.judging / found.whole:.0%}",
                f"{found.planning / found.whole:.0%}",
                f"{found.beside:.0%}",
                f"{a_run(system):,}",
                f"{a_run(system, ()):,}",
                f"{an_item(system):,}",
            )
        )
    table("Bytecodes of a search (CPython 3.13)", rows)
    print(f"\n  wanted: judging and planner at most {SHARE_MAX:.0%}")
    return int(worst > SHARE_MAX)


if __name__ == "__main__":
    sys.exit(main())
