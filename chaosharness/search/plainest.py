"""One bug, one explanation: the counterexample that a search from calm meets first.

A test that draws its schedules by chance meets a bug where chance leads it: in an answer
that was lost, a pause, a message that came late. Each is true, and together they look like
three bugs. So what a test has found is looked for once more as `check` looks for it: the
examples of the entry as the workload, and the same schedules in the same order.
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
from chaosharness.search.marks import Sights
from chaosharness.search.planner import batch_sizes, proposed
from chaosharness.search.portfolio import Portfolio
from chaosharness.search.shrink import shrink
from chaosharness.system import Run, System

FAULTS_MAX: Final = 2
BUDGET: Final = 2_000
"""As `check` has them, if it is not told otherwise: they have a say in the order."""

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
    planner = Portfolio(faults_max=max(FAULTS_MAX, len(found.schedule)), budget=BUDGET, kinds=kinds)
    sights = Sights()
    number = 0
    for size in batch_sizes():
        batch = proposed(planner, min(size, runs_max - number))
        if not batch:
            return found
        for schedule in batch:
            number += 1
            run = system.run(workload, schedule)
            planner.observe(sights.of(run))
            told = told_by(breaches(claims, run.evidence()))
            shown = next((one for one in told if one.group == group), None)
            if shown is None:
                continue
            plain = shrink(
                system,
                shown.property,
                run.items,
                _struck(run),
                run=run,
                sample=shown.findings[0],
                kinds=kinds,
                found_after=number,
                target=found.target,
                plainer=items,
            )
            if len(plain.schedule) <= len(found.schedule):
                return plain
    return found


def _struck(run: Run) -> Schedule:
    return Schedule(run.struck)
