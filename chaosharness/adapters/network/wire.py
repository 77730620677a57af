"""What speaks the protocol of a server: bytes in, requests out; and answers as bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

Asked = tuple[str, Mapping[str, Any]]
"""What a client asks for: a method of the third party, and what it is called with, by name."""


class Wire(Protocol):
    """One end of one connection, as the server has it; made anew for each connection.

    It may have three things more. `greeting`: bytes that the server sends first.
    `failed(method, error)`: the bytes that tell a client of an error which the method raised.
    `refused(method)`: the bytes that tell it to come back later; without it the connection is
    reset.
    """

    def asked(self, data: bytes) -> Iterable[Asked]:
        """Take bytes as they arrive, in pieces of any size; give what they ask for by now."""

    def answer(self, method: str, value: Any) -> bytes:
        """Return the bytes that tell a client what a method has returned."""
