"""What a search spends beside its runs, in bytecodes: the same figures on every machine.

    python -m benchmarks share          # needs CPython 3.13

A search of 200 runs for each system. Counted are the bytecodes of the runs that it makes, of
judging them (with the clean runs that they are held against), of the planner, and of the rest:
shrinking, coverage. Wanted: judging and planner at most a quarter. The last columns are those
of one calm run, of one without any item, and of one more item.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

import attrs

from benchmarks.bytecodes import count, systems
from benchmarks.measure import table
from chaosharness import System
from chaosharness.search.claims import Claim
from chaosharness.search.explore import explore
from chaosharness.search.small_first import SmallFirst

RUNS: Final = 200
SHARE_MAX: Final = 0.25
SYSTEMS: Final = ("order: good", "saga: good", "hybrid: good", "small: cashier", "small: wallet")
_WARM: Final = 7


@attrs.frozen
class Shares:
    """Bytecodes of one search.

    Attributes:
        whole: All of it.
        judging: Claims, with the clean runs made for them.
        planning: Proposing and observing.
    """

    whole: int
    judging: int
    planning: int

    @property
    def beside(self) -> float:
        """What judging and planner take of it."""
        return (self.judging + self.planning) / self.whole


class Meter:
    """Counts all bytecodes, and those inside some functions."""

    def __init__(self) -> None:
        self.counted = 0
        self.inside: dict[str, int] = {}
        self._depth = 0

    def instruction(self, _: Any, __: int) -> None:
        self.counted += 1

    def within(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose bytecodes are counted under a name; inner ones only once."""

        def watched(*arguments: Any, **keywords: Any) -> Any:
            before = self.counted
            self._depth += 1
            try:
                return function(*arguments, **keywords)
            finally:
                self._depth -= 1
                if not self._depth:
                    self.inside[name] = self.inside.get(name, 0) + self.counted - before

        return watched


def shares(system: System, runs: int = RUNS) -> Shares:
    """Return what a search of so many runs spends, and where."""
    for _ in range(_WARM):
        system.run()
    explore(system, faults_max=2, runs_max=20, mode="small-first")
    meter = Meter()
    watched: tuple[tuple[str, type[Any], str], ...] = (
        ("judging", Claim, "judge"),
        ("planning", SmallFirst, "propose"),
        ("planning", SmallFirst, "observe"),
    )
    kept = [(kind, name, getattr(kind, name)) for _, kind, name in watched]
    monitoring = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
    tool = monitoring.PROFILER_ID
    monitoring.use_tool_id(tool, "share")
    try:
        for word, kind, name in watched:
            setattr(kind, name, meter.within(word, getattr(kind, name)))
        monitoring.register_callback(tool, monitoring.events.INSTRUCTION, meter.instruction)
        monitoring.set_events(tool, monitoring.events.INSTRUCTION)
        explore(system, faults_max=2, runs_max=runs, mode="small-first")
        monitoring.set_events(tool, 0)
    finally:
        monitoring.free_tool_id(tool)
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
