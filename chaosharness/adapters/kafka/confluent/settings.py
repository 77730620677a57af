"""The configuration of a client: a dict of librdkafka's properties, and options beside it."""

from __future__ import annotations

from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.serialization import MessageField, SerializationContext

from chaosharness.adapters.kafka.confluent.message import refusal

_WORDS: Final = {"true": True, "false": False, "t": True, "f": False, "1": True, "0": False}
_LAST: Final = "chaosharness.asks.no.more"
"""No property of librdkafka's: where nothing else is wrong, this is refused, and no client made."""
REALS: Final[dict[str, Any]] = {}
"""The library's own classes, by their names."""
_FIELDS: Final = {"key": MessageField.KEY, "value": MessageField.VALUE}


class Settings:
    """What a client was given.

    Args:
        kind: The client's class.
        given: Its positional arguments: a dict, or nothing.
        options: Its named ones, and with them `config`, the name of the first in later versions.
        own: Properties that its Python class has for itself.

    Raises:
        KafkaException: There is no such property, or it cannot be that.
        ValueError: A consumer has no group.
    """

    def __init__(
        self,
        kind: str,
        given: tuple[Any, ...],
        options: dict[str, Any],
        own: tuple[str, ...] = (),
    ) -> None:
        if len(given) > 1 or (given and not isinstance(given[0], dict)):
            raise TypeError("expected configuration dict")
        self._kind = kind
        self._found = {**(given[0] if given else {}), **options}
        self._found.update(self._found.pop("config", None) or {})
        self._check(own)
        if "bootstrap.servers" not in self._found and "metadata.broker.list" in self._found:
            self._found["bootstrap.servers"] = self._found["metadata.broker.list"]

    def _check(self, own: tuple[str, ...]) -> None:
        """Have librdkafka read the properties, one after the other, and make nothing of them."""
        found = {name: value for name, value in self._found.items() if name not in own}
        try:
            REALS[self._kind]({**found, _LAST: ""})
        except KafkaException as error:
            if _LAST not in str(error):
                raise

    def get(self, name: str, default: Any = None) -> Any:
        """Return a property as it was given."""
        return self._found.get(name, default)

    def number(self, name: str, default: float) -> float:
        """Return a property that is a number.

        Raises:
            KafkaException: It is none.
        """
        value = self._found.get(name, default)
        try:
            return float(value)
        except (TypeError, ValueError):
            raise self.wrong(name, value) from None

    def flag(self, name: str, default: bool) -> bool:
        """Return a property that is true or false.

        Raises:
            KafkaException: It is neither.
        """
        value = self._found.get(name, default)
        if isinstance(value, bool):
            return value
        found = _WORDS.get(str(value).lower())
        if found is None:
            raise self.wrong(name, value)
        return found

    def wrong(self, name: str, value: Any) -> Exception:
        """Return what the client raises where a property cannot be that."""
        words = f'Invalid value "{value}" for configuration property "{name}"'
        return refusal(KafkaError._INVALID_ARG, words)

    def serialized(self, which: str, value: Any, topic: str, headers: Any) -> Any:
        """Return a key or a value as a serializer or deserializer of the configuration makes it."""
        for name in (f"{which}.serializer", f"{which}.deserializer"):
            change = self._found.get(name)
            if change is not None:
                return change(value, SerializationContext(topic, _FIELDS[which], headers))
        return value
