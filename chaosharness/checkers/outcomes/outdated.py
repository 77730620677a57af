"""What came late and was written over what was newer: nobody decided anything."""

from __future__ import annotations

from functools import lru_cache

from chaosharness.checkers.reading import read
from chaosharness.kernel.history import History

Where = tuple[int, str, str]
"""A workload item, a store, and its table or key."""

Writer = tuple[str, str]
"""An operation, and which message was in hand."""


def is_overwritten(
    calm: History, history: History, item: int, places: frozenset[tuple[str, str]]
) -> bool:
    """Say whether the same was written for an item as in the calm run, and another of it came last.

    A timer that decides is code that does nothing there; whoever only writes where nobody has
    decided yet does nothing if somebody has. Here all did as usual, in another order. Who came
    early may have found nothing there, and made what it changes usually; what comes last is as
    usual. Not where a loop has written to the table by itself, which never does in the calm run: a
    timer has decided in between.

    Args:
        places: Stores and tables in which something is otherwise; no table for keys.
    """
    usual, mine = _writers(calm), _writers(history)
    decided = {where[1:] for where in mine if not where[0] and where not in usual}
    return any(
        where[0] == item
        and where in usual
        and where[1:] not in decided
        and not places.isdisjoint((where[1:], (where[1], "")))
        and _in_another_order(usual[where], writers)
        for where, writers in mine.items()
    )


def _in_another_order(usual: list[Writer], writers: list[Writer]) -> bool:
    """Say whether the same hands wrote, and one that is not the last usually wrote last, as usual.

    That one has a message in hand: what a timer writes last may be what it decides.
    """
    if {*writers} == {*usual}:
        return writers[-1] != usual[-1]
    hands, usual_hands = [*map(_hand, writers)], [*map(_hand, usual)]
    same = {*hands} == {*usual_hands} and hands[-1] != usual_hands[-1]
    return same and writers[-1] in usual and bool(writers[-1][1])


def _hand(writer: Writer) -> Writer:
    """Return whose hand it is, whichever statement it writes with."""
    operation, message = writer
    return operation.partition("/")[0], message


@lru_cache(maxsize=8)
def _writers(history: History) -> dict[Where, list[Writer]]:
    """Return who changed something for an item at each place, the last one last."""
    found: dict[Where, dict[Writer, None]] = {}
    raw, roots, names = history.raw, read(history).roots, _names(history)
    for at in history.places_of("write", "commit"):
        _, kind, _, operation, entity, _, _, data = raw[at]
        if not operation or not data or "error" in data or not data.get("rows", 1):
            continue
        what = data.get("table") if kind == "write" else data.get("key")
        if what is not None:
            root = roots[at]
            handed = raw[root][7] if root >= 0 and raw[root][1] == "deliver" else {}
            writer = (operation, names.get(handed.get("message", -1), ""))
            writers = found.setdefault((entity, str(data.get("store")), str(what)), {})
            writers.pop(writer, None)
            writers[writer] = None
    return {where: [*writers] for where, writers in found.items()}


def _names(history: History) -> dict[int, str]:
    """Return what each message is called in any run: who published it, and its number."""
    names: dict[int, str] = {}
    times: dict[tuple[str, int], int] = {}
    for at in history.places_of("publish"):
        place = history.raw[at][3], history.raw[at][4]
        times[place] = times.get(place, 0) + 1
        names[at] = f"{times[place]} of {place[0]}"
    return names
