"""Streams that stand for standard output and standard error while the user's code runs.

They are streams as Python makes its own, with bytes beneath, an encoding and `reconfigure`: code
that asks for any of that must not fail because somebody is listening.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO

Take = Callable[[bytes], object]
"""What is done with each piece that was written."""


_OWN: list[TextIO | None] = []


def own_error() -> TextIO | None:
    """Return the process's own standard error, whatever stands for it: for what must be seen."""
    return _OWN[0] if _OWN else sys.__stderr__


@contextmanager
def standing_in(output: TextIO, error: TextIO) -> Iterator[None]:
    """Have streams stand for standard output and standard error, also for `sys.__stdout__`."""
    own = sys.__stdout__, sys.__stderr__
    _OWN.append(sys.__stderr__)
    with redirect_stdout(output), redirect_stderr(error):
        sys.__stdout__, sys.__stderr__ = output, error  # type: ignore[misc,assignment]
        try:
            yield
        finally:
            sys.__stdout__, sys.__stderr__ = own  # type: ignore[misc]
            _OWN.pop()


def stream(take: Take, beyond: Any, name: str) -> TextIO:
    """Return a text stream that hands on at once what is written to it or to its bytes.

    Args:
        take: Is given each piece.
        beyond: The stream that it stands for; None if that is closed.
        name: How Python names it: `<stdout>`.
    """
    beneath: Any = _Beneath(take, beyond, name)
    made = io.TextIOWrapper(beneath, "utf-8", "backslashreplace", newline="\n", write_through=True)
    made.mode = "w"  # type: ignore[misc]  # as Python does for its own
    return made


class _Beneath(io.BufferedIOBase):
    """The bytes of such a stream."""

    def __init__(self, take: Take, beyond: Any, name: str) -> None:
        self._take = take
        self._beyond = beyond
        self.name = name

    def writable(self) -> bool:
        return True

    def write(self, given: Any, /) -> int:
        piece = bytes(given)
        self._take(piece)
        return len(piece)

    def fileno(self) -> int:
        """Return that of the stream itself, for who needs one: `faulthandler`, a subprocess."""
        if self._beyond is None:
            raise io.UnsupportedOperation("fileno")
        number: int = self._beyond.fileno()
        return number

    def close(self) -> None:
        """Stay open: whoever wraps it and goes closes it, and a logger may still have it."""


__all__ = ["Take", "own_error", "standing_in", "stream"]
