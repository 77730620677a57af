"""Calls that never got an answer: whoever called gave up waiting, by a deadline of its own."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from chaosharness.checkers.reading import read
from chaosharness.kernel.history import History

WENT_ON: Final = frozenset({"handled", "raised", "ack", "nack"})
"""What shows that the work went on without the answer; as a call of the same place does."""

DID: Final = frozenset({"commit", "write", "publish"})
"""What shows it too, once the call has waited for longer than it ever does: a process that dies
right behind it leaves nothing else. Before, another task may have done it meanwhile."""


@lru_cache(maxsize=8)
def given_up(history: History, calm: History) -> frozenset[int]:
    """Return the calls that were given up, though they had waited longer than any does in calm.

    A call that was taken back sooner (since another failed beside it) says nothing of the
    other side. One whose process crashed was told nothing.

    Args:
        history: The run.
        calm: The calm run, which says how long answers take.
    """
    open_calls = {*history.places_of("call")} - _answered(history).keys()
    if not open_calls:
        return frozenset()
    raw, roots = history.raw, read(history).roots
    waits = _waits(calm)
    open_: dict[tuple[str, int], list[int]] = {}
    found: set[int] = set()
    for index, (at_ms, kind, actor, operation, _, _, _, _) in enumerate(raw):
        mine = open_.get((actor, roots[index]), [])
        for call in [*mine]:
            waited = at_ms - raw[call][0] > waits.get(raw[call][3], 0)
            went_on = kind in WENT_ON or (kind == "call" and operation == raw[call][3])
            if went_on or (waited and kind in DID):
                mine.remove(call)
                if waited:
                    found.add(call)
        if index in open_calls:
            open_.setdefault((actor, roots[index]), []).append(index)
    return frozenset(found)


def unanswered(history: History) -> frozenset[int]:
    """Return the calls to which nobody has said yes."""
    raw = history.raw
    yes = {call for call, at in _answered(history).items() if raw[at][7].get("outcome") == "ok"}
    return frozenset({*history.places_of("call")} - yes)


def _answered(history: History) -> dict[int, int]:
    """Return the calls that were answered, each with the event of its answer."""
    raw = history.raw
    found: dict[int, int] = {}
    for index in history.places_of("reply"):
        operation, at = raw[index][3], raw[index][6]
        while at >= 0 and not (raw[at][1] == "call" and raw[at][3] == operation):
            at = raw[at][6]
        if at >= 0:
            found.setdefault(at, index)
    return found


@lru_cache(maxsize=8)
def _waits(calm: History) -> dict[str, int]:
    """Return how long each operation waits for its answer at most."""
    raw = calm.raw
    found: dict[str, int] = {}
    for call, reply in _answered(calm).items():
        operation = raw[call][3]
        found[operation] = max(found.get(operation, 0), raw[reply][0] - raw[call][0])
    return found
