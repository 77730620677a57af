"""What rows say while somebody is at it, and whether an item is left so, or says another word.

Teams name this as they like: `open`, `offen`, 0, no time yet. What a row says in the calm run while
the effect is asked for that is lacking at the end is what it says while somebody is at it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from chaosharness.checkers.masking import STAR
from chaosharness.checkers.outcomes.clean import Clean
from chaosharness.checkers.outcomes.outcome import Entry, Outcome, Place
from chaosharness.checkers.outcomes.values import is_record


def words_of_the_begun(
    clean: Clean, item: int, lacking: Collection[Entry]
) -> frozenset[tuple[Place, str]]:
    """Return the words that an item's rows say only while what is lacking is asked for."""
    begun = clean.while_asked(item, lacking)
    if begun is None:
        return frozenset()
    return begun.words(item) - clean.calm.words(item)


def says_by_numbers(clean: Clean, out: Outcome, item: int) -> bool:
    """Say whether a row of an item says without a word why an effect is lacking."""
    lacking = clean.ledgers.net(clean.calm, item) - clean.ledgers.net(out, item)
    return bool(said_by_numbers(clean, out, item, lacking))


def said_by_numbers(clean: Clean, out: Outcome, item: int, lacking: Collection[Entry]) -> str:
    """Return what a row of an item says without a word, `status 9`; nothing if it says nothing.

    The same column is 0 while somebody is at it, say, and 1 in the end; or a time stands where else
    there is none; or a flag is up that else never is.
    """
    begun = clean.while_asked(item, lacking)
    if begun is None:
        return ""
    before, after = (dict(_fields(one, item)) for one in (begun, clean.calm))
    for where, value in _fields(out, item):
        if where not in before or where not in after or value in (before[where], after[where]):
            continue
        moved = before[where] != after[where]
        if moved or before[where] is None or _is_raised(before[where], value):
            return where[1] if value == STAR else f"{where[1]} {value}"
    return ""


def _is_raised(usual: Any, value: Any) -> bool:
    """Say whether a flag is up which usually is down: `cancelled` is 1, or true. A count of tries,
    whatever its name, has come further when they are given up."""
    return isinstance(usual, int) and isinstance(value, int) and (usual, value) == (0, 1)


def _fields(out: Outcome, item: int) -> Iterator[tuple[tuple[Place, str], Any]]:
    """Yield the columns of an item's rows, of those tables in which it has one."""
    rows: dict[Place, list[Any]] = {}
    for place, row in out.own.get(item, ()):
        rows.setdefault(place, []).append(row)
    for place, found in rows.items():
        if len(found) == 1 and is_record(found[0]):
            for name, value in found[0]:
                yield (place, name), value
