"""A record as confluent-kafka hands it out, and what it says when something is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException

from chaosharness.adapters.unmodelled import not_modelled

LIBRARY = "confluent-kafka"


def refusal(code: int, words: str) -> KafkaException:
    """Return what the client raises."""
    return KafkaException(KafkaError(code, words))


def pairs_of(headers: Any) -> list[tuple[str, bytes | None]] | None:
    """Return headers as the client hands them out: names with bytes."""
    if not headers:
        return None
    found = headers.items() if isinstance(headers, Mapping) else headers
    return [(name, one.encode() if isinstance(one, str) else one) for name, one in found]


class Message:
    """A record, as `confluent_kafka.Message` shows it: everything by a call."""

    def __init__(
        self,
        topic: str,
        *,
        partition: int = 0,
        offset: int | None = None,
        key: Any = None,
        value: Any = None,
        headers: Any = None,
        timestamp_ms: int | None = None,
        error: KafkaError | None = None,
    ) -> None:
        self._topic = topic
        self._partition = partition
        self._offset = offset
        self._key = key
        self._value = value
        self._headers = headers
        self._timestamp_ms = timestamp_ms
        self._error = error

    @property  # type: ignore[misc]  # as doubles do it
    def __class__(self) -> Any:
        """Pass for a message of the library's own."""
        return confluent_kafka.Message

    def __len__(self) -> int:
        return 0 if self._value is None else len(self._value)

    def __getattr__(self, name: str) -> Any:
        not_modelled(LIBRARY, "Message", name)

    def topic(self) -> str:
        """Return its topic."""
        return self._topic

    def partition(self) -> int:
        """Return its log partition."""
        return self._partition

    def offset(self) -> int | None:
        """Return where it stands there."""
        return self._offset

    def key(self) -> Any:
        """Return its key, as bytes unless a deserializer made something else of it."""
        return self._key

    def value(self) -> Any:
        """Return its value, as bytes unless a deserializer made something else of it."""
        return self._value

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        """Return its headers, None where it has none."""
        return pairs_of(self._headers)

    def timestamp(self) -> tuple[int, int]:
        """Return when it was produced, in milliseconds."""
        if self._timestamp_ms is None:
            return confluent_kafka.TIMESTAMP_NOT_AVAILABLE, 0
        return confluent_kafka.TIMESTAMP_CREATE_TIME, self._timestamp_ms

    def error(self) -> KafkaError | None:
        """Return what became of it, where it is no record."""
        return self._error

    def set_key(self, key: Any) -> None:
        """Have another key from here on."""
        self._key = key

    def set_value(self, value: Any) -> None:
        """Have another value from here on."""
        self._value = value

    def set_headers(self, headers: Any) -> None:
        """Have other headers from here on."""
        self._headers = headers
