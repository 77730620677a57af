"""What made the outcome another: deeds that the run that passes does not have, or less often.

A finding about what is held at the end points at the end. What led there is an entry in a
ledger, or a row that was written: once more than in the run that passes, or otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from typing import Any, Final

import attrs

from chaosharness.checkers.books import tables_of
from chaosharness.checkers.masking import mask
from chaosharness.kernel.history import Event, History, plain

EXTRA_MAX: Final = 8
"""Extra deeds of one sort that are pointed out; of more, the first and the last ones."""

_NOT_THE_BUSINESS: Final = frozenset({"id", "key"})
"""What a ledger numbers its entries by, and what it is asked under."""


@attrs.frozen
class Extra:
    """Deeds that the run that passes does not have.

    Attributes:
        effects: Entries of ledgers, oldest first.
        writes: What was written to a table that came out differently, likewise.
        commits: What made those last.
        alike: The same deeds, as the run that passes has them, too.
        missed: Where a handler ended that did, in the run that passes, what was not done here.
        often: How many times each was done, here and in the run that passes.
        lacking: Deeds of the run that passes, by their places in it, that this one lacks.
    """

    effects: tuple[int, ...] = ()
    writes: tuple[int, ...] = ()
    commits: tuple[int, ...] = ()
    alike: tuple[int, ...] = ()
    missed: tuple[int, ...] = ()
    often: Mapping[int, tuple[int, int]] = attrs.field(factory=dict)
    lacking: tuple[int, ...] = ()

    @property
    def deeds(self) -> frozenset[int]:
        """All that the run that passes does not have."""
        return frozenset({*self.effects, *self.writes})


NOTHING: Final = Extra()


def extra(history: History, passing: History | None) -> Extra:
    """Return what a run did that the one that passes did not; nothing if there is none."""
    if passing is None or not len(passing):
        return NOTHING
    differing = tables_that_differ(history, passing)
    here, there = _deeds(history), _deeds(passing)
    effects: list[int] = []
    writes: list[int] = []
    alike: list[int] = []
    often: dict[int, tuple[int, int]] = {}
    for deed, done in here.items():
        usual = len(there.get(deed, ()))
        if len(done) <= usual:
            continue
        if deed[0] == "effect":
            effects += done[usual:]
        elif deed[1] in differing:
            writes += done[usual:]
        else:
            continue
        alike += done[:usual]
        often |= dict.fromkeys(done[usual:], (len(done), usual))
    kept = _ends(sorted(writes))
    lasting = lasting_writes(history)
    commits = tuple(dict.fromkeys(lasting[index] for index in kept))
    lacking = [
        index
        for deed, done in there.items()
        if deed[0] == "effect" or deed[1] in differing
        for index in done[len(here.get(deed, ())) :]
    ]
    return Extra(
        _ends(sorted(effects)),
        kept,
        commits,
        _ends(sorted(alike)),
        tuple(_where_it_should_have_been(history, passing, lacking))[: EXTRA_MAX // 2],
        often,
        tuple(lacking),
    )


def _where_it_should_have_been(
    history: History, passing: History, lacking: list[int]
) -> Iterator[int]:
    """Yield where handlers ended here that did something in the run that passes."""
    wanted = {
        (event.operation.partition("/")[0], event.entity)
        for event in (passing[index] for index in lacking)
        if event.entity
    }
    for event in history.of("handled", "raised"):
        if (event.operation.partition("/")[0], event.entity) in wanted:
            yield event.index


def _ends(indexes: list[int]) -> tuple[int, ...]:
    half = EXTRA_MAX // 2
    return tuple([*indexes[:half], *indexes[half:][-half:]])


Deed = tuple[str, tuple[str, str], Hashable]
"""What sort of deed, where, and what: without what may differ and means nothing."""


def _deeds(history: History) -> dict[Deed, list[int]]:
    """Return what was done, by what it was: each entry of a ledger, each row written for good."""
    lasting = lasting_writes(history)
    found: dict[Deed, list[int]] = {}
    for event in history.of("effect", "write", "commit"):
        data = event.data
        if event.kind == "effect":
            words = {k: v for k, v in data.items() if k not in _NOT_THE_BUSINESS}
            deed: Deed = ("effect", (event.actor, ""), mask(plain(words)))
        elif event.index in lasting and data.get("rows", 1):
            place = (str(data.get("store", "")), str(data.get("table") or data.get("key") or ""))
            deed = ("write", place, (data.get("verb"), mask(_written(event))))
        else:
            continue
        found.setdefault(deed, []).append(event.index)
    return found


def _written(event: Event) -> Any:
    return plain({name: event.data[name] for name in ("params", "value") if name in event.data})


def lasting_writes(history: History) -> dict[int, int]:
    """Return what was written and not undone, each with the commit that made it last.

    A key-value store writes and commits in one.
    """
    lasting: dict[int, int] = {}
    pending: dict[tuple[str, str], list[int]] = {}
    for event in history.of("write", "commit", "rollback", "crash"):
        place = (event.actor, str(event.data.get("store", "")))
        if event.kind == "crash":
            pending = {of: ones for of, ones in pending.items() if of[0] != event.actor}
        elif event.kind == "rollback":
            pending.pop(place, None)
        elif "error" in event.data:
            continue
        elif event.kind == "write":
            pending.setdefault(place, []).append(event.index)
        elif "verb" in event.data:
            lasting[event.index] = event.index
        else:
            lasting |= dict.fromkeys(pending.pop(place, ()), event.index)
    return lasting


def tables_that_differ(history: History, passing: History) -> frozenset[tuple[str, str]]:
    """Return the tables, and the keys of key-value stores, that came out differently."""
    here, there = _held(history), _held(passing)
    return frozenset(
        place
        for place in {*here, *there}
        if here.get(place, Counter()) != there.get(place, Counter())
    )


def _held(history: History) -> dict[tuple[str, str], Counter[Hashable]]:
    held: dict[tuple[str, str], Counter[Hashable]] = {}
    for event in history.of("state"):
        for table, rows in tables_of(plain(event.data)):
            for row in rows:
                place, what = _place(event.actor, table, row)
                held.setdefault(place, Counter())[mask(what)] += 1
    return held


def _place(store: str, table: str, row: Mapping[str, Any]) -> tuple[tuple[str, str], Any]:
    if table == "" and row.keys() == {"key", "value"}:  # of a key-value store
        return (store, str(row["key"])), row["value"]
    return (store, table), row
