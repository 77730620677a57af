"""From a schedule that breaks a property to the smallest that does, faults and workload.

First what cannot have mattered goes, then workload items, then faults by halving; what is
left is made plainer and milder, and each fault is taken away once more: without it, the
property holds. Then two faults are exchanged for one, as far as that is worth the runs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

import attrs

from chaosharness.checkers import Finding, Property
from chaosharness.checkers.breach import Breach
from chaosharness.counterexample import Counterexample, plain_items, types_of
from chaosharness.errors import InvalidDefinition, InvalidSchedule
from chaosharness.faults import FAULTS, Fault
from chaosharness.kernel.history import History
from chaosharness.schedule import Schedule
from chaosharness.search.exchange import exchanges, runs_max_for, stronger
from chaosharness.search.laboratory import NOTHING, Faults, Known, Laboratory, Trial, Workload
from chaosharness.search.sites import searched
from chaosharness.search.target import target_of
from chaosharness.strategies.sizes import severity, variants
from chaosharness.system import Run, System
from chaosharness.system.twice import compare

RUNS_MAX: Final = 60
"""Re-executions, after which nothing is made plainer; faults are taken away even then."""

_HARD_LIMIT: Final = 20 * RUNS_MAX
_RUNS_AFTER_AN_EXCHANGE: Final = 20
_MANY: Final = 4


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
    known: Known = NOTHING,
    plainer: Sequence[Any] | None = None,
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
        target: Where the system is found, as `module:attribute`, for the report; by default a
            global of some module.
        runs_max: Re-executions, after which nothing is made plainer any more.
        known: What the search knows of this workload: saves runs, and proves more.
        plainer: What may take the place of items; the examples of the entry by default.

    Raises:
        InvalidSchedule: The schedule does not break the property.
        Nondeterminism: The same schedule led to another history.
    """
    if property.when == "sometimes":
        raise InvalidDefinition(
            f"{property.name!r} is about a campaign ('sometimes'): no single schedule breaks it"
        )
    workload = system.examples if items is None else tuple(items)
    lab = Laboratory(
        system, property, workload, sample=sample, kinds=kinds, known=known, runs_max=runs_max
    )
    if plainer is not None:
        lab.stock[lab.plain_from :] = plainer
    every = lab.every
    if run is not None:
        lab.remember(every, schedule.faults, run)
    if not lab.breaks(every, schedule.faults):
        raise InvalidSchedule(
            f"{property.name!r} holds under {schedule!r} on {system.name!r}: nothing to shrink"
        )
    shrinker = Shrinker(lab, every, schedule.faults)
    shrinker.shrink()
    return _written_up(lab, shrinker, found_after, target)


@attrs.define
class Shrinker:
    """Makes one counterexample smaller. `workload` and `faults` always break the property.

    Attributes:
        lab: Where runs are made.
        workload: The items that are left.
        faults: The faults that are left.
        minimal: Whether each fault was checked to be needed.
        exchanged: How often one fault was tried in place of two, at the end.
        original: The workload to begin with.
    """

    lab: Laboratory
    workload: Workload
    faults: Faults
    minimal: bool = attrs.field(default=False, init=False)
    exchanged: int = attrs.field(default=0, init=False)
    original: Workload = attrs.field(init=False)
    _met: Faults = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.original = self.workload
        self._met = ()

    def shrink(self) -> None:
        """Make it as small as can be."""
        self._take(self.workload, self.faults)
        self._met = self.faults
        if self.faults and not self._try(()):
            self._what_came_before()
            self._halve()
        self._few_items()
        if self.faults:
            self._keep_needed()
        self._fewest_items()
        self._plainest_items()
        self._smallest()
        self._exchange()
        self._check()

    def _smallest(self) -> None:
        """Make the faults milder and take away what is not needed, until neither will do."""
        before: Faults = ()
        while self.faults != before:
            before = self.faults
            self._simplest_faults()
            self._drop_each()
            if len(self.faults) == len(before):
                return

    def _take(self, workload: Workload, faults: Faults) -> None:
        """Go on with this, less the faults that did not strike.

        First come those that led to the finding, then those of its item, mildest first.
        """
        trial = self.lab.trial(workload, faults)
        assert trial.findings
        entity = trial.findings[0].entity
        past = _past(trial)

        def relevance(fault: Fault) -> tuple[Any, ...]:
            other = bool(entity) and fault.site.entity != entity
            return (fault not in past, other, severity(fault), fault.site)

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

    def _what_came_before(self) -> None:
        """Try the faults that led to the finding alone, else all that struck before it."""
        trial = self.lab.trial(self.workload, self.faults)
        past = _past(trial)
        led = tuple(fault for fault in self.faults if fault in past)
        if led and len(led) < len(self.faults) and self._try(led):
            return
        sooner = _sooner(trial, self.faults)
        if len(sooner) < len(self.faults):
            self._try(sooner)

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

    def _exchange(self) -> None:
        """Try one fault in place of two, as often as that is worth; count how often.

        Where every smaller set of faults was run, nothing is tried: there is no way out.
        """
        known = self.lab.known
        while len(self.faults) > max(1, known.complete + 1):
            if not (self._stronger() or self._one_for_two()):
                return
            self.lab.runs_max += _RUNS_AFTER_AN_EXCHANGE
            self._smallest()

    def _one_for_two(self) -> bool:
        """Try one fault in place of two; say whether it was done."""
        lab = self.lab
        trial = lab.trial(self.workload, self.faults)
        entity = trial.findings[0].entity
        left = runs_max_for(len(self.faults))
        self.exchanged = 0
        for wanted in exchanges(self.faults, trial.run, lab.kinds, entity=entity, others=self._met):
            if not lab.was_tried(self.workload, wanted):
                if not left or lab.runs >= _HARD_LIMIT:
                    return False
                left -= 1
                if self._try(wanted):
                    return True
            self.exchanged += 1
        return False

    def checked(self) -> str:
        """Say what was checked of faults that are each needed; nothing where there are none."""
        count, known = len(self.faults), self.lab.known
        if count < 2:
            return ""
        words = "no fault can be dropped; "
        if known.complete >= count - 1:
            fewer = "single fault" if count == 2 else f"schedule of up to {count - 1} faults"
            return f"{words}every {fewer} was run ({known.options})"
        return f"{words}no two exchanged for one within the {self.exchanged} tried"

    def _stronger(self) -> bool:
        """Where there are many faults, make them stronger until one is not needed any more.

        A cut that lasts until the second try of another item may do what two lost requests do:
        what is milder is not always part of what is fewer.
        """
        lab = self.lab
        before, workload = self.faults, self.workload
        if len(before) < _MANY:
            return False
        for fault in before:
            trial = lab.trial(workload, self.faults)
            entity = trial.findings[0].entity
            for other in stronger(fault, trial.run, lab.kinds, entity):
                if lab.runs >= _HARD_LIMIT:
                    break
                if self._try((*without(self.faults, fault), other)):
                    self._drop_each()
                    if len(self.faults) < len(before):
                        return True
                    break
        self._take(workload, before)
        return False

    # ---- the workload

    def _few_items(self) -> None:
        """Try it with the items alone that the finding and the faults are about."""
        entity = self.lab.trial(self.workload, self.faults).findings[0].entity
        wanted = {fault.site.entity for fault in self.faults} | {entity}
        for keep in ({entity} - {0}, wanted - {0}, (wanted - {0}) | {1, 2}):
            everything = range(1, len(self.workload) + 1)
            self._leave_out([number for number in everything if number not in keep])

    def _fewest_items(self) -> None:
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
        if self._same_items(plain) or self._try_items(plain):
            return
        for at, number in enumerate(plain):
            mixed = (*self.workload[:at], number, *self.workload[at + 1 :])
            if not self._same_items(mixed) and lab.may_run(self._reserve):
                self._try_items(mixed)

    def _try_items(self, workload: Workload) -> bool:
        """Try other items; not those that the entry does not take, such as two of one id."""
        try:
            return self._try(self.faults, workload)
        except InvalidDefinition:
            return False

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


