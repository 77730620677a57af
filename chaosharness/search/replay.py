"""Run a counterexample again, and say what has become of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs

from chaosharness.checkers import Evidence, Finding, Property, assumed
from chaosharness.checkers.breach import breaches
from chaosharness.checkers.property import in_words
from chaosharness.counterexample import Counterexample, claimed, items_for
from chaosharness.errors import Hopeless, IllegalFault, InvalidSchedule, Nondeterminism
from chaosharness.faults import Fault
from chaosharness.kernel.allowed import refused
from chaosharness.search.determinism import other_seeds, same_elsewhere
from chaosharness.search.regressions import load
from chaosharness.search.target import load_target, target_of
from chaosharness.system import Run, System
from chaosharness.system.twice import compare

ReplayVerdict = Literal["fixed", "failing", "different property", "stale", "nondeterministic"]


@attrs.frozen(kw_only=True, eq=False)
class Replay:
    """What became of a counterexample.

    Attributes:
        verdict: `failing`: it still breaks its property, for the same cause. `different
            property`: it breaks another one now, or the same for another cause. `stale`: it
            breaks none, but a fault found no site, or cannot happen any more: it says nothing
            about the bug. `nondeterministic`: two runs differ. `fixed`: every fault struck, and
            every property holds.
        reason: What stands behind it, in a sentence or two.
        counterexample: What was run again.
        property: The property that is broken, if any.
        findings: What it found.
        unused: Faults that found no site.
        run: The run; None if the schedule cannot be run at all.
        same_history: Whether the history is the one that was recorded, byte for byte.
    """

    verdict: ReplayVerdict
    reason: str
    counterexample: Counterexample
    property: str = ""
    findings: tuple[Finding, ...] = ()
    unused: tuple[Fault, ...] = ()
    run: Run | None = attrs.field(default=None, repr=False)
    same_history: bool = False

    def __str__(self) -> str:
        return f"{self.verdict}: {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as plain values: the same for the same run, byte for byte."""
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "property": self.counterexample.property,
            "broken": self.property,
            "findings": [one.summary for one in self.findings],
            "unused": [str(fault) for fault in self.unused],
            "digest": self.run.digest() if self.run is not None else "",
            "recorded_digest": self.counterexample.digest,
            "same_history": self.same_history,
        }


def replay(
    counterexample: Counterexample | Path | str,
    system: System | None = None,
    *,
    property: Property | None = None,
    properties: Iterable[Property] | None = None,
    target: str = "",
) -> Replay:
    """Run a counterexample again, twice, and judge it.

    Before it is called fixed, it is run in other processes as well, under the hash seed that it
    was found with or, where that is not known, under some others: the order of a set may hide it.

    Args:
        counterexample: A counterexample, or the file that holds one.
        system: The system; by default, what the file's target names.
        property: What it broke; by default, the system's claim of that name.
        properties: What else to judge; what the system claims by default, or what can be
            assumed of it.
        target: Where the system is found, as `module:attribute`; by default, where it was
            loaded from, or the module that has it as a global.

    Raises:
        InvalidSchedule: The file cannot be read, is for another system, or names no target.
        InvalidDefinition: The target does not import, or the system claims no property of
            that name any more.
    """
    found = load(counterexample) if isinstance(counterexample, Path | str) else counterexample
    if not isinstance(found, Counterexample):
        raise refused("replay", "counterexample", "a Counterexample, or its file", found)
    if system is None:
        system = _system_of(found)
        target = target or found.target
    if system.name != found.system:
        raise InvalidSchedule(
            f"this counterexample was made for system {found.system!r}, not {system.name!r}"
        )
    if properties is None:
        properties = system.properties or assumed(system)
    others = tuple(properties)
    named = (one for one in others if one.name == found.property)
    property = property or next(named, None) or claimed(system, found.property)
    items = items_for(system, found.items, found.types)
    try:
        run = system.run(items, found.schedule)
        again = system.run(items, found.schedule)
    except IllegalFault as error:
        reason = f"a fault cannot strike any more where it did: {error}"
        return Replay(verdict="stale", reason=reason, counterexample=found)
    except Hopeless as error:
        if found.property != property.name or found.schedule.faults or error.history is None:
            raise
        return _called_off(found, property, Evidence(error.history, tuple(items)))
    try:
        compare(run.history, again.history, schedule=repr(found.schedule))
    except Nondeterminism as error:
        return Replay(verdict="nondeterministic", reason=str(error), counterexample=found, run=run)
    outcome = _judged(found, run, property, others)
    return _seen_elsewhere(outcome, run, target or target_of(system))


