"""One campaign while it goes on: run what a planner proposes, judge, shrink, and keep count."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from time import perf_counter
from typing import Any, Final

import attrs

from chaosharness.campaign import Coverage, Ended, Trouble, runs_in_words, spoken_in_words
from chaosharness.checkers import Finding
from chaosharness.checkers.breach import Breach, breaches, split
from chaosharness.checkers.breach import Group as Key
from chaosharness.checkers.progress import upset
from chaosharness.checkers.proof import did_nothing, failed, unproved
from chaosharness.checkers.property import Property
from chaosharness.counterexample import Counterexample, items_for
from chaosharness.errors import ChaosharnessError, Nondeterminism
from chaosharness.faults import FAULTS, Fault, Poison
from chaosharness.kernel.deadline import IsOver, OutOfTime, called_off_when
from chaosharness.kernel.history import History
from chaosharness.kernel.rest import RanOn
from chaosharness.schedule import Schedule
from chaosharness.search.causes import Cause, Causes
from chaosharness.search.claims import Claim
from chaosharness.search.determinism import same_elsewhere
from chaosharness.search.heap import settled_heap
from chaosharness.search.idle import idle_replicas
from chaosharness.search.laboratory import NOTHING, Known
from chaosharness.search.news import News
from chaosharness.search.planner import Chooser, batch_sizes, proposed
from chaosharness.search.portfolio import Portfolio
from chaosharness.search.seen import Examiner, Seen
from chaosharness.search.shrink import as_it_was, shrink
from chaosharness.search.small_first import SmallFirst
from chaosharness.search.workers.pool import Pool
from chaosharness.system import Run, System
from chaosharness.system.given import wired_at
from chaosharness.system.twice import Watch

TROUBLES_MAX: Final = 20


def elapsed_s() -> float:
    """Return real time, within a run too; 0 on Windows, where no run is called off."""
    return os.times().elapsed


def _over_at(deadline: float | None) -> IsOver | None:
    """Return what says within a run that a time of `perf_counter` has come, which stands still."""
    if deadline is None:
        return None
    at_s = elapsed_s() + deadline - perf_counter()
    return lambda: elapsed_s() >= at_s


PATIENCE: Final = 2
"""Times its seconds after which a search makes nothing smaller any more."""

HELPED_FROM: Final = 4
"""Batches of fewer runs are made here: often the first finding comes before a process is up."""

BEYOND_MAX: Final = 2
"""Times that a cause turned out to need more faults than were asked for, after which runs with
more faults are not asked about it any more."""


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
        on_calm: Told of the run without any fault, before it is judged.
        hands: Starts who makes runs in other processes, once the calm run is known.
        examiner: Makes runs in this process, and judges them.
        news: Ends the search when it has shown nothing new for long enough; None goes on.
        seconds_max: Real time after which the search ends, in the midst of a run if need be.
        ended: Why it did.
        beyond: What breaks only under more faults than were asked for, one sentence each.
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
    planner: Chooser
    target: str = ""
    kinds: Collection[type[Fault]] = FAULTS
    stop_at_first: bool = False
    on_found: Callable[[Counterexample], None] | None = None
    on_calm: Callable[[Run], None] | None = None
    hands: Callable[[Examiner], Pool] | None = None
    news: News | None = None
    seconds_max: float | None = None
    ended: Ended = attrs.field(default="", init=False)
    beyond: dict[Key, str] = attrs.field(factory=dict, init=False)
    runs: int = attrs.field(default=0, init=False)
    searched: int = attrs.field(default=0, init=False)
    struck: int = attrs.field(default=0, init=False)
    found: list[Counterexample] = attrs.field(factory=list, init=False)
    causes: Causes = attrs.field(factory=Causes, init=False)
    claims: list[Claim] = attrs.field(init=False)
    examiner: Examiner = attrs.field(init=False)
    _calm: Run | None = attrs.field(default=None, init=False)
    _fails: bool = attrs.field(default=False, init=False)
    """Whether everything fails in calm already, and nobody claims anything for that.

    A slip in the wiring, as a rule. Faults prove nothing then, and each run is long with the
    repeats of every message: who made the slip is to hear of it at once.
    """
    _watch: Watch = attrs.field(init=False)
    _differs: bool = attrs.field(init=False, default=False)
    _troubles: dict[tuple[str, str], tuple[int, Schedule]] = attrs.field(factory=dict, init=False)
    _ran_on: dict[str, RanOn] = attrs.field(factory=dict, init=False)
    _failed: dict[str, None] = attrs.field(factory=dict, init=False)
    _helping: Pool | None = attrs.field(default=None, init=False)
    _beyond: Counter[Key] = attrs.field(factory=Counter, init=False)
    _begun_at: float = attrs.field(default=0.0, init=False)
    _budget: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        marks = self.planner.wants_marks or self.news is not None
        self.examiner = Examiner(self.system, self.properties, self.items, marks)
        self.claims = [Claim(one, number) for number, one in enumerate(self.properties)]
        self._watch = Watch(self.system)

    # ---- searching

    def search(self, runs_max: int, on_progress: Callable[[Progress], None] | None) -> None:
        """Run what the planner proposes, until there is a reason to end: see `Ended`.

        Several schedules are chosen at once, by one rule, whoever runs them: see `batch_sizes`.
        """
        with settled_heap():
            self._search(runs_max, on_progress)

    def _search(self, runs_max: int, on_progress: Callable[[Progress], None] | None) -> None:
        self._begun_at = perf_counter()
        self._budget = self.searched + runs_max
        for size in batch_sizes():
            left = self._left_to_spend()
            batch = proposed(self.planner, min(size, left))
            for seen in self._until_time(self._results(batch)):
                self._saw(seen)
                if on_progress is not None:
                    broken = tuple(dict.fromkeys(one.property for one in self.found))
                    most = max(self._budget, self.searched)
                    on_progress(Progress(self.searched, most, len(seen.schedule), broken))
                self.ended = self._end()
                if self.ended:
                    break
            if not batch and not self.ended:
                self.ended = "done" if left else "budget"
            if self.ended:
                self.planner.forget()
                return

    def _results(self, batch: Sequence[Schedule]) -> Iterator[Seen]:
        """Have a batch run: by others where there are some and it is worth it, else here.

        Here each run is made when it is asked for.
        """
        if self.hands is None or len(batch) < HELPED_FROM or self.examiner.calm is None:
            return map(self._see, batch)
        if self._helping is None:
            self._helping = self.hands(self.examiner)
        return self._helping.results(batch, self._deadline)

    @property
    def _deadline(self) -> float | None:
        """When the time is over, by `perf_counter`; None: never. The calm run is always made."""
        if self.seconds_max is None or self.examiner.calm is None:
            return None
        return self._begun_at + self.seconds_max

    def _see(self, schedule: Schedule) -> Seen:
        deadline = self._deadline
        if deadline is None:
            return self.examiner.see(schedule)
        with called_off_when(_over_at(deadline)):
            run = self.system.run(self.items, schedule)
        return self.examiner.look(run)

    @property
    def _patience(self) -> float | None:
        """When a finding is made smaller no more, by `perf_counter`; None: never.

        A search whose time is over has as long again for that: a small counterexample is worth
        it, and one of long runs would take many times as long as was allowed.
        """
        if self.seconds_max is None:
            return None
        return self._begun_at + PATIENCE * self.seconds_max

    def _until_time(self, results: Iterator[Seen]) -> Iterator[Seen]:
        """Yield what runs show, up to the one that is called off since the time is over."""
        try:
            yield from results
        except OutOfTime:
            self.ended = "time"
            self.leave()  # whoever makes a long run is not waited for

    def _saw(self, seen: Seen) -> None:
        """Take in one run that looked for a violation."""
        before = self.planner.tried
        self.planner.observe(seen)
        if self.news is not None:
            by_chance = self.planner.tried > before
            self.news.saw(seen.marks, self.searched + 1, by_chance=by_chance)
        self._take(seen, tentative=len(seen.schedule) > self.planner.faults_max)

    def leave(self) -> None:
        """Send away who helps, whatever they do: the search is over."""
        if self._helping is not None:
            self._helping.kill()

    def _left_to_spend(self) -> int:
        left = self._budget - self.searched
        return left if left > 0 else self.planner.owed()

    def _end(self) -> Ended:
        """Say why the search ends here, if it does."""
        if self.is_over():
            return "over"
        if self.seconds_max is not None and perf_counter() - self._begun_at >= self.seconds_max:
            return "time"
        if self.news is None or not self._calm:
            return ""
        harmed = self._has_harm()
        if not self.news.quiet_for(self.searched, found=harmed):
            return ""
        if harmed or not self.planner.finishes(self._left_to_spend()):
            return "quiet"
        return ""

    def _has_harm(self) -> bool:
        """Say whether something was found that more than an unreadable message has done.

        Code that does not skip such a message yet is told so soon, and has other mistakes as well.
        """
        return any(
            not all(isinstance(fault, Poison) for fault in found.schedule) or not found.schedule
            for found in self.found
        )

    def is_over(self) -> bool:
        """Say whether nothing is left to learn: every property is settled, or nothing counts."""
        if self._differs or (self.found and (self.stop_at_first or self.is_restless())):
            return True
        if self.spins() or not self.items or self._fails:
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

    def _take(self, seen: Seen, *, tentative: bool = False) -> None:
        """Take in what a run showed: how each property stands after it.

        Args:
            seen: It.
            tentative: Whether the run has more faults than a finding may have.
        """
        self.runs += 1
        self.searched += 1
        for loop in seen.ending.ran_on:
            self._ran_on[loop.place] = max(self._ran_on.get(loop.place, loop), loop, key=_farthest)
        if seen.ending.verdict != "quiet":
            self._trouble(seen)
        if self._calm is None and not seen.schedule.faults and seen.run is not None:
            self._calm = seen.run
            if self.on_calm is not None:
                self.on_calm(seen.run)
            self.runs += 1
            nobody_claims = all(one.assumption for one in self.properties)
            self._fails = nobody_claims and failed(seen.run.history)
            self._watch.begin(calm=seen.run)
        struck = seen.struck
        self.struck += bool(struck)
        self._failed.update(dict.fromkeys(seen.failed))
        broken: list[Breach] = []
        for claim, verdict in zip(self.claims, seen.verdicts, strict=False):
            broken += claim.take(verdict.tested, verdict.findings, tentative=tentative)
        if seen.differs is not None:
            if not self.found:
                raise seen.differs
            self._differs = True  # what was found is told; `seen_again` says why it may not return
            return
        for cause in self.causes.take(broken, struck) if broken else ():
            if tentative and self._beyond[cause.breach.group] >= BEYOND_MAX:
                continue
            self._tell(cause, self._run_of(seen), tentative=tentative)
            self._failed.update(dict.fromkeys(self.examiner.family().failed))
            if self.found and self.stop_at_first:
                return

    def _run_of(self, seen: Seen) -> Run:
        """Return the run that was seen; where another process made it, make it here as well."""
        if seen.run is not None:
            return seen.run
        run = self.system.run(self.items, seen.schedule)
        if seen.digest and run.digest() != seen.digest:
            raise ChaosharnessError(
                f"{seen.schedule!r} has another history in another process: something hangs on "
                "the process itself, or on what earlier runs left behind"
            )
        return run

    def _tell(self, cause: Cause, run: Run, *, tentative: bool = False) -> None:
        """Make a counterexample of a run, as small as can be, for one cause of its breaks.

        Where the small run shows something heavier beside it, that is what it is told by.
        What needs more faults than were asked for is no finding.
        """
        breach = cause.breach
        if not breach.question and (other := self.causes.first_of(breach.property.name)):
            cause.above = other  # there is enough to mend
            return
        try:
            with called_off_when(_over_at(self._patience)):
                found = self._shrunk(cause, run)
        except (KeyboardInterrupt, OutOfTime) as error:
            whole = attrs.evolve(breach, findings=self._all_of(breach, run))
            self._keep(cause, as_it_was(whole, run, self.searched, self.target))
            if isinstance(error, KeyboardInterrupt):
                raise
            return
        if tentative and len(found.schedule) > self.planner.faults_max:
            self._set_aside(breach, found)
            return
        small, heavier = self._heavier(cause, found)
        if tentative:
            self._count_broken(small)
        if heavier is None:
            self._keep(cause, found)
            return
        cause.above = heavier.group
        for one in self.causes.take([heavier], found.schedule.faults):
            self._tell(one, small)

    def _all_of(self, breach: Breach, run: Run) -> tuple[Finding, ...]:
        """Return all findings of a breach: from another process came only the first."""
        found = split(breach.property, breach.property.findings(self.examiner.evidence(run)))
        return next((one.findings for one in found if one.group == breach.group), breach.findings)

    def _set_aside(self, breach: Breach, found: Counterexample) -> None:
        """Remember that something needs more faults than were asked for."""
        self._beyond[breach.group] += 1
        if breach.question:
            return
        faults = len(found.schedule)
        few = self.planner.faults_max
        self.beyond.setdefault(
            breach.group,
            f"{breach.property.name} breaks under {faults} faults, more than the {few} that "
            f"{'was' if few == 1 else 'were'} asked for: {found.schedule!r}",
        )

    def _count_broken(self, small: Run) -> None:
        """Note which properties break in a run made smaller: the large one was not counted."""
        for claim in self.claims:
            findings = claim.property.findings(small.evidence())
            if claim.property.when != "sometimes" and findings:
                claim.broke(split(claim.property, findings, claim.number))

    def _keep(self, cause: Cause, found: Counterexample) -> None:
        cause.found = found
        if cause.breach.question:
            return
        self.found.append(found)
        self.beyond.pop(cause.breach.group, None)
        if self.news is not None and self._budget:
            self.news.found(self.searched)
        if self.on_found is not None:
            self.on_found(found)

    def _known(self, cause: Cause, run: Run) -> Known:
        """Return what this search knows of the workload of a run: nothing of any other."""
        calm, planner = self._calm, self.planner
        if calm is None or run.items is not calm.items:
            return NOTHING
        books = planner.books if isinstance(planner, Portfolio) else planner
        if cause.runs > 1 or not isinstance(books, SmallFirst):
            return Known(calm=calm)  # an earlier run showed the cause, beside something heavier
        complete, options = books.complete()
        return Known(calm=calm, held=books.ran, complete=complete, options=options)

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
            self._take(self.examiner.look(self.system.run(items, known.schedule)))

    def _trouble(self, seen: Seen) -> None:
        key = (seen.ending.verdict, seen.ending.reason)
        if key not in self._troubles and len(self._troubles) >= TROUBLES_MAX:
            key = (seen.ending.verdict, "for other reasons")
        times, least = self._troubles.get(key, (0, seen.schedule))
        self._troubles[key] = (times + 1, min(least, seen.schedule, key=len))

    # ---- what came of it

    def troubles(self) -> tuple[Trouble, ...]:
        """Return the runs that did not become quiet."""
        return tuple(
            Trouble(verdict=verdict, reason=reason, times=times, schedule=repr(least))
            for (verdict, reason), (times, least) in self._troubles.items()
        )

    def knows(self, known: Counterexample) -> None:
        """Take a cause as told: it was found by another search, and needs no telling."""
        if known.findings:
            names = {one.name: (number, one) for number, one in enumerate(self.properties)}
            number, property = names.get(known.property, (0, None))
            if property is not None:
                self.causes.know(Breach(property, known.findings, number), known)

    def met_again(self) -> list[Counterexample]:
        """Return what was known from elsewhere, and was seen here as well."""
        mine = set(map(id, self.found))
        return [one for one in self.causes.met() if id(one) not in mine]

    def seen_again(self, *, elsewhere: bool = True) -> tuple[str, ...]:
        """Make the calm run once more, here and (where the target is known) in other processes.

        Args:
            elsewhere: Whether to make it in other processes.

        Returns:
            Why what was found may not come back; where nothing was found, it raises that.

        Raises:
            Nondeterminism: The calm run is not what it was, and nothing was found.
        """
        try:
            self.runs += 1
            self._watch.end()
            if self._helping is not None:
                self._helping.close()
            if elsewhere and self.target and self._calm is not None:
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
        return (*upset(self._calm.history), *self._failed)

    def spoken(self) -> str:
        """Say which client libraries spoke in the calm run, and which did not."""
        run = self._calm
        return "" if run is None else spoken_in_words(run.spoken, run.unspoken, run.lacked)

    def coverage(self) -> Coverage:
        """Return what was put to the test."""
        planner = self.planner
        cells, equivalent = planner.catalogue.cells()
        return Coverage(
            levels=planner.levels(),
            random=planner.tried,
            faults_max=planner.drawn_max,
            cells=cells,
            equivalent=equivalent,
            ran_on=tuple(loop for _, loop in sorted(self._ran_on.items())),
            idle=() if self._calm is None else idle_replicas(self._calm.history),
            stalls=planner.catalogue.stalls(),
            still_new=self.news.still_new() if self.news is not None else "",
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
        elif self._calm is not None and all(one.property.assumption for one in self.claims):
            reasons += filter(None, [did_nothing(self._calm.history)])
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
            if self._calm is not None and (why := self._calm.ending.reason):
                reasons.append(f"without any fault, {why}")
        if reasons:
            reasons[0] += wired_at(self.system.given())
        return tuple(reasons)

    def reasons(self, coverage: Coverage, runs_max: int, enough: bool) -> tuple[str, ...]:
        """Say why it is not known whether the properties hold; nothing if it is.

        Args:
            coverage: What was run.
            runs_max: What might have been.
            enough: Whether that is all that was to be sure of.
        """
        reasons = [*self.unproved(coverage)]
        if not enough or self.found:
            reasons += self._left(coverage, runs_max)
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
        elif self._fails:
            yield f"the search stopped at the calm run, in which everything fails; {level}"
        elif self.ended == "time":
            yield f"the time of {self.seconds_max:g} s was over; {level}"
        elif self.ended == "quiet":
            runs = self.searched - self._last_news()
            yield f"the search stopped after {runs_in_words(runs)} without anything new; {level}"
        elif not self.is_over():
            yield f"the budget of {runs_in_words(runs_max)} was spent; {level}"
        elif self.found and self.is_restless():
            why = "since the run without any fault never becomes quiet: mend that first"
            yield f"the search stopped {why}; {level}"
        elif self.found:
            why = "at the first finding" if self.stop_at_first else "with nothing left to break"
            yield f"the search stopped {why}; {level}"

    def _last_news(self) -> int:
        assert self.news is not None
        return self.news.causes_at if self._has_harm() else self.news.facts_at
