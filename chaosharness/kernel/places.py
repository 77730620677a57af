"""Where in the user's files something happened: `shop/payments.py:24`."""

from __future__ import annotations

import sys
from collections.abc import Container, Iterable
from functools import lru_cache
from pathlib import PurePath
from types import FrameType
from typing import Any, Final

_OURS: Final = __name__.partition(".")[0]
_NOT_THEIRS: Final = frozenset(
    {
        *(_OURS, "asyncio", "concurrent", "contextlib", "functools", "outcome", "queue"),
        *("threading", "trio"),
    }
)
"""Packages that stand between a user's line and what happened there."""

_LIBRARIES: Final = ("site-packages", "dist-packages")
_STANDARD: Final = str(PurePath(sys.modules["contextlib"].__file__ or "").parent)
_HOME: Final = str(PurePath(__file__).parent.parent)
_COMMANDS: Final = f"{_OURS}.cli"
"""Where a command was typed, and no line of the user's has led here."""

_GENERATED: Final = "<"
"""How the file of code begins that has none: what attrs writes, `<frozen importlib>`."""


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
    return is_theirs(frame) and not is_installed(frame.f_code.co_filename)


@lru_cache(maxsize=4_096)
def is_installed(file: str) -> bool:
    """Say whether a file is of a library, installed or standard, and not of the user."""
    return any(part in _LIBRARIES for part in PurePath(file).parts) or file.startswith(
        (_STANDARD, "<frozen")
    )


def is_generated(frame: FrameType) -> bool:
    """Say whether a frame is of code that has no file of the user's: generated, or ours."""
    return frame.f_code.co_filename.startswith((_GENERATED, _HOME))


def asked_by(known: Container[str]) -> str:
    """Return the library that the user called, of those that are known; or nothing."""
    found = ""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if package in known:
            found = package
        elif found and not is_generated(frame) and is_own(frame):
            break
        frame = frame.f_back
    return found


def awaited_at(coroutines: Iterable[Any], known: Container[str]) -> tuple[str, str]:
    """Return where the user's code waits in these, as `asked_at`, and for which library.

    Both are nothing where it waits in several places.
    """
    found: set[tuple[str, str]] = set()
    for one in coroutines:
        inner, at, by = one, "", ""
        while inner is not None:
            frame = getattr(inner, "cr_frame", None)
            if frame is not None:
                package = str(frame.f_globals.get("__name__")).partition(".")[0]
                if not is_generated(frame) and is_own(frame):
                    at, by = f" (at {where(frame)})", ""
                elif package in known:
                    by = by or package
            inner = getattr(inner, "cr_await", None)
        found |= {(at, by)} if at else set()
    return found.pop() if len(found) == 1 else ("", "")


def _is_a_command(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).startswith(_COMMANDS)


def asked_at() -> str:
    """Return ` (at shop/payments.py:24)`: the user's line that led here; or nothing.

    Nothing either where a command led here: beneath it is the script that began it.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_a_command(frame):
        frame = frame.f_back  # that is who asks here
    while frame is not None and not _is_a_command(frame):
        if not is_generated(frame) and is_own(frame):
            return f" (at {where(frame)})"
        frame = frame.f_back
    return ""
