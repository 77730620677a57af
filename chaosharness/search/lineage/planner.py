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

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Final

import attrs

from chaosharness.checkers import Property
from chaosharness.faults import FAULTS, Fault
from chaosharness.schedule import Schedule
from chaosharness.search.lineage.bits import DEATHS, Bits, numbers
from chaosharness.search.lineage.cuts import Support, cuts
from chaosharness.search.lineage.goals import Goal, goals
from chaosharness.search.lineage.ways import Key, Lesson, Way, Ways, first_of, service_of
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
    """One goal, the ways that are known to lead to it, and the cuts of them."""

    goal: Goal
    supports: dict[Support, None] = attrs.field(factory=dict)
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
        self._lessons: list[tuple[Ways, int]] = []
        self._orders: set[tuple[int, ...]] = set()
        self._redundant = False
        self._done: set[int] = {0}
        self._asked: list[int] = []
        self._ways_to: dict[Key, list[int]] = {}
        self._later: dict[int, int] = {}
        self._rows: set[int] = set()
        self._columns: list[int] = []
        self._twins_known = 0
        self._twins_of = (0, 0)
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
                self._learn(seen.ways, 0)
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
        if self._aims is None:
            ways = seen.ways
            self._look_for_redundancy((key for key, _ in ways.outcomes), context)
            if not full:
                self._learn(ways, context)
            return
        if self.bits.first is None and seen.run is not None:
            self.bits.first = first_of(self._calm, self.bits)
        lesson = seen.lesson(self.bits, context)
        self._look_for_redundancy((key for key, _ in lesson.outcomes), context)
        if not full:
            self._learned_from += 1
            self._study(lesson, context)

    def _take_surfaces(self, seen: Shown) -> None:
        for operation, surface in seen.surfaces.items():
            self.bits.surfaces.setdefault(operation, surface)

    def _look_for_redundancy(self, outcomes: Iterable[Key], context: int) -> None:
        """See whether an outcome came about although a way to it was cut."""
        for key in () if self._redundant else outcomes:
            self._redundant |= any(way & context for way in self._ways_to.get(key, ()))

    def _learn(self, ways: Ways, context: int) -> None:
        """Learn the ways of a run when there are goals; of the calm run, at once as well."""
        self._lessons.append((ways, context))
        self._learned_from += 1
        if not context:
            self._study(self.bits.translated(ways, context), context)

    def _study(self, lesson: Lesson, context: int) -> None:
        self._note_order(lesson.order)
        self._learned += 1
        self._keep_rows(lesson.handled)
        found = dict(lesson.outcomes)
        for key, each in lesson.outcomes:
            self._keep_rows([way.direct for way in each])
            known = self._ways_to.setdefault(key, [])
            fresh = [way.direct for way in each if way.direct not in known]
            known += dict.fromkeys(fresh)
            for aim in (self._aims or ()) if fresh else ():
                if key in aim.goal.premises:
                    aim.cuts = aim.next = None
        for aim in self._aims or ():
            self._teach(aim, found, context)

    def _goals(self) -> list[_Aim]:
        """Return the goals: the claims are asked for them when they are needed."""
        if self._aims is None:
            if self._calm is None:
                return []
            self._aims = [_Aim(goal) for goal in goals(self.claims, self._calm.evidence())]
            for ways, context in self._lessons:
                self._study(self.bits.translated(ways, context), context)
            self._lessons.clear()
        return self._aims

    def forget(self) -> None:
        """Take back what was proposed and not run."""
        self._asked.clear()
        for aim in self._aims or ():
            aim.cuts = aim.next = None

    def _note_order(self, order: Iterable[int]) -> None:
        """Take note of what a service that dies does not come to any more."""
        services = self.bits.services
        of_each: dict[str, list[int]] = {}
        for bit in order:
            if bit:
                of_each.setdefault(services[bit], []).append(bit)
        for bits in map(tuple, of_each.values()):
            if bits not in self._orders:
                self._orders.add(bits)
                self._note_later(bits)

    def _note_later(self, bits: Sequence[int]) -> None:
        so_far = 0
        for bit in reversed(bits):
            if so_far and self.bits.crashes & bit:
                number = bit.bit_length() - 1
                self._later[number] = self._later.get(number, 0) | so_far
            so_far |= bit

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
            price, deaths = cache(self._prices(aim)), self.bits.deaths
            aim.cuts = cuts([*aim.supports], price, self._reach, self.faults_max, deaths=deaths)
        aim.next = next((one for one in aim.cuts if self._is_new(one[1])), None)

    def _is_new(self, chosen: int) -> bool:
        """Say whether a cut was not run, and is none of two faults of one kind at one site."""
        if chosen in self._done or chosen in self._asked:
            return False
        faults = self.bits.of(chosen)
        return len({(type(fault), fault.site) for fault in faults}) == len(faults)

    def _reach(self, number: int) -> int:
        return self._later.get(number, 0)

    def _prices(self, aim: _Aim) -> _Prices:
        goal = aim.goal
        rivals = [
            _common(support.certain for support in one.supports)
            for one in self._goals()
            if one is not aim and one.goal.claim == goal.claim and goal.claim
        ]
        return _Prices(
            self.bits,
            claimed=bool(goal.claim),
            certain=_joined(one.certain for one in aim.supports),
            premises=[_common(self._ways_to.get(key, ())) for key in goal.premises],
            rivals=rivals,
            holders=set() if goal.by_anyone else {key[1] for key in goal.keys},
            twins=self._twins(),
        )

    def _keep_rows(self, ways: Iterable[int]) -> None:
        """Keep in which ways each death is: a bit for each way that is new."""
        columns, deaths = self._columns, self.bits.deaths
        columns += [0] * (len(self.bits.faults) - len(columns))
        for way in ways:
            if way not in self._rows:
                row = 1 << len(self._rows)
                self._rows.add(way)
                for number in numbers(way & deaths):
                    columns[number] |= row

    def _twins(self) -> int:
        """Return the deaths that are, in all ways known, where a later one is as well."""
        known = (len(self._rows), len(self._columns))
        if known != self._twins_of:
            self._twins_of = known
            self._twins_known = 0
            services, columns = self.bits.services, self._columns
            seen: set[tuple[str, int]] = set()
            for number in reversed([*numbers(self.bits.deaths)]):
                column = (services[1 << number], columns[number])
                if column in seen:
                    self._twins_known |= 1 << number
                seen.add(column)
        return self._twins_known


