"""Values as they are compared: parsed, walked through, spelled."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from chaosharness.checkers.masking import STAR

Path = tuple[str, ...]
"""Where in a row or a message a value is: names of columns and fields, `[]` for a list."""

IN_A_LIST: Final = "[]"


def parse(value: Any) -> Any:
    """Return a value with its bytes as text and its JSON read."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if isinstance(value, str) and value[:1] in ("{", "["):
        return _read(value)
    return value


@lru_cache(maxsize=8192)
def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield every plain value within a value, with the path to it."""
    value = parse(value)
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield from leaves(one, (*path, str(name)))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from leaves(one, (*path, IN_A_LIST))
    else:
        yield path, value


def is_number(value: Any) -> bool:
    """Say whether a value is a number, and not a yes or no."""
    return type(value) in (int, float)


def is_record(masked: Any) -> bool:
    """Say whether a masked value was a mapping: pairs of a name and a value."""
    return isinstance(masked, tuple) and all(
        isinstance(one, tuple) and len(one) == 2 and isinstance(one[0], str) for one in masked
    )


def masked_leaves(masked: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield every plain value within a masked value, with the path to it."""
    if isinstance(masked, tuple):
        record = is_record(masked)
        for one in masked:
            name, inner = one if record else (IN_A_LIST, one)
            yield from masked_leaves(inner, (*path, name))
    else:
        yield path, masked


def words_of(row: Any) -> Iterator[str]:
    """Yield the texts in a masked row: the words in which a system says what it decided.

    The names of its columns decide nothing; those within a document may.
    """
    for value in [one for _, one in row] if is_record(row) else [row]:
        yield from texts(value)


def texts(masked: Any) -> Iterator[str]:
    """Yield the texts in a masked value."""
    if isinstance(masked, str):
        yield masked
    elif isinstance(masked, tuple):
        for one in masked:
            yield from texts(one)


def spelled(masked: Any) -> str:
    """Spell a masked value, without what was not compared."""
    if is_record(masked) and masked:
        inner = ", ".join(f"{name}={spelled(one)}" for name, one in masked if one != STAR)
        return f"({inner})"
    if isinstance(masked, tuple):
        return f"[{', '.join(map(spelled, masked))}]"
    return masked if isinstance(masked, str) else repr(masked)
