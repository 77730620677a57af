"""ASGI applications (FastAPI, Starlette, Quart, Django's): called as a server calls them.

Source:
    ASGI specification 3.0, "HTTP & WebSocket" 2.3 and "Lifespan" 2.0; uvicorn's documentation,
    "Server Behavior": an application that raises before it answers is answered for with 500, one
    that knows no lifespan goes without.

Not modelled:
    WebSockets, HTTP/2, pushes, trailers, answers in pieces (they arrive when they are complete), a
    client that goes away. Lifespan's shutdown: a crash gives no warning, and nothing else ends a
    service here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from chaosharness.adapters.http.message import Answer, Request

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

    async def lifespan(self, ready: Callable[[], None]) -> None:
        """Start the application, say when it is ready, and stay.

        Raises:
            Unstarted: Its startup failed.
        """
        never = asyncio.get_running_loop().create_future()
        asked = iter(("lifespan.startup",))

        async def receive() -> dict[str, Any]:
            for kind in asked:
                return {"type": kind}
            return await never  # type: ignore[no-any-return]

        failed: list[str] = []

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "lifespan.startup.failed":
                failed.append(message.get("message", ""))
            if message["type"] == "lifespan.startup.complete":
                ready()

        spoken = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}}
        try:
            await self.application({**spoken, "state": self.state}, receive, send)
        except Exception:
            if failed:
                raise
        if failed:
            raise Unstarted(failed[0])
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


def _answer(began: dict[str, Any], body: bytes) -> Answer:
    headers = [(one.decode("latin-1"), value.decode("latin-1")) for one, value in began["headers"]]
    return Answer(began["status"], body, headers)
