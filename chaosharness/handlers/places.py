"""Where in the user's files something happened: `shop/payments.py:24`."""

from __future__ import annotations

import asyncio
import sys
from types import FrameType, TracebackType
from typing import Any

from greenlet import getcurrent

from chaosharness.kernel.places import asked_at as asked_at
from chaosharness.kernel.places import asked_by as asked_by
from chaosharness.kernel.places import awaited_at as awaited_at
from chaosharness.kernel.places import is_installed
from chaosharness.kernel.places import is_own as is_own
from chaosharness.kernel.places import is_theirs as is_theirs
from chaosharness.kernel.places import spell as spell
from chaosharness.kernel.places import user_frame as user_frame
from chaosharness.kernel.places import where as where


def asked_or_awaited_at() -> str:
    """Return the user's line that led here, as `asked_at`; in a library's task, where it waits."""
    at = asked_at() or _asked_behind()
    if at:
        return at
    try:
        tasks = getattr(asyncio.get_running_loop(), "tasks", ())
    except RuntimeError:
        return ""
    return awaited_at((task.get_coro() for task in tasks if not task.done()), ())[0]


def _asked_behind() -> str:
    """Return the user's line behind sync code of a library that stands inside a coroutine."""
    one = getcurrent()
    while getattr(one, "__sqlalchemy_greenlet_provider__", False) and one.parent is not None:
        one = one.parent
        frame = one.gr_frame
        while frame is not None:
            if is_own(frame):
                return f" (at {where(frame)})"
            frame = frame.f_back
    return ""


def place_of(error: BaseException) -> str:
    """Return the innermost line of the user's code that an error came through, or ''.

    Lines of libraries are passed over where the user's own code called them.
    """
    found: tuple[FrameType, int] | None = None
    library: tuple[FrameType, int] | None = None
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if is_theirs(frame):
            if is_installed(frame.f_code.co_filename):
                library = library or (frame, trace.tb_lineno)
            else:
                found = (frame, trace.tb_lineno)
        trace = trace.tb_next
    best = found or library
    return "" if best is None else where(*best)


def words_of(error: BaseException) -> str:
    """Return an error in words, `KeyError: 'id'`, whatever its `__str__` does."""
    name = type(error).__name__
    try:
        return f"{name}: {error}"
    except Exception as worse:
        return f"{name} (its text cannot be had: __str__ raised {type(worse).__name__})"


def because(error: BaseException) -> str:
    """Return ` (because of KeyError: 'id')`, the first cause of an error, where it has one.

    Clients of servers raise what says that something failed, from what says why.
    """
    first, seen = error, {id(error)}
    while first.__cause__ is not None and id(first.__cause__) not in seen:
        first = first.__cause__
        seen.add(id(first))
    return "" if first is error else f" (because of {words_of(first)})"


def told(error: BaseException) -> dict[str, Any]:
    """Return what the history says of an error: its words, and its line in the user's code."""
    data = {"error": words_of(error)}
    line = place_of(error)
    if line:
        data["line"] = line
    return data


def at_line(error: BaseException) -> str:
    """Return ` at shop/payments.py:24`, to be put behind an error's words; or nothing."""
    place = place_of(error)
    return f" at {place}" if place else ""


def line_of(file: str, line: int) -> str:
    """Return a line of a file by the name of the module that was read from it."""
    for module in tuple(sys.modules.values()):
        if getattr(module, "__file__", None) == file:
            return spell(file, module.__name__, line)
    return spell(file, "", line)
