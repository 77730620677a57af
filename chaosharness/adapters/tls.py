"""TLS: a context that clients make, and nobody uses inside a run.

Reading the certificates of all authorities takes 50 ms and more (measured: `httpx.Client()`, 56 ms
against 0.07 ms with a ready context). No connection is made in a run, so one context does for all
clients that ask for the same.
"""

from __future__ import annotations

import ssl
from typing import Any, Final

from chaosharness.adapters.dispatch import Library, Seam

_MADE: Final[dict[Any, ssl.SSLContext]] = {}


def _create(
    real: Any,
    purpose: Any = ssl.Purpose.SERVER_AUTH,
    *,
    cafile: Any = None,
    capath: Any = None,
    cadata: Any = None,
) -> ssl.SSLContext:
    key = (purpose, cafile, capath, cadata)
    if key not in _MADE:
        _MADE[key] = real(purpose, cafile=cafile, capath=capath, cadata=cadata)
    return _MADE[key]


LIBRARY: Final = Library(
    "ssl",
    tested=">=3.11",
    seams=(Seam("ssl:create_default_context", ("purpose", "cafile", "capath", "cadata"), _create),),
)
