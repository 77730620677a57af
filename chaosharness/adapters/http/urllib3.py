"""urllib3, and with it requests, stripe and whatever else is built on it, with its own retries.

Met below the loop that retries (`HTTPConnectionPool.urlopen`), so that `Retry`, its backoff and
what requests makes of each error are the libraries' own.

Source:
    urllib3 2.8.0, `connectionpool.py` (`urlopen`, `_make_request`) and its documentation, "Retrying
    Requests" and "Exceptions"; requests 2.34.2, `adapters.py`.

Not modelled:
    How many connections a pool has; responses that come in pieces; a body that fails half way.
"""

from __future__ import annotations

from http.client import HTTPMessage, RemoteDisconnected
from inspect import signature
from io import BytesIO
from typing import Any, Final

from urllib3 import HTTPConnectionPool, HTTPHeaderDict, HTTPResponse, Timeout
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ReadTimeoutError

from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.adapters.http.asking import Patience, ask
from chaosharness.adapters.http.errors import NoAnswer
from chaosharness.adapters.http.message import Answer, Request

_SPELLED: Final[dict[str, Any]] = (
    {"version_string": "HTTP/1.1"}
    if "version_string" in signature(HTTPResponse.__init__).parameters  # since urllib3 2.2
    else {}
)
_TAKES: Final = (
    *("self", "conn", "method", "url", "body", "headers", "retries", "timeout", "chunked"),
    *("response_conn", "preload_content", "decode_content", "enforce_content_length"),
)


def _make_request(
    real: Any,
    self: HTTPConnectionPool,
    conn: Any,
    method: str,
    url: str,
    body: Any = None,
    headers: Any = None,
    retries: Any = None,
    timeout: Any = None,
    response_conn: Any = None,
    preload_content: bool = True,
    decode_content: bool = True,
    **rest: Any,
) -> HTTPResponse:
    self.num_requests += 1
    limit = self._get_timeout(timeout)
    limit.start_connect()
    connect_s = Timeout.resolve_default_timeout(limit.connect_timeout)
    read_s = Timeout.resolve_default_timeout(limit.read_timeout)
    address = url if "://" in url else f"{self.scheme}://{self.host}:{self.port}{url}"
    sent = Request(method.upper(), address, _headers(headers or self.headers), _bytes(body))
    try:
        answer = ask(sent, Patience(connect_s, read_s), "urllib3")
    except NoAnswer as error:
        raise _error(error, self, conn, url, connect_s, read_s) from None
    fields, content = answer.sent()
    return HTTPResponse(
        BytesIO(b"" if method.upper() == "HEAD" else content),
        headers=HTTPHeaderDict(fields),
        status=answer.status,
        version=11,
        **_SPELLED,
        reason=answer.reason,
        preload_content=preload_content,
        decode_content=decode_content,
        original_response=_Original(answer),  # type: ignore[arg-type]
        pool=self,
        connection=response_conn,
        retries=retries,
        request_method=method,
        request_url=url,
    )


def _error(
    error: NoAnswer, pool: Any, conn: Any, url: str, connect_s: Any, read_s: Any
) -> Exception:
    """Return what urllib3 meets in the place of an answer, below its retries."""
    match error.ended:
        case "connect timeout":
            words = f"Connection to {pool.host} timed out. (connect timeout={connect_s})"
            return _without_address(ConnectTimeoutError(conn, words), _Spelled(_of(conn)), words)
        case "refused":
            words = "Failed to establish a new connection: [Errno 111] Connection refused"
            return _without_address(NewConnectionError(conn, words), f"{_of(conn)}: {words}")
        case "disconnected":
            return RemoteDisconnected("Remote end closed connection without response")
        case _:
            return ReadTimeoutError(pool, url, f"Read timed out. (read timeout={read_s})")


class _Spelled(str):
    """What stands for a connection in an error: its words, without quotes."""

    def __repr__(self) -> str:
        return f"<{self}>"


def _of(conn: Any) -> str:
    return f"{type(conn).__name__}(host={conn.host!r}, port={conn.port})"


def _without_address(error: Exception, *told: str) -> Exception:
    """Have an error say which connection it is of, and not where that lies in memory."""
    error.args = told
    return error


class _Original:
    """What requests reads cookies from: the response of `http.client`."""

    def __init__(self, answer: Answer) -> None:
        self.msg = HTTPMessage()
        for name, value in answer.sent()[0]:
            self.msg[name] = value

    def isclosed(self) -> bool:
        """Say that all of it was read."""
        return True

    def close(self) -> None:
        """There is nothing to close."""


def _headers(given: Any) -> dict[str, str]:
    return {_text(name).lower(): _text(value) for name, value in given.items()}


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _bytes(body: Any) -> bytes:
    """Return a body as bytes: urllib3 takes bytes, text, a file, or pieces of either."""
    if body is None:
        return b""
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    if isinstance(body, str):
        return body.encode()
    if hasattr(body, "read"):
        return _bytes(body.read())
    return b"".join(map(_bytes, body))


def _prepare_proxy(real: Any, self: Any, conn: Any) -> None:
    """Connect to no proxy: what stands behind it is asked at once."""


LIBRARY: Final = Library(
    "urllib3",
    tested=">=2,<3",
    seams=(
        Seam("urllib3:HTTPConnectionPool._make_request", _TAKES, _make_request),
        Seam("urllib3:HTTPSConnectionPool._prepare_proxy", ("self", "conn"), _prepare_proxy),
    ),
)
