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
        file = frame.f_code.co_filename
        if is_theirs(frame):
            if not is_installed(file):
                break
            if _is_packaged(file):
                package = str(frame.f_globals.get("__name__", library)).partition(".")[0]
                if package != found[-1]:
                    found.append(package)
        frame = frame.f_back
    return found


@lru_cache(maxsize=4_096)
def _is_packaged(file: str) -> bool:
    """Say whether a file is of a library that was installed, and not of Python's own."""
    return not _LIBRARIES.isdisjoint(PurePath(file).parts)
