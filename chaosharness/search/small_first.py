"""Small schedules first: calm, every single fault at every site reached, then pairs, and so on.

A schedule counts when each of its faults strikes. Which schedules those are is known
without running them all. Take a set S of k faults that all strike, and the one of them
that strikes last: until then the run is that of S without it, by determinism. So every
such S is found by adding one fault, at a site that was reached, to a set one smaller
that was run. And by the same argument each fault of S has its site reached in the run
of S without that fault: where that run is known and says otherwise, S is left out. What
remains is run, and what then finds no site is not counted: the levels are exact.

No run is left out because it looked like another: two runs with the same history may
differ in what is not seen yet (a network that is still cut), and a further fault would
show it.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict, deque
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Final, Literal

from chaosharness.campaign import Level
from chaosharness.faults import FAULTS, Fault
from chaosharness.schedule import Schedule
from chaosharness.search.numbers import Numbers, Spot
from chaosharness.search.planner import Shown
from chaosharness.search.sets import Key as Key
from chaosharness.search.sets import Sets
from chaosharness.search.sites import (
    ATTEMPTS_MAX,
    Catalogue,
    Reached,
    past_of_outcomes,
)
from chaosharness.strategies.sizes import Sizes, is_sized, option_of
from chaosharness.system import Run

Options = Literal["mildest", "all"]
AHEAD_MAX: Final = 20_000
"""Schedules that are counted ahead, to say how large a level is that was not finished."""

_CALM_TRIES: Final = 3


class SmallFirst:
    """Proposes schedules with ever more faults, each set of faults once.

    All runs it observes should be of one workload: the levels are those of that workload.

    Args:
        faults_max: Faults in one schedule, at most.
        options: Which values of a fault's option are tried where there are two faults or
            more: the mildest of each, or all of them. Single faults have all.
        kinds: Only these kinds of fault.
        sizes: How long trouble may last besides the words; by default what the calm run shows.

    No attempt after `ATTEMPTS_MAX` is struck; a level says so where there were any.
    """

    def __init__(
        self,
        *,
        faults_max: int = 2,
        options: Options = "mildest",
        kinds: Collection[type[Fault]] = FAULTS,
        sizes: Sizes | None = None,
    ) -> None:
        self.faults_max = faults_max
        self.options = options
        self.catalogue = Catalogue(kinds=kinds, sizes=sizes)
        self._numbers = Numbers(self.catalogue)
        self._calm: Reached = {}
        self._calm_numbers: list[int] = []
        self._past: frozenset[tuple[str, int]] = frozenset()
        self._changed: dict[Key, Reached] = {}
        self._alike: dict[frozenset[tuple[tuple[str, int, str], int]], Reached] = {}
        self._seen = Sets()
        self._run = Sets()
        self._level = 0
        self._struck: list[list[Key]] = [[] for _ in range(max(1, faults_max))]
        self._missed: set[Key] = set()
        self._finished = [False] * (faults_max + 1)
        self._source: Iterator[Key] = iter(((),) * _CALM_TRIES)
        self._ahead: OrderedDict[Key, None] = OrderedDict()
        self._in_flight: set[Key] = set()
        self._cut_off = False
        self.tried = 0
        """Schedules by chance: none."""
        self.drawn_max = 0

    # ---- a planner

    @property
    def wants_marks(self) -> bool:
        """Whether `observe` asks for the marks of runs."""
        return False

    def propose(self) -> Schedule | None:
        """Return the next schedule: the smallest that was not proposed yet.

        None while the last ones of a level are in flight: what the next level consists of is
        known when they were observed.
        """
        key = self._next()
        while key is not None and key in self._run:
            key = self._next()
        if key is None:
            return None
        self._in_flight.add(key)
        return Schedule(tuple(map(self._numbers.fault, key)))

    def _next(self) -> Key | None:
        while self._changed or not self._in_flight:
            key = self._ahead.popitem(last=False)[0] if self._ahead else next(self._source, None)
            if key is not None:
                return key
            if self._in_flight:
                return None
            self._finished[self._level] = True
            if not self._changed or self._level == self.faults_max:
                return None
            self._level += 1
            self._source = self._grow(self._level)
        return None

    def forget(self) -> None:
        """Give up what was proposed and not observed: it counts as not run."""
        self._missed |= self._in_flight
        self._in_flight.clear()

    def observe(self, seen: Shown) -> None:
        """Learn from a run: what it reached, and whether all its faults struck."""
        self.catalogue.learn(seen)
        if not self._changed:
            if not seen.schedule.faults and seen.run is not None:
                self._begin(seen.run)
            return
        key = self._key(seen.schedule.faults)
        if key is None:
            return
        self._in_flight.discard(key)
        self._missed.discard(key)
        self._ahead.pop(key, None)
        if not seen.unused and key not in self._run and len(key) <= self.faults_max:
            self._keep(key, seen.attempts)

    def _keep(self, key: Key, reached: Reached) -> None:
        """Keep that a set has struck; and what its run reached, if sets grow from it."""
        self._seen.add(key)
        self._run.add(key)
        if len(key) < self.faults_max:
            changed = self._difference(reached)
            self._changed[key] = self._alike.setdefault(frozenset(changed.items()), changed)
            self._struck[len(key)].append(key)

    # ---- what the runs have shown

    def _begin(self, run: Run) -> None:
        self._in_flight.clear()
        self._missed.clear()
        self._source = iter(())
        self._calm = self._near(run.attempts)
        self._past = past_of_outcomes(run.history)
        self._changed[()] = {}
        self._run.add(())
        self._struck[0].append(())
        places = ((place, range(1, times + 1)) for place, times in self._calm.items())
        self._order_singles([(*place, attempt) for place, some in places for attempt in some])

    def _order_singles(self, spots: list[Spot]) -> None:
        """Put the single faults of the calm run into the order in which they are tried."""
        numbers = [number for spot in spots for number in self._numbers.at(spot)]
        self._calm_numbers = sorted(numbers, key=self._order)

    def _key(self, faults: tuple[Fault, ...]) -> Key | None:
        """Return the numbers of some faults; None if one was never a candidate."""
        found = []
        for fault in faults:
            number = self._numbers.of(fault)
            if number is None:
                return None
            found.append(number)
        return tuple(sorted(found))

    def _near(self, reached: Reached) -> Reached:
        """Leave out later attempts than are struck, and remember that there were some."""
        if not reached or max(reached.values()) <= ATTEMPTS_MAX:
            return dict(reached)
        self._cut_off = True
        return {place: min(times, ATTEMPTS_MAX) for place, times in reached.items()}

    def _difference(self, reached: Reached) -> Reached:
        """Keep of what a run reached only where it differs from calm: most is the same."""
        calm = self._calm
        reached = self._near(reached)
        changed = dict(reached.items() - calm.items())
        for place in calm.keys() - reached.keys():
            changed[place] = 0
        return changed

    def _reaches(self, key: Key, fault: Fault) -> bool:
        """Say whether a run that is known reached the site of a fault."""
        site = fault.site
        place = self.catalogue.spelling.place(site)
        times = self._changed[key].get(place)
        if times is None:
            times = self._calm.get(place, 0)
        return site.attempt <= times

    # ---- growing

    def _grow(self, level: int) -> Iterator[Key]:
        """Yield the sets of this many faults that may all strike."""
        if level > 1:
            yield from self._pass(level, severe=False)
        if level == 1 or self.options == "all":
            yield from self._pass(level, severe=True)

    def _pass(self, level: int, *, severe: bool) -> Iterator[Key]:
        """Yield them in turns: one extension of each smaller set, then the next of each."""
        smaller = [key for key in self._struck[level - 1] if severe or self._mild(key)]
        smaller.sort(key=lambda key: tuple(map(self._order, key)))
        fresh = self._fresh_of(smaller)
        turns = deque((key, 0) for key in smaller)
        while turns:
            key, at = turns.popleft()
            joint, at = self._extension(key, severe, fresh.get(key, ()), at)
            if joint is not None:
                turns.append((key, at))
                self._seen.add(joint)
                yield joint

    def _extension(
        self, key: Key, severe: bool, fresh: Sequence[int], at: int
    ) -> tuple[Key | None, int]:
        """Return a set with one fault more, from the one at a place on, and where to go on.

        First come faults at sites that only this set brought about, and then all of calm.
        """
        calm = self._calm_numbers
        while at < len(fresh) + len(calm):
            number = fresh[at] if at < len(fresh) else calm[at - len(fresh)]
            at += 1
            if not severe and option_of(self._numbers.fault(number)):
                continue
            joint = tuple(sorted((*key, number)))
            if joint not in self._seen and self._may_strike(key, number, joint):
                return joint, at
        return None, at

    def _fresh_of(self, keys: list[Key]) -> dict[Key, Sequence[int]]:
        """Return the faults at sites that only a set brought about, for the sets that have any.

        They stand there for a whole level: once for all the sets whose runs have reached the same.
        """
        found: dict[int, Sequence[int]] = {}
        for key in keys:
            changed = self._changed[key]  # one dict for all that have reached the same
            if id(changed) not in found:
                found[id(changed)] = array("L", self._fresh(changed))
        everything = ((key, found[id(self._changed[key])]) for key in keys)
        return {key: fresh for key, fresh in everything if fresh}

    def _fresh(self, changed: Reached) -> list[int]:
        """Return the faults at sites that calm does not reach, the likely ones first."""
        calm = self._calm
        fresh: list[int] = []
        for place in sorted(changed):
            for attempt in range(calm.get(place, 0) + 1, changed[place] + 1):
                fresh += self._numbers.at((*place, attempt))
        fresh.sort(key=self._order)
        return fresh

    def _may_strike(self, key: Key, number: int, joint: Key) -> bool:
        """Say whether a set and one fault more may all strike, as far as is known."""
        made = self._numbers.fault
        fault = made(number)
        if not self._reaches(key, fault):
            return False
        for other in key:
            one = made(other)
            if one.site == fault.site and type(one) is type(fault):
                return False
            rest = tuple([each for each in joint if each != other])
            if rest in self._changed and not self._reaches(rest, one):
                return False
        return True

    def _order(self, number: int) -> tuple[int, ...]:
        """Order faults: what an outcome depended on first, then the milder first.

        Those of a length in ms come after all the others.
        """
        fault = self._numbers.fault(number)
        place = (fault.site.operation, fault.site.entity)
        return (is_sized(fault), place not in self._past, *self.catalogue.mildness(fault))

    def _mild(self, key: Key) -> bool:
        return not any(option_of(self._numbers.fault(number)) for number in key)

    # ---- what a shrinker may rely on

    def ran(self, faults: tuple[Fault, ...]) -> bool:
        """Say whether a run was observed in which just these faults struck."""
        key = self._key(faults)
        return key is not None and key in self._changed

    def complete(self) -> tuple[int, str]:
        """Return up to how many faults every schedule was run, and with which options."""
        faults, options = 0, ""
        for level in self.levels()[1:]:
            if not level.complete:
                break
            faults, options = level.faults, level.options
        return faults, options

    # ---- what was covered

    @property
    def begun(self) -> bool:
        """Whether the calm run is known."""
        return bool(self._changed)

    @property
    def level(self) -> int:
        """Faults in the sets that are proposed now."""
        return self._level

    def waits(self) -> bool:
        """Say whether this level has nothing to propose until what is in flight is observed."""
        return bool(self._in_flight) and not self.left_to_propose()

    def left_to_propose(self) -> int:
        """Count ahead, within bounds, how many sets of this level were not proposed."""
        if len(self._ahead) < AHEAD_MAX:
            more = islice(self._source, AHEAD_MAX - len(self._ahead))
            self._ahead.update(dict.fromkeys(more))
        return len(self._ahead)

    def left(self) -> int:
        """Count ahead, within bounds, how many sets of this level were not observed."""
        return self.left_to_propose() + len(self._in_flight)

    def owed(self) -> int:
        """Return 0: a budget is a budget."""
        return 0

    def finishes(self, runs: int) -> bool:
        """Say whether so many runs are enough to finish the level that is gone about."""
        return self.left() <= min(runs, AHEAD_MAX - 1)

    def knows(self, schedule: Schedule) -> bool:
        """Say whether a schedule was run, or another one that comes to the same."""
        key = self._key(schedule.faults)
        return key is not None and key in self._run

    def levels(self) -> tuple[Level, ...]:
        """Say how many schedules of each number of faults there are, and were run."""
        return tuple(self._covered(faults) for faults in range(self.faults_max + 1))

    def _covered(self, faults: int) -> Level:
        tried = self._run.count(faults)
        left = sum(len(key) == faults for key in self._missed)
        if faults == self._level and not self._finished[faults]:
            left += self.left()
        begun = faults <= self._level and bool(self._changed)
        return Level(
            faults=faults,
            tried=tried,
            total=tried + left if begun else None,
            complete=begun and not left,
            more=faults == self._level and self.left_to_propose() >= AHEAD_MAX,
            options=self._options(faults) if faults else "",
            partly=faults > 0 and self._partly(faults),
        )

    def _options(self, faults: int) -> str:
        """Say what is tried at each site where there are so many faults."""
        options = "all options" if self._every(faults) else "mildest options"
        if self._partly(faults):
            options = "not every length of a stall"
        return f"{options}, attempts up to {ATTEMPTS_MAX}" if self._cut_off else options

    def _every(self, faults: int) -> bool:
        return faults == 1 or self.options == "all"

    def _partly(self, faults: int) -> bool:
        return self._every(faults) and self.catalogue.leaves_sizes_out()
