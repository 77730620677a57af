"""ASGI applications (FastAPI, Starlette, Quart, Django's): called as a server calls them.

Source:
    ASGI specification 3.0, "HTTP & WebSocket" 2.3 and "Lifespan" 2.0; uvicorn's documentation,
    "Server Behavior": an application that raises before it answers is answered for with 500, one
    that knows no lifespan goes without. The end: uvicorn 0.54, `lifespan/on.py`: it is told once no
    request is in hand, and a shutdown that fails ends the process all the same.

Not modelled:
    WebSockets, HTTP/2, pushes, trailers, answers in pieces (they arrive when they are complete), a
    client that goes away. Lifespan's shutdown comes where the process is told to stop: a crash
    gives no warning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from chaosharness.adapters.http.closing import Closing
from chaosharness.adapters.http.message import Answer, Request
from chaosharness.handlers.places import told
from chaosharness.kernel.scope import SCOPE

_PORTS: Final = {"http": 80, "https": 443}
_CLIENT: Final = ("192.0.2.1", 50_000)
"""From where requests come: an address for documentation (RFC 5737)."""


class Unstarted(Exception):
    """An application's startup failed: it says why."""


class Asgi:
    """One ASGI application, in one incarnation."""

    is_async = True

    def __init__(self, application: Any) -> None:
        self.application = application
        self.state: dict[str, Any] = {}
        self._closing = Closing()

    def close(self, stopped: Callable[[], None]) -> None:
        """Tell the application that it is shut down; `stopped` is called when it has."""
        self._closing.ask(stopped)

    async def lifespan(self, ready: Callable[[], None]) -> None:
        """Start the application, say when it is ready, and stay.

        Raises:
            Unstarted: Its startup failed.
        """
        loop = asyncio.get_running_loop()
        stop = self._closing.expect()
        asked = iter(("lifespan.startup",))

        async def receive() -> dict[str, Any]:
            for kind in asked:
                return {"type": kind}
            await asyncio.shield(stop)
            return {"type": "lifespan.shutdown"}

        failed: list[str] = []

        async def send(message: dict[str, Any]) -> None:
            kind = message["type"]
            if kind == "lifespan.startup.failed":
                failed.append(message.get("message", ""))
            elif kind == "lifespan.startup.complete":
                ready()
            elif kind in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                loop.call_soon(self._closing.has_ended)

        spoken = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}}
        try:
            await self.application({**spoken, "state": self.state}, receive, send)
        except Exception as error:
            if failed:
                raise
            if stop.done():
                note_failure(error)
        if failed:
            raise Unstarted(failed[0])
        if stop.done():
            self._closing.has_ended()
            return
        self._closing.never()
        ready()  # it knows no lifespan, which is its right

    async def answer(self, request: Request, answered: Callable[[Answer], None]) -> None:
        """Answer a request; `answered` is called when the answer is complete, which may be before
        the application is done."""
        complete = asyncio.Event()
        pending = [request.body]
        began: dict[str, Any] = {}
        parts: list[bytes] = []

        async def receive() -> dict[str, Any]:
            if pending:
                return {"type": "http.request", "body": pending.pop(), "more_body": False}
            await complete.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                began.update(message)
                return
            if message["type"] != "http.response.body" or complete.is_set():
                return
            parts.append(bytes(message.get("body", b"")))
            if not message.get("more_body", False):
                complete.set()
                answered(_answer(began, b"".join(parts)))

        await self.application(self._scope(request), receive, send)

    def _scope(self, request: Request) -> dict[str, Any]:
        url = urlsplit(request.url)
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": url.scheme,
            "path": unquote(request.path),
            "raw_path": request.path.encode("ascii"),
            "query_string": request.query.encode("ascii"),
            "root_path": "",
            "headers": [(one.encode(), value.encode()) for one, value in request.sent_headers()],
            "client": _CLIENT,
            "server": (url.hostname, url.port or _PORTS.get(url.scheme, 80)),
            "state": dict(self.state),
        }


def note_failure(error: Exception) -> None:
    """Record what a shutdown has raised: the process ends all the same."""
    scope = SCOPE.get()
    if scope is not None:
        scope.record("raised", scope.place, 1, told(error))


def _answer(began: dict[str, Any], body: bytes) -> Answer:
    headers = [(one.decode("latin-1"), value.decode("latin-1")) for one, value in began["headers"]]
    return Answer(began["status"], body, headers)
