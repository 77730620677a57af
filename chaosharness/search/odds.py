"""Which single faults to try first: small odds, spread over operations and items.

The table says how often a fault of a kind, before or after an operation that does a kind of
thing, broke a promise in systems that had a bug. It orders a search and does no more: what
is last in it is tried all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from heapq import heapify, heappop, heappush
from operator import itemgetter
from typing import Final, TypeVar

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

Alike = tuple[Row, str, str]
"""A row, its kind of fault, and an operation: what faults have in common that take turns."""

_Count = list[int]

_T = TypeVar("_T")
Scored = tuple[float, tuple[int, ...], _T]
"""A fault, or what stands for it, with its odds, negative so that a heap has the likely ones
first, and its place among those that are as likely."""

_BY_SCORE: Final = itemgetter(0, 1)


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
    option = length_row(fault) if is_sized(fault) else fault.option
    words = f"{fault.kind} {fault.site.phase}"
    return words if option is None else f"{words}, {option}"


def length_row(fault: Fault) -> str:
    """Return the word for how long a fault lasts: `ms`, or `long` where its option is another."""
    return "long" if getattr(fault, fault.length_name) == "long" else "ms"


def is_a_length(fault: Fault) -> bool:
    """Say whether a fault lasts a number of ms, of which there are several in turns."""
    return is_sized(fault) and length_row(fault) == "ms"


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
        return self.of_row(row_of(fault), what)

    def of_row(self, row: Row, what: str) -> int:
        """Return those of all faults that stand in a row."""
        cells = self.cells.get(row, {})
        return min(CAP, max(FLOOR, cells.get(what, cells.get("", 0))))


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
    scored: dict[Alike, list[Scored[Fault]]] = {}
    for at, fault in enumerate(faults):
        site = fault.site
        chance = odds.of(fault, what.get(site.operation, ""))
        score = -odds_at(chance, site.entity, site.attempt, is_a_length(fault))
        alike = (row_of(fault), fault.kind, site.operation)
        scored.setdefault(alike, []).append((score, (at,), fault))
    return in_turns(scored, what)


def odds_at(chance: int, entity: int, attempt: int, sized: bool) -> float:
    """Return the odds of a fault at an attempt of an operation for a workload item."""
    late = 1 + (attempt - 1) / 2 + max(0, entity - 1) / 5
    return chance / late / (3 if sized else 1)


def in_turns(scored: Mapping[Alike, list[Scored[_T]]], what: Mapping[str, str]) -> Iterator[_T]:
    """Yield what was scored, the likely ones first, each less likely by those before it.

    Args:
        scored: The faults that are alike, or what stands for them; used up.
        what: What each operation does.
    """
    groups = _groups(scored, what)
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
    scored: Mapping[Alike, list[Scored[_T]]], what: Mapping[str, str]
) -> list[tuple[_Count, _Count, _Count, list[Scored[_T]]]]:
    """Return faults by what they are like, in each group the likely ones last.

    With each group stand how many were taken that are like it: those of its row where the same
    is done, those of its kind at its operation, and any at its operation.
    """
    like: dict[tuple[Row, str], _Count] = {}
    here: dict[tuple[str, str], _Count] = {}
    around: dict[str, _Count] = {}
    groups = []
    for (row, kind, operation), some in scored.items():
        some.sort(key=_BY_SCORE, reverse=True)
        taken = (
            like.setdefault((row, what.get(operation, "")), [0]),
            here.setdefault((kind, operation), [0]),
            around.setdefault(operation, [0]),
        )
        groups.append((*taken, some))
    return groups
