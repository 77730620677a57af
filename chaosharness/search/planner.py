"""What chooses the next schedule: the one thing that every mode of the search shares.

A planner is plain Python on `Schedule` values. Our own loop drives it (`search.explore`),
and so does the adapter behind Hypothesis's provider interface.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Protocol

from chaosharness.campaign import Level
from chaosharness.schedule import Schedule
from chaosharness.search.marks import Shown as Shown

if TYPE_CHECKING:
    from chaosharness.search.sites import Catalogue

BATCH_MAX: Final = 32


class Planner(Protocol):
    """Chooses schedules, and learns from what their runs showed.

    The caller asks, runs, and tells: `propose()`, `system.run(items, schedule)`,
    `observe(seen)`. It may ask for several before it tells of the first, and tells of them in
    the order in which they were proposed. A planner must bear with a run that it did not
    propose (Hypothesis replays and shrinks on its own), and with a proposal that was never
    run: once that is told by `forget()`, it just does not count as tried.
    """

    @property
    def wants_marks(self) -> bool:
        """Whether `observe` asks for the marks of runs."""

    def propose(self) -> Schedule | None:
        """Return the schedule to run next.

        None where what is in flight (proposed, not yet observed) must be observed first; and
        with nothing in flight None is final: it comes again at each later call. The first
        proposal is calm, alone in flight.
        """

    def observe(self, seen: Shown) -> None:
        """Learn from a run: which sites it reached, which of its faults struck."""

    def forget(self) -> None:
        """Give up what is in flight: it will not be run."""


class Chooser(Planner, Protocol):
    """A planner of one workload, as a campaign drives it: it also says what it has covered."""

    faults_max: int
    """Faults in one finding, at most."""

    @property
    def catalogue(self) -> Catalogue:
        """What is known of the sites, and what struck there."""

    @property
    def tried(self) -> int:
        """Schedules by chance that were run."""

    @property
    def drawn_max(self) -> int:
        """Faults that a schedule by chance has, at most; 0 where there is no chance."""

    def levels(self) -> tuple[Level, ...]:
        """Say how many schedules of each number of faults there are, and were run."""

    def owed(self) -> int:
        """Return how many runs more than the budget it takes to finish what must not be lost."""

    def finishes(self, runs: int) -> bool:
        """Say whether so many runs are enough to finish the level that is gone about."""


def batch_sizes() -> Iterator[int]:
    """Yield how many schedules are chosen at once: 1, 1, 2, 4, 8, 16, 32, and 32 for ever.

    Always so many, however many processes run them: so what a search does is the same for
    any number of them. The first ones are few, since the first finding often is near.
    """
    yield 1
    size = 1
    while True:
        yield size
        size = min(2 * size, BATCH_MAX)


def proposed(planner: Planner, count: int) -> list[Schedule]:
    """Return what is run next: up to so many schedules, fewer at the end of a level."""
    batch: list[Schedule] = []
    while len(batch) < count and (schedule := planner.propose()) is not None:
        batch.append(schedule)
    return batch
