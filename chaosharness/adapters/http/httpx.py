"""httpx: `Client` and `AsyncClient`, at their own transports.

A transport of the user's own (`MockTransport`, `ASGITransport`) is left alone.

Source:
    httpx documentation, "Exceptions", "Timeouts", "Transports" (`retries` of `HTTPTransport` is for
    connections only), and its source, 0.28.1, `_transports/default.py`; httpcore 1.0.9,
    `_sync/connection.py` (retries wait 0, 0.5, 1, 2, ... seconds).

Not modelled:
    Limits of pools, `PoolTimeout`, `WriteTimeout`, HTTP/2. A read time-out is one for the whole
    answer, which comes in one piece.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import httpx

from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.adapters.http.asking import Patience, ask, ask_later
from chaosharness.adapters.http.errors import Errors, NoAnswer
from chaosharness.adapters.http.message import Answer, Request
from chaosharness.handlers.port import sleep
from chaosharness.handlers.recall import nth_time

_ERRORS: Final[Errors] = {
    "connect timeout": httpx.ConnectTimeout,
    "read timeout": httpx.ReadTimeout,
    "refused": httpx.ConnectError,
    "disconnected": httpx.RemoteProtocolError,
    "given up": httpx.ReadError,
}
_NO_CONNECTION: Final = ("connect timeout", "refused")


def _handle(real: Any, self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
    assert isinstance(request.stream, httpx.SyncByteStream)
    sent, patience = _read(request, b"".join(request.stream))
    for number, wait_s in enumerate(_waits(self)):
        try:
            return _response(ask(sent, patience, "httpx"))
        except NoAnswer as error:
            if error.ended not in _NO_CONNECTION or wait_s is None:
                raise _ERRORS[error.ended](str(error)) from None
            sleep(wait_s, nth_time, (sys._getframe(1), number), blocking=True)
    raise AssertionError("the last wait is none")


async def _handle_later(
    real: Any, self: httpx.AsyncHTTPTransport, request: httpx.Request
) -> httpx.Response:
    assert isinstance(request.stream, httpx.AsyncByteStream)
    sent, patience = _read(request, b"".join([part async for part in request.stream]))
    for number, wait_s in enumerate(_waits(self)):
        try:
            return _response(await ask_later(sent, patience, "httpx"))
        except NoAnswer as error:
            if error.ended not in _NO_CONNECTION or wait_s is None:
                raise _ERRORS[error.ended](str(error)) from None
            await sleep(wait_s, nth_time, (sys._getframe(1), number))
    raise AssertionError("the last wait is none")


def _waits(transport: Any) -> list[float | None]:
    """Return how long a transport waits after each failed connection; None is the last one."""
    times = getattr(transport._pool, "_retries", 0)
    return [*(0.0 if one == 0 else 0.5 * 2 ** (one - 1) for one in range(times)), None]


def _read(request: httpx.Request, body: bytes) -> tuple[Request, Patience]:
    headers = {name.lower(): value for name, value in request.headers.items()}
    timeout = request.extensions.get("timeout", {})
    patience = Patience(timeout.get("connect"), timeout.get("read"))
    return Request(request.method, str(request.url), headers, body), patience


def _response(answer: Answer) -> httpx.Response:
    headers, body = answer.sent()
    extensions = {"http_version": b"HTTP/1.1", "reason_phrase": answer.reason.encode()}
    return httpx.Response(
        answer.status,
        headers=headers,
        stream=httpx.ByteStream(body),
        extensions=extensions,
    )


def _no_proxies(real: Any) -> dict[str, str | None]:
    """Return no proxy: hosts of a run are asked as they are, whatever this machine's variables say.

    Each client looks through all of them when it is made, and `httpx.post` makes one.
    """
    return {}


LIBRARY: Final = Library(
    "httpx",
    tested=">=0.27,<0.29",
    seams=(
        Seam("httpx:HTTPTransport.handle_request", ("self", "request"), _handle),
        Seam("httpx:AsyncHTTPTransport.handle_async_request", ("self", "request"), _handle_later),
        Seam("httpx._client:get_environment_proxies", (), _no_proxies),
    ),
)
