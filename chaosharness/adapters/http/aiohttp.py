"""aiohttp's client: `ClientSession`, with its own time-outs, redirects, cookies and middlewares.

A request gets no connection, and is sent as a whole.

Source:
    aiohttp 3.14, `client.py` (`_request`: which errors it asks again after), `client_reqrep.py` and
    `client_exceptions.py`; documentation, "Client exceptions" and "Timeouts".

Not modelled:
    Limits of a connector, `ws_connect`, trace hooks of connections, progress of uploads, answers in
    pieces. The time to get a connection from a pool.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import Any, Final

import aiohttp
from aiohttp import ClientRequest, ClientResponse, StreamReader
from aiohttp.base_protocol import BaseProtocol
from multidict import CIMultiDict, CIMultiDictProxy

from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.adapters.http.asking import Patience, ask_later
from chaosharness.adapters.http.errors import NoAnswer
from chaosharness.adapters.http.message import Answer, Request

_CONNECT_TIMEOUT: Final = getattr(aiohttp, "ConnectionTimeoutError", aiohttp.ServerTimeoutError)
_READ_TIMEOUT: Final = getattr(aiohttp, "SocketTimeoutError", aiohttp.ServerTimeoutError)
_TAKEN: Final = frozenset(inspect.signature(ClientResponse.__init__).parameters)
_SENDS_A_BODY: Final = ("POST", "PUT", "PATCH")


class _Protocol:
    """What stands for the protocol of a connection: it is told the parameters of the response."""

    upgraded = False

    def set_response_params(self, **options: Any) -> None:
        """They are the client's own affair."""


class _Connection:
    """What stands for a connection: nothing is kept of it."""

    transport = asyncio.Transport()  # of which nothing is known

    def __init__(self, connector: Any, timeout: Any) -> None:
        self.connector = connector
        self.timeout = timeout
        self.protocol = _Protocol()

    def close(self) -> None:
        """There is nothing to close."""

    release = close


class _Writer:
    """Takes a body."""

    output_size = 0

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    async def write(self, chunk: Any) -> None:
        """Take a piece."""
        self.parts.append(bytes(chunk))

    async def write_eof(self, chunk: Any = b"") -> None:
        """Take the last piece."""
        self.parts.append(bytes(chunk))


async def _connect(real: Any, self: Any, req: Any, traces: Any, timeout: Any) -> Any:
    return _Connection(self, timeout)


async def _send(real: Any, self: ClientRequest, conn: Any) -> ClientResponse:
    headers = {name.lower(): value for name, value in self.headers.items()}
    if self.method in _SENDS_A_BODY:
        headers.setdefault("content-type", "application/octet-stream")
    body = await _body(self)
    limits = conn.timeout
    patience = Patience(limits.sock_connect or limits.connect, limits.sock_read)
    try:
        request = Request(self.method, str(self.url), headers, body)
        answer = await ask_later(request, patience, "aiohttp")
    except NoAnswer as error:
        raise _error(error, self) from None
    return _response(self, answer)


async def _body(request: Any) -> bytes:
    body = request.body
    if isinstance(body, bytes | bytearray):
        return bytes(body)
    writer = _Writer()
    if body:
        await body.write(writer)
    return b"".join(writer.parts)


def _error(error: NoAnswer, request: ClientRequest) -> Exception:
    match error.ended:
        case "connect timeout":
            return _CONNECT_TIMEOUT(f"Connection timeout to host {request.url}")
        case "refused":
            refused = OSError(111, "Connect call failed")
            return aiohttp.ClientConnectorError(request.connection_key, refused)
        case "disconnected":
            return aiohttp.ServerDisconnectedError()
        case "given up":
            return aiohttp.ClientOSError(110, "Connection timed out")
        case _:
            return _READ_TIMEOUT("Timeout on reading data from socket")


def _response(request: Any, answer: Answer) -> ClientResponse:
    loop = request.loop
    options = {
        "writer": None,
        "continue100": None,
        "timer": request._timer,
        "request_info": request.request_info,
        "traces": request._traces,
        "loop": loop,
        "session": request._session,
        "stream_writer": _Writer(),
    }
    taken = {name: value for name, value in options.items() if name in _TAKEN}
    made: Any = request.response_class(request.method, request.original_url, **taken)
    fields, content = answer.sent()

    async def start(connection: Any) -> Any:
        made._closed = False
        made._connection = connection
        made.version = aiohttp.HttpVersion11
        made.status, made.reason = answer.status, answer.reason
        made._headers = CIMultiDictProxy(CIMultiDict(fields))
        made._raw_headers = tuple((name.encode(), value.encode()) for name, value in fields)
        made._raw_cookie_headers = tuple(made._headers.getall("set-cookie", ())) or None
        if made._raw_cookie_headers:
            for value in made._raw_cookie_headers:
                made.cookies.load(value)
        made.content = reader = StreamReader(BaseProtocol(loop), 2**16, loop=loop)
        if request.method != "HEAD":
            reader.feed_data(content)
        reader.on_eof(made._response_eof)
        reader.feed_eof()
        return made

    made.start = start
    return made  # type: ignore[no-any-return]


LIBRARY: Final = Library(
    "aiohttp",
    tested=">=3.10,<4",
    seams=(
        Seam("aiohttp:BaseConnector.connect", ("self", "req", "traces", "timeout"), _connect),
        Seam("aiohttp:ClientRequest.send", ("self", "conn"), _send),
    ),
)
