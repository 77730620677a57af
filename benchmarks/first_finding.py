"""How many runs it takes to the first finding, and to a counterexample as small as can be.

    python -m benchmarks.first_finding                   # the broken twins, the planted bugs
    python -m benchmarks.first_finding --seeds 3         # more seeds
    python -m benchmarks.first_finding --cases FOLDER    # and other systems: see `benchmarks.bugs`

Exact units: schedules that were judged until a claim broke in one that the shrinker makes small
enough. The calm run, and the clean runs by which the judge compares, are counted apart. For each
twin the odds are learned from the other families only.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from math import exp, log
from pathlib import Path
from statistics import median

import attrs

from benchmarks.bugs import Bug, of_folder, of_models
from benchmarks.learn_odds import Counts, kept, odds_without
from benchmarks.measure import table
from chaosharness.search.exploration import Exploration
from chaosharness.search.portfolio import Portfolio
from chaosharness.search.small_first import SmallFirst
from chaosharness.system import System
from tests.search.planted import never_charged_twice, one, three, two

RUNS_MAX = 2_000
PLANTED = ((1, one), (2, two), (3, three))


@attrs.frozen
class First:
    """How a search came to its first finding.

    Attributes:
        name: Of the system.
        judged: Schedules with faults that were judged until then; 0 if there was none.
        clean: Runs without any fault, and those by which the judge compares.
        shrunk: Runs that made it small.
        faults: Faults of the counterexample.
    """

    name: str
    judged: int
    clean: int
    shrunk: int
    faults: int


def search(bug: Bug, planner: Portfolio | SmallFirst, runs_max: int = RUNS_MAX) -> First:
    """Search until something is found."""
    items = bug.system.examples
    exploration = Exploration(
        system=bug.system, properties=bug.claims, items=items, planner=planner, stop_at_first=True
    )
    before = bug.system.family(items).made
    exploration.search(runs_max, None)
    clean = 2 + bug.system.family(items).made - before
    if not exploration.found:
        return First(bug.name, 0, clean, 0, 0)
    found = exploration.found[0]
    return First(bug.name, found.found_after - 1, clean, found.shrunk_in, len(found.schedule))


def by_portfolio(
    bugs: Iterable[Bug], known: list[Counts], seed: int, faults_max: int = 2
) -> Iterator[First]:
    """Search each with odds that were learned without its family."""
    for bug in bugs:
        odds = odds_without(known, bug.family)
        yield search(bug, Portfolio(faults_max=faults_max, seed=seed, odds=odds, budget=RUNS_MAX))


def planted(faults: int, seed: int) -> First:
    """Search for a planted bug that needs so many faults: with one item, up to three faults."""
    make = dict(PLANTED)[faults]
    system: System = make()
    bug = Bug(make.__name__, "planted", system, (never_charged_twice,))
    return search(bug, Portfolio(faults_max=3, seed=seed, budget=RUNS_MAX))


def geometric_mean(numbers: Iterable[int]) -> float:
    """Return the geometric mean of numbers above 0."""
    logs = [log(number) for number in numbers]
    return exp(sum(logs) / len(logs))


def row(what: str, found: list[First]) -> tuple[str, ...]:
    """Return one line of the table: a search that found nothing counts with all its runs."""
    judged = [one.judged or RUNS_MAX for one in found]
    lost = sum(not one.judged for one in found)
    return (
        what,
        f"{len(found) - lost} of {len(found)}",
        f"{geometric_mean(judged):.1f}",
        f"{median(judged):.0f}",
        f"{max(judged)}",
        f"{sum(one.clean for one in found) / len(found):.1f}",
    )


def planted_row(faults: int, seeds: int) -> tuple[str, ...]:
    """Return one line of the table of planted bugs."""
    found = [planted(faults, seed) for seed in range(seeds)]
    totals = [(one.judged or RUNS_MAX) + one.shrunk for one in found]
    return (
        f"{faults}",
        f"{median(one.judged or RUNS_MAX for one in found):.0f}",
        f"{median(totals):.0f}",
        f"{max(totals)}",
        f"{sum(one.faults == faults for one in found)} of {seeds}",
    )


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=1, help="of the broken twins")
    parser.add_argument("--planted", type=int, default=20, help="seeds of the planted bugs")
    parser.add_argument("--cases", type=Path, help="a folder of other systems with a bug")
    parser.add_argument("--small-first", action="store_true", help="that order as well: minutes")
    parser.add_argument("--each", action="store_true", help="a line for each system")
    options = parser.parse_args()
    known = kept()
    groups = {"broken twins": list(of_models())}
    if options.cases:
        groups[options.cases.name] = list(of_folder(options.cases))
    rows = []
    for name, bugs in groups.items():
        for seed in range(options.seeds):
            found = list(by_portfolio(bugs, known, seed))
            rows.append(row(f"{name}, portfolio, seed {seed}", found))
            if options.each:
                for one in found:
                    print(one)
        if options.small_first:
            rows.append(row(f"{name}, small first", [search(bug, SmallFirst()) for bug in bugs]))
    table(
        "Schedules judged to the first finding",
        [("system", "found", "geomean", "median", "worst", "clean runs each"), *rows],
    )
    head = ("faults", "judged, median", "and to minimal, median", "worst", "exact")
    if options.planted:
        lines = [planted_row(faults, options.planted) for faults, _ in PLANTED]
        table("Planted bugs, up to 3 faults", [head, *lines])
    return 0


if __name__ == "__main__":
    sys.exit(main())
