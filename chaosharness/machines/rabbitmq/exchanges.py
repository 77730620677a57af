"""Exchanges: where a message goes, by its routing key or its headers.

Source:
    RabbitMQ 4.3 documentation, "Exchanges", "Exchange to Exchange Bindings", "Alternate
    Exchanges"; AMQP 0-9-1, 3.1.3. Compared with 3.10.8: what `x-match` counts, that a header bound
    without a value asks for its presence, and that an alternate exchange which is not there drops.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, Literal

import attrs

ExchangeKind = Literal["direct", "topic", "fanout", "headers"]
EXCHANGE_KINDS: Final = ("direct", "topic", "fanout", "headers")
PREDECLARED: Final[dict[str, ExchangeKind]] = {
    "amq.direct": "direct",
    "amq.fanout": "fanout",
    "amq.topic": "topic",
    "amq.headers": "headers",
    "amq.match": "headers",
}
"""What is there without anybody's doing."""
Destination = Literal["queue", "exchange"]

MATCHES: Final = ("all", "any", "all-with-x", "any-with-x")
MATCH: Final = "x-match"
WITH_X: Final = "-with-x"


@attrs.frozen
class Binding:
    """What leads from an exchange to a queue, or to another exchange.

    Attributes:
        destination: Whether `name` is a queue or an exchange.
        name: Where it leads.
        key: Binding key; not read by fanout and headers exchanges.
        headers: What a headers exchange compares, with `x-match`.
    """

    destination: Destination
    name: str
    key: str = ""
    headers: Mapping[str, Any] = attrs.field(factory=dict)


class OpenExchange:
    """An exchange with its bindings.

    Attributes:
        auto_delete: Whether it goes with its last binding.
        internal: Whether only other exchanges publish to it.
    """

    __slots__ = ("alternate", "auto_delete", "bindings", "durable", "internal", "kind", "name")

    def __init__(
        self,
        name: str,
        kind: ExchangeKind,
        bindings: Iterable[Binding] = (),
        *,
        alternate: str | None = None,
        durable: bool = True,
        auto_delete: bool = False,
        internal: bool = False,
    ) -> None:
        self.name = name
        self.kind = kind
        self.auto_delete = auto_delete
        self.internal = internal
        self.bindings = list(bindings)
        self.alternate = alternate
        self.durable = durable

    def bind(self, binding: Binding) -> bool:
        """Add a binding; twice is as once. Say whether it was not there."""
        if binding in self.bindings:
            return False
        self.bindings.append(binding)
        return True

    def unbind(self, binding: Binding) -> bool:
        """Take a binding away, if it is there; say whether it was."""
        if binding not in self.bindings:
            return False
        self.bindings.remove(binding)
        return True

    def matching(self, key: str, headers: Mapping[str, Any]) -> Iterator[Binding]:
        """Return the bindings that a message takes."""
        for binding in self.bindings:
            if self._matches(binding, key, headers):
                yield binding

    def _matches(self, binding: Binding, key: str, headers: Mapping[str, Any]) -> bool:
        match self.kind:
            case "fanout":
                return True
            case "direct":
                return binding.key == key
            case "topic":
                return topic_matches(words_of(binding.key), words_of(key))
            case "headers":
                return headers_match(binding.headers, headers)


class Routes:
    """All exchanges of a node, and what is known of ways through them.

    Attributes:
        exchanges: By name.
        open: Those that clients may publish to.
    """

    __slots__ = ("_known", "exchanges", "open")

    def __init__(self) -> None:
        self.exchanges: dict[str, OpenExchange] = {}
        self.open: set[str] = set()
        self._known: dict[tuple[str, str], tuple[str, ...]] = {}

    def add(self, exchange: OpenExchange) -> None:
        """Know an exchange."""
        self.exchanges[exchange.name] = exchange
        if not exchange.internal:
            self.open.add(exchange.name)

    def discard(self, name: str) -> None:
        """Know an exchange no longer."""
        del self.exchanges[name]
        self.open.discard(name)

    def changed(self) -> None:
        """Forget what was known: something was declared, bound or deleted."""
        self._known.clear()

    def queues(self, exchange: str, key: str, headers: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the queues that a message goes to: each once, however many ways lead there."""
        found = self._known.get((exchange, key))
        if found is None:
            queues: dict[str, None] = {}
            by_headers = self._follow(exchange, key, headers, queues)
            found = tuple(queues)
            if not by_headers:
                self._known[exchange, key] = found
        return found

    def _follow(
        self, first: str, key: str, headers: Mapping[str, Any], queues: dict[str, None]
    ) -> bool:
        """Follow all ways from an exchange; say whether headers had a say."""
        by_headers = False
        seen = {first}
        todo = [first]
        while todo:
            exchange = self.exchanges.get(todo.pop(0))
            if exchange is None:
                continue  # an alternate exchange that is not there
            by_headers |= exchange.kind == "headers"
            more: list[str] = []
            found = 0
            for binding in exchange.matching(key, headers):
                found += 1
                if binding.destination == "queue":
                    queues[binding.name] = None
                else:
                    more.append(binding.name)
            if not found and exchange.alternate is not None:
                more.append(exchange.alternate)
            for name in more:
                if name not in seen:
                    seen.add(name)
                    todo.append(name)
        return by_headers

    def forget(self, destination: Destination, name: str) -> list[OpenExchange]:
        """Take away all bindings to a queue or an exchange that is deleted.

        Returns:
            The exchanges that lost some.
        """
        lost = []
        for exchange in self.exchanges.values():
            before = exchange.bindings
            exchange.bindings = [
                one for one in before if (one.destination, one.name) != (destination, name)
            ]
            if len(exchange.bindings) < len(before):
                lost.append(exchange)
        self.changed()
        return lost


def words_of(key: str) -> tuple[str, ...]:
    """Return the words of a routing key: an empty one has none."""
    return tuple(key.split(".")) if key else ()


@lru_cache(maxsize=4096)
def topic_matches(pattern: tuple[str, ...], words: tuple[str, ...]) -> bool:
    """Say whether the words of a routing key match a topic pattern."""
    if not pattern:
        return not words
    first, rest = pattern[0], pattern[1:]
    if first == "#":
        return topic_matches(rest, words) or (bool(words) and topic_matches(pattern, words[1:]))
    return bool(words) and first in ("*", words[0]) and topic_matches(rest, words[1:])


def headers_match(bound: Mapping[str, Any], headers: Mapping[str, Any]) -> bool:
    """Say whether the headers of a message are those that a binding asks for.

    Bound names that begin with `x-` are not compared, unless `x-match` ends in `-with-x`. With
    nothing to compare, `all` matches everything and `any` nothing. A name bound to None asks
    for the header, whatever it is. Values of different types are different.
    """
    match = bound.get(MATCH, "all")
    with_x = match.endswith(WITH_X)
    asked = (
        _same(value, headers[name]) if name in headers else False
        for name, value in bound.items()
        if name != MATCH and (with_x or not name.startswith("x-"))
    )
    return any(asked) if match.startswith("any") else all(asked)


def _same(bound: Any, value: Any) -> bool:
    return bound is None or (type(bound) is type(value) and bool(bound == value))
