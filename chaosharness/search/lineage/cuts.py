"""The cheapest sets of faults that hit every known way to an outcome, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from typing import Final

from chaosharness.search.lineage.bits import numbers

STEPS_MAX: Final = 5_000
"""Sets that are looked at, at most, from one support that is new to the next."""

Priced = tuple[int, int]
"""What a fault costs, and its number as a bit."""


def cuts(
    supports: Sequence[int], price: Callable[[int], int], faults_max: int
) -> Iterator[tuple[int, int]]:
    """Yield sets that hit every support, each set once, the cheapest first.

    Args:
        supports: Ways, as bits: each set has a bit of every one.
        price: What a fault costs, by its number: at least 1.
        faults_max: Faults in one set, at most.

    Yields:
        What the set costs in all, and the set, as bits. Of two that cost the same, the one
        with the fault that was met later. No set holds another fault than it needs, where
        the supports are hit in turn.
    """
    branches: dict[int, list[Priced]] = {}

    def branch(support: int) -> list[Priced]:
        found = branches.get(support)
        if found is None:
            priced = [(price(number), -number) for number in numbers(support)]
            found = branches[support] = [(cost, 1 << -low) for cost, low in sorted(priced)]
        return found

    waiting: list[tuple[int, int, int, int, int, int]] = []
    seen: set[int] = set()
    ticket = 0

    def offer(cost: int, chosen: int, support: int, at: int) -> None:
        nonlocal ticket
        ways = branch(support)
        if at < len(ways):
            ticket += 1
            more, bit = ways[at]
            heappush(waiting, (cost + more, ticket, chosen, support, at, bit))

    first = _missed(supports, 0)
    if first:
        offer(0, 0, first, 0)
    for _ in range(STEPS_MAX):
        if not waiting:
            return
        cost, _, chosen, support, at, bit = heappop(waiting)
        before = cost - branch(support)[at][0]
        offer(before, chosen, support, at + 1)
        joint = chosen | bit
        if joint in seen:
            continue
        seen.add(joint)
        missed = _missed(supports, joint)
        if not missed:
            yield cost, joint
        elif joint.bit_count() < faults_max:
            offer(cost, joint, missed, 0)


def _missed(supports: Sequence[int], chosen: int) -> int:
    """Return the support with the fewest faults that a set does not hit; 0 if it hits all."""
    left = [support for support in supports if not support & chosen]
    return min(left, key=lambda support: (support.bit_count(), support), default=0)
