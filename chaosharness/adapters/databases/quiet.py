"""What a library asks of a database while it sets up a connection: no site, and no event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chaosharness.stores.durable import QUIET


def setting_up(real: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Stand for a function of a library that sets up a connection."""
    token = QUIET.set(True)
    try:
        return real(*arguments, **options)
    finally:
        QUIET.reset(token)
