"""What is printed, on a terminal and through a pipe; and what of the user's is not."""

from __future__ import annotations

import io
import sys
from shutil import get_terminal_size
from typing import Final

import click


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text, with plainer signs where the stream cannot hold those of a report."""
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    click.echo(writable(text, encoding), err=err, nl=nl)


def put(text: str, *, nl: bool = True) -> None:
    """Print what becomes a file, letter for letter: in UTF-8 where the stream has less."""
    plain = writable(text, sys.stdout.encoding or "utf-8") == text
    click.echo(text if plain else text.encode(), nl=nl)


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


class Unheard(io.TextIOBase):
    """Takes what the user's code prints during thousands of runs, and counts the lines."""

    def __init__(self) -> None:
        self.lines = 0

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        self.lines += text.count("\n")
        return len(text)


def screen_width() -> int:
    """Return the columns of the terminal; where nobody watches, those that reports have."""
    return get_terminal_size().columns if sys.stdout.isatty() else 80


def count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
