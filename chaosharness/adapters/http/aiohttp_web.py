"""aiohttp.web applications: their own server speaks to a connection in memory.

Source:
    aiohttp 3.10 to 3.14, "Server Deployment", `AppRunner`: `setup` runs the startup, `cleanup` lets
    those in hand end, and runs the shutdown and the clean-up. `web_protocol.py`: a `RequestHandler`
    reads from a transport what a client sends.

Not modelled:
    WebSockets, answers in pieces (they arrive when they are complete), a client that goes away,
    `web.run_app` and the sites of a runner, which listen for real: give the application.
"""

from __future__ import annotations

import asyncio
import io
import logging
import sys
from collections.abc import Callable
from contextvars import ContextVar
from http.client import HTTPResponse
from typing import Any, Final

from chaosharness.adapters.http.asgi import note_failure
from chaosharness.adapters.http.closing import Closing
from chaosharness.adapters.http.message import Answer, Request
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.port import call_off

_SHARED: Final = (
    "env.app got one aiohttp application for several processes, and each has one event loop: "
    "have a function make it, and call that in the service: env.app(site, make_application())"
)
_RAISED: Final[ContextVar[list[BaseException] | None]] = ContextVar("raised", default=None)


def is_aiohttp(application: Any) -> bool:
    """Say whether an application is one of aiohttp's, which is neither ASGI nor WSGI."""
    web = sys.modules.get("aiohttp.web")
    return web is not None and isinstance(application, web.Application)


class AiohttpWeb:
    """One application of aiohttp's, in one incarnation."""

    is_async = True

    def __init__(self, application: Any) -> None:
        web = sys.modules["aiohttp.web"]
        self.runner = web.AppRunner(application, access_log=None, logger=_Log())
        self._closing = Closing()

    def close(self, stopped: Callable[[], None]) -> None:
        """Tell the application that it is shut down; `stopped` is called when it has."""
        self._closing.ask(stopped)

    async def lifespan(self, ready: Callable[[], None]) -> None:
        """Start the application, say when it is ready, and stay.

        Raises:
            InvalidDefinition: Another process has it, and aiohttp lets nobody share one.
        """
        stop = self._closing.expect()
        try:
            await self.runner.setup()
        except RuntimeError as error:
            if "different loop" not in str(error):
                raise
            call_off(InvalidDefinition(_SHARED))
        ready()
        await stop
        try:
            await self.runner.cleanup()
        except Exception as error:
            note_failure(error)
        self._closing.has_ended()

    async def answer(self, request: Request, answered: Callable[[Answer], None]) -> None:
        """Answer a request; `answered` is called when the answer is complete.

        Raises:
            BaseException: What the application raised, and its server has answered for with 500.
        """
        raised: list[BaseException] = []
        _RAISED.set(raised)
        connection = _Connection()
        handler = self.runner.server()
        handler.connection_made(connection)
        handler.data_received(_bytes(request))
        await connection.closed.wait()
        handler.connection_lost(None)
        answered(_answer(request.method, bytes(connection.written)))
        for error in raised:
            raise error


class _Log(logging.LoggerAdapter[logging.Logger]):
    """Where the server tells of an error that it answers for: it is told in the history."""

    def __init__(self) -> None:
        super().__init__(logging.getLogger("aiohttp.server"))

    def exception(self, msg: object, *arguments: object, exc_info: Any = True, **_: Any) -> None:
        error = exc_info if isinstance(exc_info, BaseException) else sys.exc_info()[1]
        raised = _RAISED.get()
        if raised is not None and error is not None:
            raised.append(error)


class _Connection(asyncio.Transport):
    """A connection for one request, which ends when its answer is complete."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 50_000)})
        self.written = bytearray()
        self.closed = asyncio.Event()

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed.is_set()

    def close(self) -> None:
        self.closed.set()

    abort = close

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def _bytes(request: Request) -> bytes:
    target = f"{request.path}?{request.query}" if request.query else request.path
    sent = {**dict(request.sent_headers()), "connection": "close"}
    if "transfer-encoding" not in sent:
        sent.setdefault("content-length", str(len(request.body)))
    lines = [f"{request.method} {target} HTTP/1.1", *(f"{k}: {v}" for k, v in sent.items())]
    return "\r\n".join((*lines, "", "")).encode() + request.body


def _answer(method: str, written: bytes) -> Answer:
    response = HTTPResponse(_Read(written), method=method)  # type: ignore[arg-type]
    response.begin()
    body = response.read()
    left_out = ("connection", "transfer-encoding", "content-length")
    headers = [pair for pair in response.getheaders() if pair[0].lower() not in left_out]
    return Answer(response.status, body, headers)


class _Read:
    """What `http.client` reads an answer from."""

    def __init__(self, written: bytes) -> None:
        self.written = written

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self.written)
