"""Sets of faults that are kept by the hundred thousand: a few bytes each.

All sets with the same first faults are one number, with a bit for each last fault. So a level of
three faults costs an entry for each pair, and a bit for each triple.
"""

from __future__ import annotations

from typing import Final

Key = tuple[int, ...]
"""A set of faults: their numbers, in ascending order."""

_WIDTH: Final = 24
"""Bits for the number of one fault in the number that stands for the first ones."""


class Sets:
    """Which sets of faults were seen, and how many of each size."""

    __slots__ = ("_counts", "_last")

    def __init__(self) -> None:
        self._last: dict[int, int] = {}
        self._counts: dict[int, int] = {}

    def add(self, key: Key) -> None:
        """Add a set."""
        first, bit = _split(key)
        bits = self._last.get(first, 0)
        if not bits & bit:
            self._last[first] = bits | bit
            self._counts[len(key)] = self._counts.get(len(key), 0) + 1

    def __contains__(self, key: Key) -> bool:
        first, bit = _split(key)
        return bool(self._last.get(first, 0) & bit)

    def __len__(self) -> int:
        return sum(self._counts.values())

    def count(self, faults: int) -> int:
        """Return how many sets of so many faults there are."""
        return self._counts.get(faults, 0)


def _split(key: Key) -> tuple[int, int]:
    """Return a number for all faults but the last, and a bit for that."""
    if not key:
        return 0, 1
    first = 1
    for number in key[:-1]:
        first = first << _WIDTH | number
    return first, 1 << key[-1]