def _seen_elsewhere(outcome: Replay, run: Run, target: str) -> Replay:
    """See that a counterexample is fixed in other processes too, if it is in this one."""
    if outcome.verdict != "fixed":
        return outcome
    if not target:
        words = "compared with no other process, since the system is a global of no module"
        return attrs.evolve(outcome, reason=f"{outcome.reason} ({words})")
    named = outcome.counterexample.hash_seed
    try:
        same_elsewhere(target, run, [named] if named else other_seeds())
    except Nondeterminism as error:
        return attrs.evolve(outcome, verdict="nondeterministic", reason=str(error))
    return outcome


def _of_cause(found: Counterexample, findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the findings that are of the cause which was recorded.

    A file of an earlier version names none: whatever breaks its property is that.
    """
    known = found.findings[0].group if found.findings else ("", "")
    return tuple(one for one in findings if not one.question and known in (("", ""), one.group))


def _system_of(found: Counterexample) -> System:
    if not found.target:
        raise InvalidSchedule(
            f"the counterexample for {found.system!r} does not say where the system is; say "
            "it: replay(counterexample, system)"
        )
    return load_target(found.target)


def _moved(found: Counterexample) -> str:
    """Say what means something else now than where the file was written."""
    if found.format > 1:
        return ""
    return (
        f". The file is of format {found.format}: there attempts counted for the item, and now "
        "they count for each message"
    )


def _called_off(found: Counterexample, property: Property, evidence: Evidence) -> Replay:
    """Return what becomes of one whose run is called off still: its code fails by itself."""
    findings = _of_cause(found, property.findings(evidence))
    return Replay(
        verdict="failing",
        reason=in_words(property.name, findings[0].summary) if findings else "it is called off",
        counterexample=found,
        property=property.name,
        findings=findings,
        same_history=evidence.history.digest() == found.digest,
    )


def _judged(
    found: Counterexample, run: Run, property: Property, others: tuple[Property, ...]
) -> Replay:
    evidence = run.evidence()
    unused = run.unused
    sites = ", ".join(str(fault.site) for fault in unused)
    aside = f" (found no site: {sites})" if unused else ""
    same = run.digest() == found.digest
    verdict: ReplayVerdict = "stale" if unused else "fixed"
    reason = (
        f"{len(unused)} of {len(run.schedule)} faults found no site: {sites}. Renamed, or not "
        f"reached any more; search again, and save what it finds{_moved(found)}"
        if unused
        else f"every fault struck, and {property.name!r} holds"
    )
    name, findings = "", _of_cause(found, property.findings(evidence))
    if findings:
        verdict, name = "failing", property.name
        reason = f"{in_words(property.name, findings[0].summary)}{aside}"
    elif broken := breaches({one.name: one for one in (property, *others)}.values(), evidence):
        verdict, name, findings = "different property", broken[0].property.name, broken[0].findings
        what = f"{property.name!r} holds now"
        if name == property.name:
            what = f"{property.name!r} does not break at {found.place} any more"
        reason = f"{what}, but not {in_words(name, findings[0].summary)}{aside}"
    return Replay(
        verdict=verdict,
        reason=reason,
        counterexample=found,
        property=name,
        findings=findings,
        unused=unused,
        run=run,
        same_history=same,
    )
