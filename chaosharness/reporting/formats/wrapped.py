"""Values inside of values: what event histories hold as JSON texts, and in base64.

Masks look at fields, so what is wrapped is taken out first and put back afterwards.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["PAYLOAD", "TEXT", "closed", "opened"]

TEXT: Final = "chaosharness: JSON text"
PAYLOAD: Final = "chaosharness: payload"
"""What stands in the place of the wrapping, and holds what was in it."""


def opened(value: Any) -> Any:
    """Return a value with all that is wrapped in it taken out."""
    match value:
        case {"data": str() as data, "metadata": Mapping() as metadata} if len(value) == 2:
            raw = base64.b64decode(data)
            try:
                inside = opened(json.loads(raw))
            except ValueError:
                inside = f"[{len(raw):,} bytes that are no JSON]"
            return {PAYLOAD: inside, "metadata": dict(metadata)}
        case Mapping():
            return {name: opened(item) for name, item in value.items()}
        case list():
            return [opened(item) for item in value]
        case str() if value[:1] in ("{", "["):
            try:
                return {TEXT: opened(json.loads(value))}
            except ValueError:
                return value
        case _:
            return value


def closed(value: Any) -> Any:
    """Wrap again what `opened` has taken out."""
    match value:
        case {"chaosharness: payload": inside, "metadata": metadata}:
            text = json.dumps(closed(inside), separators=(",", ":"), ensure_ascii=False).encode()
            return {"data": base64.b64encode(text).decode(), "metadata": metadata}
        case {"chaosharness: JSON text": inside}:
            return json.dumps(closed(inside), separators=(",", ":"), ensure_ascii=False)
        case Mapping():
            return {name: closed(item) for name, item in value.items()}
        case list():
            return [closed(item) for item in value]
        case _:
            return value
