"""WSGI applications (Flask, Django, Bottle, Pyramid): called as a server with threads calls them.

Each request runs by itself, as plain code that stops at ports, and has values of `threading.local`
that no other has.

Source:
    PEP 3333.

Not modelled:
    How many threads or workers there are: a request never waits for one. Answers in pieces arrive
    when they are complete; `close()` of an answer is called after that.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import ContextVar
from io import BytesIO, StringIO
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from chaosharness.adapters.http.message import Answer, Request
from chaosharness.handlers.threads import SERVED

_RAISED: ContextVar[list[BaseException] | None] = ContextVar("chaosharness.raised", default=None)
"""What the request in hand raised."""


def note_raised(sender: Any = None, exception: BaseException | None = None, **_: Any) -> None:
    """Take note of an error that a framework answers for with 500: Flask's signal, and Django's."""
    raised, error = _RAISED.get(), exception or sys.exc_info()[1]
    if raised is not None and error is not None:
        raised.append(error)


class Wsgi:
    """One WSGI application, in one incarnation."""

    is_async = False

    def __init__(self, application: Any) -> None:
        self.application = application

    def answer(self, request: Request, answered: Callable[[Answer], None]) -> None:
        """Answer a request; `answered` is called when the answer is complete."""
        with SERVED.serving():
            self._answer(request, answered)

    def _answer(self, request: Request, answered: Callable[[Answer], None]) -> None:
        began: list[Any] = []

        def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
            began[:] = [status, list(headers)]
            return parts.append

        parts: list[bytes] = []
        raised: list[BaseException] = []
        _RAISED.set(raised)
        result = self.application(_environ(request), start_response)
        try:
            parts.extend(result)
            status, headers = began
            answered(Answer(int(status.split(" ", 1)[0]), b"".join(parts), headers))
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()
        for error in raised:
            raise error  # its framework has answered for it


def _environ(request: Request) -> dict[str, Any]:
    url = urlsplit(request.url)
    port = url.port or (443 if url.scheme == "https" else 80)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(request.path).decode("latin-1"),
        "QUERY_STRING": request.query,
        "SERVER_NAME": url.hostname or "",
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": url.scheme,
        "wsgi.input": BytesIO(request.body),
        "wsgi.errors": StringIO(),  # errors are told by the history, and a search meets thousands
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in request.sent_headers():
        key = name.upper().replace("-", "_")
        own = key in ("CONTENT_TYPE", "CONTENT_LENGTH")
        environ[key if own else f"HTTP_{key}"] = value
    return environ
