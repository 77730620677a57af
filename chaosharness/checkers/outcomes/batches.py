"""Rows that one transaction gives one value: what goes into a batch has the batch's number."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from chaosharness.checkers.outcomes.outcome import Place
from chaosharness.checkers.reading import read
from chaosharness.kernel.history import History


def in_one_batch(history: History, place: Place, value: Any, count: int) -> bool:
    """Say whether one transaction wrote a value in so many rows of a table.

    Whoever deals out a number to each, and reads the last one too early, does so in two.
    """
    raw, roots = history.raw, read(history).roots
    written: dict[int, int] = defaultdict(int)
    for at in history.places_of("write", "commit", "rollback"):
        _, kind, _, _, _, _, _, data = raw[at]
        if not data or str(data.get("store")) != place[1]:
            continue
        if kind != "write":
            written.pop(roots[at], None)
        elif str(data.get("table", "")) == place[2] and str(value) in _texts(data):
            written[roots[at]] += data.get("rows", 0)
            if written[roots[at]] >= count:
                return True
    return False


def _texts(data: dict[str, Any]) -> list[str]:
    params = data.get("params") or ()
    return [str(one) for one in (params.values() if isinstance(params, dict) else params)]
