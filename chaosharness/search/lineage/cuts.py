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
    price: Callable[[int], int],
    reach: Callable[[int], int],
    faults_max: int,
    *,
    deaths: int = 0,
) -> Iterator[tuple[int, int]]:
    """Yield sets of faults, each once, the cheapest first: what one costs, and its bits.

    Args:
        supports: The ways that are known. A set hits each whose context it holds.
        price: What a fault costs, by its number: at least 1.
        reach: What a fault makes impossible besides, as bits, by its number.
        faults_max: Faults in one set, at most.
        deaths: The faults by which a process dies, as bits.
    """
    return _Cuts(supports, price, reach, faults_max, deaths).found()


class _Cuts:
    """A best-first search. Of two sets that cost the same, the one found first is first."""

    def __init__(
        self,
        supports: Sequence[Support],
        price: Callable[[int], int],
        reach: Callable[[int], int],
        faults_max: int,
        deaths: int,
    ) -> None:
        self.supports = sorted(supports, key=lambda one: (one.way.bit_count(), one.way))
        self.contexts = {one.context for one in supports}
        self.price = price
        self.reach = reach
        self.faults_max = faults_max
        self.deaths = deaths
        self.waiting: list[tuple[int, int, int, int, int]] = []
        self.ticket = 0
        self.branches: dict[int, list[tuple[int, int]]] = {}

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
            more, number = self._branch(which)[at]
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
        if at < len(branch):
            self.ticket += 1
            heappush(self.waiting, (cost + branch[at][0], self.ticket, chosen, which, at))

    def _branch(self, which: int) -> list[tuple[int, int]]:
        """Return the faults of a way with what they cost: cheap ones first, then late ones."""
        found = self.branches.get(which)
        if found is None:
            way, context = self.supports[which].way, self.supports[which].context
            stale = 0
            for one in self.supports:
                if one.context != context and not one.context & ~context:
                    stale |= one.way
            priced = sorted(
                (self.price(number) + STALE * (stale >> number & 1), -number)
                for number in numbers(way)
            )
            found = self.branches[which] = [(cost, -number) for cost, number in priced]
        return found
