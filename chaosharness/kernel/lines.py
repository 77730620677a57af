"""Which line of the user's code each event was asked for at: noted in a run made for it.

A history says nothing of lines: it must stay the same where a comment is added. And walking up
the frames of every event is dear. So a run that is told of is made once more, the same byte for
byte, and only that one notes lines.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Final

import attrs

from chaosharness.kernel.history import RawEvent
from chaosharness.kernel.places import is_generated, is_own, where

AROUND: Final = 1
"""Lines of source that are kept before and after the one that is meant."""

LONG_MAX: Final = 160
"""Characters of a line of source, at most."""


@attrs.frozen
class Line:
    """A line of the user's code.

    Attributes:
        at: File and line, relative to the project: `shop/payments.py:24`.
        function: Name of its function: `Payments.on_order`.
        number: Of the line in its file, from 1.
        source: The line and those around it, each with its number; empty where the file cannot
            be read.
    """

    at: str
    function: str
    number: int
    source: tuple[tuple[int, str], ...] = ()

    @property
    def text(self) -> str:
        """The line itself, without its indentation; empty where the file cannot be read."""
        return next((text.strip() for number, text in self.source if number == self.number), "")


class _Noting(list[RawEvent]):
    """Events, which notes for each the line of the user's code that led to it."""

    def __init__(self, outside: FrameType | None) -> None:
        super().__init__()
        self.outside = outside
        self.seen: dict[int, tuple[str, str, int, str]] = {}

    def append(self, event: RawEvent, /) -> None:
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame is not self.outside:
            if not is_generated(frame) and is_own(frame):
                line = _first_line(frame)
                code = frame.f_code
                place = (code.co_filename, where(frame, line), line, code.co_qualname)
                self.seen[len(self)] = place
                break
            frame = frame.f_back
        super().append(event)


_NOTED: ContextVar[Noted | None] = ContextVar("chaosharness.noted", default=None)


def new_events() -> list[RawEvent]:
    """Return where a run puts its events."""
    noted = _NOTED.get()
    if noted is None:
        return []
    noted.runs.append(_Noting(noted.outside))
    return noted.runs[-1]


@contextmanager
def noting_lines() -> Iterator[Noted]:
    """Have the runs made meanwhile note lines; the last of them counts.

    Whoever called the function that says so asked for no event, and is no line of any.
    """
    noted = Noted(sys._getframe(2))  # above this function and its context manager
    token = _NOTED.set(noted)
    try:
        yield noted
    finally:
        _NOTED.reset(token)


@attrs.frozen
class Noted:
    """What the runs have noted, and the frame that they stand in."""

    outside: FrameType
    runs: list[_Noting] = attrs.field(factory=list)

    def lines(self) -> Mapping[int, Line]:
        """Return the line of each event of the last run that has one, by the event's index."""
        seen = self.runs[-1].seen if self.runs else {}
        made: dict[tuple[str, str, int, str], Line] = {}
        for place in seen.values():
            if place not in made:
                file, at, number, name = place
                function = name.replace("<locals>.", "")
                made[place] = Line(at, function, number, _source(file, number))
        return {index: made[place] for index, place in seen.items()}


def _first_line(frame: FrameType) -> int:
    """Return the line that the expression which is evaluated begins at."""
    positions = list(frame.f_code.co_positions())
    start = positions[frame.f_lasti // 2][0] if frame.f_lasti >= 0 else None
    return start or frame.f_lineno


def _source(file: str, number: int) -> tuple[tuple[int, str], ...]:
    """Return a line of a file and those around it; nothing where it cannot be read."""
    if not linecache.getline(file, number).strip():
        return ()
    first = max(number - AROUND, 1)
    lines = [(at, linecache.getline(file, at).rstrip()) for at in range(first, number + AROUND + 1)]
    return tuple((at, text[:LONG_MAX]) for at, text in lines if at == number or text.strip())
