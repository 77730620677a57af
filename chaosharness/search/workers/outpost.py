"""A task of somebody else's engine: units that are done in a process of our own beside it.

Not in the engine's own process: during a run clocks and chance are pinned for a whole
process, and an engine has threads that must go on.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec

from chaosharness.search.workers.messages import Faults
from chaosharness.search.workers.process import SERVE, Seat, spawn

_LOCK: Final = threading.Lock()
_IDLE: Final[dict[bytes, list[Seat]]] = {}
"""Processes that have nothing to do, by what they were started for."""


def work(brief: bytes, batch: int, units: Sequence[tuple[int, Faults]]) -> list[bytes]:
    """Do some units.

    Args:
        brief: A `Brief`, encoded.
        batch: The number of the batch.
        units: Places in it, and the faults of each.

    Returns:
        An `Answer` for each, encoded.

    Raises:
        ChaosharnessError: The system cannot be loaded here, or a unit ends each process.
    """
    seat = _take(brief)
    try:
        seat.ask(batch, list(units))
        answers = [msgspec.msgpack.encode(seat.answer()) for _ in units]
    except BaseException:
        seat.worker.end(by_force=True)
        raise
    with _LOCK:
        _IDLE.setdefault(brief, []).append(seat)
    return answers


def _take(brief: bytes) -> Seat:
    """Return a process that has nothing to do, or a new one; those of other searches end."""
    with _LOCK:
        for other in [one for one in _IDLE if one != brief]:
            for seat in _IDLE.pop(other):
                seat.worker.end(by_force=True)
        if _IDLE.get(brief):
            return _IDLE[brief].pop()
    seat = Seat(partial(spawn, [SERVE], brief))
    try:
        seat.greet()
    except BaseException:
        seat.worker.end(by_force=True)
        raise
    return seat
