"""Whose code waits: the user's frame, below those of a client library."""

from __future__ import annotations

import sys
from types import FrameType

from chaosharness.kernel.places import is_installed, is_theirs


def users_frame() -> FrameType:
    """Return the frame of the user's code that asks: a library's own holds numbers and times."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if is_theirs(frame) and not is_installed(frame.f_code.co_filename):
            return frame
        frame = frame.f_back
    return sys._getframe(1)
