"""From a violation, as a test raises it, to a counterexample as reports want it."""

from __future__ import annotations

from typing import Any

from chaosharness.checkers import Property
from chaosharness.counterexample import Counterexample, plain_items
from chaosharness.schedule import Schedule
from chaosharness.system import OBSERVERS, Run


def counterexample_of(error: Any) -> Counterexample:
    """Return the counterexample that a violation stands for, its schedule checked.

    Args:
        error: Raised by `run.check`, with its run, findings and property.
    """
    known = getattr(error, "counterexample", None)
    if isinstance(known, Counterexample):
        return known
    run: Run = error.run
    claim: Property = error.property
    token = OBSERVERS.set(())
    try:
        schedule, minimal = _needed(run, claim)
        final = run if schedule == run.schedule else run.system.run(run.items, schedule)
        findings = claim.findings(final.evidence()) or error.findings
        return Counterexample(
            property=claim.name,
            system=run.system.name,
            schedule=schedule,
            items=plain_items(run.items),
            findings=tuple(findings),
            digest=final.digest(),
            history=final.history,
            minimal=minimal,
            passing=final.calm() if schedule.faults else None,
        )
    finally:
        OBSERVERS.reset(token)


def _needed(run: Run, claim: Property) -> tuple[Schedule, bool]:
    """Leave out faults that found no site, then each that it fails without."""
    schedule = Schedule(fault for fault in run.schedule if fault not in set(run.unused))
    for fault in tuple(schedule):
        smaller = schedule.without(fault)
        if claim.findings(run.system.run(run.items, smaller).evidence()):
            schedule = smaller
    return schedule, True
