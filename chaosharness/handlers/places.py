"""Where in the user's files something happened: `shop/payments.py:24`."""

from __future__ import annotations

import sys
from pathlib import PurePath
from types import FrameType, TracebackType
from typing import Any, Final

_OURS: Final = __name__.partition(".")[0]
_NOT_THEIRS: Final = frozenset(
    {_OURS, "asyncio", "contextlib", "functools", "outcome", "queue", "threading", "trio"}
)
"""Packages that stand between a user's line and what happened there."""


def where(frame: FrameType | None, line: int | None = None) -> str:
    """Return the file and line that a frame stands at, the same on every machine.

    The file is named after its module, as far as that has a name: `shop/payments.py:24`.
    """
    if frame is None:
        return "an unknown line"
    module = frame.f_globals.get("__name__")
    return spell(frame.f_code.co_filename, module, line or frame.f_lineno)


def spell(file: str, module: object, line: int) -> str:
    """Return a line of a file by the name of its module."""
    path = PurePath(file)
    parts = str(module or "").split(".")
    if parts[-1] == path.stem:
        name = "/".join([*parts[:-1], path.name])
    elif path.stem == "__init__" and parts[-1] == path.parent.name:
        name = "/".join([*parts, path.name])
    else:
        name = path.name
    return f"{name}:{line}"


def is_theirs(frame: FrameType) -> bool:
    """Say whether a frame is of the user's code, not of ours or of what lies between."""
    name = str(frame.f_globals.get("__name__"))
    return name.partition(".")[0] not in _NOT_THEIRS and not name.startswith("importlib")


def user_frame(frame: FrameType | None) -> FrameType | None:
    """Return the innermost frame of the user's code."""
    while frame is not None and not is_theirs(frame):
        frame = frame.f_back
    return frame


def is_own(frame: FrameType) -> bool:
    """Say whether a frame is of code that the user wrote: of no library, and not of ours."""
    return is_theirs(frame) and not _installed(frame.f_code.co_filename)


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
            if _installed(frame.f_code.co_filename):
                library = library or (frame, trace.tb_lineno)
            else:
                found = (frame, trace.tb_lineno)
        trace = trace.tb_next
    best = found or library
    return "" if best is None else where(*best)


_LIBRARIES: Final = ("site-packages", "dist-packages")
_STANDARD: Final = str(PurePath(sys.modules["contextlib"].__file__ or "").parent)


def _installed(file: str) -> bool:
    """Say whether a file is of a library, installed or standard, and not of the user."""
    return any(part in _LIBRARIES for part in PurePath(file).parts) or file.startswith(
        (_STANDARD, "<frozen")
    )


def words_of(error: BaseException) -> str:
    """Return an error in words, `KeyError: 'id'`, whatever its `__str__` does."""
    name = type(error).__name__
    try:
        return f"{name}: {error}"
    except Exception as worse:
        return f"{name} (its text cannot be had: __str__ raised {type(worse).__name__})"


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
