"""Idempotency keys under which two different requests are made: a gateway refuses the second.

That is a mistake in the code, and never the weather: no clean run excuses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from chaosharness.checkers.outcomes.differences import Difference
from chaosharness.kernel.history import History

KEY_REUSED: Final = "key reused"
"""The kind of a finding: two requests have one idempotency key."""

REFUSED_AS: Final = "KeyReused: "


def keys_reused(history: History) -> Iterator[Difference]:
    """Yield the requests that a gateway refused, since their keys were those of others."""
    told: set[tuple[str, int]] = set()
    for index in history.places_of("reply"):
        _, _, _, operation, item, _, _, data = history.raw[index]
        error = data.get("error")
        if not error or not str(error).startswith(REFUSED_AS):
            continue
        place = operation.rpartition("/")[2]
        if (place, item) not in told:
            told.add((place, item))
            what, source = str(error).removeprefix(REFUSED_AS), place.partition(".")[0]
            events = (*_done_under_it(history, index), index)
            yield Difference(KEY_REUSED, item, place, what, events=events, source=source)


def _done_under_it(history: History, reply: int) -> Iterator[int]:
    """Yield what was done under the key of a request that was refused."""
    raw = history.raw
    call = next((at for at in _back(history, reply) if raw[at][1] == "call"), -1)
    key = raw[call][7].get("key") if call >= 0 else None
    for at in history.places_of("effect") if key is not None else ():
        if at < reply and raw[at][7].get("key") == key:
            yield at
            return


def _back(history: History, index: int) -> Iterator[int]:
    while index >= 0:
        yield index
        index = history.raw[index][6]
