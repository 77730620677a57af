"""One bug, one explanation: the counterexample that a search from calm meets first.

A test that draws its schedules by chance meets a bug where chance leads it: in an answer
that was lost, a pause, a message that came late. Each is true, and together they look like
three bugs. So what a test has found is looked for once more as `check` looks for it: the
examples of the entry as the workload, and the smallest schedules first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

from chaosharness.checkers import Property
from chaosharness.checkers.breach import breaches
from chaosharness.counterexample import Counterexample
from chaosharness.faults import FAULTS, Fault
from chaosharness.schedule import Schedule
from chaosharness.search.causes import told_by
from chaosharness.search.shrink import shrink
from chaosharness.search.small_first import SmallFirst
from chaosharness.system import Run, System

RUNS_MAX: Final = 400
"""Runs after which a counterexample stays as it was found."""


def plainest(
    found: Counterexample,
    system: System,
    properties: Iterable[Property],
    *,
    kinds: Collection[type[Fault]] = FAULTS,
    runs_max: int = RUNS_MAX,
    items: tuple[Any, ...] | None = None,
) -> Counterexample:
    """Return the counterexample of the same cause that a search meets first.

    Args:
        found: A counterexample.
        system: The system.
        properties: The claims that the runs were judged by.
        kinds: Only these kinds of fault.
        runs_max: Runs that are made for it.
        items: The one workload of the test; by default the examples of the entry.

    Returns:
        It, or what was given where the examples do not show that cause with as few faults.
    """
    workload = system.examples if items is None else items
    if not workload:
        return found
    claims = tuple(properties)
    group = (found.property, found.kind, found.place)
    planner = SmallFirst(faults_max=len(found.schedule), kinds=kinds)
    for number in range(1, runs_max + 1):
        schedule = planner.propose()
        if schedule is None:
            return found
        run = system.run(workload, schedule)
        planner.observe(run)
        for one in told_by(breaches(claims, run.evidence())):
            if one.group == group:
                return shrink(
                    system,
                    one.property,
                    run.items,
                    _struck(run),
                    run=run,
                    sample=one.findings[0],
                    kinds=kinds,
                    found_after=number,
                    target=found.target,
                    plainer=items,
                )
    return found


def _struck(run: Run) -> Schedule:
    return Schedule(fault for fault in run.schedule if fault not in run.unused)
