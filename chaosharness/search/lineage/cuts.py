"""The cheapest sets of faults that hit every way to an outcome, one after the other.

A way is known from a run with certain faults, and is there for certain only where these strike:
its context. A run with further faults is the same until the first of them strikes, so a set
that holds a context has to hit its ways. Others it had better hit too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from typing import Final

import attrs

from chaosharness.search.lineage.bits import numbers

STEPS_MAX: Final = 2_000
"""Sets that are looked at, at most, from one support that is new to the next."""

MAYBE: Final = 6
"""What it costs that another way, known from a run with other faults, is not hit."""


STRANGE: Final = 4
"""What it costs that no run is known with all faults but one of them."""


ALSO_DEAD: Final = 3
"""What each further death costs: where many die at once, claims mostly ask for nothing."""

STALE: Final = 8
"""What it costs that a fault cuts a way that was there with fewer faults as well: what a run
has shown that is new is struck first."""


Prices = Sequence[tuple[int, int]]
"""What faults cost, and which of them cost that, as bits."""


@attrs.frozen
class Support:
    """One way to an outcome: each number is a set of faults, as bits.

    Attributes:
        way: The faults of which each cuts it.
        certain: Those among them that cut more than what its actor remembers.
        context: The faults under which it was seen.
    """

    way: int
    certain: int
    context: int


def cuts(
    supports: Sequence[Support],
    prices: Prices,
    reach: Callable[[int], int],
    faults_max: int,
    *,
    deaths: int = 0,
) -> Iterator[tuple[int, int]]:
    """Yield sets of faults, each once, the cheapest first: what one costs, and its bits.

    Args:
        supports: The ways that are known. A set hits each whose context it holds.
        prices: What faults cost, at least 1: those of one price together, each fault once.
        reach: What a fault makes impossible besides, as bits, by its number.
        faults_max: Faults in one set, at most.
        deaths: The faults by which a process dies, as bits.
    """
    return _Cuts(supports, prices, reach, faults_max, deaths).found()


class _Cuts:
    """A best-first search. Of two sets that cost the same, the one found first is first."""

    def __init__(
        self,
        supports: Sequence[Support],
        prices: Prices,
        reach: Callable[[int], int],
        faults_max: int,
        deaths: int,
    ) -> None:
        self.supports = sorted(supports, key=lambda one: (one.way.bit_count(), one.way))
        self.contexts = {one.context for one in supports}
        self.prices = prices
        self.reach = reach
        self.faults_max = faults_max
        self.deaths = deaths
        self.waiting: list[tuple[int, int, int, int, int]] = []
        self.ticket = 0
        self.branches: dict[int, _Branch] = {}

    def found(self) -> Iterator[tuple[int, int]]:
        """Yield the sets."""
        seen: set[int] = set()
        first = self._missed(0, 0)
        if first >= 0:
            self._offer(0, 0, first, 0)
        for _ in range(STEPS_MAX):
            if not self.waiting:
                return
            cost, _, chosen, which, at = heappop(self.waiting)
            if at < 0:
                yield cost, chosen
                continue
            more, number = self._branch(which).known[at]
            self._offer(cost - more, chosen, which, at + 1)
            joint = chosen | 1 << number
            if joint in seen or chosen & self.reach(number):
                continue
            seen.add(joint)
            self._look_at(cost, joint)

    def _look_at(self, cost: int, chosen: int) -> None:
        """Go on from a set, or put it into its place if it hits what it must."""
        reached = chosen
        for number in numbers(chosen):
            reached |= self.reach(number)
        missed = self._missed(chosen, reached)
        if missed >= 0:
            if chosen.bit_count() < self.faults_max:
                self._offer(cost, chosen, missed, 0)
            return
        if any(not one.way & reached for one in self.supports):
            cost += MAYBE
        if not any(chosen & ~(1 << number) in self.contexts for number in numbers(chosen)):
            cost += STRANGE
        cost += ALSO_DEAD * max(0, (chosen & self.deaths).bit_count() - 1)
        self.ticket += 1
        heappush(self.waiting, (cost, self.ticket, chosen, 0, -1))

    def _missed(self, chosen: int, reached: int) -> int:
        """Return the way with the fewest faults that a set should hit and does not; or -1."""
        for which, one in enumerate(self.supports):
            if not one.way & reached and not one.context & ~chosen:
                return which
        return -1

    def _offer(self, cost: int, chosen: int, which: int, at: int) -> None:
        branch = self._branch(which)
        if branch.reaches(at):
            self.ticket += 1
            heappush(self.waiting, (cost + branch.known[at][0], self.ticket, chosen, which, at))

    def _branch(self, which: int) -> _Branch:
        """Return the faults of a way with what they cost."""
        found = self.branches.get(which)
        if found is None:
            way, context = self.supports[which].way, self.supports[which].context
            stale = 0
            for one in self.supports:
                if one.context != context and not one.context & ~context:
                    stale |= one.way
            found = self.branches[which] = _Branch(self._priced(way, stale))
        return found

    def _priced(self, way: int, stale: int) -> list[tuple[int, int]]:
        """Return some faults by what they cost, dear ones first."""
        found: dict[int, int] = {}
        for cost, those in self.prices:
            if those := those & way:
                if dearer := those & stale:
                    found[cost + STALE] = found.get(cost + STALE, 0) | dearer
                    those ^= dearer
                if those:
                    found[cost] = found.get(cost, 0) | those
        return sorted(found.items(), reverse=True)


@attrs.define
class _Branch:
    """The faults of a way in the order in which they are tried: cheap ones first, then late ones.

    Attributes:
        left: Those that nobody has come to yet, by what they cost, dear ones first.
        known: The others, each with what it costs, and its number.
    """

    left: list[tuple[int, int]]
    known: list[tuple[int, int]] = attrs.field(factory=list)

    def reaches(self, at: int) -> bool:
        """Say whether there is a fault at a place, next to the known ones at most."""
        if at >= len(self.known):
            if not self.left:
                return False
            cost, those = self.left.pop()
            number = those.bit_length() - 1
            self.known.append((cost, number))
            if those := those ^ 1 << number:
                self.left.append((cost, those))
        return True
