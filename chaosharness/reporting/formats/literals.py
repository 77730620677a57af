"""Plain values as Python code."""

from __future__ import annotations

import math
from typing import Any


def literal(value: Any, *, width: int = 88, indent: int = 0) -> str:
    """Spell a plain value as Python code, over several lines where one is too short.

    Args:
        value: What JSON can hold.
        width: Columns of a line, unless a single text is longer.
        indent: Columns that are taken already.
    """
    short = _short(value)
    if len(short) + indent <= width or not isinstance(value, (dict, list, tuple)) or not value:
        return short
    inside = indent + 4
    space = " " * inside
    if isinstance(value, dict):
        rows = [
            f"{space}{_short(name)}: {literal(item, width=width - 1, indent=inside)},"
            for name, item in value.items()
        ]
        return "\n".join(["{", *rows, f"{' ' * indent}}}"])
    rows = [f"{space}{literal(item, width=width - 1, indent=inside)}," for item in value]
    return "\n".join(["[", *rows, f"{' ' * indent}]"])


def _short(value: Any) -> str:
    match value:
        case str():
            return text(value)
        case float() if not math.isfinite(value):
            return f'float("{value}")'
        case dict():
            items = (f"{_short(name)}: {_short(item)}" for name, item in value.items())
            return f"{{{', '.join(items)}}}"
        case list() | tuple():
            return f"[{', '.join(map(_short, value))}]"
        case _:
            return repr(value)


def text(value: str) -> str:
    """Spell text as a literal, with double quotation marks where that needs no escapes."""
    spelled = repr(value)
    if spelled[0] == "'" and '"' not in value:
        return f'"{spelled[1:-1]}"'
    return spelled
