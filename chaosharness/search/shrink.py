"""From a schedule that breaks a property to the smallest that does, faults and workload.

First the fewest faults, then the fewest and plainest workload items, then milder kinds
and options, then a check that each fault is needed: without it, the property holds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import combinations, islice
from typing import Any, Final

import attrs

from chaosharness.checkers import Evidence, Finding, Property
from chaosharness.checkers.breach import Breach, split
from chaosharness.counterexample import Counterexample, plain_items, types_of
from chaosharness.errors import InvalidDefinition, InvalidSchedule
from chaosharness.faults import FAULTS, Fault
from chaosharness.kernel.history import History
from chaosharness.schedule import Schedule
from chaosharness.search.sites import searched
from chaosharness.strategies.sizes import Sizes, severity, sizes_for, variants
from chaosharness.system import Run, System
from chaosharness.system.twice import compare

RUNS_MAX: Final = 60
"""Re-executions, after which nothing is made plainer; faults are taken away even then."""

_HARD_LIMIT: Final = 20 * RUNS_MAX
_ONE_BY_ONE_MAX: Final = 12
_PAIRS_MAX: Final = 15

Faults = tuple[Fault, ...]
Workload = tuple[int, ...]
"""Workload items, as numbers of what the laboratory has in stock."""


def shrink(
    system: System,
    property: Property,
    items: Sequence[Any] | None,
    schedule: Schedule,
    *,
    run: Run | None = None,
    sample: Finding | None = None,
    kinds: Collection[type[Fault]] = FAULTS,
    found_after: int = 0,
    target: str = "",
    runs_max: int = RUNS_MAX,
) -> Counterexample:
    """Return the smallest counterexample that can be made of a schedule.

    The same property is broken all the way, for the same cause: with a finding of the same
    kind and place. Others do not count.

    Args:
        system: The system.
        property: What the schedule breaks.
        items: The workload; the examples of the entry by default.
        schedule: A schedule that breaks the property.
        run: The run that did, if it is at hand: saves one.
        sample: A finding of the cause; by default the heaviest that the schedule shows.
        kinds: Only these kinds of fault take the place of others.
        found_after: Runs it took to find it; for the report.
        target: Where the system is found, as `module:attribute`; for the report.
        runs_max: Re-executions, after which nothing is made plainer any more.

    Raises:
        InvalidSchedule: The schedule does not break the property.
        Nondeterminism: The same schedule led to another history.
    """
    if property.when == "sometimes":
        raise InvalidDefinition(
            f"{property.name!r} is about a campaign ('sometimes'): no single schedule breaks it"
        )
    workload = system.examples if items is None else tuple(items)
    lab = Laboratory(system, property, workload, sample=sample, kinds=kinds, runs_max=runs_max)
    every = tuple(range(len(workload)))
    if run is not None:
        lab.remember(every, schedule.faults, run)
    if not lab.breaks(every, schedule.faults):
        raise InvalidSchedule(
            f"{property.name!r} holds under {schedule!r} on {system.name!r}: nothing to shrink"
        )
    shrinker = Shrinker(lab, every, schedule.faults)
    shrinker.shrink()
    return _written_up(lab, shrinker, found_after, target)


@attrs.frozen
class Trial:
    """One run, judged.

    Attributes:
        run: The run.
        findings: What it broke of the property.
        struck: The faults that found their site.
    """

    run: Run
    findings: tuple[Finding, ...]
    struck: Faults


class Laboratory:
    """Runs a system and judges one property; remembers, and counts.

    Attributes:
        runs: Executions so far.
    """

    def __init__(
        self,
        system: System,
        property: Property,
        items: tuple[Any, ...],
        *,
        sample: Finding | None = None,
        kinds: Collection[type[Fault]] = FAULTS,
        runs_max: int,
    ) -> None:
        self.system = system
        self.property = property
        self.sample = sample
        self.kinds = frozenset(kinds)
        self.runs = 0
        self.runs_max = runs_max
        self.stock = [*items, *system.examples]
        self.plain_from = len(items)
        self._trials: dict[tuple[Workload, frozenset[Fault]], Trial] = {}
        self._calms: dict[Workload, Run] = {}

    def items(self, workload: Workload) -> tuple[Any, ...]:
        """Return the workload items with these numbers."""
        return tuple(self.stock[number] for number in workload)

    def remember(self, workload: Workload, faults: Faults, run: Run) -> Trial:
        """Judge a run, and keep it: also as the run of those faults that struck."""
        unused = set(run.unused)
        struck = tuple(fault for fault in run.schedule if fault not in unused)
        evidence = Evidence(
            run.history, run.items, lambda: self._calm(workload), struck, family=run.family
        )
        if not struck:
            self._calms.setdefault(workload, run)
        trial = Trial(run, self._of_cause(self.property.findings(evidence)), struck)
        self._trials[workload, frozenset(faults)] = trial
        if unused:
            self._trials.setdefault((workload, frozenset(struck)), trial)
        return trial

    def _of_cause(self, findings: Sequence[Finding]) -> tuple[Finding, ...]:
        """Return the findings that are of the cause which is looked into."""
        if self.sample is None and findings:
            found = sorted(split(self.property, findings), key=Breach.order)
            self.sample = found[0].findings[0]
        sample = self.sample
        return tuple(
            one
            for one in findings
            if sample is None or (one.group, one.question) == (sample.group, sample.question)
        )

    def _calm(self, workload: Workload) -> History:
        found = self._calms.get(workload)
        return (self.execute(workload, ()) if found is None else found).history

    def sizes(self, workload: Workload) -> Sizes:
        """Return how long trouble may last, besides the words: what this calm run shows."""
        return sizes_for(self._calms.get(workload) or self.execute(workload, ()))

    def execute(self, workload: Workload, faults: Faults) -> Run:
        """Run, whether it was run before or not."""
        self.runs += 1
        run = self.system.run(self.items(workload), Schedule(faults))
        if not faults:
            self._calms[workload] = run
        return run

    def trial(self, workload: Workload, faults: Faults) -> Trial:
        """Run and judge, or remember."""
        wanted = frozenset(faults)
        found = self._trials.get((workload, wanted)) or self._same_as(workload, wanted)
        if found is None:
            run = self._calms.get(workload) if not faults else None
            found = self.remember(workload, faults, run or self.execute(workload, faults))
        return found

    def _same_as(self, workload: Workload, wanted: frozenset[Fault]) -> Trial | None:
        """Return a known run with fewer faults, if it reached no site of the others.

        Until a fault strikes, a run is that of the schedule without it.
        """
        for (items, faults), trial in self._trials.items():
            if items != workload or not faults < wanted:
                continue
            if not any(trial.run.reaches(fault.site) for fault in wanted - faults):
                self._trials[workload, wanted] = trial
                return trial
        return None

    def breaks(self, workload: Workload, faults: Faults) -> bool:
        """Say whether the property is broken."""
        return bool(self.trial(workload, faults).findings)

    def is_another(self, workload: Workload, original: Workload) -> bool:
        """Say whether a workload fails without any fault, where the original one does not.

        A claim about the items themselves ("all three are there") breaks by itself when one
        is left out: that is not what was found.
        """
        return self.breaks(workload, ()) and not self.breaks(original, ())

    def may_run(self, reserve: int) -> bool:
        """Say whether there is room for one more run, when so many are still to come."""
        return self.runs + reserve < self.runs_max


@attrs.define
class Shrinker:
    """Makes one counterexample smaller. `workload` and `faults` always break the property."""

    lab: Laboratory
    workload: Workload
    faults: Faults
    minimal: bool = False
    original: Workload = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.original = self.workload

    def shrink(self) -> None:
        """Make it as small as can be."""
        self._take(self.workload, self.faults)
        self._fewest_faults()
        self._fewest_items()
        self._plainest_items()
        self._simplest_faults()
        self._check()

    def _take(self, workload: Workload, faults: Faults) -> None:
        """Go on with this, less the faults that did not strike.

        First come those of the item that the finding is about, mildest first.
        """
        trial = self.lab.trial(workload, faults)
        assert trial.findings
        entity = trial.findings[0].entity

        def relevance(fault: Fault) -> tuple[Any, ...]:
            other = bool(entity) and fault.site.entity != entity
            return (other, severity(fault), fault.site)

        self.workload = workload
        self.faults = tuple(sorted(trial.struck, key=relevance))

    def _try(self, faults: Faults, workload: Workload | None = None) -> bool:
        """Go on with this if it breaks the property; say whether it does."""
        workload = self.workload if workload is None else workload
        lab = self.lab
        if not lab.breaks(workload, faults):
            return False
        if workload != self.workload and lab.is_another(workload, self.original):
            return False
        self._take(workload, faults)
        return True

    # ---- the fewest faults

    def _fewest_faults(self) -> None:
        if not self.faults or self._try(()):
            return
        self._halve()
        pool = self.faults
        if any(self._try((fault,)) for fault in pool[:_ONE_BY_ONE_MAX]):
            return
        self._keep_needed()
        self._drop_each()
        if len(self.faults) > 2:
            pairs = combinations(pool, 2)
            any(self._try(pair) for pair in islice(pairs, _PAIRS_MAX))
        if len(self.faults) > 1:
            sizes = self.lab.sizes(self.original)
            severer = [one for fault in self.faults for one in _severer(fault, sizes)]
            any(self._try((one,)) for one in severer)

    def _halve(self) -> None:
        """Try the half that has to do with the finding, then the other."""
        while len(self.faults) > 3:
            faults = self.faults
            half = len(faults) // 2
            if not (self._try(faults[:half]) or self._try(faults[half:])):
                return

    def _keep_needed(self) -> None:
        """Find a needed fault by halving: the last one of the shortest prefix that fails.

        Keep it, and go on among those before it, until the kept ones are enough.
        """
        lab, workload = self.lab, self.workload
        kept: Faults = ()
        rest = self.faults
        while rest and not (kept and lab.breaks(workload, kept)):
            low, high = 0, len(rest)
            while high - low > 1:
                middle = (low + high) // 2
                if lab.breaks(workload, (*kept, *rest[:middle])):
                    high = middle
                else:
                    low = middle
            kept = (*kept, rest[high - 1])
            rest = rest[: high - 1]
        assert lab.breaks(workload, kept)
        self._take(workload, kept)

    def _drop_each(self) -> bool:
        """Take away, one at a time, what is not needed; say whether it was all checked."""
        again = True
        while again and self.lab.runs < _HARD_LIMIT:
            again = any(
                self._try(fewer) for fault in self.faults for fewer in _less(self.faults, fault)
            )
        return not again

    # ---- the workload

    def _fewest_items(self) -> None:
        entity = self.lab.trial(self.workload, self.faults).findings[0].entity
        wanted = {fault.site.entity for fault in self.faults} | {entity}
        for keep in (wanted - {0}, (wanted - {0}) | {1, 2}):
            everything = range(1, len(self.workload) + 1)
            self._leave_out([number for number in everything if number not in keep])
        for number in range(len(self.workload), 0, -1):
            if self.lab.may_run(self._reserve):
                self._leave_out([number])

    def _leave_out(self, numbers: list[int]) -> None:
        """Try it without these items; the faults of the others move along."""
        left = [number for number in range(1, len(self.workload) + 1) if number not in numbers]
        if not numbers or not left:
            return
        moved = {old: new for new, old in enumerate(left, 1)} | {0: 0}
        faults = tuple(
            attrs.evolve(fault, site=attrs.evolve(fault.site, entity=moved[fault.site.entity]))
            for fault in self.faults
            if fault.site.entity in moved
        )
        self._try(faults, tuple(self.workload[number - 1] for number in left))

    def _plainest_items(self) -> None:
        """Try the examples in place of items: all at once, then one by one."""
        lab = self.lab
        examples = range(lab.plain_from, len(lab.stock))
        plain = tuple(examples)[: len(self.workload)]
        plain += self.workload[len(plain) :]
        if self._same_items(plain) or self._try(self.faults, plain):
            return
        for at, number in enumerate(plain):
            mixed = (*self.workload[:at], number, *self.workload[at + 1 :])
            if not self._same_items(mixed) and lab.may_run(self._reserve):
                self._try(self.faults, mixed)

    def _same_items(self, workload: Workload) -> bool:
        plain = plain_items(self.lab.items(workload))
        return plain == plain_items(self.lab.items(self.workload))

    # ---- the faults

    @property
    def _reserve(self) -> int:
        """Runs to leave for the end: without each fault, and once more as it is."""
        return 2 * len(self.faults) + 1

    def _simplest_faults(self) -> None:
        """Try milder and earlier faults in place of each, until none will do."""
        done = False
        while not done:
            done = True
            for fault in self.faults:
                for simpler in self._simpler(fault):
                    if not self.lab.may_run(self._reserve):
                        return
                    if self._try((*without(self.faults, fault), simpler)):
                        done = False
                        break

    def _simpler(self, fault: Fault) -> Iterator[Fault]:
        """Yield milder faults at this site, mildest first, then this one at earlier attempts."""
        site = fault.site
        surface = self.lab.trial(self.workload, self.faults).run.surfaces.get(site.operation)
        if surface is None:
            return
        legal = self.lab.kinds.intersection(searched(site.operation, surface, site.phase))
        kinds = {*legal, type(fault)}
        sizes = self.lab.sizes(self.original)
        others = [one for kind in kinds for one in variants(kind, site, sizes)]
        for one in sorted(others, key=severity):
            if severity(one) < severity(fault):
                yield one
        for attempt in range(1, min(site.attempt, 4)):
            yield attrs.evolve(fault, site=attrs.evolve(site, attempt=attempt))
        for entity in range(1, site.entity):
            yield attrs.evolve(fault, site=attrs.evolve(site, entity=entity))

    # ---- the end

    def _check(self) -> None:
        """See that each fault is needed, and that the same schedule gives the same history."""
        self.minimal = self._drop_each()
        lab = self.lab
        trial = lab.trial(self.workload, self.faults)
        again = lab.execute(self.workload, self.faults)
        compare(trial.run.history, again.history, schedule=repr(Schedule(self.faults)))


def _less(faults: Faults, fault: Fault) -> Iterator[Faults]:
    """Yield the faults less one; then so that a second attempt becomes the first for lack of it."""
    fewer = without(faults, fault)
    yield fewer
    sooner = tuple(
        attrs.evolve(one, site=attrs.evolve(one.site, attempt=one.site.attempt - 1))
        if one.site.attempt > 1 and one.site.entity == fault.site.entity
        else one
        for one in fewer
    )
    if sooner != fewer:
        yield sooner


def _severer(fault: Fault, sizes: Sizes) -> tuple[Fault, ...]:
    """Return the fault in each more severe way, the most severe first."""
    same = variants(type(fault), fault.site, sizes)
    return tuple(one for one in reversed(same) if severity(one) > severity(fault))


def without(faults: Faults, fault: Fault) -> Faults:
    """Return the faults, less one."""
    return tuple(one for one in faults if one != fault)


def as_it_was(breach: Breach, run: Run, found_after: int, target: str) -> Counterexample:
    """Return a counterexample that nobody made smaller: what a broken-off search leaves."""
    return Counterexample(
        property=breach.property.name,
        system=run.system.name,
        target=target,
        schedule=Schedule(fault for fault in run.schedule if fault not in run.unused),
        items=plain_items(run.items),
        types=types_of(run.system, run.items),
        findings=breach.findings,
        digest=run.digest(),
        history=run.history,
        found_after=found_after,
        assumption=breach.property.assumption,
    )


def _written_up(
    lab: Laboratory, shrinker: Shrinker, found_after: int, target: str
) -> Counterexample:
    trial = lab.trial(shrinker.workload, shrinker.faults)
    run = trial.run
    return Counterexample(
        property=lab.property.name,
        system=lab.system.name,
        target=target,
        schedule=Schedule(shrinker.faults),
        items=plain_items(run.items),
        types=types_of(run.system, run.items),
        findings=trial.findings,
        digest=run.digest(),
        history=run.history,
        minimal=shrinker.minimal,
        found_after=found_after,
        shrunk_in=lab.runs,
        passing=_nearest(lab, shrinker, run.history),
        assumption=lab.property.assumption,
    )


def _nearest(lab: Laboratory, shrinker: Shrinker, history: History) -> History | None:
    """Return the history of the run with one fault less that stays alike the longest."""
    passing = [
        lab.trial(shrinker.workload, without(shrinker.faults, fault)) for fault in shrinker.faults
    ]
    histories = [one.run.history for one in passing if not one.findings]
    return max(histories, key=lambda one: common(one, history), default=None)


def common(one: History, other: History) -> int:
    """Return how many events two histories have in common, from the start."""
    count = 0
    for mine, its in zip(one.raw, other.raw, strict=False):
        if mine != its:
            break
        count += 1
    return count
