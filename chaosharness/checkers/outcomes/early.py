"""Messages that came before what they need: whoever waited for that long enough may give up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from chaosharness.checkers.reading import read
from chaosharness.kernel.history import History

PATIENT_MS: Final = 600_000
"""How long a message is tried, at least, where it may be put aside for want of another."""


def came_too_early(calm: History, history: History, item: int, index: int, message: int) -> bool:
    """Say whether a message was tried for long, and another of its item was on its way so long.

    Without faults that other comes before, or at the same place; here it comes only after this
    one was handled for the last time, or did so before to no end: a crash cut that off. It is late
    by trouble, and nobody can wait for ever.

    Args:
        calm: What happens without faults.
        history: What happened.
        item: Whose message it is.
        index: The event by which it was put aside.
        message: Its event.
    """
    tries = [at for at, other, _ in _handed(history, item) if other == message and at < index]
    if not tries or history.raw[tries[-1]][0] - history.raw[tries[0]][0] < PATIENT_MS:
        return False
    usual = [place for _, _, place in _handed(calm, item)]
    here = history.raw[tries[0]][3]
    if here not in usual:
        return False
    before = {*usual[: len(usual) - usual[::-1].index(here)]}
    met: set[int] = set()
    for at, other, place in _handed(history, item):
        if at > tries[-1] and other not in met and place in before:
            return True
        if not _is_cut(history, at, tries[-1]):
            met.add(other)
    return False


def _is_cut(history: History, at: int, last: int) -> bool:
    """Say whether a crash cut a delivery off before the last try of another."""
    handed = read(history).handed[at]
    return 0 <= handed.cut < last and max(handed.handled, handed.acked) < 0


def _handed(history: History, item: int) -> Iterator[tuple[int, int, str]]:
    """Yield where messages of an item were handed out: the event, the message, the operation."""
    raw = history.raw
    for at in history.places_of("deliver"):
        if raw[at][4] == item:
            yield at, raw[at][7]["message"], raw[at][3]
