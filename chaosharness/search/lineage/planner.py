"""Lineage: which ways led to what a claim needs, and which few faults cut all of them.

A run without faults shows one way to each outcome. A cut of it is run. Either the claim
breaks, or there was another way (a retry, a relay, somebody else who knows): then that run
has shown it, and the next cut hits both. So each run either finds something or teaches
something, and redundancy is learned where it is, instead of being tried everywhere.

Source:
    Alvaro, Rosen, Hellerstein, "Lineage-driven Fault Injection", SIGMOD 2015. Smallest cuts by
    best-first search instead of a SAT solver.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, compress
from operator import or_, xor
from typing import Final

import attrs

from chaosharness.checkers import Property
from chaosharness.faults import FAULTS, Fault
from chaosharness.schedule import Schedule
from chaosharness.search.lineage.bits import Bits, Early
from chaosharness.search.lineage.cuts import Prices, Support, cuts
from chaosharness.search.lineage.goals import Goal, goals
from chaosharness.search.lineage.ways import Key, Lesson, Way, first_of
from chaosharness.search.planner import Shown
from chaosharness.system import Run

SUPPORTS_MAX: Final = 200
"""Ways to one outcome that are remembered."""

LESSONS_MAX: Final = 300
"""Runs that are learned from."""

FAULT: Final = 10
SPOILS: Final = 15
"""A fault that takes away a premise, or whoever would tell of the outcome, counts as two and a
half: the claim then mostly asks for nothing."""

REMEMBERED: Final = 5
"""What an actor was told before counts one and a half: perhaps it did not matter."""

EACH_MORE: Final = 2
MORE_MAX: Final = 6
"""A fault that also cuts others of the same claim is cheaper: they cannot make up for it."""

TWIN: Final = 12
"""A fault that is in the very ways that a later one is in as well is, as far as is known, the
same once more: it comes after pairs of others."""

UNCLAIMED: Final = 11
"""What no claim needs: each fault counts for two, and a little more."""


@attrs.define(eq=False)
class _Aim:
    """One goal, the ways that are known to lead to it, and the cuts of them.

    Attributes:
        supports: The ways.
        joined: What cuts any of them.
        certain: What cuts more of any of them than what somebody remembers.
        common: What does so of all of them; all bits while there is none.
        news: Which lesson taught the last of them.
        cuts: The cuts that are still to come.
        next: The next one, and what it costs.
    """

    goal: Goal
    supports: dict[Support, None] = attrs.field(factory=dict)
    joined: int = 0
    certain: int = 0
    common: int = -1
    news: int = 0
    cuts: Iterator[tuple[int, int]] | None = None
    next: tuple[int, int] | None = None


class Lineage:
    """Proposes cuts: of what claims need first, the cheapest first.

    It proposes nothing before it has seen the calm run, and nothing where each cut of the
    ways that are known was run: any further run may teach another way. Runs that it did not
    propose teach it as well.

    Args:
        claims: What the search looks for breaks of.
        faults_max: Faults in one cut, at most.
        kinds: Only these kinds of fault.
    """

    def __init__(
        self,
        claims: Iterable[Property] = (),
        *,
        faults_max: int = 2,
        kinds: Collection[type[Fault]] = FAULTS,
    ) -> None:
        self.claims = tuple(claims)
        self.faults_max = faults_max
        self.bits = Bits(frozenset(kinds))
        self._calm: Run | None = None
        self._aims: list[_Aim] | None = None
        self._early = Early()
        self._lessons: list[tuple[Lesson, int]] = []
        self._orders: set[tuple[int, ...]] = set()
        self._redundant = False
        self._done: set[int] = {0}
        self._asked: list[int] = []
        self._ways_to: dict[Key, list[int]] = {}
        self._common_to: dict[Key, int] = {}
        self._later: defaultdict[int, int] = defaultdict(int)
        self._rows: set[int] = set()
        self._twins = _Twins(self.bits)
        self._learned = 0
        self._learned_from = 0

    @property
    def wants_marks(self) -> bool:
        """Whether `observe` asks for the marks of runs: for their ways."""
        return True

    # ---- learning

    def observe(self, seen: Shown) -> None:
        """Learn from a run by which ways it came to its outcomes.

        Only a run whose faults cut a way that was known can show another one. Of a run with
        more than `faults_max` faults nothing is learned.
        """
        faults = seen.schedule.faults
        if self._calm is None:
            if not faults and seen.run is not None:
                self._calm = seen.run
                self._take_surfaces(seen)
                self._learn(seen.lesson(self._early, 0), 0)
            return
        context = self.bits.mask(faults)
        if not context or len(faults) > self.faults_max:
            return
        self._done.add(context)
        if context in self._asked:
            self._asked.remove(context)
        self._take_surfaces(seen)
        full = self._learned_from >= LESSONS_MAX
        if full and self._redundant:
            return
        bits: Early | Bits = self._early if self._aims is None else self.bits
        if bits.first is None and seen.run is not None:
            bits.first = first_of(self._calm, bits)
        lesson = seen.lesson(bits, 0 if self._aims is None else context)
        self._look_for_redundancy((key for key, _ in lesson.outcomes), context)
        if not full:
            self._learn(lesson, context)

    def _take_surfaces(self, seen: Shown) -> None:
        surfaces = self.bits.surfaces
        if not seen.surfaces.keys() <= surfaces.keys():
            for operation, surface in seen.surfaces.items():
                surfaces.setdefault(operation, surface)

    def _look_for_redundancy(self, outcomes: Iterable[Key], context: int) -> None:
        """See whether an outcome came about although a way to it was cut."""
        for key in () if self._redundant else outcomes:
            self._redundant |= any(way & context for way in self._ways_to.get(key, ()))

    def _learn(self, lesson: Lesson, context: int) -> None:
        """Learn the ways of a run when there are goals; of the calm run, at once as well."""
        self._learned_from += 1
        if self._aims is not None:
            self._study(lesson, context)
            return
        self._lessons.append((lesson, context))
        if not context:
            self._study_early()

    def _study_early(self) -> None:
        settled = self.bits.settled(self._early, self._lessons)
        for lesson, (_, context) in zip(settled, self._lessons, strict=True):
            self._study(lesson, context)

    def _study(self, lesson: Lesson, context: int) -> None:
        self._note_order(lesson.order)
        self._learned += 1
        rows = {*lesson.handled}
        found = dict(lesson.outcomes)
        for key, each in lesson.outcomes:
            known = self._ways_to.setdefault(key, [])
            for way in each:
                direct = way.direct
                rows.add(direct)
                if direct not in known:
                    known.append(direct)
                    self._common_to[key] = self._common_to.get(key, -1) & direct
                    self._forget_cuts(key)
        rows -= self._rows
        self._rows |= rows
        self._twins.take(rows)
        for aim in self._aims or ():
            self._teach(aim, found, context)

    def _forget_cuts(self, premise: Key) -> None:
        """Price the cuts of some goals anew: there is another way to what they depend on."""
        for aim in self._aims or ():
            if premise in aim.goal.premises:
                aim.cuts = aim.next = None

    def _goals(self) -> list[_Aim]:
        """Return the goals: the claims are asked for them when they are needed."""
        if self._aims is None:
            if self._calm is None:
                return []
            self._aims = [_Aim(goal) for goal in goals(self.claims, self._calm.evidence())]
            self._study_early()
            self._lessons.clear()
            self._early = Early()
        return self._aims

    def forget(self) -> None:
        """Take back what was proposed and not run."""
        self._asked.clear()
        for aim in self._aims or ():
            aim.cuts = aim.next = None

    def _note_order(self, order: Iterable[int]) -> None:
        """Take note of what a service that dies does not come to any more."""
        order = [*order]
        for here, _ in self.bits.of_service.values():
            bits = tuple(filter(here.__contains__, order))
            if bits and bits not in self._orders:
                self._orders.add(bits)
                self._note_later(bits)

    def _note_later(self, bits: Sequence[int]) -> None:
        """Add to each fault of a service what comes after it: all of them at once."""
        backwards = bits[::-1]
        later = accumulate(backwards[:-1], or_, initial=0)
        known = map(self._later.__getitem__, backwards)
        self._later.update(zip(backwards, map(or_, known, later), strict=True))

    def _teach(self, aim: _Aim, ways: Mapping[Key, Sequence[Way]], context: int) -> None:
        """Add the ways by which a run came to a goal."""
        found = [way for key in aim.goal.keys for way in _same(ways, key)]
        if aim.goal.by_anyone:
            held = [way for way in found if not way.gone]
            new = [Support(way.memory | way.end, way.direct | way.end, 0) for way in held]
        else:
            new = [Support(way.memory, way.direct, context) for way in found]
        if aim.goal.each and new:
            way, certain = _joined(one.way for one in new), _joined(one.certain for one in new)
            new = [Support(way, certain, context)]
        fresh = [one for one in new if one.way and one not in aim.supports]
        if fresh and len(aim.supports) + len(fresh) <= SUPPORTS_MAX:
            aim.supports.update(dict.fromkeys(fresh))
            for one in fresh:
                aim.joined |= one.way
                aim.certain |= one.certain
                aim.common &= one.certain
            aim.news = self._learned
            aim.cuts = aim.next = None

    # ---- proposing

    @property
    def ready(self) -> bool:
        """Whether an outcome came about although a way to it was cut, and a cut is left to run."""
        return self._redundant and self._best() is not None

    def propose(self) -> Schedule | None:
        """Return the cheapest cut that was not run; None where there is none at present."""
        best = self._best()
        if best is None or best.next is None:
            return None
        chosen = best.next[1]
        best.next = None
        self._asked.append(chosen)
        return Schedule(self.bits.of(chosen))

    def _best(self) -> _Aim | None:
        """Return the goal with the cheapest cut; of equals the one with the latest news."""
        best: _Aim | None = None
        least = (0, 0)
        for aim in self._goals():
            if aim.supports:
                self._look_ahead(aim)
                if aim.next is not None:
                    rank = (aim.next[0], -aim.news)
                    if best is None or rank < least:
                        best, least = aim, rank
        return best

    def _look_ahead(self, aim: _Aim) -> None:
        """Find the next cut of a goal, if it is not known yet."""
        if aim.next is not None and self._is_new(aim.next[1]):
            return
        if aim.cuts is None:
            prices, deaths = self._prices(aim), self.bits.deaths
            aim.cuts = cuts([*aim.supports], prices, self._reach, self.faults_max, deaths=deaths)
        aim.next = next((one for one in aim.cuts if self._is_new(one[1])), None)

    def _is_new(self, chosen: int) -> bool:
        """Say whether a cut was not run. No two faults of it are of one kind at one site."""
        return chosen not in self._done and chosen not in self._asked

    def _reach(self, number: int) -> int:
        """Return what a service does not come to any more if it dies by a fault."""
        bit = 1 << number
        return self._later.get(bit, 0) if self.bits.crashes & bit else 0

    def _prices(self, aim: _Aim) -> Prices:
        """Return what each fault costs that cuts a way to a goal."""
        goal, bits = aim.goal, self.bits
        holders = 0 if goal.by_anyone else _joined(bits.bits_of(key[1]) for key in goal.keys)
        premises = _joined(max(self._common_to.get(key, 0), 0) for key in goal.premises)
        found = {FAULT if goal.claim else FAULT + UNCLAIMED: aim.joined}
        for more, those in (
            (REMEMBERED, ~aim.certain),
            (SPOILS, holders & bits.deaths),
            (SPOILS, premises),
            (TWIN, self._twins.known()),
            *((-EACH_MORE, several) for several in self._rivals(aim)),
        ):
            if not aim.joined & those:
                continue
            split: dict[int, int] = {}
            for cost, some in found.items():
                if here := some & those:
                    split[cost + more] = split.get(cost + more, 0) | here
                if here := some & ~those:
                    split[cost] = split.get(cost, 0) | here
            found = split
        return [*found.items()]

    def _rivals(self, aim: _Aim) -> list[int]:
        """Return what cuts one other goal of the same claim, what cuts two, and so on."""
        several = [0] * (MORE_MAX // EACH_MORE)
        for one in self._goals() if aim.goal.claim else ():
            if one is not aim and one.goal.claim == aim.goal.claim:
                again = max(one.common, 0)
                for at, known in enumerate(several):
                    several[at] = known | again
                    again &= known
        return several


class _Twins:
    """The deaths that are, in all ways known, where a later one of their service is as well.

    Kept as groups of those that no way has told apart yet.
    """

    def __init__(self, bits: Bits) -> None:
        self._bits = bits
        self._left: set[int] = set()
        self._met = 0
        self._groups: list[int] = []

    def take(self, ways: Iterable[int]) -> None:
        """Take in ways that are new."""
        self._left.update(ways)

    def known(self) -> int:
        """Return all of them but the last one of each group."""
        deaths = self._bits.deaths
        for way in self._left:
            if way & deaths:
                self._tell_apart(way & deaths)
        self._left.clear()
        twins = 0
        rest = deaths & ~self._met
        for group in (*self._groups, *(mask & rest for _, mask in self._bits.of_service.values())):
            if group:
                twins |= group ^ 1 << group.bit_length() - 1
        return twins

    def _tell_apart(self, way: int) -> None:
        """Part each group into what is in a way and what is not."""
        inside = [*map(way.__and__, self._groups)]
        groups = [*inside, *map(xor, self._groups, inside)]
        if first := way & ~self._met:
            groups += [first & mask for _, mask in self._bits.of_service.values()]
            self._met |= way
        self._groups = [*compress(groups, map((1).__lt__, map(int.bit_count, groups)))]


def _same(ways: Mapping[Key, Sequence[Way]], key: Key) -> Sequence[Way]:
    """Return the ways to an outcome; if it is not there, to the same with other words."""
    found = ways.get(key)
    if found is None:
        found = [way for other, each in ways.items() if other[:4] == key[:4] for way in each]
    return found


def _joined(ways: Iterable[int]) -> int:
    """Return what cuts any of some ways."""
    found = 0
    for way in ways:
        found |= way
    return found