@attrs.frozen(eq=False)
class _Prices:
    """What each fault costs, where one goal is to be cut."""

    bits: Bits
    claimed: bool
    certain: int
    premises: list[int]
    rivals: list[int]
    holders: set[str]
    twins: int

    def __call__(self, number: int) -> int:
        fault = self.bits.faults[number]
        mask = 1 << number
        price = FAULT if self.claimed else FAULT + UNCLAIMED
        if not self.certain & mask:
            price += REMEMBERED
        if isinstance(fault, DEATHS) and service_of(fault.site.operation) in self.holders:
            price += SPOILS
        if any(premise & mask for premise in self.premises):
            price += SPOILS
        if self.twins & mask:
            price += TWIN
        more = sum(bool(rival & mask) for rival in self.rivals)
        return price - min(EACH_MORE * more, MORE_MAX)


def _same(ways: Mapping[Key, Sequence[Way]], key: Key) -> Sequence[Way]:
    """Return the ways to an outcome; if it is not there, to the same with other words."""
    found = ways.get(key)
    if found is None:
        found = [way for other, each in ways.items() if other[:4] == key[:4] for way in each]
    return found


def _common(ways: Iterable[int]) -> int:
    """Return what cuts all of some ways at once."""
    found = -1
    for way in ways:
        found &= way
    return max(found, 0)


def _joined(ways: Iterable[int]) -> int:
    """Return what cuts any of some ways."""
    found = 0
    for way in ways:
        found |= way
    return found
