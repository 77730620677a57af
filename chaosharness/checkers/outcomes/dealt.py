"""Numbers that are dealt out, each to one item: they may differ, and no two may be the same.

Invoice numbers, places in a sequence, `max() + 1`. Learned, as what may differ is: a whole
number that goes by the order of arrival, whatever the clock, and that no two items share in
any clean run. Items that one piece of work handles may share one: that is a batch. So is what one
transaction gives one number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from itertools import combinations
from typing import Any, Final

from chaosharness.checkers.masking import words_in
from chaosharness.checkers.outcomes.batches import in_one_batch
from chaosharness.checkers.outcomes.differences import Difference
from chaosharness.checkers.outcomes.masks import FAR_APART_MS, is_dealt, is_told
from chaosharness.checkers.outcomes.outcome import UNMOVED, Place, Reader, spelled_place
from chaosharness.checkers.outcomes.plan import Family, Plan
from chaosharness.checkers.outcomes.read_as_columns import Columns, columns
from chaosharness.checkers.outcomes.values import Path, leaves
from chaosharness.checkers.reading import read
from chaosharness.kernel.history import History

SAME: Final = "same number"
"""The kind of a finding: two items have one number."""

ANEW: Final = "counted anew"
"""The kind of a question: may two items have one number, since a restart begins to count again?"""

APART: Final = Plan(gap_ms=FAR_APART_MS)
RESTARTED: Final = Plan(gap_ms=FAR_APART_MS, restart="between")
OTHER_CLOCK: Final = Plan(gap_ms=FAR_APART_MS, start_ms=3_011, clock_ms=-61_003)

Where = tuple[Place, Path]


def _numbers(column: Iterable[tuple[int, Any]]) -> Counter[Any]:
    """Count the values of a column; none of them need be a number: a row may have none yet."""
    return Counter(value for _, value in column)


class Dealt:
    """The numbers that are dealt out in one workload.

    Args:
        reader: Reads outcomes; it has learned what may differ.
        family: The clean runs.
        count: How many items there are.
    """

    def __init__(self, reader: Reader, family: Family, count: int) -> None:
        self._reader = reader
        self._family = family
        self._count = count
        self._places: tuple[Where, ...] | None = None
        self._anew: set[Where] = set()

    def _columns(self, plan: Plan) -> Columns:
        run = self._family.run(plan)
        return {} if run is None else columns(self._reader, run.history)

    @property
    def places(self) -> tuple[Where, ...]:
        """Where numbers are dealt out, and are so in each clean run; or but for a restart."""
        if self._places is None:
            found = [one for one in self._candidates() if not words_in(one[1][-1]) & UNMOVED]
            self._places = tuple(self._always_dealt(found)) if found else ()
        return self._places

    def _candidates(self) -> Iterator[Where]:
        """Yield numbers that each item has one of when it comes alone, and others with it not."""
        if self._count < 2:
            return
        usual = columns(self._reader, self._family.calm().history)
        for where, column in usual.items():
            numbers = [one for _, one in column]
            if where[1] and len(column) > 1 and all(type(one) is int for one in numbers):
                if is_told(self._reader, where, numbers):
                    continue
                moved = where in self._reader.masked
                if moved or len({one for _, one in column}) < len({item for item, _ in column}):
                    yield where

    def _always_dealt(self, candidates: Collection[Where]) -> Iterator[Where]:
        """Yield those that go by the order of arrival, and by no clock and no incarnation."""
        backwards = Plan(order=tuple(range(self._count, 0, -1)), gap_ms=FAR_APART_MS)
        apart = self._columns(APART)
        candidates = [
            one
            for one in candidates
            if is_dealt(apart.get(one, ())) and all(type(no) is int for _, no in apart[one])
        ]
        if not candidates:
            return
        turned, clocked = self._columns(backwards), self._columns(OTHER_CLOCK)
        restarted = self._columns(RESTARTED)
        for one in candidates:
            mine, theirs = Counter(apart[one]), Counter(turned.get(one, ()))
            same = _numbers(apart[one]) == _numbers(turned.get(one, ()))
            steady = Counter(clocked.get(one, ())) == mine
            if not (same and steady and mine != theirs and is_dealt(turned[one])):
                continue
            if Counter(restarted.get(one, ())) == mine:
                yield one
            elif _begins_anew(one, apart, restarted):
                self._anew.add(one)
                yield one

    def shared(self, history: History) -> Iterator[Difference]:
        """Yield the numbers that two items have, by two pieces of work, in the end of a run."""
        if not self.places:
            return
        for where, owned in self._owned(history).items():
            for number, items in owned.items():
                if len(items) > 1 and in_one_batch(history, where[0], number, len(items)):
                    continue
                for one, other in combinations(sorted(items), 2):
                    if self._by_two(history, where, items[one], items[other], one, other):
                        place = f"{spelled_place(where[0])}.{'.'.join(where[1])}"
                        kind = ANEW if where in self._anew else SAME
                        yield Difference(
                            kind, other, place, str(number), f"item {one}", source=where[0][1]
                        )

    def _owned(self, history: History) -> dict[Where, dict[int, dict[int, set[int]]]]:
        """Return the numbers at each place, with the items that have them, and their events."""
        found: dict[Where, dict[int, dict[int, set[int]]]] = {where: {} for where in self.places}
        reader, wanted = self._reader, {place for place, _ in self.places}
        pieces = [
            (place, reader.owner_of_row(place, row), row, -1)
            for place, row in reader.rows(history)
            if place in wanted
        ] + [
            (place, reader.owners.owner(what, entity), what, index)
            for place, what, entity, index in reader.done(history)
            if place in wanted
        ]
        for place, owner, value, index in pieces:
            for path, leaf in leaves(value):
                if owner and (place, path) in found and type(leaf) is int:
                    items = found[place, path].setdefault(leaf, {})
                    items.setdefault(owner, set()).add(index)
        return found

    def _by_two(
        self,
        history: History,
        where: Where,
        one: Collection[int],
        other: Collection[int],
        first: int,
        second: int,
    ) -> bool:
        """Say whether two pieces of work wrote this, one for each item."""
        roots = read(history).roots
        works = [
            {roots[at] for at in events if at >= 0} or self._writers(history, where[0], item)
            for events, item in ((one, first), (other, second))
        ]
        return bool(works[0] and works[1]) and not works[0] & works[1]

    def _writers(self, history: History, place: Place, item: int) -> set[int]:
        """Return the pieces of work that wrote in a table for an item."""
        roots, owners = read(history).roots, self._reader.owners
        return {
            roots[index]
            for index, (_, kind, _, _, entity, _, _, data) in enumerate(history.raw)
            if kind == "write"
            and (str(data.get("store")), str(data.get("table", ""))) == place[1:]
            and "error" not in data
            and data.get("rows", 1)
            and (owners.home(entity) or owners.owner(data, 0)) == item
        }


def _begins_anew(where: Where, apart: Columns, restarted: Columns) -> bool:
    """Say whether a restart between two items has them get one number: it was kept in memory.

    Not where something beside it says in which life it was given: a number of the process, say.
    """
    place, _ = where
    now = restarted.get(where, ())
    if len(now) != len(apart[where]) or is_dealt(now):
        return False
    beside = (one for one in restarted if one[0] == place and one != where)
    return not any(is_dealt(restarted[one]) and not is_dealt(apart.get(one, ())) for one in beside)
