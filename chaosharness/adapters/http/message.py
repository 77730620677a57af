"""A request and its answer, as every client library and every application means them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import attrs
import msgspec

from chaosharness.brokers.message import encode_json

FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"
FAILED: Final = 400
"""From here on a status says no."""

_PORTS: Final = {"http": 80, "https": 443}


@attrs.frozen
class Request:
    """What a client sends.

    Attributes:
        method: In capitals.
        url: Whole, with its query.
        headers: By their names in lower case; of several with one name, joined by commas.
        body: As bytes.
    """

    method: str
    url: str
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = b""

    @property
    def host(self) -> str:
        """The host's name, with its port if that is not the usual one."""
        parts = urlsplit(self.url)
        port = parts.port
        own = "" if port is None or port == _PORTS.get(parts.scheme) else f":{port}"
        return f"{parts.hostname or ''}{own}"

    @property
    def path(self) -> str:
        """The path, without its query."""
        return urlsplit(self.url).path or "/"

    @property
    def query(self) -> str:
        """What follows the question mark."""
        return urlsplit(self.url).query

    def __str__(self) -> str:
        return f"{self.method} {self.url.partition('?')[0]}"

    def sent_headers(self) -> list[tuple[str, str]]:
        """Return the headers as a server gets them: with the host, and the length of the body."""
        headers = {"host": self.host, **self.headers}
        if self.body:
            headers["content-length"] = str(len(self.body))
        return list(headers.items())

    def fields(self) -> dict[str, Any]:
        """Return what the query and the body hold, by name; `{}` of a body that has no names."""
        found = nested(parse_qsl(self.query, keep_blank_values=True))
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == FORM:
            found |= nested(parse_qsl(self.body.decode(), keep_blank_values=True))
        elif self.body:
            read = msgspec.json.decode(self.body)
            found |= read if isinstance(read, dict) else {"body": read}
        return found


@attrs.frozen
class Answer:
    """What comes back. A third party's method may return one, for a status of its own.

    Attributes:
        status: 200 to 599.
        body: What is sent: bytes as they are, text as text, None as nothing, the rest as JSON.
        headers: By name, or as pairs where one comes more than once.
    """

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = ()

    @property
    def reason(self) -> str:
        """The words that belong to the status."""
        try:
            return HTTPStatus(self.status).phrase
        except ValueError:
            return ""

    def sent(self) -> tuple[list[tuple[str, str]], bytes]:
        """Return the headers and the bytes that go over the line."""
        body, kind = _encoded(self.body)
        given = self.headers.items() if isinstance(self.headers, Mapping) else self.headers
        headers = [(name.lower(), value) for name, value in given]
        there = {name for name, _ in headers}
        if kind and "content-type" not in there:
            headers.append(("content-type", kind))
        if "content-length" not in there:
            headers.append(("content-length", str(len(body))))
        return headers, body


def _encoded(body: Any) -> tuple[bytes, str]:
    match body:
        case None:
            return b"", ""
        case bytes():
            return body, "application/octet-stream"
        case str():
            return body.encode(), "text/plain; charset=utf-8"
        case _:
            return encode_json(body, "an answer"), JSON


def nested(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Return fields of a form by name; `metadata[order]` is `order` inside `metadata`.

    Source:
        Stripe API reference, "Metadata" and "Expanding objects": nested fields in brackets, lists
        as `expand[]` or `expand[0]`.
    """
    found: dict[str, Any] = {}
    for name, value in pairs:
        first, *inner = name.replace("]", "").split("[")
        inside = found
        for step in inner:
            inside = inside.setdefault(first, {})
            if not isinstance(inside, dict):  # a name that is both a value and holds others
                break
            first = step or str(len(inside))
        else:
            inside[first] = value
    return {name: _listed(value) for name, value in found.items()}


def _listed(value: Any) -> Any:
    """Return what is numbered from 0 as a list."""
    if not isinstance(value, dict):
        return value
    inside = {name: _listed(one) for name, one in value.items()}
    if list(inside) == [str(number) for number in range(len(inside))]:
        return list(inside.values())
    return inside
