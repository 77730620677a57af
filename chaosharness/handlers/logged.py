"""What the user's code logs and prints: noted in a run made for it, with when and by whom.

A history says nothing of it: a log line more is no other run. So a run that is told of is made
once more, the same byte for byte, and only that one notes what was logged.

Not modelled:
    Loggers that write to a file of their own, or to a stream that is neither standard output nor
    standard error, and are not Python's `logging`; and what C code writes past Python.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Final
from warnings import catch_warnings

import attrs

from chaosharness.kernel.scope import SCOPE

LINES_MAX: Final = 2_000
"""Lines of one run that are kept; what follows is counted."""

LONG_MAX: Final = 2_000
"""Characters of one line that are kept."""

_COLOURS: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_ADDRESS: Final = re.compile(r"\b0x[0-9a-fA-F]{6,}")
_TRACEBACK: Final = re.compile(r"Traceback \(most recent call last\)")
_CHAINED: Final = re.compile(r"The above exception was the |During handling of the above ")
_OF_TRACEBACK: Final = re.compile(rf"\s|[│╭╰|>+]|{_CHAINED.pattern}")
"""How lines of a traceback begin, as Python, rich and loguru write it: all but the last one."""


_BEHIND: Final[ContextVar[bool]] = ContextVar("behind", default=False)
"""Whether what is written now was noted already: it is on its way through handlers and streams."""


@contextmanager
def behind() -> Iterator[None]:
    """Write what was noted already; what others say meanwhile is theirs, and noted."""
    token = _BEHIND.set(True)
    try:
        yield
    finally:
        _BEHIND.reset(token)


@attrs.frozen
class Logged:
    """One line that the user's code logged or printed.

    Attributes:
        at_ms: When, in virtual time since the start of the run.
        actor: Who: `payments#1`, or `payments#1/2` after a crash.
        level: `WARNING`, for example; empty for what was printed.
        logger: Its name; empty for what was printed.
        text: What it says, the error that it tells of included, without the traceback.
        times: How often in a row.
    """

    at_ms: int
    actor: str
    level: str
    logger: str
    text: str
    times: int = 1

    def __str__(self) -> str:
        head = f"{self.level} {self.logger}: " if self.level else ""
        again = f"   ({self.times:,} times)" if self.times > 1 else ""
        return f"{head}{self.text}{again}"


class Noted:
    """What was logged so far.

    Attributes:
        lines: Each line, the oldest first.
        left_out: How many there were besides.
    """

    def __init__(self) -> None:
        self.lines: list[Logged] = []
        self.left_out = 0
        self._begun: dict[tuple[int, str], str] = {}
        self._tracing: set[tuple[int, str]] = set()
        self._world: Any = None

    def _of_run(self, world: Any) -> None:
        """Forget what an earlier run logged: the last one counts."""
        if self._world is not world:
            self._world = world
            self.lines.clear()
            self.left_out = 0
            self._begun.clear()
            self._tracing.clear()

    def record(self, record: logging.LogRecord, hand_on: Any) -> None:
        """Take note of a record, and have it handled: what handlers write is no second line."""
        self._take(record.levelname, record.name, _words_of(record))
        with behind():
            hand_on(record)

    def print(self, stream: int, text: Any, hand_on: Any) -> Any:
        """Take note of what is printed, line by line, and print it."""
        scope, said = SCOPE.get(), _as_text(text)
        if scope is not None and said is not None and not _BEHIND.get():
            self._of_run(scope.world)
            begun = stream, scope.incarnation.label
            *whole, rest = (self._begun.pop(begun, "") + said).split("\n")
            for line in map(_as_left, whole):
                if self._tells(begun, line):
                    self._take("", "", line.rstrip())
            if rest:
                self._begun[begun] = _as_left(rest)[:LONG_MAX]
        with behind():
            return hand_on(text)

    def _tells(self, begun: tuple[int, str], line: str) -> bool:
        """Say whether a printed line tells anything: of a traceback only the last one does."""
        if _CHAINED.match(line):
            return False
        if _TRACEBACK.search(line):
            self._tracing.add(begun)
            return False
        if begun in self._tracing and line.strip():
            if _OF_TRACEBACK.match(line):
                return False
            self._tracing.discard(begun)
        return bool(line.strip())

    def _take(self, level: str, logger: str, text: str) -> None:
        scope = SCOPE.get()
        if scope is None or _BEHIND.get():
            return  # the harness's own doing, or a stream behind another one
        self._of_run(scope.world)
        actor, text = scope.incarnation.label, _anywhere(text)
        made = Logged(scope.world.now, actor, level, logger, text)
        last = self.lines[-1] if self.lines else None
        if last is not None and _same(last, made):
            self.lines[-1] = attrs.evolve(last, times=last.times + 1)
        elif len(self.lines) < LINES_MAX:
            self.lines.append(made)
        else:
            self.left_out += 1


def _as_text(given: Any) -> str | None:
    """Return what is written, to a stream or to the bytes beneath; None if it is neither."""
    if isinstance(given, bytes | bytearray | memoryview):
        return bytes(given).decode("utf-8", "backslashreplace")
    return given if isinstance(given, str) else None


def _as_left(line: str) -> str:
    """Return what a line shows in the end: a progress bar goes back to its beginning each time."""
    return line.rstrip("\r").rpartition("\r")[2]


def _same(one: Logged, other: Logged) -> bool:
    return attrs.evolve(one, at_ms=other.at_ms, times=1) == other


def _anywhere(text: str) -> str:
    """Return text without colours, addresses and the folder we are in: the same on any machine."""
    text = _ADDRESS.sub("0x…", _COLOURS.sub("", text[:LONG_MAX]))
    return text.replace(f"{os.getcwd()}{os.sep}", "")


def _words_of(record: logging.LogRecord) -> str:
    """Return what a record says, and the error that it tells of, as one line each."""
    try:
        words = record.getMessage()
    except Exception:  # a mistake of who logs: logging itself shows it, and goes on
        words = str(record.msg)
    head, traced, rest = words.partition("Traceback (most recent call last):")
    if traced:  # as text
        told = [line for line in rest.splitlines() if not _OF_TRACEBACK.match(line or " ")]
        words = f"{head.rstrip()} {told[-1] if told else ''}".strip()
    words = _in_one(words)
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    if error is not None:
        said = _in_one(f"{type(error).__name__}: {error}")
        if said not in words:
            words = f"{words}: {said}" if words else said
    return words


def _in_one(words: str) -> str:
    return " ".join(words.split("\n"))


@contextmanager
def noting_logs() -> Iterator[Noted]:
    """Note what is logged and printed in the runs made meanwhile; it is logged as ever, too."""
    noted = Noted()
    called: Any = logging.Logger.callHandlers
    handled: Any = logging.Handler.handle
    over = False

    def call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
        if over:  # somebody has put a function around this one, and left it there
            called(self, record)
        else:
            noted.record(record, lambda one: called(self, one))

    def handle(self: logging.Handler, record: logging.LogRecord) -> Any:
        with behind():  # also where another thread does it, that a queue has handed it to
            return handled(self, record)

    logging.Logger.callHandlers = call_handlers  # type: ignore[method-assign]
    logging.Handler.handle = handle  # type: ignore[method-assign]
    taps = [_Tap(one, noted) for one in _streams()]
    try:
        with catch_warnings():  # one that was shown in an earlier run is shown again
            yield noted
    finally:
        over = True
        for tap in taps:
            tap.remove()
        if logging.Logger.callHandlers is call_handlers:
            logging.Logger.callHandlers = called  # type: ignore[method-assign]
        if logging.Handler.handle is handle:
            logging.Handler.handle = handled  # type: ignore[method-assign]


def _streams() -> Iterable[Any]:
    """Return what people print to, and the bytes beneath where nothing waits in between."""
    given = [one for one in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__) if one]
    beneath = [
        one.buffer
        for one in given
        if getattr(one, "write_through", False) and hasattr(one, "buffer")
    ]
    return {id(one): one for one in (*given, *beneath)}.values()


class _Tap:
    """Notes what is written to a stream, whoever holds it: loggers keep the one they began with."""

    def __init__(self, stream: Any, noted: Noted) -> None:
        self._stream = stream
        self._write: Any = None
        hand_on = getattr(stream, "write", None)
        if hand_on is None:
            return

        def write(text: Any, /) -> Any:
            return noted.print(id(stream), text, hand_on)

        with suppress(AttributeError, TypeError):  # it has no attributes of its own
            had = stream.__dict__.get("write")
            stream.write = write
            self._write, self._had = write, had

    def remove(self) -> None:
        """Take it away, unless somebody has put something around it."""
        if self._write is None or self._stream.__dict__.get("write") is not self._write:
            return
        if self._had is None:
            del self._stream.write
        else:
            self._stream.write = self._had


__all__ = ["LINES_MAX", "Logged", "Noted", "noting_logs"]
