"""From a violation, as a test raises it, to a counterexample as reports want it."""

from __future__ import annotations

import sys
from typing import Any, Final

from chaosharness.checkers import Property
from chaosharness.counterexample import Counterexample, plain_items
from chaosharness.schedule import Schedule
from chaosharness.system import OBSERVERS, Run

_NOT_THEIRS: Final = frozenset({*sys.stdlib_module_names, "chaosharness", "__main__"})


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
            target=target_of(run.system),
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


def target_of(system: object) -> str:
    """Return `module:attribute` of a system that is a global of some module; empty if none.

    Modules outside Python's own and ours are looked through, in the order of their names.
    """
    for name in sorted(sys.modules):
        if name.partition(".")[0] in _NOT_THEIRS:
            continue
        words = getattr(sys.modules[name], "__dict__", {})
        for attribute, value in list(words.items()):
            if value is system:
                return f"{name}:{attribute}"
    return ""


def _needed(run: Run, claim: Property) -> tuple[Schedule, bool]:
    """Leave out faults that found no site, then each that it fails without."""
    schedule = Schedule(fault for fault in run.schedule if fault not in set(run.unused))
    for fault in tuple(schedule):
        smaller = schedule.without(fault)
        if claim.findings(run.system.run(run.items, smaller).evidence()):
            schedule = smaller
    return schedule, True
