"""Which library spoke: what a report says that the adapters have seen."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import PurePath
from types import FrameType
from typing import Final

from chaosharness.kernel.places import is_installed, is_theirs
from chaosharness.kernel.scope import Scope

_LIBRARIES: Final = frozenset(("site-packages", "dist-packages"))


def note_spoken(scope: Scope, library: str, action: str) -> None:
    """Take note that a library has passed an operation of a scope.

    It is the one that the user's own code called: stripe, where that led through requests and
    urllib3 to here. Those were seen, too.
    """
    spoken = scope.world.spoken
    through = led_through(library)
    for one in through:
        spoken.setdefault(one, set())
    spoken[through[-1]].add(f"{scope.place}/{action}")


def led_through(library: str) -> list[str]:
    """Return the libraries between here and the user's own code, the innermost first."""
    frame: FrameType | None = sys._getframe(1)
    found = [library]
    while frame is not None:
        name, file = frame.f_globals.get("__name__"), frame.f_code.co_filename
        package = _KNOWN.get((name, file))
        if package is None:
            package = _KNOWN[name, file] = _package(frame, library)
        if package == _OWN:
            break
        if package and package != found[-1]:
            found.append(package)
        frame = frame.f_back
    return found


_OWN: Final = "."
_KNOWN: Final[dict[tuple[object, str], str]] = {}
"""The package of a module in a file; nothing where it counts for none, `_OWN` of the user's."""


def _package(frame: FrameType, library: str) -> str:
    """Return the package of a frame, as `_KNOWN` has it."""
    if not is_theirs(frame):
        return ""
    file = frame.f_code.co_filename
    if not is_installed(file):
        return _OWN
    if not _is_packaged(file):
        return ""
    return str(frame.f_globals.get("__name__", library)).partition(".")[0]


@lru_cache(maxsize=4_096)
def _is_packaged(file: str) -> bool:
    """Say whether a file is of a library that was installed, and not of Python's own."""
    return not _LIBRARIES.isdisjoint(PurePath(file).parts)
