"""What is declared on a RabbitMQ node, and how that changes while it runs.

Source:
    AMQP 0-9-1 Reference, classes `exchange` and `queue`; RabbitMQ documentation, "Queues",
    "Time-To-Live" ("Queue TTL"), "Consumers". Which refusal, and its words, was observed on 3.10.8.

Not modelled:
    Names that the server makes up; policies; permissions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from chaosharness.machines.machine import Refusal
from chaosharness.machines.rabbitmq.asked import (
    RESERVED,
    reserved,
    system_exchange,
    unknown_exchange_type,
)
from chaosharness.machines.rabbitmq.deaths import Gone
from chaosharness.machines.rabbitmq.exchanges import (
    EXCHANGE_KINDS,
    PREDECLARED,
    Binding,
    ExchangeKind,
    OpenExchange,
    Routes,
)
from chaosharness.machines.rabbitmq.kept import Arguments
from chaosharness.machines.rabbitmq.takers import Channel, OpenQueue
from chaosharness.machines.rabbitmq.versions import Version

ARGUMENTS: Final = {
    "kind": "x-queue-type",
    "dead_letter_exchange": "x-dead-letter-exchange",
    "dead_letter_routing_key": "x-dead-letter-routing-key",
    "dead_letter_strategy": "x-dead-letter-strategy",
    "delivery_limit": "x-delivery-limit",
    "ttl_ms": "x-message-ttl",
    "length_max": "x-max-length",
    "overflow": "x-overflow",
    "priority_max": "x-max-priority",
    "single_active_consumer": "x-single-active-consumer",
    "expires_ms": "x-expires",
}
"""What the arguments of a queue are called on the wire, as far as a declaration compares them."""

UNKNOWN_TO: Final = {
    "classic": {"x-delivery-limit", "x-dead-letter-strategy"},
    "quorum": {"x-max-priority"},
    "stream": {"x-delivery-limit", "x-max-priority", "x-dead-letter-strategy"},
}
"""What a queue of each kind does not compare: it has no such argument."""

TYPES: Final = {int: "signedint", str: "longstr", bool: "bool"}


def no_queue(name: str) -> Refusal:
    """Return what a client is told of a queue that is not there."""
    return Refusal("404", f"NOT_FOUND - no queue '{name}' in vhost '/'")


def internal_exchange(name: str) -> Refusal:
    """Return what a client is told that publishes where only exchanges do."""
    words = f"ACCESS_REFUSED - cannot publish to internal exchange '{name}' in vhost '/'"
    return Refusal("403", words)


def no_exchange(name: str) -> Refusal:
    """Return what a client is told of an exchange that is not there."""
    return Refusal("404", f"NOT_FOUND - no exchange '{name}' in vhost '/'")


DEFAULT_EXCHANGE: Final = Refusal(
    "403", "ACCESS_REFUSED - operation not permitted on the default exchange"
)


class Holder(Protocol):
    """The node, as far as declarations ask."""

    version: Version
    queues: dict[str, OpenQueue]
    may_refuse: bool
    clock: Any
    watcher: Any

    def send_letters(self) -> None:
        """Send what could not be dead-lettered before."""


class Declared:
    """The queues and exchanges of a node: declare, bind, purge, delete. All may be refused.

    Attributes:
        changes: How often something was made or taken away; asking for what is there is none.
    """

    __slots__ = ("_blueprint", "_blueprint_bindings", "_node", "changes", "routes")

    def __init__(
        self, node: Holder, queues: Mapping[str, Arguments], exchanges: Iterable[OpenExchange]
    ) -> None:
        self._node = node
        self._blueprint = queues
        self.changes = 0
        self.routes = Routes()
        for exchange in exchanges:
            self.routes.add(exchange)
        self._blueprint_bindings = [
            (name, binding)
            for name, exchange in self.routes.exchanges.items()
            for binding in exchange.bindings
        ]
        for name, arguments in queues.items():
            if not (arguments.exclusive or arguments.auto_delete):
                self._add(name, arguments, None)
            else:
                self.routes.forget("queue", name)

    # ---- queues

    def found(self, channel: Channel, name: str) -> OpenQueue | Refusal:
        """Return a queue, if it is there and no other connection's own."""
        queue = self._node.queues.get(name)
        if queue is None:
            return no_queue(name)
        if queue.owner is not None and queue.owner is not channel.connection:
            return _locked(name)
        return queue

    def ensure(self, channel: Channel, name: str) -> OpenQueue | Refusal:
        """Declare and bind a queue as its clients do when they connect, unless it is there."""
        if name in self._node.queues or name not in self._blueprint:
            return self.found(channel, name)
        queue = self._add(name, self._blueprint[name], channel)
        for exchange, binding in self._blueprint_bindings:
            if (binding.destination, binding.name) == ("queue", name):
                self.routes.exchanges[exchange].bind(binding)
        self.routes.changed()
        self._node.send_letters()
        return queue

    def queue(
        self, channel: Channel, name: str, arguments: Arguments | None
    ) -> OpenQueue | Refusal:
        """Declare a queue (`queue.declare`); without arguments only ask for it (`passive`)."""
        if name not in self._node.queues:
            if arguments is None:
                return no_queue(name)
            queue = self._add(name, arguments, channel)
            self._node.send_letters()  # those whose exchange is the default one
            return queue
        found = self.found(channel, name)
        if isinstance(found, Refusal):
            return found
        if arguments is not None:
            if (why := inequivalent(name, arguments, found.definition)) is not None:
                return why
            self.used(found)
        return found

    def _add(self, name: str, arguments: Arguments, channel: Channel | None) -> OpenQueue:
        queue = OpenQueue(name, arguments, self._node.version)
        if arguments.exclusive and channel is not None:
            queue.owner = channel.connection
        self._node.queues[name] = queue
        self.changes += 1
        self._node.may_refuse |= arguments.length_max is not None
        self.used(queue)
        return queue

    def used(self, queue: OpenQueue) -> None:
        """Note that a queue is used: its expiry begins anew."""
        expires_ms = queue.definition.expires_ms
        if expires_ms is not None:
            queue.used_ms = self._node.clock()
            self._node.watcher.vanishes(queue, queue.used_ms + expires_ms)

    def purge(self, channel: Channel, name: str) -> int | Refusal:
        """Drop what is ready in a queue; say how much that was. What is in hand stays so."""
        queue = self.found(channel, name)
        if isinstance(queue, Refusal):
            return queue
        dropped = queue.order.clear()
        for copy in dropped:
            self._node.watcher.died(copy, queue, "purged", None, [])
        return len(dropped)

    def delete(
        self, channel: Channel, name: str, *, if_unused: bool = False, if_empty: bool = False
    ) -> int | Refusal:
        """Delete a queue with what is in it; say how much that was. None there is as well."""
        if name not in self._node.queues:
            return 0
        queue = self.found(channel, name)
        if isinstance(queue, Refusal):
            return queue
        if if_empty and len(queue.order):
            return Refusal("406", f"PRECONDITION_FAILED - queue '{name}' in vhost '/' not empty")
        if if_unused and len(queue.takers):
            return Refusal("406", f"PRECONDITION_FAILED - queue '{name}' in vhost '/' in use")
        return self.remove(queue)

    def remove(self, queue: OpenQueue, why: Gone = "deleted") -> int:
        """Take a queue away: its consumers are cancelled, and its messages are dead for nobody."""
        node = self._node
        self.changes += 1
        queue.gone = True
        queue.owner = None
        node.queues.pop(queue.name, None)
        self._let_go(self.routes.forget("queue", queue.name))
        for taker in queue.takers.all():
            taker.channel.takers.remove(taker)
            queue.takers.leave(taker)
            node.watcher.cancelled(taker)
        dropped = queue.order.clear()
        for copy in dropped:
            node.watcher.died(copy, queue, why, None, [])
        return len(dropped)

    # ---- exchanges and bindings

    def exchange(
        self,
        name: str,
        kind: ExchangeKind | None,
        *,
        alternate: str | None = None,
        durable: bool = True,
        auto_delete: bool = False,
        internal: bool = False,
    ) -> OpenExchange | Refusal:
        """Declare an exchange; without a kind only ask for it (`passive`)."""
        found = self.routes.exchanges.get(name)
        if kind is not None and kind not in EXCHANGE_KINDS:
            return unknown_exchange_type(kind)
        if not name:
            return DEFAULT_EXCHANGE
        if found is None:
            if kind is None:
                return no_exchange(name)
            why = None if name in PREDECLARED else reserved("exchange", name)
            if why is not None:
                return why
            found = OpenExchange(
                name,
                kind,
                alternate=alternate,
                durable=durable,
                auto_delete=auto_delete,
                internal=internal,
            )
            self.routes.add(found)
            self.changes += 1
            self.routes.changed()
        elif kind is not None:
            flags = {"durable": durable, "auto_delete": auto_delete, "internal": internal}
            why = other_exchange(found, kind, alternate, flags)
            return found if why is None else why
        return found

    def delete_exchange(self, name: str, *, if_unused: bool = False) -> Refusal | None:
        """Delete an exchange with its bindings. None there is as well."""
        found = self.routes.exchanges.get(name)
        if not name:
            return DEFAULT_EXCHANGE
        if name.startswith(RESERVED):
            return system_exchange(name)
        if found is None:
            return None
        if if_unused and found.bindings:
            return Refusal("406", f"PRECONDITION_FAILED - exchange '{name}' in vhost '/' in use")
        self.routes.discard(name)
        self.changes += 1
        self._let_go(self.routes.forget("exchange", name))
        return None

    def _let_go(self, lost: Iterable[OpenExchange]) -> None:
        """Delete the exchanges that go with their last binding."""
        for exchange in lost:
            if exchange.auto_delete and not exchange.bindings:
                self.delete_exchange(exchange.name)

    def bind(self, channel: Channel, exchange: str, binding: Binding) -> Refusal | None:
        """Bind a queue, or another exchange, to an exchange."""
        if not exchange:
            return DEFAULT_EXCHANGE
        if exchange not in self.routes.exchanges:
            return no_exchange(exchange)
        if (why := self._missing(channel, binding)) is not None:
            return why
        self.changes += self.routes.exchanges[exchange].bind(binding)
        self.routes.changed()
        self._node.send_letters()
        return None

    def unbind(self, channel: Channel, exchange: str, binding: Binding) -> Refusal | None:
        """Take a binding away. None there is as well."""
        if not exchange:
            return DEFAULT_EXCHANGE
        if exchange in self.routes.exchanges:
            found = self.routes.exchanges[exchange]
            if found.unbind(binding):
                self.changes += 1
                self._let_go([found])
            self.routes.changed()
        return None

    def _missing(self, channel: Channel, binding: Binding) -> Refusal | None:
        """Say that what a binding leads to is not there, if it is not."""
        if binding.destination == "exchange":
            known = binding.name in self.routes.exchanges
            return None if known else no_exchange(binding.name)
        queue = self.found(channel, binding.name)
        return queue if isinstance(queue, Refusal) else None

    def forget_transient(self) -> None:
        """Lose the exchanges that are not durable, with the node."""
        for name, exchange in [*self.routes.exchanges.items()]:
            if not exchange.durable:
                self.delete_exchange(name)


