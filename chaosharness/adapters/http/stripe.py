"""stripe: its requests go through requests (or httpx, in `async` code), which are met themselves.

It tells its server what machine it runs on. Python asks a child process for that, once in a
process: it is asked before any run.

Source:
    stripe-python 16.1.0, `_http_client.py` (retries, idempotency keys, which HTTP client it takes)
    and `_api_requestor.py` (`platform.platform()`).
"""

from __future__ import annotations

import platform
from typing import Final

from chaosharness.adapters.dispatch import Library

LIBRARY: Final = Library("stripe", tested=">=11,<17", warm=platform.platform)
