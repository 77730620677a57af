"""What is printed, on a terminal and through a pipe; and what of the user's is not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from shutil import get_terminal_size
from typing import Any, Final

import click

from chaosharness.handlers.streams import standing_in, stream


class Unprinted(Exception):
    """What was to be printed could not be: its reader has gone, or there is no room for it."""


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text, with plainer signs where the stream cannot hold those of a report.

    Raises:
        Unprinted: It could not be. Not for standard error: nobody is left to be told.
    """
    stream = errors() if err else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    if not err:
        _print(writable(text, encoding), nl)
        return
    if stream is None:  # it is closed
        return
    with suppress(OSError, ValueError):
        click.echo(writable(text, encoding), file=stream, nl=nl)


def put(text: str, *, nl: bool = True) -> None:
    """Print what becomes a file, letter for letter: in UTF-8 where the stream has less.

    Raises:
        Unprinted: It could not be.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    plain = writable(text, encoding) == text
    _print(text if plain else text.encode(), nl)


def _print(text: str | bytes, nl: bool) -> None:
    """Print and flush; one error for all that may go wrong, which click takes for no other."""
    try:
        if sys.stdout is None:
            raise OSError("standard output is closed")
        click.echo(text, nl=nl)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise Unprinted(f"what is to be read here cannot be printed: {why}") from error


def writable(text: str, encoding: str) -> str:
    """Return text that an encoding can hold: a cp1252 pipe knows no arrows and no check marks."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    return text


_PLAIN: Final = str.maketrans(
    {"→": ">", "←": "<", "✗": "x", "✓": "+", "○": "o", "·": ".", "…": "...", "–": "-"}
)


_BEYOND: Final[list[Any]] = []
"""Standard error as it was before anything was held back, one for each time that it is."""


def errors() -> Any:
    """Return standard error, also while what the user's code writes there is held back."""
    return _BEYOND[0] if _BEYOND else sys.stderr


class Unheard:
    """Counts the lines that the user's code prints and logs during thousands of runs.

    Attributes:
        aloud: Whether they are shown as well.
        lines: How many there were so far.
        output: Stands for standard output meanwhile.
        error: Stands for standard error meanwhile.
    """

    def __init__(self, *, aloud: bool = False) -> None:
        self.aloud = aloud
        self.lines = 0
        self.output = stream(partial(self._take, sys.stdout), sys.stdout, "<stdout>")
        self.error = stream(partial(self._take, sys.stderr), sys.stderr, "<stderr>")

    def _take(self, beyond: Any, piece: bytes) -> None:
        self.lines += piece.count(b"\n")
        if self.aloud and beyond is not None:
            text = piece.decode("utf-8", "backslashreplace")
            with suppress(OSError, ValueError):  # nobody reads it: no matter of the user's code
                beyond.write(writable(text, beyond.encoding or "utf-8"))
                beyond.flush()


@contextmanager
def unheard(*, aloud: bool = False) -> Iterator[Unheard]:
    """Hold back what the user's code prints and logs; what we `say` to standard error is heard.

    Args:
        aloud: Let it through at first, until the `Unheard` is told otherwise.
    """
    taker = Unheard(aloud=aloud)
    _BEYOND.append(sys.stderr)
    try:
        with standing_in(taker.output, taker.error):
            yield taker
    finally:
        _BEYOND.pop()


def screen_width() -> int:
    """Return the columns of the terminal; where nobody watches, those that reports have."""
    return get_terminal_size().columns if is_watched() else 80


def is_watched() -> bool:
    """Say whether standard output is a terminal; it may be closed."""
    return sys.stdout is not None and sys.stdout.isatty()


def count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
