"""Values as the numbers and texts in them, each by its path; and what differs between two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what a plain value is made of: `("lines[0].cents", 500)`."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from leaves(item, f"{path}.{name}" if path else str(name))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}[{index}]")
    else:
        yield path, value


def lost(before: Any, after: Any) -> dict[str, Any]:
    """Return what a value had and the same value, seen otherwise, has not: by path.

    What is there under another name that was not there before was renamed, and is not lost.
    """
    old, new = dict(leaves(before)), dict(leaves(after))
    renamed = [value for path, value in new.items() if path not in old]
    return {path: value for path, value in old.items() if path not in new and value not in renamed}


def defaults_of(schema: Any) -> dict[str, Any]:
    """Return the defaults that a JSON Schema of an object names, by the names of its fields."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        schema = (schema.get("$defs") or schema.get("definitions") or {}).get(name, {})
    found = schema.get("properties", {})
    return {
        name: one["default"]
        for name, one in found.items()
        if isinstance(one, Mapping) and "default" in one
    }
