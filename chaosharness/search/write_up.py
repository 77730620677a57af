"""From a violation, as a test raises it, to a counterexample as reports want it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, cast

from chaosharness.campaign import runs_in_words
from chaosharness.checkers import Evidence, Finding, Property, never_stuck
from chaosharness.counterexample import Counterexample, items_for, plain_items, types_of
from chaosharness.errors import PropertyViolated
from chaosharness.faults import FAULTS, Fault
from chaosharness.kernel.history import History
from chaosharness.schedule import Schedule
from chaosharness.search.claims import chosen
from chaosharness.search.plainest import plainest
from chaosharness.search.shrink import shrink
from chaosharness.search.target import target_of
from chaosharness.strategies.schedules import ASKED
from chaosharness.system import OBSERVERS, Run, System


def counterexample_of(
    error: Any,
    *,
    properties: Iterable[Property] | None = None,
    kinds: Collection[type[Fault]] | None = None,
    drawn: bool = True,
    items: tuple[Any, ...] | None = None,
) -> Counterexample:
    """Return the counterexample that a violation stands for, as a search would show it.

    Args:
        error: Raised by `run.check`, with its run, findings and property.
        properties: The claims that the run was judged by; by default those of the system,
            or what can be assumed of any.
        kinds: Only these kinds of fault take the place of others; by default those that the
            test asked for.
        drawn: Whether the schedule was drawn. One that somebody wrote stays as it is, less
            the faults that are not needed.
        items: The one workload of the test, where somebody wrote it: no other items take
            their place. By default the examples of the entry do.
    """
    known = getattr(error, "counterexample", None)
    if isinstance(known, Counterexample):
        return known
    run: Run = error.run
    claim: Property = error.property
    system = cast(System, run.system)
    kinds = ASKED.get(system, FAULTS) if kinds is None else kinds
    claims = chosen(system, properties)
    if all(one.name != claim.name for one in claims):
        claims = (*claims, claim)
    token = OBSERVERS.set(())
    try:
        sample = error.findings[0] if error.findings else None
        if drawn:
            struck = Schedule(fault for fault in run.schedule if fault not in set(run.unused))
            words: Any = {"sample": sample, "kinds": kinds, "target": target_of(system)}
            words["plainer"] = items
            found = shrink(system, claim, run.items, struck, **words)
            found = plainest(found, system, claims, kinds=kinds, items=items)
        else:
            found = _as_written(run, claim, error.findings)
    finally:
        OBSERVERS.reset(token)
    error.counterexample = found
    return found


def _as_written(run: Run, claim: Property, findings: Sequence[Finding]) -> Counterexample:
    """Leave out faults that found no site, then each that it fails without, until none is."""
    schedule = Schedule(fault for fault in run.schedule if fault not in set(run.unused))
    group = findings[0].group
    shown = list(findings)
    final = run
    needed: set[Fault] = set()
    while fault := next((one for one in schedule if one not in needed), None):
        smaller = schedule.without(fault)
        again = run.system.run(run.items, smaller)
        left = [one for one in claim.findings(again.evidence()) if one.group == group]
        if left:
            schedule, final, shown = smaller, again, left
            needed.clear()
        else:
            needed.add(fault)
    if final.schedule != schedule:
        final = run.system.run(run.items, schedule)
    shown_again = final.system.seen_again(final)
    return Counterexample(
        property=claim.name,
        system=run.system.name,
        target=target_of(run.system),
        schedule=schedule,
        items=plain_items(run.items),
        findings=tuple(shown),
        digest=final.digest(),
        history=final.history,
        lines=shown_again.lines,
        logged=shown_again.logged,
        event_histories=final.event_histories,
        minimal=True,
        exact=len(schedule) < 2,
        checked="no fault can be dropped" if len(schedule) > 1 else "",
        passing=final.calm() if schedule.faults else None,
        assumption=claim.assumption,
        types=types_of(run.system, run.items),
        profiles=run.system.profiles(),
    )


def called_off(system: System, items: Sequence[Any], history: History) -> Counterexample:
    """Return what a run shows that was called off, because code fails without any fault."""
    claim = never_stuck()
    return Counterexample(
        property=claim.name,
        system=system.name,
        target=target_of(system),
        schedule=Schedule(),
        items=plain_items(items),
        findings=tuple(claim.findings(Evidence(history, tuple(items)))),
        digest=history.digest(),
        history=history,
        minimal=True,
        exact=True,
        types=types_of(system, items),
        profiles=system.profiles(),
    )


def violation_of(system: System, property: Property, found: Counterexample) -> PropertyViolated:
    """Return the exception that shows a counterexample: the same words from every door."""
    items = items_for(system, found.items, found.types)
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
