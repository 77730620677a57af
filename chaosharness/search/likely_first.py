"""Small-first's books in another order: likely faults first, then sets whose faults meet.

Books and order are two things. Which sets of faults there are, which of them struck, and
when a level is complete is `SmallFirst`'s; here is only in which order it goes about them,
and that it also learns from runs that others have proposed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from heapq import heappop, heappush
from itertools import chain, count
from typing import Final

from chaosharness.faults import FAULTS, Fault
from chaosharness.schedule import Schedule
from chaosharness.search.numbers import Spot
from chaosharness.search.odds import Alike, Odds, Scored, does, in_turns, learned, odds_at
from chaosharness.search.planner import Shown
from chaosharness.search.small_first import AHEAD_MAX, Key, Options, SmallFirst
from chaosharness.search.sweeps import swept
from chaosharness.strategies.sizes import Sizes, option_of
from chaosharness.system import Run

_FRESH: Final = -1
"""The place of a fault at a site that only another fault brought about: before all others."""


class LikelyFirst(SmallFirst):
    """Proposes each set of faults once, fewest faults first, and of those the likely ones first.

    Single faults come in the order of their odds. Sets come in two tiers: first those whose
    faults meet (what each does alone touches a common operation, or one of them is possible
    only because of the other), then the rest; in each by how likely their faults are.

    Args:
        faults_max, options, kinds, sizes: As for `SmallFirst`.
        odds: Of single faults; by default those of this version.
    """

    def __init__(
        self,
        *,
        faults_max: int = 2,
        options: Options = "mildest",
        kinds: Collection[type[Fault]] = FAULTS,
        sizes: Sizes | None = None,
        odds: Odds | None = None,
    ) -> None:
        super().__init__(faults_max=faults_max, options=options, kinds=kinds, sizes=sizes)
        self.odds = learned() if odds is None else odds
        self.singles = 0
        """Single faults at the sites of the calm run."""
        self.mild_singles = 0
        """Those of them that sets of two or more consist of."""
        self._what: dict[str, str] = {}
        self._spots: list[Spot] = []
        self._singles: Iterator[int] = iter(())
        self._pending: set[int] = set()
        self._counted = False
        self._places: dict[int, int] = {}
        self._touched: dict[Key, int] = {}
        self._bits: dict[str, int] = {}

    @property
    def wants_marks(self) -> bool:
        """Whether `observe` asks for the marks of runs: sets need them."""
        return self.faults_max > 1

    # ---- what the runs have shown

    def _begin(self, run: Run) -> None:
        self._what = does(run.history)
        super()._begin(run)

    def _order_singles(self, spots: list[Spot]) -> None:
        """Have the single faults of the calm run ready, likely ones first, each in its turn."""
        known, catalogue = self._numbers, self.catalogue
        self._spots = spots
        alike: dict[Alike, list[Scored[int]]] = {}
        for spot in spots:
            operation, entity, message, attempt = spot
            doing = self._what.get(operation, "")
            where = (entity, catalogue.position((operation, entity, message)), attempt)
            sorts = catalogue.sorts_at(operation, entity, attempt)
            for number, sort in zip(known.at(spot), sorts, strict=True):
                odds = odds_at(self.odds.of_row(sort.row, doing), entity, attempt, sort.sized)
                place = (*sort.rank, *where, sort.late)
                which = (sort.row, sort.kind, operation)
                alike.setdefault(which, []).append((-odds, place, number))
                self.mild_singles += sort.mild or self.options == "all"
            self._pending.update(known.at(spot))
        self.singles = len(self._pending)
        self._singles = in_turns(alike, self._what)

    def _all_singles(self) -> list[int]:
        """Return the single faults of the calm run, likely ones first."""
        if len(self._places) < self.singles:
            self._calm_numbers += self._singles
            self._places = {number: at for at, number in enumerate(self._calm_numbers)}
        return self._calm_numbers

    def _grow(self, level: int) -> Iterator[Key]:
        """Yield single faults in their turns, as far as no run had them; and then sets."""
        if level > 1:
            yield from super()._grow(level)
            return
        for at in count():
            if at == len(self._calm_numbers):
                following = next(self._singles, None)
                if following is None:
                    return
                self._calm_numbers.append(following)
            number = self._calm_numbers[at]
            if number in self._pending:
                self._pending.discard(number)
                yield (number,)

    def left_to_propose(self) -> int:
        """Count ahead, within bounds, how many sets of this level were not proposed.

        Which single faults there are is known before they are put in order.
        """
        if self._level != 1:
            return super().left_to_propose()
        self._counted = True
        return min(len(self._pending), AHEAD_MAX)

    def observe(self, seen: Shown) -> None:
        """Learn from a run, whoever proposed it.

        Faults that did not strike changed nothing: the run is that of the others alone. It
        counts for a level if that set belongs to it.
        """
        if not self._changed or not seen.schedule.faults:
            super().observe(seen)
            return
        self.catalogue.learn(seen)
        asked = self._key(seen.schedule.faults)
        if asked is not None:
            self._in_flight.discard(asked)
            self._missed.discard(asked)
            self._ahead.pop(asked, None)
            if self._counted:
                self._pending.difference_update(asked[:1] if len(asked) == 1 else ())
        struck = self._struck_in(seen)
        if struck is None or struck in self._run:
            return
        if len(struck) < self.faults_max:
            self._touched[struck] = self._bits_of(seen, struck)
        self._keep(struck, seen.attempts)
        self._ahead.pop(struck, None)
        if len(struck) == 1:
            self._pending.discard(struck[0])

    def _struck_in(self, seen: Shown) -> Key | None:
        """Return the set that struck, if it belongs to a level."""
        faults = seen.struck
        if not 0 < len(faults) <= self.faults_max:
            return None
        if len({(fault.site, type(fault)) for fault in faults}) < len(faults):
            return None
        numbers = []
        for fault in faults:
            site = fault.site
            place = self.catalogue.spelling.place(site)
            known = self._numbers.at((*place, site.attempt))
            number = self._numbers.of(fault)
            if number is None or number not in known:
                return None  # a length or an attempt that no level has
            numbers.append(number)
        key = tuple(sorted(numbers))
        mild = len(key) == 1 or self.options == "all" or self._mild(key)
        return key if mild else None

    def _bits_of(self, seen: Shown, struck: Key) -> int:
        """Return which operations a run was different at, as bits."""
        found, made = 0, self._numbers.fault
        for name in (*seen.touched, *(made(one).site.operation for one in struck)):
            found |= 1 << self._bits.setdefault(name, len(self._bits))
        return found

    def likely(self) -> list[Fault]:
        """Return the single faults at the sites of the calm run, likely ones first."""
        return [*map(self._numbers.fault, self._all_singles())]

    def sweeps(self) -> Iterator[Schedule]:
        """Yield one kind of fault at many sites of the calm run at once, likely ones first."""
        for numbers in swept(self._spots, self._numbers, self._what, self.odds):
            yield Schedule([*map(self._numbers.fault, numbers)])

    # ---- order

    def _pass(self, level: int, *, severe: bool) -> Iterator[Key]:
        self._all_singles()
        smaller = [key for key in self._struck[level - 1] if severe or self._mild(key)]
        smaller.sort(key=lambda key: (sum(map(self._place, key)), key))
        for meeting in (True, False):
            yield from self._likely_sets(smaller, severe, meeting)

    def _place(self, number: int) -> int:
        return self._places.get(number, _FRESH)

    def _likely_sets(self, smaller: list[Key], severe: bool, meeting: bool) -> Iterator[Key]:
        """Yield sets by the sum of two places: of the smaller set, and of the fault it gains."""
        heap: list[tuple[int, int, Key]] = []
        sources = [self._extended(key, severe, meeting) for key in smaller]
        for at, source in enumerate(sources):
            if (first := next(source, None)) is not None:
                heappush(heap, (first[0] + at, at, first[1]))
        while heap:
            _, at, joint = heappop(heap)
            if (following := next(sources[at], None)) is not None:
                heappush(heap, (following[0] + at, at, following[1]))
            if joint not in self._seen:
                self._seen.add(joint)
                yield joint

    def _extended(self, key: Key, severe: bool, meeting: bool) -> Iterator[tuple[int, Key]]:
        """Yield the sets with one fault more, each with the place of that fault."""
        mine = self._touched.get(key, -1)
        fresh = self._fresh(self._changed[key])
        for at, number in enumerate(chain(fresh, self._calm_numbers)):
            if not severe and option_of(self._numbers.fault(number)):
                continue
            meets = at < len(fresh) or bool(mine & self._touched.get((number,), -1))
            joint = tuple(sorted((*key, number)))
            if (
                meets == meeting
                and joint not in self._seen
                and self._may_strike(key, number, joint)
            ):
                yield at, joint