def _locked(name: str) -> Refusal:
    return Refusal(
        "405",
        f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{name}' in vhost '/'. "
        "It could be originally declared on another connection or the exclusive property value "
        "does not match that of the original declaration.",
    )


def other_exchange(
    current: OpenExchange, kind: str, alternate: str | None, flags: Mapping[str, bool]
) -> Refusal | None:
    """Say where a declaration differs from the exchange that is there, if it does."""
    what = f"exchange '{current.name}'"
    if kind != current.kind:
        return _differs("type", what, f"received '{kind}' but current is '{current.kind}'")
    for flag, asked in flags.items():
        there = getattr(current, flag)
        if asked != there:
            return _differs(flag, what, _flags(asked, there))
    if alternate != current.alternate:
        return _differs("alternate-exchange", what, _values(alternate, current.alternate))
    return None


def inequivalent(name: str, asked: Arguments, current: Arguments) -> Refusal | None:
    """Say where a declaration differs from the queue that is there, if it does."""
    what = f"queue '{name}'"
    if asked.exclusive != current.exclusive:
        return _locked(name)
    for flag in ("durable", "auto_delete"):
        new, old = getattr(asked, flag), getattr(current, flag)
        if new != old:
            return _differs(flag, what, _flags(new, old))
    mine, theirs = on_the_wire(asked), on_the_wire(current)
    for argument in sorted({*ARGUMENTS.values()} - UNKNOWN_TO[current.kind]):
        new, old = mine.get(argument), theirs.get(argument)
        if new != old:
            return _differs(argument, what, _values(new, old))
    return None


