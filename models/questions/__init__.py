"""Eight questions that teams argue about, each a small system that answers by running.

Each file has a `right` system and a broken one; `docs/explanation/questions.md` shows what they
print.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

PATIENT: Final[dict[str, Any]] = {"on_error": "dead-letter", "retries_max": 50}
"""How to consume: what still raises after three quarters of an hour will do so for ever."""


class Order(Struct, frozen=True):
    """What all of them are about."""

    id: str
    sku: str = "book"
    cents: int = 500