def _past(trial: Trial) -> frozenset[Fault]:
    """Return the faults among the causes of what was found."""
    raw = trial.run.history.raw
    struck = {str(fault): fault for fault in trial.struck}
    seen: set[int] = set()
    found: set[Fault] = set()
    for at in trial.findings[0].events:
        while at >= 0 and at not in seen:
            seen.add(at)
            if raw[at][1] == "fault" and raw[at][7]["fault"] in struck:
                found.add(struck[raw[at][7]["fault"]])
            at = raw[at][6]
    return frozenset(found)


def _sooner(trial: Trial, faults: Faults) -> Faults:
    """Return the faults that struck before the last event of what was found."""
    last = max(trial.findings[0].events, default=-1)
    raw = trial.run.history.raw[: last + 1]
    struck = {event[7]["fault"] for event in raw if event[1] == "fault"}
    return tuple(fault for fault in faults if str(fault) in struck)


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


def without(faults: Faults, fault: Fault) -> Faults:
    """Return the faults, less one."""
    return tuple(one for one in faults if one != fault)


def as_it_was(breach: Breach, run: Run, found_after: int, target: str) -> Counterexample:
    """Return a counterexample that nobody made smaller: what a broken-off search leaves."""
    again = run.system.seen_again(run)
    return Counterexample(
        property=breach.property.name,
        system=run.system.name,
        target=target or target_of(run.system),
        schedule=Schedule(run.struck),
        items=plain_items(run.items),
        types=types_of(run.system, run.items),
        findings=breach.findings,
        digest=run.digest(),
        history=run.history,
        lines=again.lines,
        logged=again.logged,
        event_histories=run.event_histories,
        found_after=found_after,
        assumption=breach.property.assumption,
        profiles=run.system.profiles(),
    )


def _written_up(
    lab: Laboratory, shrinker: Shrinker, found_after: int, target: str
) -> Counterexample:
    trial = lab.trial(shrinker.workload, shrinker.faults)
    run = trial.run
    again = run.system.seen_again(run)
    return Counterexample(
        property=lab.property.name,
        system=lab.system.name,
        target=target or target_of(lab.system),
        schedule=Schedule(shrinker.faults),
        items=plain_items(run.items),
        types=types_of(run.system, run.items),
        findings=trial.findings,
        digest=run.digest(),
        history=run.history,
        lines=again.lines,
        logged=again.logged,
        event_histories=run.event_histories,
        minimal=shrinker.minimal,
        exact=shrinker.minimal and lab.known.proves(len(shrinker.faults)),
        checked=shrinker.checked() if shrinker.minimal else "",
        found_after=found_after,
        shrunk_in=lab.runs,
        passing=_nearest(lab, shrinker, run.history),
        assumption=lab.property.assumption,
        profiles=lab.system.profiles(),
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
