"""Whether a change left each search as it was: one line a search, to be compared with `diff`.

    python -m benchmarks.same > before.txt       # on the old code: two minutes of processor time
    python -m benchmarks.same > after.txt        # on the new code
    diff before.txt after.txt                    # says nothing: the same
    python -m benchmarks.same wallet             # only searches in whose name this is

A line has the name, the runs, and two digests. The first is of what was proposed, in its order,
and of the history of each run; the second of what was judged: every finding of every claim, what
was put to the test, what was new beside the calm run, and the counterexamples that came of it.
Right systems and broken ones, with their claims and with nothing claimed; and Molly's protocols.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from typing import Any, Final

from benchmarks.bugs import of_models
from benchmarks.certify import subjects
from benchmarks.lineage import FAULTS_MAX, KINDS, ROWS
from chaosharness import System, assumed
from chaosharness.checkers import Property
from chaosharness.search.exploration import Exploration
from chaosharness.search.lineage.first import CutsFirst
from chaosharness.search.lineage.planner import Lineage
from chaosharness.search.planner import Chooser
from chaosharness.search.portfolio import Portfolio
from chaosharness.search.seen import Seen

RUNS: Final = 120
RUNS_OF_PROTOCOLS: Final = 150

Search = tuple[str, System, tuple[Property, ...], Chooser]


def portfolio(claims: tuple[Property, ...], faults_max: int = 2, **words: Any) -> Portfolio:
    """Return the planner of the default mode."""
    cutter = Lineage(claims, faults_max=faults_max, **words)
    return Portfolio(faults_max=faults_max, budget=RUNS, cutter=cutter, **words)


def searches() -> Iterator[Search]:
    """Yield what is searched."""
    for one in subjects():
        claims = tuple(one.system.properties)
        yield one.name, one.system, claims, portfolio(claims)
        claims = tuple(assumed(one.system))
        yield f"{one.name}, nothing claimed", one.system, claims, portfolio(claims)
    for bug in of_models():
        yield f"broken: {bug.name}", bug.system, bug.claims, portfolio(bug.claims)
        claims = tuple(assumed(bug.system))
        yield f"broken: {bug.name}, nothing claimed", bug.system, claims, portfolio(claims, 3)
    for row in ROWS:
        system = row.build()
        claims = tuple(system.properties)
        name = f"protocol: {system.name}"
        words: dict[str, Any] = {"faults_max": FAULTS_MAX, "kinds": KINDS}
        yield name, system, claims, portfolio(claims, **words)
        yield f"{name}, lineage", system, claims, CutsFirst(claims, **words)


def line(search: Search) -> str:
    """Search, and say in a line what came of it."""
    name, system, claims, planner = search
    proposals, judged = hashlib.blake2b(digest_size=8), hashlib.blake2b(digest_size=8)
    observe = planner.observe

    def noted(seen: Seen) -> None:
        assert seen.run is not None
        proposals.update(f"{seen.schedule!r} {seen.unused!r} {seen.run.digest()}\n".encode())
        marks = sorted(seen.marks.touched), sorted(seen.marks.facts)
        judged.update(f"{seen.verdicts!r} {marks!r} {seen.failed!r}\n".encode())
        observe(seen)

    planner.observe = noted  # type: ignore[assignment,method-assign]
    exploration = Exploration(
        system=system, properties=claims, items=system.examples, planner=planner
    )
    runs = RUNS_OF_PROTOCOLS if name.startswith("protocol") else RUNS
    exploration.search(runs, None)
    for found in exploration.found:
        judged.update(f"{found.property} {found.schedule!r} {found.findings!r}\n".encode())
    judged.update(f"{[one.standing(True) for one in exploration.claims]!r}".encode())
    judged.update(f"{exploration.coverage()!r}".encode())
    return f"{name}: {exploration.runs} runs, {proposals.hexdigest()}, {judged.hexdigest()}"


def main() -> int:
    """Print a line for each search."""
    words = " ".join(sys.argv[1:])
    for search in searches():
        if words in search[0]:
            print(line(search), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
