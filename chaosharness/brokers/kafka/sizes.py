"""How many bytes a record is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from chaosharness.brokers.message import Message

OVERHEAD: Final = 36
"""Bytes of a record beside its key, value and headers, at most (librdkafka's `MAX_OVERHEAD`)."""


def size_of(key: str | bytes | None, headers: Mapping[str, str] | None, body: bytes | None) -> int:
    """Return the bytes of a record with all that it carries."""
    words = [key, *(headers or {}), *(headers or {}).values()]
    rest = sum(len(one.encode() if isinstance(one, str) else one or b"") for one in words)
    return OVERHEAD + rest + len(body or b"")


def size_of_stored(one: Message) -> int:
    """Return the bytes of a record that a log has."""
    return size_of(one.key, one.headers, one.body)
