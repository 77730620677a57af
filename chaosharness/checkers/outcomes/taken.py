"""What all share, and is still taken for an item that was given up: a seat, a part of the stock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any, Final

from chaosharness.checkers.masking import words_in
from chaosharness.checkers.outcomes.begun import said_by_numbers
from chaosharness.checkers.outcomes.clean import Clean
from chaosharness.checkers.outcomes.differences import STANDS, Difference, nearest
from chaosharness.checkers.outcomes.outcome import Entry, Outcome, spelled_place
from chaosharness.checkers.outcomes.values import Path, is_number, masked_leaves, spelled, words_of

HELD: Final = frozenset(
    (
        *("allocated", "authorised", "authorized", "blocked", "booked", "held", "hold"),
        *("locked", "reserved"),
    )
)
"""Words of rows that hold something for a while, until it is given back or used."""


def changed_by(clean: Clean, out: Outcome, item: int, gone: Outcome) -> Counter[Entry]:
    """Return the rows that were there before any item came, and are others with this one."""
    there = {place for place, _ in clean.reader.seeds}
    mine = out.own.get(item, Counter[Entry]())
    return (out.shared - gone.shared) + Counter(
        {one: n for one, n in mine.items() if one[0] in there}
    )


def taken_for_nothing(
    clean: Clean, out: Outcome, item: int, gone: Outcome, lacking: Collection[Entry]
) -> Iterator[Difference]:
    """Yield rows of nobody that are as if an item had been served, which says that it was not.

    A question each: stock that nobody puts back, or a number of requests that counts them all.

    Args:
        clean: The clean runs.
        out: What came out where something was refused to the item for good.
        item: The item, of which no effect stands.
        gone: What comes out where it never came.
        lacking: The effects that it has without faults.
    """
    new = out.words(item) - clean.calm.words(item)
    words = sorted(text for _, text in new if not clean.reader.owners.of(text))
    word = words[0] if words else said_by_numbers(clean, out, item, lacking)
    if not word:
        return
    usual = changed_by(clean, clean.calm, item, gone)
    for place, row in changed_by(clean, out, item, gone):
        where = spelled_place(place)
        if (place, row) not in usual and not _is_partly_taken(clean, item, (place, row), gone):
            continue
        if (where, word) not in clean.options.may_end:
            what = f"the row {spelled(row)} in {where}, which is another without it,"
            yield Difference(STANDS, item, where, word, what, source=place[1])


def _is_partly_taken(clean: Clean, item: int, entry: Entry, gone: Outcome) -> bool:
    """Say whether a row is neither as if an item had been served nor as if it had never come: its
    balance has less, as usual, or what is held for it has more."""
    place, row = entry
    usual = clean.calm.shared + clean.calm.own.get(item, Counter[Entry]())
    named = [*words_of(row)]  # another count of what failed is another row
    served, without = (
        [other for where, other in rows if where == place and [*words_of(other)] == named]
        for rows in (usual, gone.shared)
    )
    if not served or not without:
        return False
    there, absent = (_numbers(nearest(rows, [row])[0]) for rows in (served, without))
    return any(
        value != absent.get(path, value)
        and (value == there.get(path) or bool(path and words_in(path[-1]) & HELD))
        for path, value in _numbers(row).items()
    )


def _numbers(row: Any) -> dict[Path, Any]:
    return {path: value for path, value in masked_leaves(row) if is_number(value)}
