"""socketserver: http.server, wsgiref and the metrics of prometheus_client wait for callers by it.

Nobody of the system knows its address (`handlers.unvisited`), so `serve_forever` waits until it is
shut down, in one wait and not in one each half second.

Source:
    CPython 3.11 to 3.13, `Lib/socketserver.py`, `BaseServer.serve_forever` and `shutdown`.

Not modelled:
    Callers. `service_actions`, which is called between two looks. A shutdown is heard at once, not
    after `poll_interval`.
"""

from __future__ import annotations

import threading
from typing import Any, Final

from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.handlers.port import current_scope
from chaosharness.handlers.unvisited import is_unvisited

_ENDS: Final = "_BaseServer__is_shut_down"
_ASKED: Final = "_asked_in_run"


def _serve(real: Any, self: Any, poll_interval: float = 0.5) -> None:
    if not is_unvisited(getattr(self, "socket", None)):
        real(self, poll_interval)
        return
    of = current_scope("serve_forever").incarnation
    asked = threading.Event()
    self.__dict__[_ASKED] = of, asked
    getattr(self, _ENDS).clear()
    try:
        asked.wait()
    finally:
        getattr(self, _ENDS).set()


def _shutdown(real: Any, self: Any) -> None:
    of, asked = self.__dict__.get(_ASKED, (None, None))
    if of is not current_scope("shutdown").incarnation:
        real(self)
        return
    asked.set()
    getattr(self, _ENDS).wait()


LIBRARY: Final = Library(
    "socketserver",
    tested=">=3.11",
    seams=(
        Seam("socketserver:BaseServer.serve_forever", ("self", "poll_interval"), _serve),
        Seam("socketserver:BaseServer.shutdown", ("self",), _shutdown),
    ),
)
