"""Which single faults to try first: small odds, spread over operations and items.

The table says how often a fault of a kind, before or after an operation that does a kind of
thing, broke a promise in systems that had a bug. It orders a search and does no more: what
is last in it is tried all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from heapq import heapify, heappop, heappush
from typing import Any, Final

import attrs

from chaosharness.faults import Fault
from chaosharness.kernel.history import History
from chaosharness.search.odds_learned import LEARNED
from chaosharness.strategies.sizes import is_sized

DOES: Final = (
    "effect",
    "commit",
    "publish",
    "ack",
    "deliver",
    "handled",
    "call",
    "sleep",
    "write",
    "read",
    "start",
)
"""What an operation may do, the weightiest first: one that does several counts as the first."""

FLOOR: Final = 3
"""Percent that any fault has: a kind that no system taught us of must not come last of all."""

CAP: Final = 30
"""Percent that no fault is above: no place is so likely that the others can wait."""

_RANK: Final = {what: at for at, what in enumerate(DOES)}
Row = str
"""A kind of fault as words, its phase, and its option: `pause after, long`."""

_Cell = tuple[Row, str]
_Place = tuple[str, str]
_Scored = tuple[float, int, Fault]
_Count = list[int]
"""A fault with its odds, negative so that a heap has the likely ones first, and its place."""


def does(history: History) -> dict[str, str]:
    """Return what each operation of a run does: one of `DOES`."""
    found: dict[str, int] = {}
    for event in history.raw:
        operation, rank = event[3], _RANK.get(event[1])
        if operation and rank is not None and rank < found.get(operation, len(DOES)):
            found[operation] = rank
    return {operation: DOES[rank] for operation, rank in found.items()}


def row_of(fault: Fault) -> Row:
    """Return the row of the table in which a fault stands."""
    option = "ms" if is_sized(fault) else fault.option
    words = f"{fault.kind} {fault.site.phase}"
    return words if option is None else f"{words}, {option}"


@attrs.frozen
class Odds:
    """How likely a fault is to break something, in whole percent.

    Attributes:
        cells: By row, and by what the operation does; `""` for whatever it does.
    """

    cells: Mapping[Row, Mapping[str, int]]

    @classmethod
    def read(cls, text: str) -> Odds:
        """Read a table as it is written: a line each, columns of `DOES`, `.` for the first one."""
        lines = [line.split("|") for line in text.strip().splitlines()]
        columns = lines[0][1].split()
        found: dict[Row, dict[str, int]] = {}
        for name, numbers in lines[1:]:
            cells = zip(columns, numbers.split(), strict=True)
            found[name.strip()] = {
                "" if column == "any" else column: int(number)
                for column, number in cells
                if number != "."
            }
        return cls(found)

    def of(self, fault: Fault, what: str) -> int:
        """Return the odds of a fault at an operation that does this, from `FLOOR` to `CAP`."""
        row = self.cells.get(row_of(fault), {})
        return min(CAP, max(FLOOR, row.get(what, row.get("", 0))))


@lru_cache(maxsize=1)
def learned() -> Odds:
    """Return the table of this version."""
    return Odds.read(LEARNED)


def likely_first(faults: Iterable[Fault], what: Mapping[str, str], odds: Odds) -> Iterator[Fault]:
    """Yield all faults, likely ones first, each the less likely the more like it came before.

    Like it is a fault of the same row at an operation that does the same, less so one of the
    same kind at the same operation, and still less any at that operation. First attempts go
    before later ones, the first items before the others, words before lengths in ms. Scores
    only fall: so a heap with stale scores is enough. Faults that are alike in all that keep
    their order among themselves: only the first of each such group is in the heap.
    """
    groups = _groups(faults, what, odds)
    heap = [(*group[-1][:2], which) for which, (*_, group) in enumerate(groups)]
    heapify(heap)
    while heap:
        score, at, which = heappop(heap)
        alike, here, around, group = groups[which]
        now = group[-1][0] / (1 + 2 * alike[0]) / (1 + here[0])
        now /= 1 + around[0] / 2
        if now > score:
            heappush(heap, (now, at, which))
            continue
        yield group.pop()[2]
        if group:
            heappush(heap, (*group[-1][:2], which))
        alike[0] += 1
        here[0] += 1
        around[0] += 1


def _groups(
    faults: Iterable[Fault], what: Mapping[str, str], odds: Odds
) -> list[tuple[_Count, _Count, _Count, list[_Scored]]]:
    """Return faults by what they are like, in each group the likely ones last.

    With each group stand how many were taken that are like it: those of its cell, those of its
    kind at its operation, and any at its operation.
    """
    found: dict[tuple[_Cell, _Place], list[_Scored]] = {}
    for at, fault in enumerate(faults):
        site = fault.site
        doing = what.get(site.operation, "")
        late = 1 + (site.attempt - 1) / 2 + max(0, site.entity - 1) / 5
        likely = odds.of(fault, doing) / late / (3 if is_sized(fault) else 1)
        group = ((row_of(fault), doing), (fault.kind, site.operation))
        found.setdefault(group, []).append((-likely, at, fault))
    taken: dict[Any, _Count] = {}
    groups = []
    for (cell, place), some in found.items():
        some.sort(key=lambda one: one[:2], reverse=True)
        like, here, around = (
            taken.setdefault(one, [0]) for one in (("cell", cell), place, place[1])
        )
        groups.append((like, here, around, some))
    return groups
