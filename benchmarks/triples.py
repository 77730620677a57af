"""All sets of three faults of a small model, and what the books of a search keep of each.

python -m benchmarks triples
"""

from __future__ import annotations

import gc
import sys
import time
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, ModuleType
from typing import Any

from benchmarks.measure import table
from chaosharness import System
from chaosharness.search.marks import Sights
from chaosharness.search.small_first import SmallFirst
from models.protocols.replication import replication_with_a_least_number
from models.small.trip import EXAMPLES, trip

FAULTS = 3
NOT_KEPT = (type, ModuleType, FunctionType, BuiltinFunctionType, CodeType, FrameType)
"""What a search shares with everybody."""


def subjects() -> list[System]:
    """Return small models."""
    return [replication_with_a_least_number(), trip(examples=EXAMPLES[:1])]


def search(system: System) -> tuple[SmallFirst, int]:
    """Run every set of up to three faults; return the books, and the most bytes that they had."""
    planner, sights = SmallFirst(faults_max=FAULTS), Sights()
    largest, level, shown = 0, 0, 0
    while (schedule := planner.propose()) is not None:
        planner.observe(sights.of(system.run(None, schedule)))
        shown += 1
        if planner.level == FAULTS and (level < FAULTS or not shown % 5_000):
            level, largest = FAULTS, max(largest, size_of(planner))
    return planner, max(largest, size_of(planner))


def size_of(kept: object) -> int:
    """Return the bytes of an object and of all that it alone refers to."""
    seen: set[int] = set()
    waiting: list[Any] = [kept]
    total = 0
    while waiting:
        one = waiting.pop()
        if id(one) not in seen and not isinstance(one, NOT_KEPT):
            seen.add(id(one))
            total += sys.getsizeof(one)
            waiting += gc.get_referents(one)
    return total


def row(system: System) -> tuple[str, ...]:
    """Return one line of the table."""
    begun = time.process_time()
    planner, largest = search(system)
    seconds = time.process_time() - begun
    levels = planner.levels()
    assert all(level.complete for level in levels)
    kept = sum(level.tried for level in levels)
    counts = [f"{level.tried:,}" for level in levels[1:]]
    return system.name, *counts, f"{largest / kept:,.0f}", f"{seconds:,.0f}"


def main() -> None:
    """Print the table."""
    head = ("model", "one fault", "two", "three", "bytes a set kept", "CPU s")
    table("Every set of up to three faults", [head, *map(row, subjects())])


if __name__ == "__main__":
    main()
