"""One campaign while it goes on: run what a planner proposes, judge, shrink, and keep count."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

import attrs

from chaosharness.campaign import Coverage, Trouble, runs_in_words
from chaosharness.checkers import Evidence
from chaosharness.checkers.breach import Breach, breaches
from chaosharness.checkers.progress import upset
from chaosharness.checkers.proof import unproved
from chaosharness.checkers.property import Property
from chaosharness.counterexample import Counterexample, items_for
from chaosharness.errors import ChaosharnessError, Nondeterminism
from chaosharness.faults import FAULTS, Fault
from chaosharness.kernel.history import History
from chaosharness.kernel.rest import RanOn
from chaosharness.search.causes import Cause, Causes
from chaosharness.search.claims import Claim
from chaosharness.search.determinism import same_elsewhere
from chaosharness.search.laboratory import NOTHING, Known
from chaosharness.search.random_search import RandomSearch
from chaosharness.search.shrink import as_it_was, shrink
from chaosharness.search.small_first import SmallFirst
from chaosharness.system import Run, System
from chaosharness.system.twice import Watch

TROUBLES_MAX: Final = 20


def _farthest(loop: RanOn) -> tuple[int, str]:
    return loop.after_ms, loop.why


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


@attrs.define(kw_only=True, eq=False)
class Exploration:
    """One campaign while it goes on.

    Attributes:
        system: The system.
        properties: The claims.
        items: The workload.
        planner: Chooses the schedules.
        target: Where the system is found; for reports.
        kinds: The kinds of fault that were asked for; a counterexample has no others.
        stop_at_first: Whether to stop when something is found.
        on_found: Told of each counterexample when it is as small as can be.
        runs: Executions so far.
        searched: Executions that looked for a violation.
        struck: Runs among them in which a fault struck.
        found: The counterexamples, in the order in which they were found.
        causes: All causes that were seen.
        claims: How each property stands.
    """

    system: System
    properties: tuple[Property, ...]
    items: tuple[Any, ...]
    planner: SmallFirst | RandomSearch
    target: str = ""
    kinds: Collection[type[Fault]] = FAULTS
    stop_at_first: bool = False
    on_found: Callable[[Counterexample], None] | None = None
    runs: int = attrs.field(default=0, init=False)
    searched: int = attrs.field(default=0, init=False)
    struck: int = attrs.field(default=0, init=False)
    found: list[Counterexample] = attrs.field(factory=list, init=False)
    causes: Causes = attrs.field(factory=Causes, init=False)
    claims: list[Claim] = attrs.field(init=False)
    _calm: Run | None = attrs.field(default=None, init=False)
    _watch: Watch = attrs.field(init=False)
    _differs: bool = attrs.field(init=False, default=False)
    _troubles: dict[tuple[str, str], tuple[int, str]] = attrs.field(factory=dict, init=False)
    _ran_on: dict[str, RanOn] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.claims = [Claim(one, number) for number, one in enumerate(self.properties)]
        self._watch = Watch(self.system)

    # ---- searching

    def search(self, runs_max: int, on_progress: Callable[[Progress], None] | None) -> None:
        """Run what the planner proposes, until it has nothing more or the budget is spent."""
        planner, items, run_once = self.planner, self.items, self.system.run
        budget = self.searched + runs_max
        while self.searched < budget and not self.is_over():
            schedule = planner.propose()
            if schedule is None:
                return
            run = run_once(items, schedule)
            planner.observe(run)
            self._take(run)
            if on_progress is not None:
                broken = tuple(dict.fromkeys(one.property for one in self.found))
                on_progress(Progress(self.searched, budget, len(schedule), broken))

    def is_over(self) -> bool:
        """Say whether nothing is left to learn: every property is settled, or nothing counts."""
        if self._differs or (self.found and (self.stop_at_first or self.is_restless())):
            return True
        if self.spins() or not self.items:
            return True
        return bool(self.claims) and all(one.settled for one in self.claims)

    def is_restless(self) -> bool:
        """Say whether the calm run never becomes quiet: there is nothing to compare with.

        Each run goes on to the end of its budget, and is judged by little.
        """
        return self._calm is not None and self._calm.ending.verdict != "quiet"

    def spins(self) -> bool:
        """Say whether the code spins without any fault: it then does so in every run.

        Each of them would take the watchdog's whole patience, which is real time.
        """
        return self._calm is not None and self._calm.ending.verdict == "spinning"

    def _take(self, run: Run) -> None:
        """Judge a run by every property."""
        self.runs += 1
        self.searched += 1
        for loop in run.ending.ran_on:
            self._ran_on[loop.place] = max(self._ran_on.get(loop.place, loop), loop, key=_farthest)
        if run.ending.verdict != "quiet":
            self._trouble(run)
        if self._calm is None and not run.schedule.faults:
            self._calm = run
            self.runs += 1
            self._watch.begin(calm=run)
        unused = run.unused
        struck = [fault for fault in run.schedule.faults if fault not in unused]
        self.struck += bool(struck)
        evidence = self._evidence(run, tuple(struck))
        broken: list[Breach] = []
        try:
            for claim in self.claims:
                broken += claim.judge(evidence)
        except Nondeterminism:
            if not self.found:
                raise
            self._differs = True  # what was found is told; `seen_again` says why it may not return
            return
        for cause in self.causes.take(broken, struck) if broken else ():
            self._tell(cause, run)
            if self.found and self.stop_at_first:
                return

    def _evidence(self, run: Run, struck: tuple[Fault, ...]) -> Evidence:
        calm = self._calm
        if calm is None or run.items is not calm.items:
            return run.evidence()
        return Evidence(run.history, run.items, lambda: calm.history, struck, family=run.family)

    def _tell(self, cause: Cause, run: Run) -> None:
        """Make a counterexample of a run, as small as can be, for one cause of its breaks.

        Where the small run shows something heavier beside it, that is what it is told by.
        """
        breach = cause.breach
        if not breach.question and (other := self.causes.first_of(breach.property.name)):
            cause.above = other  # there is enough to mend
            return
        try:
            found = self._shrunk(cause, run)
        except KeyboardInterrupt:
            self._keep(cause, as_it_was(breach, run, self.searched, self.target))
            raise
        small, heavier = self._heavier(cause, found)
        if heavier is None:
            self._keep(cause, found)
            return
        cause.above = heavier.group
        for one in self.causes.take([heavier], found.schedule.faults):
            self._tell(one, small)

    def _keep(self, cause: Cause, found: Counterexample) -> None:
        cause.found = found
        if cause.breach.question:
            return
        self.found.append(found)
        if self.on_found is not None:
            self.on_found(found)

    def _known(self, cause: Cause, run: Run) -> Known:
        """Return what this search knows of the workload of a run: nothing of any other."""
        calm, planner = self._calm, self.planner
        if calm is None or run.items is not calm.items:
            return NOTHING
        if cause.runs > 1 or not isinstance(planner, SmallFirst):
            return Known(calm=calm)  # an earlier run showed the cause, beside something heavier
        complete, options = planner.complete()
        return Known(calm=calm, held=planner.ran, complete=complete, options=options)

    def _shrunk(self, cause: Cause, run: Run) -> Counterexample:
        breach = cause.breach
        found = shrink(
            self.system,
            breach.property,
            run.items,
            run.schedule,
            run=run,
            sample=breach.findings[0],
            kinds=self.kinds,
            found_after=self.searched,
            target=self.target,
            known=self._known(cause, run),
        )
        self.runs += found.shrunk_in
        return found

    def _heavier(self, cause: Cause, found: Counterexample) -> tuple[Run, Breach | None]:
        """Return the small run, and what it breaks that is heavier than what it was made for."""
        small = self.system.run(items_for(self.system, found.items, found.types), found.schedule)
        self.runs += 1
        if len(self.claims) == 1 or cause.breach.claimed or cause.breach.question:
            return small, None
        broken = breaches(self.properties, small.evidence())
        return small, self.causes.heavier(broken, cause)

    def again(self, known: Counterexample) -> None:
        """Run a counterexample that was found before."""
        if not self.is_over():
            items = items_for(self.system, known.items, known.types)
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

    def seen_again(self) -> tuple[str, ...]:
        """Make the calm run once more, here and (where the target is known) in other processes.

        Returns:
            Why what was found may not come back; where nothing was found, it raises that.

        Raises:
            Nondeterminism: The calm run is not what it was, and nothing was found.
        """
        try:
            self.runs += 1
            self._watch.end()
            if self.target and self._calm is not None:
                same_elsewhere(self.target, self._calm)
        except Nondeterminism as error:
            if not self.found:
                raise
            return (str(error),)
        except ChaosharnessError as error:
            return (str(error),)
        return ()

    def upset(self) -> tuple[str, ...]:
        """Say what went wrong in the calm run already."""
        if self._calm is None:
            return ()
        return (*upset(self._calm.history), *self._calm.family().failed)

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

    def unproved(self, coverage: Coverage) -> tuple[str, ...]:
        """Say why the runs put nothing to the test; nothing if they did.

        That is more than an open question: it stays as it is, however long one searches.
        """
        if not self.claims:
            return ("no property was given: nothing was judged",)
        reasons = []
        if not self.items:
            reasons.append(unproved(History(), ()))
        elif self._calm is not None and (reason := unproved(self._calm.history, self.items)):
            reasons.append(reason)
        about_runs = [one for one in self.claims if one.property.when != "sometimes"]
        if about_runs and self.items and not self.struck:
            if self.planner.faults_max == 0:
                reasons.append(
                    "no fault was asked for, so no claim about trouble was put to the test: ask "
                    "for one fault or more"
                )
            elif coverage.left() is None:
                reasons.append(
                    "no fault of the kinds asked for could strike anywhere, so no claim about "
                    "trouble was put to the test"
                )
        if self.items and not any(one.tested or one.reached for one in self.claims):
            many = "the claim was never" if len(self.claims) == 1 else "no claim was ever"
            reasons.append(f"{many} put to the test, in {runs_in_words(self.searched)}")
        return tuple(reasons)

    def reasons(self, coverage: Coverage, runs_max: int) -> tuple[str, ...]:
        """Say why it is not known whether the properties hold; nothing if it is."""
        reasons = [*self.unproved(coverage), *self._left(coverage, runs_max)]
        for claim in self.claims:
            assumed_only = bool(claim.property.assumption)  # nobody promised it
            if not assumed_only and (doubt := claim.doubt()):
                reasons.append(f"{claim.property.name}: {doubt}")
        return tuple(reasons)

    def _left(self, coverage: Coverage, runs_max: int) -> Iterator[str]:
        """Say why the search ended before everything was run, if it did."""
        level = coverage.left()
        if level is None or not self.items:
            return
        if self.spins():
            yield f"the search stopped at the calm run, which spins; {level}"
        elif not self.is_over():
            yield f"the budget of {runs_in_words(runs_max)} was spent; {level}"
        elif self.found and self.is_restless():
            why = "since the run without any fault never becomes quiet: mend that first"
            yield f"the search stopped {why}; {level}"
        elif self.found:
            why = "at the first finding" if self.stop_at_first else "with nothing left to break"
            yield f"the search stopped {why}; {level}"
