"""Values and rows that two read, and then both wrote from their own reading."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import combinations

from chaosharness.checkers.outcomes.clean import Clean
from chaosharness.checkers.outcomes.differences import Difference
from chaosharness.checkers.outcomes.outcome import Entry, Outcome, Place
from chaosharness.checkers.reading import read

Step = tuple[bool, object, int]
"""What was done with a key: whether it was set, the value, and the event."""


def lost_values(clean: Clean) -> Iterator[Difference]:
    """Yield keys whose value in the calm run lacks what one of two wrote.

    Both read it, and both set it, the second without a look at what the first had set; and
    it ends as in no run in which they come one after another.
    """
    touched: dict[tuple[str, str], list[Step]] = {}
    for index, (_, kind, _, _, _, _, _, data) in enumerate(clean.history.raw):
        if kind in ("read", "commit") and data and "key" in data and "error" not in data:
            where = (str(data.get("store")), str(data["key"]))
            touched.setdefault(where, []).append((kind == "commit", data.get("value"), index))
    for (store, key), steps in touched.items():
        pair = next(_overwritten(clean, steps), None)
        if pair is not None and not _ends_as_one_by_one(clean, store, key):
            item = clean.history.raw[pair[1]][4]
            yield Difference("lost update", item, store, key, "", pair, 2, 1, store)


def lost_rows(clean: Clean) -> Iterator[Difference]:
    """Yield rows whose end in the calm run lacks what one of two wrote.

    Both read the table, and both updated one row of it, the second without a look at what the
    first had written; and the table ends as in no run in which they come one after another. Which
    row it was the last parameter says, or that there is no other.
    """
    touched: dict[tuple[str, str], list[Step]] = {}
    for index, (_, kind, _, _, _, _, _, data) in enumerate(clean.history.raw):
        if kind in ("read", "write") and data.get("table") and "error" not in data:
            params = data.get("params")
            told = isinstance(params, tuple | list) and len(params) > 0
            updates = data.get("verb") == "update" and data.get("rows", 0) == 1 and told
            if kind == "read" or updates:
                where = (str(data.get("store")), str(data["table"]))
                touched.setdefault(where, []).append((kind == "write", params, index))
    for (store, table), steps in touched.items():
        place: Place = ("row", store, table)
        alone = _of_table(clean.calm, place).total() == 1
        for pair in _overwritten(clean, steps):
            first, second = (clean.history.raw[at][7]["params"] for at in pair)
            named = first[-1] == second[-1] and len(second) > 1
            if not named and not alone:
                continue
            if not _table_ends_as_one_by_one(clean, place):
                item = clean.history.raw[pair[1]][4]
                row = repr(second[-1]) if named else "its only row"
                yield Difference(
                    "lost update", item, f"{store}.{table}", row, "", pair, 2, 1, store
                )
            break


def _overwritten(clean: Clean, steps: list[Step]) -> Iterator[tuple[int, int]]:
    roots = read(clean.history).roots
    sets = [at for at, (is_set, _, _) in enumerate(steps) if is_set]
    for one, other in combinations(sets, 2):
        first, second = steps[one], steps[other]
        root = roots[second[2]]
        looked = [at for at, step in enumerate(steps[:other]) if not step[0]]
        mine = [at for at in looked if roots[steps[at][2]] == root]
        theirs = [at for at in looked if at < one and roots[steps[at][2]] == roots[first[2]]]
        others = first[1] != second[1] and root != roots[first[2]]
        if others and theirs and mine and mine[-1] < one:
            yield first[2], second[2]


def _ends_as_one_by_one(clean: Clean, store: str, key: str) -> bool:
    """Say whether a key has the value that it has when items come one after another."""
    place: Place = ("row", store, "")
    mine = _of_key(clean.calm, place, key)
    return any(_of_key(out, place, key) == mine for out in clean.serial())


def _table_ends_as_one_by_one(clean: Clean, place: Place) -> bool:
    """Say whether a table has the rows that it has when items come one after another."""
    mine = _of_table(clean.calm, place)
    return any(_of_table(out, place) == mine for out in clean.serial())


def _of_table(out: Outcome, place: Place) -> Counter[Entry]:
    entries = [*out.shared.elements(), *(one for own in out.own.values() for one in own)]
    return Counter(one for one in entries if one[0] == place)


def _of_key(out: Outcome, place: Place, key: str) -> list[Entry]:
    entries = [*out.shared.elements(), *(one for own in out.own.values() for one in own)]
    return [one for one in entries if one[0] == place and ("key", key) in one[1]]
