"""Shrinking: from a random schedule of many faults to the fewest that are needed.

Each planted bug needs exactly k faults, which is certified first: no schedule of k - 1
faults breaks it. A start is a random schedule that breaks it, found by chance (k = 1 and
2), or by hiding k faults that break it among others (k = 3, rarely met by chance).

    python -m benchmarks.shrink            100 seeds for each bug
"""

from __future__ import annotations

import sys
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
from chaosharness.search.shrink import RUNS_MAX, shrink
from chaosharness.search.sites import candidates
from chaosharness.system import Run, System
from tests.search.planted import never_charged_twice, one, three, two

SEEDS = 100
FAULTS_MAX = 12
TARGET = 0.95


@attrs.frozen
class Start:
    """A run that breaks the property, with more faults than it needs."""

    run: Run
    seed: int


def by_chance(system: System, seed: int) -> Start:
    """Return the first random schedule of up to `FAULTS_MAX` faults that breaks it."""
    planner = RandomSearch(faults_max=FAULTS_MAX, seed=seed)
    while True:
        schedule = planner.propose()
        assert schedule is not None
        run = system.run(None, schedule)
        planner.observe(Sight(run))
        if never_charged_twice.findings(run.evidence()):
            return Start(run, seed)


def hidden(system: System, seed: int, needed: Schedule) -> Start:
    """Return a schedule that holds the needed faults and others, and breaks it."""
    chance = Random(seed)
    noise = candidates(system.run(None, needed))
    while True:
        others = chance.sample(noise, FAULTS_MAX - len(needed))
        run = system.run(None, Schedule((*needed, *others)))
        if never_charged_twice.findings(run.evidence()):
            return Start(run, seed)


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


def measure(system: System, faults: int) -> tuple[tuple[str, ...], bool]:
    """Return a row of the table, and whether it reaches what it must."""
    least = certified(system, faults).counterexamples[0].schedule
    exact = 0
    starts, runs, seconds = [], [], []
    for seed in range(SEEDS):
        start = hidden(system, seed, least) if faults == 3 else by_chance(system, seed)
        run = start.run
        begun = perf_counter()
        found = shrink(system, never_charged_twice, run.items, run.schedule, run=run)
        seconds.append(perf_counter() - begun)
        runs.append(found.shrunk_in)
        starts.append(len(run.schedule))
        exact += found.minimal and len(found.schedule) == faults
    good = exact >= TARGET * SEEDS and max(runs) <= RUNS_MAX and max(seconds) <= 1
    row = (
        f"{faults}",
        f"{min(starts)}–{max(starts)}",
        f"{exact} of {SEEDS}",
        f"{median(runs):.0f}",
        f"{max(runs)}",
        f"{max(seconds) * 1000:.0f} ms",
    )
    return row, good


def main() -> None:
    """Print the table; exit 1 if a figure is not reached."""
    rows = [("faults needed", "faults at first", "exact", "runs, median", "runs, most", "longest")]
    reached = True
    for make, faults in ((one, 1), (two, 2), (three, 3)):
        row, good = measure(make(), faults)
        rows.append(row)
        reached &= good
    table("shrinking a random schedule that breaks a property", rows)
    print(f"\n  wanted: {TARGET:.0%} exact, at most {RUNS_MAX} runs and 1 s each")
    sys.exit(0 if reached else 1)


if __name__ == "__main__":
    main()
