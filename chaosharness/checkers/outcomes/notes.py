"""Rows that say what was tried and what went wrong, in tables that are called so: a repeat adds
to them, and nothing else follows from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, MutableMapping
from typing import Any, Final

from chaosharness.checkers.masking import STAR, WHOLE, words_in
from chaosharness.checkers.outcomes.differences import Difference
from chaosharness.checkers.outcomes.outcome import Entry, Outcome, Place, spelled_place
from chaosharness.checkers.outcomes.owners import Owners
from chaosharness.checkers.outcomes.values import Path, is_number, masked_leaves, spelled

TRIED: Final = frozenset(
    ("attempt", "attempts", "error", "errors", "exception", "exceptions", "failure", "failures")
)
"""Words in the name of a table of what was tried, or failed: each try has its own row."""

LOGS: Final = frozenset(("audit", "audits", "history", "log", "logs", "trace", "traces", "trail"))
"""Likewise, of what happened. With an amount in its rows it may be what money is counted by."""

MARK: Final = "mark"
"""The kind of a question: may a row stay that only says that an item was there?"""

LOGGED: Final = "logged twice"
"""The kind of a question: does a table hold a row for each time that something was tried?"""


def without_notes(
    more: Counter[Entry], less: Counter[Entry], *, named: MutableMapping[tuple[Place, Path], None]
) -> tuple[Counter[Entry], Counter[Entry]]:
    """Return rows that are there too much and too little, but for notes that were added.

    A note that has another number than usual, since others came before it, is not missing.

    Args:
        named: What was left out for its name: added to.
    """
    notes = [entry for entry in more if _is_tried(entry) or _is_logged(entry)]
    if not notes:
        return more, less
    named.update(((place, ()), None) for place, _ in notes)
    said = Counter(
        (place, _unnumbered(row)) for place, row in notes for _ in range(more[place, row])
    )
    missing = Counter[Entry]()
    for (place, row), times in less.items():
        alike = place, _unnumbered(row)
        there = min(times, said[alike]) if said[alike] else 0
        said[alike] -= there
        if times > there:
            missing[place, row] = times - there
    return Counter({entry: n for entry, n in more.items() if entry not in notes}), missing


def logged_twice(seen: Outcome, calm: Outcome) -> Iterator[Difference]:
    """Yield what a log says once more than without faults, of each item."""
    for item, rows in seen.own.items():
        usual = _said_in_logs(calm.own.get(item, Counter()))
        for (place, row), times in _said_in_logs(rows).items():
            if times > usual[place, row] > 0:
                yield Difference(LOGGED, item, spelled_place(place), spelled(row), source=place[1])


def _said_in_logs(rows: Counter[Entry]) -> Counter[Entry]:
    found = Counter[Entry]()
    for (place, row), times in rows.items():
        if _is_logged((place, row)):
            found[place, _unnumbered(row)] += times
    return found


def _words(entry: Entry) -> frozenset[str]:
    (kind, _, table), _ = entry
    return words_in(table) if kind == "row" else frozenset()


def _is_tried(entry: Entry) -> bool:
    return not _words(entry).isdisjoint(TRIED)


def _is_logged(entry: Entry) -> bool:
    return not _words(entry).isdisjoint(LOGS) and not any(
        is_number(value) and value and not (path and words_in(path[-1]) & WHOLE)
        for path, value in masked_leaves(entry[1])
    )


def _unnumbered(row: Any) -> Any:
    """Return a row without whole numbers: those of a note say which it is."""
    if not isinstance(row, tuple):
        return row
    return tuple(
        (one[0], STAR) if isinstance(one, tuple) and len(one) == 2 and is_number(one[1]) else one
        for one in row
    )


def is_a_mark(one: Difference, seen: Outcome, calm: Outcome, owners: Owners) -> bool:
    """Say whether a row too many holds the name of its item only, where no clean run writes.

    It may be what somebody remembers for a while, or what nobody came back to: who wrote the code
    knows.
    """
    if one.kind != "row too many" or not one.item:
        return False
    places = {place for rows in (calm.shared, *calm.own.values()) for place, _ in rows}
    places.update(*calm.writes.values())
    mine = [
        row
        for place, row in seen.own.get(one.item, ())
        if place not in places and spelled_place(place) == one.place
    ]
    return bool(mine) and all(
        _is_a_name(value, owners) for row in mine for _, value in masked_leaves(row)
    )


def _is_a_name(value: Any, owners: Owners) -> bool:
    return value is None or value == STAR or (isinstance(value, str) and value in owners.unique)
