"""Which files the code of a run writes: the machine's own, that stay from one run to the next.

It is asked for only where two runs have differed, to say why.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from chaosharness.handlers.places import is_own, where
from chaosharness.kernel.scope import SCOPE

_noted: dict[str, str] | None = None
_is_hooked = False


@contextmanager
def noting_files() -> Iterator[Mapping[str, str]]:
    """Note each file that code of the runs made meanwhile opens to write, and the line."""
    global _noted, _is_hooked  # noqa: PLW0603
    if not _is_hooked:
        sys.addaudithook(_hook)  # for good: there is no way to take one off
        _is_hooked = True
    found: dict[str, str] = {}
    _noted = found
    try:
        yield found
    finally:
        _noted = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _noted is None or event != "open" or SCOPE.get() is None:
        return
    path, mode, flags = arguments
    writes = flags & (os.O_WRONLY | os.O_RDWR) if mode is None else {*"wax+"} & {*mode}
    if not writes or not isinstance(path, str | bytes | os.PathLike):
        return
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not is_own(frame):  # above pathlib, json, tempfile
        frame = frame.f_back
    if frame is not None:
        _noted.setdefault(os.fsdecode(path), where(frame))
