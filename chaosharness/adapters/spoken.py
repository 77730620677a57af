"""Which library spoke: what a report says that the adapters have seen."""

from __future__ import annotations

import sys
from pathlib import PurePath
from types import FrameType
from typing import Final

from chaosharness.kernel.places import is_installed, is_theirs
from chaosharness.kernel.scope import Scope

_LIBRARIES: Final = ("site-packages", "dist-packages")


def note_spoken(scope: Scope, library: str, action: str) -> None:
    """Take note that a library has passed an operation of a scope."""
    spoken = scope.world.spoken
    spoken.setdefault(asked_through(library), set()).add(f"{scope.place}/{action}")


def asked_through(library: str) -> str:
    """Return the library that the user's own code called, if it led to this one: stripe, requests.

    The outermost package between the user's line and here.
    """
    frame: FrameType | None = sys._getframe(1)
    found = library
    while frame is not None:
        file = frame.f_code.co_filename
        if is_theirs(frame):
            if not is_installed(file):
                break
            parts = PurePath(file).parts
            for place in _LIBRARIES:
                if place in parts:
                    found = str(frame.f_globals.get("__name__", library)).partition(".")[0]
        frame = frame.f_back
    return found
