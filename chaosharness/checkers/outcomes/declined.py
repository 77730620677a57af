"""Who was declined without faults, and ends just as who was not: an order without its money."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from chaosharness.checkers.outcomes.clean import Clean
from chaosharness.checkers.outcomes.differences import Difference, moves
from chaosharness.checkers.outcomes.outcome import Entry, Outcome, Place, spelled_place
from chaosharness.checkers.outcomes.told import clients_told_no
from chaosharness.checkers.outcomes.values import masked_leaves

OPTIONAL: Final = "optional"
"""The kind of a question: may this effect be missing?"""

FLAGS: Final = (None, 0, 1)
"""Values of a column that says whether something was done."""


def ends_as_if_not_declined(clean: Clean) -> Iterator[Difference]:
    """Yield items that a third party refused money or goods, and that nobody tells from others.

    A question: they say what those say for which it stands, and nothing else, and nobody was told.
    A credit may be given, or points may be left out; or an order is confirmed without its money.
    """
    told = clients_told_no(clean.history)
    for item, at in sorted(clean.refused_in_calm.items()):
        operation = clean.history.raw[at][3].rpartition("/")[2]
        if item in told or clean.calm.dead.get(item) or not _said(clean, item):
            continue
        for other in clean.everyone:
            done = _done(clean, other, operation)
            if other in clean.refused_in_calm or done is None or _done(clean, item, operation):
                continue
            if _is_alike(clean, item, other) and not clean.options.is_optional(done[0]):
                place = spelled_place(done[0])
                words = f"as item {other} does, without {place}"
                yield Difference(OPTIONAL, item, place, words, source=done[0][1])
                break


def _done(clean: Clean, item: int, operation: str) -> Entry | None:
    """Return the money or the goods that stand for an item by an operation."""
    net = clean.ledgers.net(clean.calm, item)
    return next((one for one in net if spelled_place(one[0]) == operation and moves(one)), None)


def _said(clean: Clean, item: int) -> frozenset[tuple[Place, str]]:
    """Return the words that an item ends with, but for its own names."""
    words = clean.calm.words(item)
    return frozenset(one for one in words if not clean.reader.owners.of(one[1]))


def _is_alike(clean: Clean, item: int, other: int) -> bool:
    """Say whether all that there is of one item is there of another."""
    calm, net = clean.calm, clean.ledgers.net
    if _said(clean, item) != _said(clean, other) or _flags(calm, item) != _flags(calm, other):
        return False
    if {place for place, _ in net(calm, item)} - {place for place, _ in net(calm, other)}:
        return False
    topics, theirs = ({place for place, _ in calm.says(one)} for one in (item, other))
    notes = calm.noted.get(item, set()) - calm.noted.get(other, set())
    return topics <= theirs and not notes


def _flags(out: Outcome, item: int) -> dict[Any, Any]:
    """Return the columns of an item's rows, each with its value if that may be a flag."""
    return {
        (place, path): value if value in FLAGS else "something"
        for place, row in out.own.get(item, ())
        for path, value in masked_leaves(row)
    }
