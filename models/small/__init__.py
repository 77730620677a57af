"""Small models, one for each way to write a handler, each right and with broken twins.

`trip` is plain code with its own main loop, `tickets` uses asyncio, `cashier` trio, `wallet`
SQLAlchemy, and `watchers` is two services that answer each other.
"""

from __future__ import annotations

from typing import Any, Final

PATIENT: Final[dict[str, Any]] = {"on_error": "dead-letter", "retries_max": 50}
"""How to consume: what still raises after three quarters of an hour will do so for ever."""
