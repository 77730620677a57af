"""What came late and was written over what was newer: nobody decided anything."""

from __future__ import annotations

from functools import lru_cache

from chaosharness.kernel.history import History

Where = tuple[int, str, str]
"""A workload item, a store, and its table or key."""


def is_overwritten(
    calm: History, history: History, item: int, places: frozenset[tuple[str, str]]
) -> bool:
    """Say whether the same code wrote for an item as in the calm run, and another of it came last.

    A timer that decides is code that does nothing there; whoever only writes where nobody has
    decided yet does nothing if somebody has. Here all did as usual, in another order.

    Args:
        places: Stores and tables in which something is otherwise; no table for keys.
    """
    usual, mine = _writers(calm), _writers(history)
    return any(
        where[0] == item
        and where in usual
        and not places.isdisjoint((where[1:], (where[1], "")))
        and {*operations} == {*usual[where]}
        and operations[-1] != usual[where][-1]
        for where, operations in mine.items()
    )


@lru_cache(maxsize=8)
def _writers(history: History) -> dict[Where, list[str]]:
    """Return which operations changed something for an item at each place, the last one last."""
    found: dict[Where, dict[str, None]] = {}
    raw = history.raw
    for at in history.places_of("write", "commit"):
        _, kind, _, operation, entity, _, _, data = raw[at]
        if not operation or not data or "error" in data or not data.get("rows", 1):
            continue
        what = data.get("table") if kind == "write" else data.get("key")
        if what is not None:
            writers = found.setdefault((entity, str(data.get("store")), str(what)), {})
            writers.pop(operation, None)
            writers[operation] = None
    return {where: [*writers] for where, writers in found.items()}
