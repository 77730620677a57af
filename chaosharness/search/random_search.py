"""Chance, seeded: for soaks, where schedules have more faults than can be enumerated."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from itertools import compress, repeat
from operator import gt
from random import Random
from typing import Final

import attrs

from chaosharness.campaign import Level
from chaosharness.errors import InvalidDefinition
from chaosharness.faults import FAULTS, Fault
from chaosharness.kernel.site import Phase
from chaosharness.schedule import Schedule
from chaosharness.search.marks import Fact
from chaosharness.search.planner import Shown
from chaosharness.search.sites import ATTEMPTS_MAX, Catalogue
from chaosharness.strategies.sizes import MILDNESS

CORPUS_MAX: Final = 1_000
_MUTATE_IN_TEN: Final = 8


@attrs.define
class _Spot:
    """Where one kind of fault may strike before or after an operation, for one item and message.

    Attributes:
        place: The operation, the item, the whole name of the message, and the phase.
        ends: How many faults there are up to each attempt, the first one first.
    """

    place: tuple[str, int, str, Phase]
    ends: list[int] = attrs.field(factory=list)


@attrs.define
class Sites:
    """The faults that were seen to be possible, by kind and by operation.

    They are counted here, and made when one is drawn: most never are.
    """

    catalogue: Catalogue
    kinds: list[type[Fault]] = attrs.field(factory=list, init=False)
    _spots: dict[type[Fault], list[_Spot]] = attrs.field(factory=dict, init=False)
    _known: dict[tuple[type[Fault], tuple[str, int, str, Phase]], _Spot] = attrs.field(
        factory=dict, init=False
    )
    _attempts: dict[tuple[str, int, str], int] = attrs.field(factory=dict, init=False)

    def learn(self, run: Shown) -> None:
        """Take in sites that were not seen before."""
        known, reached = self._attempts, run.attempts
        more = map(gt, reached.values(), map(known.get, reached, repeat(0)))
        for place, times in [*compress(reached.items(), more)]:  # none, in most runs
            before = known.get(place, 0)
            if before >= ATTEMPTS_MAX:
                continue
            known[place] = times
            for attempt in range(before + 1, min(times, ATTEMPTS_MAX) + 1):
                for kind, phase, count in self.catalogue.counts_at(*place[:2], attempt):
                    self._add(kind, (*place, phase), count)

    def _add(self, kind: type[Fault], place: tuple[str, int, str, Phase], count: int) -> None:
        found = self._known.get((kind, place))
        if found is None:
            if kind not in self._spots:
                self._spots[kind] = []
                self.kinds = sorted(self._spots, key=MILDNESS.__getitem__)
            found = self._known[kind, place] = _Spot(place)
            self._spots[kind].append(found)
        ends = found.ends
        ends.append(ends[-1] + count if ends else count)

    def draw(self, chance: Random, kinds: list[type[Fault]]) -> Fault:
        """Draw a fault: first its kind, then the place, then the attempt, early ones more often."""
        kind = kinds[_below(chance, len(kinds))]
        spots = self._spots[kind]
        spot = spots[_below(chance, len(spots))]
        ends = spot.ends
        at = min(_below(chance, ends[-1]), _below(chance, ends[-1]))
        attempt = bisect_right(ends, at)
        operation, entity, message, phase = spot.place
        which = at - (ends[attempt - 1] if attempt else 0)
        return self.catalogue.of_kind(kind, phase, operation, entity, message, attempt + 1, which)


def _below(chance: Random, count: int) -> int:
    """Draw from 0 to count - 1; much cheaper than `randrange`."""
    return int(chance.random() * count)


class RandomSearch:
    """Proposes random schedules, for ever: calm first, then 1 to `faults_max` faults.

    Each schedule draws from some kinds only, chosen anew (swarm testing): a schedule of
    crashes and nothing else finds what a mixture hides.

    Args:
        faults_max: Faults in one schedule, at most.
        faults_min: And at least.
        seed: The same seed proposes the same schedules to the same runs.
        kinds: Only these kinds of fault.
        catalogue: What is known of sites already; who gives it learns it from the runs.

    Source:
        Groce et al., "Swarm Testing", ISSTA 2012.
    """

    def __init__(
        self,
        *,
        faults_max: int = 4,
        faults_min: int = 1,
        seed: int = 0,
        kinds: Collection[type[Fault]] = FAULTS,
        catalogue: Catalogue | None = None,
    ) -> None:
        if faults_max < 1:
            raise InvalidDefinition(f"a random search needs faults_max from 1, not {faults_max}")
        self.faults_max = faults_max
        self.faults_min = min(faults_min, faults_max)
        self.shares = catalogue is not None
        self.catalogue = Catalogue(kinds=kinds) if catalogue is None else catalogue
        self.sites = Sites(self.catalogue)
        self.chance = Random(seed)
        self.tried = 0
        self._calm_done = False
        self._calm_asked = False

    @property
    def wants_marks(self) -> bool:
        """Whether `observe` asks for the marks of runs."""
        return False

    def propose(self) -> Schedule | None:
        """Return the next schedule; None after calm only if no fault is possible at all."""
        if not self._calm_done:
            asked, self._calm_asked = self._calm_asked, True
            return None if asked else Schedule()
        if not self.sites.kinds:
            return None
        return self._choose()

    def _choose(self) -> Schedule:
        count = self.faults_min + _below(self.chance, 1 + self.faults_max - self.faults_min)
        kinds = self._swarm()
        return Schedule(tuple(self.sites.draw(self.chance, kinds) for _ in range(count)))

    def _swarm(self) -> list[type[Fault]]:
        """Draw the kinds of one schedule: each with one half, but one at least."""
        known = self.sites.kinds
        bits = self.chance.getrandbits(len(known))
        chosen = [kind for at, kind in enumerate(known) if bits >> at & 1]
        return chosen or known

    def observe(self, seen: Shown) -> None:
        """Learn the sites of a run."""
        if not self.shares:
            self.catalogue.learn(seen)
        self.sites.learn(seen)
        if seen.schedule.faults:
            self.tried += 1
        else:
            self._calm_done = True

    def forget(self) -> None:
        """Give up what is in flight: chance does not come back to it."""
        self._calm_asked = False

    @property
    def drawn_max(self) -> int:
        """Faults that a schedule has, at most."""
        return self.faults_max

    def levels(self) -> tuple[Level, ...]:
        """Return nothing: chance enumerates nothing."""
        return ()

    def owed(self) -> int:
        """Return 0: a budget is a budget."""
        return 0

    def finishes(self, runs: int) -> bool:
        """Say no: chance has no end."""
        return False


class GuidedSearch(RandomSearch):
    """Like `RandomSearch`, but changes schedules that led to something new.

    A run is new if something happened in it, or happened so often, that never did before
    (see `marks.Fact`). Its schedule is kept, and mutated: a fault added, taken away,
    exchanged, or the faults of two schedules joined.
    """

    def __init__(
        self, *, faults_max: int = 4, seed: int = 0, kinds: Collection[type[Fault]] = FAULTS
    ) -> None:
        super().__init__(faults_max=faults_max, seed=seed, kinds=kinds)
        self.corpus: list[Schedule] = []
        self.news: list[tuple[Schedule, frozenset[Fact]]] = []
        self._seen: set[Fact] = set()

    @property
    def wants_marks(self) -> bool:
        """Whether `observe` asks for the marks of runs."""
        return True

    def observe(self, seen: Shown) -> None:
        """Learn the sites of a run, and keep its schedule if it led to something new."""
        super().observe(seen)
        new = seen.marks.facts - self._seen
        self._seen |= new
        if new and seen.schedule.faults and len(self.corpus) < CORPUS_MAX:
            unused = seen.unused
            schedule = Schedule(one for one in seen.schedule if one not in unused)
            self.corpus.append(schedule)
            self.news.append((schedule, new))

    def know(self, schedule: Schedule, facts: frozenset[Fact]) -> None:
        """Begin with a schedule that led to something new in another search."""
        self._seen |= facts
        self.corpus.append(schedule)

    def _choose(self) -> Schedule:
        if not self.corpus or _below(self.chance, 10) >= _MUTATE_IN_TEN:
            return super()._choose()
        chance = self.chance
        faults = list(self._pick().faults)
        match _below(chance, 4):
            case 0 if len(faults) > 1:
                del faults[_below(chance, len(faults))]
            case 1 if faults:
                faults[_below(chance, len(faults))] = self.sites.draw(chance, self.sites.kinds)
            case 2:
                faults += self._pick().faults
            case _:
                faults.append(self.sites.draw(chance, self._swarm()))
        return Schedule(faults[: self.faults_max])

    def _pick(self) -> Schedule:
        """Draw from the corpus, what came last more often."""
        count = len(self.corpus)
        return self.corpus[max(_below(self.chance, count), _below(self.chance, count))]
