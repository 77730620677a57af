"""Shrinking: from a random schedule of many faults to the fewest that are needed.

Each planted bug needs exactly k faults, which is certified first: no schedule of k - 1
faults breaks it. A start is a random schedule that breaks it, met by chance after the calm
run; the runs until then count. For k = 3 there is a second row, of starts that hide the three
faults among others.

    python -m benchmarks.shrink            100 seeds for each bug
"""

from __future__ import annotations

import sys
from itertools import count
from random import Random
from statistics import median
from time import perf_counter

import attrs

from benchmarks.measure import table
from chaosharness.campaign import Campaign
from chaosharness.schedule import Schedule
from chaosharness.search.explore import explore
from chaosharness.search.marks import Sight
from chaosharness.search.random_search import RandomSearch
from chaosharness.search.shrink import shrink
from chaosharness.search.sites import candidates
from chaosharness.system import Run, System
from tests.search.planted import never_charged_twice, one, three, two

SEEDS = 100
FAULTS_MAX = 12
TOTAL = {1: 20, 2: 40, 3: 100}
"""Runs to a minimal counterexample, search included: wanted in the median."""

_LONGEST_S = 1


@attrs.frozen
class Start:
    """A run that breaks the property, with more faults than it needs."""

    run: Run
    after: int


def by_chance(system: System, seed: int) -> Start:
    """Return the first random schedule of up to `FAULTS_MAX` faults that breaks it."""
    planner = RandomSearch(faults_max=FAULTS_MAX, seed=seed)
    for after in count(1):
        schedule = planner.propose()
        assert schedule is not None
        run = system.run(None, schedule)
        planner.observe(Sight(run))
        if never_charged_twice.findings(run.evidence()):
            return Start(run, after)
    raise AssertionError("a random search never ends")


def hidden(system: System, seed: int, needed: Schedule) -> Start:
    """Return a schedule that holds the needed faults and others, and breaks it."""
    chance = Random(seed)
    noise = candidates(system.run(None, needed))
    while True:
        others = chance.sample(noise, FAULTS_MAX - len(needed))
        run = system.run(None, Schedule((*needed, *others)))
        if never_charged_twice.findings(run.evidence()):
            return Start(run, 0)


def certified(system: System, faults: int) -> Campaign:
    """Return the search that found the bug, after every smaller schedule was run in vain."""
    items = system.examples[:1]
    limit = 1_000_000
    campaign = explore(
        system,
        items=items,
        faults_max=faults,
        runs_max=limit,
        mode="small-first",
        stop_at_first=True,
    )
    assert campaign.result == "violated"
    assert all(level.complete for level in campaign.coverage.levels[:faults])
    return campaign


def measure(system: System, faults: int, starts: list[Start]) -> tuple[tuple[str, ...], bool]:
    """Return a row of the table, and whether it reaches what it must."""
    exact = 0
    sizes, after, runs, total, seconds = [], [], [], [], []
    for start in starts:
        run = start.run
        begun = perf_counter()
        found = shrink(system, never_charged_twice, run.items, run.schedule, run=run)
        seconds.append(perf_counter() - begun)
        runs.append(found.shrunk_in)
        after.append(start.after)
        total.append(start.after + found.shrunk_in)
        sizes.append(len(run.schedule))
        exact += found.minimal and len(found.schedule) == faults
    good = exact == len(starts) and max(seconds) <= _LONGEST_S and median(total) <= TOTAL[faults]
    row = (
        f"{faults}",
        f"{min(sizes)}–{max(sizes)}",
        f"{exact} of {len(starts)}",
        f"{median(after):.0f}",
        f"{median(runs):.0f}",
        f"{max(runs)}",
        f"{median(total):.0f}",
        f"{max(seconds) * 1000:.0f} ms",
    )
    return row, good


def main() -> None:
    """Print the table; exit 1 if a figure is not reached."""
    heads = ("faults needed", "at first", "exact", "found after", "made small in", "at most")
    rows = [(*heads, "in total", "longest")]
    reached = True
    for make, faults in ((one, 1), (two, 2), (three, 3)):
        system = make()
        least = certified(system, faults).counterexamples[0].schedule
        starts = [[by_chance(system, seed) for seed in range(SEEDS)]]
        if faults == 3:
            starts.append([hidden(system, seed, least) for seed in range(SEEDS)])
        for group in starts:
            row, good = measure(system, faults, group)
            rows.append(row)
            reached &= good
    table("shrinking a random schedule that breaks a property; runs in the median", rows)
    wanted = ", ".join(f"{total} for {faults}" for faults, total in TOTAL.items())
    print(f"\n  wanted: all exact, at most {_LONGEST_S} s each, in total at most {wanted}")
    sys.exit(0 if reached else 1)


if __name__ == "__main__":
    main()
