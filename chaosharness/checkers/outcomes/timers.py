"""What time decides where something comes late: what is done besides, what the user must say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Final

from chaosharness.checkers.masking import STAR, words_in
from chaosharness.checkers.outcomes.clean import Clean
from chaosharness.checkers.outcomes.differences import Difference, moves, nearest
from chaosharness.checkers.outcomes.outcome import Entry, Outcome, spelled_place
from chaosharness.checkers.outcomes.values import (
    is_number,
    is_record,
    parse,
    spelled,
)
from chaosharness.checkers.reading import read
from chaosharness.kernel.history import History

TIMER: Final = "timer"
"""The kind of a question: is a timer meant to decide?"""

GIVEN_UP: Final = frozenset(
    (
        *("abandoned", "aborted", "canceled", "cancelled", "declined", "denied", "expired"),
        *("failed", "refused", "rejected", "released", "timeout", "void", "voided"),
    )
)
"""Words in which rows say that what they are about came to nothing."""

BESIDES: Final = frozenset({"row differs", "effect new", "message new"})
"""What may differ where a timer did something besides."""

_FLAGS: Final = (None, 0, 1, STAR)
"""Values of a column that says whether something was done."""


def is_undone_half(clean: Clean, seen: Outcome, item: int) -> bool:
    """Say whether an item says that it was given up, and what all share is as if it were not.

    Goods are still held for an order that says it is cancelled.
    """
    new = seen.words(item) - clean.calm.words(item)
    if not any(words_in(text) & GIVEN_UP for _, text in new):
        return False
    gone, usual = clean.without([item]), clean.calm.shared
    return gone is not None and gone.shared != usual and seen.shared == usual


def done_besides(
    clean: Clean, seen: Outcome, history: History, differences: Iterable[Difference]
) -> list[Difference] | None:
    """Return what is to be asked where all that differs is what a timer did besides.

    A reminder, and a flag that it was sent: done by code that does nothing for this item in the
    calm run, and without an amount. None where more than that differs.
    """
    usual = effective(clean.history)
    asked: list[Difference] = []
    for one in differences:
        if one.kind == "row differs":
            if not _differs_in_flags(clean, seen, one.item):
                return None
            continue
        if one.kind not in BESIDES or not one.events:
            return None
        done = {(history.raw[at][3], history.raw[at][4]) for at in one.events}
        if not usual.isdisjoint(done) or any(_has_amount(history, at) for at in one.events):
            return None
        asked.append(one)
    return [Difference(TIMER, one.item, one.place, _word(clean, history, one)) for one in asked]


def _has_amount(history: History, at: int) -> bool:
    data = history.raw[at][7] or {}
    value = parse(data.get("value")) if history.raw[at][1] == "publish" else data
    return moves((("ledger", "", ""), _as_record(value)))


def _as_record(value: Any) -> Any:
    return tuple(value.items()) if isinstance(value, dict) else value


def _word(clean: Clean, history: History, one: Difference) -> str:
    """Return what a timer said, without the names of items: or how it said so."""
    data = history.raw[one.events[0]][7] or {}
    said = [
        text
        for name, text in data.items()
        if isinstance(text, str) and name not in ("method", "key", "broker", "topic", "value")
        if not clean.reader.owners.of(text)
    ]
    return said[0] if said else one.place.rpartition(".")[2]


def _differs_in_flags(clean: Clean, seen: Outcome, item: int) -> bool:
    """Say whether rows of an item differ only in whether something was done."""
    return bool(item) and all(
        new in _FLAGS and old in _FLAGS for _, _, new, old in _cells_that_differ(clean, seen, item)
    )


def decided_numbers(clean: Clean, seen: Outcome, items: Iterable[int]) -> Iterator[Difference]:
    """Yield numbers of items that came late, where no word says that something was decided.

    A fee, or interest, may hang on the time; or it hangs on how long a message was on its way.
    """
    for item in items:
        if seen.words(item) - clean.calm.words(item):
            continue
        for place, name, new, old in _cells_that_differ(clean, seen, item):
            if is_number(new) and is_number(old) and not (new in _FLAGS and old in _FLAGS):
                yield Difference(TIMER, item, f"{place}.{name}", spelled(new), spelled(old))
                break


def handled_again(history: History) -> frozenset[int]:
    """Return the items of which a group was handed some message more than once."""
    pairs = read(history).pairs.values()
    return frozenset(handed[0].sent.entity for handed in pairs if len(handed) > 1)


def _cells_that_differ(
    clean: Clean, seen: Outcome, item: int
) -> Iterator[tuple[str, str, Any, Any]]:
    """Yield the place, the column and both values of what differs in the rows of an item."""
    mine = seen.own.get(item, Counter[Entry]())
    usual = clean.calm.own.get(item, Counter[Entry]())
    more, less = mine - usual, usual - mine
    for place in dict.fromkeys(place for place, _ in (*more, *less)):
        here = [row for where, row in more.elements() if where == place]
        there = [row for where, row in less.elements() if where == place]
        if len(here) != len(there) or not all(map(is_record, (*here, *there))):
            yield spelled_place(place), "", "more", "less"
            continue
        new, old = map(dict, nearest(here, there))
        for name in {**new, **old}:
            if new.get(name) != old.get(name):
                yield spelled_place(place), name, new.get(name), old.get(name)


@lru_cache(maxsize=8)
def effective(history: History) -> frozenset[tuple[str, int]]:
    """Return the operations of code that changed something, each with its item.

    What a broker moves by itself is no decision of the code; nor is a message that is published
    once more as it was: a dead letter that somebody puts back.
    """
    found = set()
    published: set[tuple[int, str, str]] = set()
    for event in history.of("write", "effect", "publish", "commit"):
        data = event.data
        if event.kind == "publish":
            message = (event.entity, str(data.get("topic")), repr(data.get("value")))
            if message in published:
                continue
            published.add(message)
        changed = "error" not in data and (event.kind != "write" or data.get("rows", 1))
        if event.operation and changed and (event.kind != "commit" or data.get("verb")):
            found.add((event.operation, event.entity))
    return frozenset(found)