def _differs(argument: str, what: str, words: str) -> Refusal:
    text = f"inequivalent arg '{argument}' for {what} in vhost '/': {words}"
    return Refusal("406", f"PRECONDITION_FAILED - {text}")


def _flags(new: bool, old: bool) -> str:
    return f"received '{str(new).lower()}' but current is '{str(old).lower()}'"


def _values(new: Any, old: Any) -> str:
    if new is None:
        return f"received none but current is the value {_typed(old)}"
    if old is None:
        return f"received the value {_typed(new)} but current is none"
    return f"received '{new}' but current is '{old}'"


def _typed(value: Any) -> str:
    return f"'{value}' of type '{TYPES[type(value)]}'"


def on_the_wire(arguments: Arguments) -> dict[str, Any]:
    """Return the arguments that a client sends to declare a queue, as RabbitMQ calls them.

    What is at its default is left out, as it is by clients, but for the type.
    """
    found = {wire: getattr(arguments, name, None) for name, wire in ARGUMENTS.items()}
    letters = arguments.dead_letters()
    if letters is not None:
        found["x-dead-letter-exchange"], found["x-dead-letter-routing-key"] = letters
    if arguments.overflow == "drop-head":
        found["x-overflow"] = None
    if arguments.dead_letter_strategy == "at-most-once":
        found["x-dead-letter-strategy"] = None
    found["x-single-active-consumer"] = arguments.single_active_consumer or None
    return {name: value for name, value in found.items() if value is not None}
