"""What processes say to each other: plain values in msgpack, which cannot run code."""

from __future__ import annotations

from typing import Any, Final

import msgspec

Faults = list[dict[str, Any]]
"""The faults of a schedule as plain values."""

END: Final = b""
"""A message that tells a worker to end."""


class Brief(msgspec.Struct, frozen=True):
    """What a process must know that shares no memory with the one that searches.

    Attributes:
        target: Where the system is found, as `module:attribute`.
        claims: Names of the claims to judge; None for those that are judged by default.
        items: The workload as plain values.
        types: The names of their types, where these differ.
        marks: Whether to say what a run was like.
        calm: The digest of the calm run, which must be the same there.
    """

    target: str
    claims: tuple[str, ...] | None
    items: tuple[Any, ...]
    types: tuple[str, ...] = ()
    marks: bool = False
    calm: str = ""


class Units(msgspec.Struct, array_like=True):
    """Some units of one batch: the place of each in it, and its faults."""

    batch: int
    units: list[tuple[int, Faults]]


class Answer(msgspec.Struct, array_like=True, omit_defaults=True):
    """What became of one unit.

    Attributes:
        batch: The number of the batch it is of.
        place: Its place there, from 0.
        marks: What the run showed (see `Wire`); empty if it could not be made or judged.
        error: Why not.
        printed: What the code under test printed.
    """

    batch: int
    place: int
    marks: bytes = b""
    error: str = ""
    printed: str = ""


class Farewell(msgspec.Struct, array_like=True):
    """What a worker says last; and first, when it is ready or cannot begin.

    Attributes:
        trouble: Why it cannot do units; empty if it can.
        index, differs, survived: What differed when it made the calm run at its end once more.
    """

    trouble: str = ""
    index: int = -1
    differs: str = ""
    survived: tuple[str, ...] = ()
