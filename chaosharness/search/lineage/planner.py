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
from typing import Final, Protocol

import attrs

from chaosharness.checkers import Property
from chaosharness.faults import FAULTS, Crash, Fault
from chaosharness.handlers.port import Surface
from chaosharness.schedule import Schedule
from chaosharness.search.lineage.bits import DEATHS, Bits, numbers
from chaosharness.search.lineage.cuts import Support, cuts
from chaosharness.search.lineage.goals import Goal, goals
from chaosharness.search.lineage.ways import Cut, Key, Way, Ways, service_of
from chaosharness.system import Run

SUPPORTS_MAX: Final = 200
"""Ways to one outcome that are remembered."""

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


class Seen(Protocol):
    """What is to be known of a run that was made."""

    @property
    def schedule(self) -> Schedule:
        """Its faults."""

    @property
    def surfaces(self) -> Mapping[str, Surface]:
        """What may strike at its operations."""

    @property
    def ways(self) -> Ways:
        """How its outcomes came about."""

    @property
    def run(self) -> Run | None:
        """The run itself; of the calm run always."""


@attrs.define(eq=False)
class _Aim:
    """One goal, the ways that are known to lead to it, and the cuts of them."""

    goal: Goal
    supports: list[Support] = attrs.field(factory=list)
    news: int = 0
    cuts: Iterator[tuple[int, int]] | None = None
    next: tuple[int, int] | None = None


class Lineage:
    """Proposes cuts: of what claims need first, the cheapest first.

    It proposes nothing before it has seen the calm run, and nothing where each cut of the
    ways that are known was run: any further run may teach another way.

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
        self._surfaces: dict[str, Surface] = {}
        self._aims: list[_Aim] = []
        self._begun = False
        self._done: set[int] = {0}
        self._asked: list[int] = []
        self._ways_to: dict[Key, list[int]] = {}
        self._later: dict[int, int] = {}
        self._rows: list[int] = []
        self._twins_known: int | None = None
        self._learned = 0

    # ---- learning

    def observe(self, seen: Seen, broken: Collection[str] = ()) -> None:
        """Learn from a run by which ways it came to its outcomes.

        Args:
            seen: The run. Of one with more than `faults_max` faults nothing is learned.
            broken: The names of the claims that are broken: what they need is left alone.
        """
        faults = seen.schedule.faults
        if broken:
            self._aims = [aim for aim in self._aims if aim.goal.claim not in broken]
        if not self._begun:
            if faults or seen.run is None:
                return
            self._begun = True
            self._aims = [_Aim(goal) for goal in goals(self.claims, seen.run.evidence())]
        elif len(faults) > self.faults_max:
            return
        for operation, surface in seen.surfaces.items():
            self._surfaces.setdefault(operation, surface)
        ways, handled = self._translated(seen.ways, faults)
        context = self.bits.mask(faults)
        self._learned += 1
        rows = {way.direct for found in ways.values() for way in found} | set(handled)
        fresh_rows = rows.difference(self._rows)
        if fresh_rows:
            self._rows += sorted(fresh_rows)
            self._twins_known = None
            for aim in self._aims:
                aim.cuts = aim.next = None
        for key, found in ways.items():
            known = self._ways_to.setdefault(key, [])
            fresh = {way.direct for way in found}.difference(known)
            if fresh:
                known += sorted(fresh)
                for aim in self._aims:
                    if key in aim.goal.premises:
                        aim.cuts = aim.next = None
        for aim in self._aims:
            self._teach(aim, ways, context)
        self._settle(faults)

    def _settle(self, faults: tuple[Fault, ...]) -> None:
        """Take note that some faults were run together."""
        chosen = self.bits.mask(faults)
        if chosen.bit_count() == len(faults):
            self._done.add(chosen)
            if chosen in self._asked:
                self._asked.remove(chosen)

    def forget(self) -> None:
        """Take back what was proposed and not run."""
        self._asked.clear()
        for aim in self._aims:
            aim.cuts = aim.next = None

    def _translated(self, ways: Ways, faults: tuple[Fault, ...]) -> tuple[dict[Key, list[Way]], list[int]]:
        """Return the ways of a run in the bits of this search, without what struck in it."""
        bits = self.bits.translate(ways.cuts, self._surfaces)
        self._note_order(ways.cuts, bits)
        left = ~self.bits.mask(faults)

        def moved(mask: int) -> int:
            found = 0
            for at, bit in enumerate(bits):
                if mask >> at & 1:
                    found |= bit
            return found & left

        translated = {
            key: [Way(moved(way.direct), moved(way.memory), moved(way.end), way.gone) for way in found]
            for key, found in ways.outcomes
        }
        return translated, [moved(way) for way in ways.handled]

    def _note_order(self, cuts: Sequence[Cut], bits: Sequence[int]) -> None:
        """Take note of what a service that dies does not come to any more."""
        later: dict[str, int] = {}
        for cut, bit in zip(reversed(cuts), reversed(bits), strict=True):
            if bit:
                service = service_of(cut[0])
                number = bit.bit_length() - 1
                if isinstance(self.bits.faults[number], Crash):
                    self._later[number] = self._later.get(number, 0) | later.get(service, 0)
                later[service] = later.get(service, 0) | bit

    def _teach(self, aim: _Aim, ways: Mapping[Key, list[Way]], context: int) -> None:
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
        if fresh and len(aim.supports) < SUPPORTS_MAX:
            aim.supports += fresh
            aim.news = self._learned
            aim.cuts = aim.next = None

    # ---- proposing

    @property
    def ready(self) -> bool:
        """Whether there is a cut to run, of an outcome to which several ways are known."""
        best = self._best()
        return best is not None and len(best.supports) > 1

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
        for aim in self._aims:
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
            price, deaths = self._prices(aim), self.bits.deaths
            aim.cuts = cuts(aim.supports, price, self._reach, self.faults_max, deaths=deaths)
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
            for one in self._aims
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

    def _twins(self) -> int:
        """Return the faults that are, in all ways known, where a later one is as well."""
        if self._twins_known is None:
            columns = [0] * len(self.bits.faults)
            for row, way in enumerate(self._rows):
                for number in numbers(way):
                    columns[number] |= 1 << row
            seen: set[tuple[str, bool, int]] = set()
            found = 0
            for number in range(len(columns) - 1, -1, -1):
                fault = self.bits.faults[number]
                dies = isinstance(fault, DEATHS)
                who = service_of(fault.site.operation) if dies else str(fault.site)
                column = (who, dies, columns[number])
                found |= (column in seen) << number
                seen.add(column)
            self._twins_known = found
        return self._twins_known


@attrs.frozen
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


def _same(ways: Mapping[Key, list[Way]], key: Key) -> list[Way]:
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
