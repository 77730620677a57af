"""Judging every run of one fault by the outcome alone: what was found, and what was asked."""

from itertools import islice

from chaosharness import Schedule, System, idempotent
from chaosharness.checkers import Finding
from tests.checkers.tales import single_faults


def sweep(system: System, *, kinds=None, every: int = 1, **options) -> list[Finding]:
    """Return the heaviest finding of the calm run and of each run of a single fault."""
    claim = idempotent(**options)
    faults = [
        fault for fault in single_faults(system.run()) if kinds is None or isinstance(fault, kinds)
    ]
    schedules = [Schedule(), *(Schedule([fault]) for fault in islice(faults, 0, None, every))]
    found = []
    for schedule in schedules:
        run = system.run(None, schedule)
        found += claim.findings(run.evidence())[:1]
    return found


def groups(findings: list[Finding]) -> set[tuple[str, str]]:
    """Return what was found, by kind and place."""
    return {one.group for one in findings}
