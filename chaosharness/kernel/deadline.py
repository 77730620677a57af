"""Whether the time of a search is over, or somebody ended it: a run that is on is called off.

What it would have shown is not known: nothing of it is judged, or told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

LOOK_EVERY: Final = 500
"""Events of a run between two questions."""

IsOver = Callable[[], bool]

_asked: Final[ContextVar[IsOver | None]] = ContextVar("deadline", default=None)


class OutOfTime(Exception):
    """The time of a search was over while a run was on."""


@contextmanager
def called_off_when(is_over: IsOver | None) -> Iterator[None]:
    """Have runs that are begun here called off when a function says so; None: never.

    What was asked before is asked still, and first. A function may raise instead: that ends
    the run, and is never raised in the code under test.

    Raises:
        OutOfTime: One was.
    """
    before = _asked.set(_either(_asked.get(), is_over))
    try:
        yield
    finally:
        _asked.reset(before)


def _either(first: IsOver | None, second: IsOver | None) -> IsOver | None:
    if first is None or second is None:
        return first or second
    return lambda: first() or second()


def deadline() -> IsOver | None:
    """Return what says whether a run that begins now is called off; None: nothing does."""
    return _asked.get()
