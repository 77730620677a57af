"""From a violation, as a test raises it, to a counterexample as reports want it."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from typing import Any, Final, cast

from chaosharness.campaign import runs_in_words
from chaosharness.checkers import Property
from chaosharness.counterexample import Counterexample, items_for
from chaosharness.errors import PropertyViolated
from chaosharness.faults import FAULTS, Fault
from chaosharness.schedule import Schedule
from chaosharness.search.claims import chosen
from chaosharness.search.plainest import plainest
from chaosharness.search.shrink import shrink
from chaosharness.system import OBSERVERS, Run, System

_NOT_THEIRS: Final = frozenset({*sys.stdlib_module_names, "chaosharness", "__main__"})


def counterexample_of(
    error: Any,
    *,
    properties: Iterable[Property] | None = None,
    kinds: Collection[type[Fault]] = FAULTS,
) -> Counterexample:
    """Return the counterexample that a violation stands for, as a search would show it.

    Args:
        error: Raised by `run.check`, with its run, findings and property.
        properties: The claims that the run was judged by; by default those of the system,
            or what can be assumed of any.
        kinds: Only these kinds of fault take the place of others.
    """
    known = getattr(error, "counterexample", None)
    if isinstance(known, Counterexample):
        return known
    run: Run = error.run
    claim: Property = error.property
    system = cast(System, run.system)
    claims = chosen(system, properties)
    if all(one.name != claim.name for one in claims):
        claims = (*claims, claim)
    token = OBSERVERS.set(())
    try:
        struck = Schedule(fault for fault in run.schedule if fault not in set(run.unused))
        found = shrink(
            system,
            claim,
            run.items,
            struck,
            sample=error.findings[0] if error.findings else None,
            kinds=kinds,
            target=target_of(system),
        )
        found = plainest(found, system, claims, kinds=kinds)
    finally:
        OBSERVERS.reset(token)
    error.counterexample = found
    return found


def violation_of(system: System, property: Property, found: Counterexample) -> PropertyViolated:
    """Return the exception that shows a counterexample: the same words from every door."""
    items = items_for(system, found.items)
    count = len(found.schedule)
    plural = "" if count == 1 else "s"
    violation = property.violation(found.findings)
    violation.args = (
        f"{violation}\n\n"
        f"Smallest schedule ({count} fault{plural}, "
        f"found after {runs_in_words(found.found_after)}, "
        f"{found.shrunk_in} more to make it small):\n"
        f"    {found.schedule!r}\n"
        f"Workload: {list(found.items)!r}",
    )
    violation.run = system.run(items, found.schedule)
    violation.findings = found.findings
    violation.property = property
    violation.counterexample = found
    return violation


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
