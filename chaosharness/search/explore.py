"""Testing a system's claims: choose schedules, run, judge, shrink, and say what was covered."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from time import perf_counter
from typing import Any, Final, Literal

import attrs

from chaosharness.campaign import (
    Campaign,
    Coverage,
    Result,
    Standing,
    Trouble,
    runs_in_words,
)
from chaosharness.checkers import Evidence, Property, assumed
from chaosharness.checkers.progress import nothing_handled, upset
from chaosharness.checkers.property import violation_class
from chaosharness.counterexample import Counterexample, items_for
from chaosharness.errors import InvalidDefinition, PropertyViolated
from chaosharness.faults import FAULTS, Fault
from chaosharness.kernel.rest import RanOn
from chaosharness.schedule import Schedule
from chaosharness.search.determinism import compare
from chaosharness.search.random_search import GuidedSearch, RandomSearch
from chaosharness.search.shrink import shrink
from chaosharness.search.small_first import Options, SmallFirst
from chaosharness.system import Run, System

Mode = Literal["small-first", "random", "guided"]
MODES: Final = ("small-first", "random", "guided")
TROUBLES_MAX: Final = 20
_NO_LIMIT: Final = sys.maxsize


@attrs.frozen
class Progress:
    """How far a campaign is.

    Attributes:
        runs: Runs so far, without those that shrink.
        runs_max: Runs there may be.
        faults: Faults in the schedule that was run last.
        broken: Properties that were broken so far.
    """

    runs: int
    runs_max: int
    faults: int
    broken: tuple[str, ...]


def explore(
    system: System,
    *,
    properties: Iterable[Property] | None = None,
    items: Sequence[Any] | None = None,
    faults_max: int = 2,
    runs_max: int = 2_000,
    seed: int = 0,
    mode: Mode = "small-first",
    options: Options = "mildest",
    kinds: Collection[type[Fault]] = FAULTS,
    stop_at_first: bool = False,
    regressions: Sequence[Counterexample] = (),
    target: str = "",
    on_progress: Callable[[Progress], None] | None = None,
) -> Campaign:
    """Look for schedules that break a system's claims.

    Each property is shrunk and set aside the first time it is broken; the others go on.

    Args:
        system: The system.
        properties: The claims. By default what the system claims; where it claims nothing,
            what can be assumed of any system (`checkers.assumed`).
        items: The workload; the examples of the entry by default.
        faults_max: Faults in one schedule, at most.
        runs_max: Runs, without those that shrink.
        seed: For the modes that use chance.
        mode: `small-first`: calm, every single fault, pairs, and so on, until all are done.
            `random`: schedules of 1 to `faults_max` faults by chance. `guided`: by chance,
            from those that led to something new.
        options: Which values of a fault's option are tried where there are two faults or
            more (small-first): the mildest of each, or `all`. Single faults have all, and lengths
            in ms taken from the durations that the calm run shows (`coverage.stalls`).
        kinds: Only these kinds of fault.
        stop_at_first: Stop when one property is broken.
        regressions: Counterexamples that are run first, if they are of this system.
        target: Where the system is found, as `module:attribute`; for the report.
        on_progress: Called after each run.

    Returns:
        What came of it. `holds` only if everything that was asked for was run, each
        property was put to the test, and each `sometimes` was reached.

    Raises:
        InvalidDefinition: The system, a property or an argument is wrong.
        Nondeterminism: The same schedule led to two histories.
    """
    began = perf_counter()
    if mode not in MODES:
        raise InvalidDefinition(f"no search mode {mode!r}; there are: {', '.join(MODES)}")
    _at_least(0 if mode == "small-first" else 1, faults_max=faults_max)
    _at_least(1, runs_max=runs_max)
    planner = _planner(mode, faults_max, seed, options, kinds)
    claims = _claims(system, properties)
    workload = system.examples if items is None else tuple(items)
    search = Exploration(system, claims, workload, planner, target)
    search.stop_at_first = stop_at_first
    for one in regressions:
        if one.system == system.name:
            search.again(one)
    search.search(runs_max, on_progress)
    coverage = search.coverage()
    reasons = search.reasons(coverage, runs_max)
    return Campaign(
        system=system.name,
        target=target,
        mode=mode,
        faults_max=faults_max,
        seed=seed,
        result="violated" if search.found else "unknown" if reasons else "holds",
        reasons=reasons,
        runs=search.runs,
        searched=search.searched,
        counterexamples=tuple(search.found),
        standings=tuple(one.standing(coverage.complete) for one in search.claims),
        troubles=search.troubles(),
        upset=search.upset(),
        coverage=coverage,
        seconds=perf_counter() - began,
    )


def _at_least(least: int, **given: Any) -> None:
    for name, value in given.items():
        if not isinstance(value, int) or value < least:
            raise InvalidDefinition(f"{name} must be a whole number from {least}, not {value!r}")


def _planner(
    mode: Mode, faults_max: int, seed: int, options: Options, kinds: Collection[type[Fault]]
) -> SmallFirst | RandomSearch:
    match mode:
        case "small-first":
            return SmallFirst(faults_max=faults_max, options=options, kinds=kinds)
        case "random":
            return RandomSearch(faults_max=faults_max, seed=seed, kinds=kinds)
        case "guided":
            return GuidedSearch(faults_max=faults_max, seed=seed, kinds=kinds)


def _claims(system: System, properties: Iterable[Property] | None) -> tuple[Property, ...]:
    """Return the properties to judge: given, or claimed, or else those assumed of any system.

    Raises:
        InvalidDefinition: One is no property, or two have one name.
    """
    if properties is None:
        properties = system.properties or assumed(system)
    claims = tuple(properties)
    names = set()
    for one in claims:
        if not isinstance(one, Property):
            raise InvalidDefinition(
                f"{one!r} is not a property; make one with always, eventually or sometimes, or "
                "call the function that makes it"
            )
        if one.name in names:
            raise InvalidDefinition(f"two properties of {system.name!r} are named {one.name!r}")
        names.add(one.name)
    return claims


@attrs.define
class Claim:
    """One property, and how it stands so far."""

    property: Property
    broken: bool = False
    judged: int = 0
    tested: int = 0
    reached: int = 0

    def judge(self, evidence: Evidence) -> bool:
        """Judge one run; say whether it breaks the property."""
        property = self.property
        self.judged += 1
        try:
            self.tested += bool(property.tested(evidence))
        except Exception as error:
            raise InvalidDefinition(
                f"'tested' of the property {property.name!r} raised {type(error).__name__}: "
                f"{error}. That is a mistake in the property, not a finding about the system."
            ) from error
        findings = property.findings(evidence)
        if property.when == "sometimes":
            self.reached += not findings
            return False
        self.broken = bool(findings)
        return self.broken

    def doubt(self) -> str:
        """Say why the property is not known to hold although nothing broke it, if so."""
        if self.property.when == "sometimes":
            return "" if self.reached else f"never reached in {runs_in_words(self.judged)}"
        return "" if self.tested else f"never put to the test in {runs_in_words(self.judged)}"

    def standing(self, complete: bool) -> Standing:
        """Return how it came out."""
        result: Result = "unknown" if self.doubt() or not complete else "holds"
        if self.property.when == "sometimes" and self.reached:
            result = "holds"
        return Standing(
            name=self.property.name,
            when=self.property.when,
            result="violated" if self.broken else result,
            judged=self.judged,
            tested=self.tested,
            reached=self.reached,
            assumption=self.property.assumption,
        )


def _farthest(loop: RanOn) -> tuple[int, str]:
    return loop.after_ms, loop.why


class Exploration:
    """One campaign while it goes on."""

    def __init__(
        self,
        system: System,
        properties: tuple[Property, ...],
        items: tuple[Any, ...],
        planner: SmallFirst | RandomSearch,
        target: str,
    ) -> None:
        self.system = system
        self.claims = [Claim(one) for one in properties]
        self.items = items
        self.planner = planner
        self.target = target
        self.found: list[Counterexample] = []
        self.runs = 0
        self.searched = 0
        self.stop_at_first = False
        self._calm: Run | None = None
        self._troubles: dict[tuple[str, str], tuple[int, str]] = {}
        self._ran_on: dict[str, RanOn] = {}

    # ---- searching

    def search(self, runs_max: int, on_progress: Callable[[Progress], None] | None) -> None:
        """Run what the planner proposes, until it has nothing more or the budget is spent."""
        planner, items, run_once = self.planner, self.items, self.system.run
        budget = self.searched + runs_max
        while self.searched < budget and not self._is_over():
            schedule = planner.propose()
            if schedule is None:
                return
            run = run_once(items, schedule)
            planner.observe(run)
            self._take(run)
            if on_progress is not None:
                broken = tuple(one.property for one in self.found)
                on_progress(Progress(self.searched, budget, len(schedule), broken))

    def _is_over(self) -> bool:
        """Say whether nothing is left to learn: every property is broken, every case reached."""
        if self.found and (self.stop_at_first or self._is_restless()):
            return True
        if self._spins():
            return True
        return bool(self.claims) and all(one.broken or one.reached for one in self.claims)

    def _is_restless(self) -> bool:
        """Say whether the calm run never becomes quiet: there is nothing to compare with.

        Each run goes on to the end of its budget, and is judged by little.
        """
        return self._calm is not None and self._calm.ending.verdict != "quiet"

    def _spins(self) -> bool:
        """Say whether the code spins without any fault: it then does so in every run.

        Each of them would take the watchdog's whole patience, which is real time.
        """
        return self._calm is not None and self._calm.ending.verdict == "spinning"

    def _take(self, run: Run) -> None:
        """Judge a run by every property that is not broken yet."""
        self.runs += 1
        self.searched += 1
        for loop in run.ending.ran_on:
            self._ran_on[loop.place] = max(self._ran_on.get(loop.place, loop), loop, key=_farthest)
        if run.ending.verdict != "quiet":
            self._trouble(run)
        if self._calm is None and not run.schedule.faults:
            self._calm = run
            self.runs += 1
            again = self.system.run(self.items, Schedule())
            compare(run.history, again.history, schedule="Schedule()")
        evidence = self._evidence(run)
        for claim in self.claims:
            if not claim.broken and claim.judge(evidence):
                self._shrink(claim.property, run, run.items)
                if self.stop_at_first:
                    return

    def _evidence(self, run: Run) -> Evidence:
        calm = self._calm
        if calm is None or run.items is not calm.items:
            return run.evidence()
        unused = run.unused
        struck = tuple(fault for fault in run.schedule.faults if fault not in unused)
        return Evidence(run.history, run.items, lambda: calm.history, struck)

    def _shrink(self, property: Property, run: Run, items: Sequence[Any]) -> None:
        found = shrink(
            self.system,
            property,
            items,
            run.schedule,
            run=run,
            found_after=self.searched,
            target=self.target,
        )
        self.runs += found.shrunk_in
        self.found.append(found)

    def again(self, known: Counterexample) -> None:
        """Run a counterexample that was found before."""
        if not self._is_over():
            items = items_for(self.system, known.items)
            self._take(self.system.run(items, known.schedule))

    def _trouble(self, run: Run) -> None:
        key = (run.ending.verdict, run.ending.reason)
        if key not in self._troubles and len(self._troubles) >= TROUBLES_MAX:
            key = (run.ending.verdict, "for other reasons")
        times, first = self._troubles.get(key, (0, repr(run.schedule)))
        self._troubles[key] = (times + 1, first)

    # ---- what came of it

    def troubles(self) -> tuple[Trouble, ...]:
        """Return the runs that did not become quiet."""
        return tuple(
            Trouble(verdict=verdict, reason=reason, times=times, schedule=first)
            for (verdict, reason), (times, first) in self._troubles.items()
        )

    def upset(self) -> tuple[str, ...]:
        """Say what went wrong in the calm run already."""
        return () if self._calm is None else upset(self._calm.history)

    def coverage(self) -> Coverage:
        """Return what was put to the test."""
        planner = self.planner
        cells, equivalent = planner.catalogue.cells()
        ran_on = tuple(loop for _, loop in sorted(self._ran_on.items()))
        stalls = planner.catalogue.stalls()
        if isinstance(planner, SmallFirst):
            return Coverage(
                levels=planner.levels(),
                cells=cells,
                equivalent=equivalent,
                ran_on=ran_on,
                stalls=stalls,
            )
        return Coverage(
            random=planner.tried,
            faults_max=planner.faults_max,
            cells=cells,
            equivalent=equivalent,
            ran_on=ran_on,
            stalls=stalls,
        )

    def reasons(self, coverage: Coverage, runs_max: int) -> tuple[str, ...]:
        """Say why it is not known whether the properties hold; nothing if it is."""
        reasons = [] if self.claims else ["no property was given: nothing was judged"]
        if self._calm is not None and (error := nothing_handled(self._calm.history)):
            reasons.append(f"no handler came to its end, even without any fault: {error}")
        level = coverage.left()
        if level is not None and self._spins() and not self.found:
            reasons.append(f"the search stopped at the calm run, which spins; {level}")
        elif level is not None and not self._is_over():
            reasons.append(f"the budget of {runs_in_words(runs_max)} was spent; {level}")
        elif level is not None and self.found:
            why = "at the first finding" if self.stop_at_first else "with nothing left to break"
            if self._spins():
                why = "at the calm run, which spins"
            elif self._is_restless():
                why = "since the run without any fault never becomes quiet: mend that first"
            reasons.append(f"the search stopped {why}; {level}")
        for claim in self.claims:
            assumed_only = bool(claim.property.assumption)  # nobody promised it
            if not assumed_only and (doubt := claim.doubt()):
                reasons.append(f"{claim.property.name}: {doubt}")
        return tuple(reasons)


def certify(
    system: System,
    *,
    faults: int = 2,
    options: Options = "mildest",
    properties: Iterable[Property] | None = None,
    items: Sequence[Any] | None = None,
    kinds: Collection[type[Fault]] = FAULTS,
    target: str = "",
    on_progress: Callable[[Progress], None] | None = None,
) -> Campaign:
    """Run every schedule of up to so many faults: `explore`, small first, to its end.

    The number of runs grows with about the square of the sites for two faults, with the
    cube for three. `campaign.coverage.levels` says how many there were.
    """
    return explore(
        system,
        properties=properties,
        items=items,
        faults_max=faults,
        runs_max=_NO_LIMIT,
        options=options,
        kinds=kinds,
        target=target,
        on_progress=on_progress,
    )


def smallest(
    system: System,
    property: Property | None = None,
    *,
    items: Sequence[Any] | None = None,
    faults_max: int = 2,
    runs_max: int = 2_000,
    seed: int = 0,
    mode: Mode = "small-first",
) -> Counterexample | None:
    """Return the smallest counterexample that is found first; None if there is none.

    Args:
        system: The system.
        property: The claim; by default as for `explore`.
        items: The workload; the examples of the entry by default.
        faults_max: Faults in one schedule, at most.
        runs_max: Runs, without those that shrink.
        seed: For the modes that use chance.
        mode: As for `explore`.
    """
    campaign = explore(
        system,
        properties=None if property is None else [property],
        items=items,
        faults_max=faults_max,
        runs_max=runs_max,
        seed=seed,
        mode=mode,
        stop_at_first=True,
    )
    return campaign.counterexamples[0] if campaign.counterexamples else None


def check(
    system: System,
    *,
    properties: Iterable[Property] | None = None,
    items: Sequence[Any] | None = None,
    faults_max: int = 2,
    runs_max: int = 2_000,
    seed: int = 0,
    mode: Mode = "small-first",
) -> None:
    """Test a system's claims in one call: return if they hold, raise if one does not.

    Args: as for `explore`.

    Raises:
        PropertyViolated: A property does not hold, or was never put to the test; of a
            class of its own for each property. The message holds the smallest schedule.

    Warns:
        UserWarning: The budget was spent before every schedule was run, or no handler came
            to its end even in the run without faults.
    """
    __tracebackhide__ = True
    chosen = _claims(system, properties)
    campaign = explore(
        system,
        properties=chosen,
        items=items,
        faults_max=faults_max,
        runs_max=runs_max,
        seed=seed,
        mode=mode,
        stop_at_first=True,
    )
    if campaign.counterexamples:
        raise _violation(system, chosen, campaign.counterexamples[0])
    for one in campaign.standings:
        vacuous = not (one.reached if one.when == "sometimes" else one.tested)
        if vacuous and not one.assumption:
            reached = "reached" if one.when == "sometimes" else "put to the test"
            raise violation_class(one.name)(
                f"{one.name}: never {reached} in {runs_in_words(one.judged)} of {system.name!r}. "
                "A claim that nothing tested is not known to hold: give a workload that "
                "reaches it, or take it out."
            )
    if campaign.reasons:
        spent = not campaign.coverage.complete
        advice = "Raise runs_max, or lower faults_max." if spent else "What was tested?"
        warnings.warn(
            f"{system.name}: nothing broke, but {'; '.join(campaign.reasons)}. {advice}",
            stacklevel=2,
        )


def _violation(
    system: System, properties: tuple[Property, ...], found: Counterexample
) -> PropertyViolated:
    """Return the exception that shows a counterexample."""
    property = next(one for one in properties if one.name == found.property)
    items = items_for(system, found.items)
    count = len(found.schedule)
    plural = "" if count == 1 else "s"
    said = str(property.violation(found.findings))
    text = (
        f"{said}\n\n"
        f"Smallest schedule ({count} fault{plural}, "
        f"found after {runs_in_words(found.found_after)}, "
        f"{found.shrunk_in} more to make it small):\n"
        f"    {found.schedule!r}\n"
        f"Workload: {list(found.items)!r}"
    )
    violation = violation_class(property.name)(text)
    violation.run = system.run(items, found.schedule)
    violation.findings = found.findings
    violation.property = property
    violation.counterexample = found
    return violation
