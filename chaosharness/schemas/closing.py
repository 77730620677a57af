"""What a class writes, as a JSON Schema: its fields and no others, where it reads others too."""

from __future__ import annotations

from typing import Any


def closed(schema: Any, *, whole: bool) -> Any:
    """Return a schema with each object that has properties closed.

    Args:
        schema: As a library gives it for a class: what its reader accepts.
        whole: Whether a writer leaves no field out.
    """
    if isinstance(schema, list):
        return [closed(one, whole=whole) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {
        name: value
        if name in ("default", "const", "enum", "examples", "required")
        else closed(value, whole=whole)
        for name, value in schema.items()
    }
    if isinstance(schema.get("properties"), dict) and schema.get("type", "object") == "object":
        found.setdefault("additionalProperties", False)
        if whole:
            found["required"] = [*schema["properties"]]
    return found
