"""Several orders in turns: sweeps, dense schedules by chance, likely single faults, every set.

No order is the best for all bugs. A kind of fault at many places at once, made few by the
shrinker, finds most of those that need one fault within ten runs; many faults of many kinds find
those that need several; likely single faults find those that hide where others strike as well;
and only going through all of them finds the rest, and can say that there is none. Each has its
turns, and all of them write into the same books.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from math import comb
from typing import Final, Protocol

from chaosharness.campaign import Cell, Level
from chaosharness.faults import FAULTS, Fault
from chaosharness.schedule import Schedule
from chaosharness.search.likely_first import LikelyFirst
from chaosharness.search.odds import Odds
from chaosharness.search.planner import Planner, Shown
from chaosharness.search.random_search import RandomSearch
from chaosharness.search.sites import Catalogue, cell_of
from chaosharness.search.small_first import Options
from chaosharness.strategies.sizes import Sizes

DENSE_MAX: Final = 12
"""Faults of a schedule by chance, at most: the shrinker makes them as few as are needed."""

DENSE_MIN: Final = 5
"""And at least: fewer are enumerated anyway."""

FIRST: Final = 12
"""Schedules by chance that have every second turn, sweeps the other: most bugs that they find they
find at once."""

SECOND: Final = 4
"""After that one turn of so many is for chance while single faults go on, and one for a sweep."""

MANY: Final = 3
"""Where more than two faults are asked for, of so many turns all but one are for chance."""

DENSE: Final = 250
"""Where the single faults are done, chance has every second turn until it had so many in all."""

LATER: Final = 5
"""And then one turn of so many."""

SHARE_OF_SINGLES: Final = 4
"""Where sets have one fault only, chance has a run for so many of them, at most."""

CUTS_EVERY: Final = 5
"""Of so many turns one is for a cut of what an outcome depended on, where there is a reason."""

CUTS_EARLY: Final = 20
CUTS_LATER: Final = 20
"""After so many cuts: of so many turns one."""


_DRAWS_MAX: Final = 5


class Cutter(Planner, Protocol):
    """Proposes cuts of what a good outcome depended on."""

    @property
    def ready(self) -> bool:
        """Whether it knows an outcome with two supports or more, and has an untried cut."""


class Portfolio:
    """Calm first; then sweeps, dense schedules by chance and likely single faults in turns; sets.

    Never at the cost of a level: what the books would finish within the budget without chance
    they finish with it.

    Args:
        faults_max: Faults in one set of the books, and in a finding, at most.
        dense_max: Faults in one schedule by chance, at most.
        seed: Of chance.
        budget: Runs there will be; None where nobody knows.
        options, kinds, sizes: As for `SmallFirst`.
        odds: Of single faults; by default those of this version.
        cutter: Proposes cuts, and shares the `catalogue`.
        sweeping: Whether to propose sweeps: one kind of fault at many places at once.
    """

    def __init__(
        self,
        *,
        faults_max: int = 2,
        dense_max: int = DENSE_MAX,
        seed: int = 0,
        budget: int | None = None,
        options: Options = "mildest",
        kinds: Collection[type[Fault]] = FAULTS,
        sizes: Sizes | None = None,
        odds: Odds | None = None,
        cutter: Cutter | None = None,
        sweeping: bool = True,
    ) -> None:
        self.faults_max = faults_max
        self.books = LikelyFirst(
            faults_max=faults_max, options=options, kinds=kinds, sizes=sizes, odds=odds
        )
        self.chance = RandomSearch(
            faults_max=dense_max,
            faults_min=DENSE_MIN,
            seed=seed,
            kinds=kinds,
            catalogue=self.catalogue,
        )
        self.cutter = cutter
        self.sweeping = sweeping
        self.proposed: dict[Schedule, str] = {}
        """What is in flight, and whose it is: `calm`, `chance`, `cut`, `sweep` or `sets`."""
        self._budget = budget
        self._turn = 0
        self._spent = 0
        self._dense = 0
        self._cuts = 0
        self._swept = 0
        self._sweeps: Iterator[Schedule] | None = None

    @property
    def catalogue(self) -> Catalogue:
        """What is known of the sites."""
        return self.books.catalogue

    @property
    def tried(self) -> int:
        """Schedules by chance that were run."""
        return self._dense

    @property
    def drawn_max(self) -> int:
        """Faults that a schedule by chance has, at most."""
        return self.chance.faults_max

    @property
    def wants_marks(self) -> bool:
        """Whether `observe` asks for the marks of runs."""
        return True

    def levels(self) -> tuple[Level, ...]:
        """Say how many schedules of each number of faults there are, and were run."""
        return self.books.levels()

    def agenda(self) -> list[Schedule]:
        """Return each kind of fault at each operation once, likely ones first."""
        firsts: dict[Cell, Fault] = {}
        for fault in self.books.likely():
            firsts.setdefault(cell_of(fault), fault)
        return [Schedule([fault]) for fault in firsts.values()]

    # ---- a planner

    def propose(self) -> Schedule | None:
        """Return the next schedule, of whoever has this turn; who has nothing leaves it."""
        if not self.books.begun:
            return self._out("calm", self.books.propose())
        if self.books.waits():
            return None
        self._turn += 1
        if (cut := self._cut()) is not None:
            return self._out("cut", cut)
        if self._is_for_a_sweep() and (sweep := self._sweep()) is not None:
            return self._out("sweep", sweep)
        if self._is_for_chance() and (dense := self._by_chance()) is not None:
            return self._out("chance", dense)
        return self._out("sets", self.books.propose())

    def _out(self, whose: str, schedule: Schedule | None) -> Schedule | None:
        if schedule is not None:
            self.proposed[schedule] = whose
            self._spent += 1
        return schedule

    def observe(self, seen: Shown) -> None:
        """Tell everyone."""
        whose = self.proposed.pop(seen.schedule, "")
        self._dense += whose == "chance"
        self._cuts += whose == "cut"
        self._swept += whose == "sweep"
        self.books.observe(seen)
        self.chance.observe(seen)
        if self.cutter is not None:
            self.cutter.observe(seen)

    def forget(self) -> None:
        """Give up what is in flight: it will not be run."""
        self._spent -= len(self.proposed)
        self.proposed.clear()
        self.books.forget()
        self.chance.forget()
        if self.cutter is not None:
            self.cutter.forget()

    def _cut(self) -> Schedule | None:
        """Return a cut, if this turn is for one.

        Where sets have one fault only, every cut is a single fault, which has its turn anyway.
        """
        cutter = self.cutter
        every = CUTS_EVERY if self._cuts < CUTS_EARLY else CUTS_LATER
        if cutter is None or self.faults_max < 2 or self._turn % every != 1:
            return None
        if not self._may_spend(self._dense + self._cuts) or not cutter.ready:
            return None
        cut = cutter.propose()
        if cut is None or cut in self.proposed or self.books.knows(cut):
            return None
        return cut

    # ---- sweeps

    def _is_for_a_sweep(self) -> bool:
        """Say whether this turn is for a sweep."""
        every, at = (2, 0) if self._chances() < FIRST else (SECOND, 1)
        if not self.sweeping or self.faults_max < 1 or self._turn % every != at:
            return False
        if self.faults_max == 1 and self._extra() >= self.books.singles // SHARE_OF_SINGLES:
            return False
        return self._may_spend(self._extra())

    def _sweep(self) -> Schedule | None:
        """Return the next sweep; None when there is none left."""
        if self._sweeps is None:
            self._sweeps = self.books.sweeps()
        return next(self._sweeps, None)

    def _extra(self) -> int:
        """Return how many runs were not for the books: those in flight, too."""
        done = self._dense + self._cuts + self._swept
        return done + sum(whose in ("chance", "cut", "sweep") for whose in self.proposed.values())

    # ---- chance

    def _by_chance(self) -> Schedule | None:
        """Draw a schedule that was not run; None if that is not easily done."""
        for _ in range(_DRAWS_MAX):
            drawn = self.chance.propose()
            if drawn is None:
                return None
            if drawn not in self.proposed and not self.books.knows(drawn):
                return drawn
        return None

    def _chances(self) -> int:
        """Return how many schedules by chance there were, and are in flight."""
        return self._dense + sum(whose == "chance" for whose in self.proposed.values())

    def _is_for_chance(self) -> bool:
        """Say whether this turn is for chance."""
        dense = self._chances()
        if self.faults_max == 1 and self._extra() >= self.books.singles // SHARE_OF_SINGLES:
            return False
        if dense < FIRST:
            mine = self._turn % 2 == 1
        elif dense >= DENSE:
            mine = self._turn % LATER == 0
        elif self.faults_max > 2:
            return self._turn % MANY > 0  # whoever asks for many faults wants to know of many
        else:
            mine = self._turn % (SECOND if self.books.level == 1 else 2) == 0
        if not mine:
            return False
        return self.faults_max > 0 and self._may_spend(dense)

    def _may_spend(self, dense: int) -> bool:
        """Say whether a run by chance keeps no level from its end."""
        if self._budget is None:
            return True
        books = self.books
        left = self._budget - self._spent
        if left <= 0:
            return False
        spare = left - books.left_to_propose()  # what is in flight is spent
        if spare < 0:  # what chance has had may be all that this level lacks: it is owed that
            return spare + self._extra() < 0  # this level will not be finished with or without it
        later = self._later()
        if later // 2 > spare:
            return spare > 0  # the next one will not be
        return spare - 3 * later // 2 > 0 or (later > 0 and dense < self._budget // 20)

    def _later(self) -> int:
        """Return about how many sets the levels after this one consist of."""
        levels = range(self.books.level + 1, self.faults_max + 1)
        return sum(comb(self.books.mild_singles, faults) for faults in levels)

    def owed(self) -> int:
        """Return how many runs the last level lacks only because chance had them; 0 mostly."""
        books = self.books
        if not books.begun or books.level < self.faults_max:
            return 0
        left = books.left()
        return left if left <= self._dense + self._cuts + self._swept else 0

    def finishes(self, runs: int) -> bool:
        """Say whether so many runs, and what is owed, finish the level that is gone about."""
        last = self.books.level >= self.faults_max
        extra = self._dense + self._cuts + self._swept
        return self.books.finishes(runs + (extra if last else 0))
