"""The mode `lineage`: every cut that is known, and then every set, small ones first."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from chaosharness.campaign import Level
from chaosharness.checkers import Property
from chaosharness.faults import FAULTS, Fault
from chaosharness.schedule import Schedule
from chaosharness.search.lineage.planner import Lineage
from chaosharness.search.planner import Shown
from chaosharness.search.sites import Catalogue
from chaosharness.search.small_first import Options, SmallFirst


class CutsFirst:
    """Proposes calm, then cuts as long as there are any, one at a time, and then sets.

    Sets that were run as cuts are not run again, so levels are as exact as those of
    `SmallFirst`. A set may teach another way to an outcome: then its cuts come next.

    Args:
        claims: What the search looks for breaks of.
        faults_max: Faults in one schedule, at most.
        options, kinds: As for `SmallFirst`.
    """

    def __init__(
        self,
        claims: Iterable[Property] = (),
        *,
        faults_max: int = 2,
        options: Options = "mildest",
        kinds: Collection[type[Fault]] = FAULTS,
    ) -> None:
        self.faults_max = faults_max
        self.books = SmallFirst(faults_max=faults_max, options=options, kinds=kinds)
        self.lineage = Lineage(claims, faults_max=faults_max, kinds=kinds)
        self._calm_known = False
        self._cut: Schedule | None = None

    @property
    def catalogue(self) -> Catalogue:
        """What is known of the sites."""
        return self.books.catalogue

    @property
    def tried(self) -> int:
        """Schedules by chance: none."""
        return 0

    @property
    def drawn_max(self) -> int:
        """Faults that a schedule by chance has: there is none."""
        return 0

    @property
    def wants_marks(self) -> bool:
        """Whether `observe` asks for the marks of runs."""
        return True

    def levels(self) -> tuple[Level, ...]:
        """Say how many schedules of each number of faults there are, and were run."""
        return self.books.levels()

    def owed(self) -> int:
        """Return how many runs more than the budget it takes: what the books need."""
        return self.books.owed()

    def finishes(self, runs: int) -> bool:
        """Say whether so many runs are enough to finish the level that is gone about."""
        return self.books.finishes(runs)

    def propose(self) -> Schedule | None:
        """Return the next cut, or set; None while what a cut shows is not known."""
        if self._cut is not None:
            return None
        if self._calm_known and self.faults_max and (cut := self.lineage.propose()) is not None:
            self._cut = cut
            return cut
        return self.books.propose()

    def observe(self, seen: Shown) -> None:
        """Tell both."""
        if seen.schedule == self._cut:
            self._cut = None
        self._calm_known |= not seen.schedule.faults
        self.books.observe(seen)
        self.lineage.observe(seen)

    def forget(self) -> None:
        """Give up what is in flight: it will not be run."""
        self._cut = None
        self.books.forget()
        self.lineage.forget()
