"""Declaring, binding, purging and deleting while the system runs: a channel of its own for it.

Source:
    AMQP 0-9-1 Reference, classes `exchange` and `queue`; which refusal with which words was
    observed on 3.10.8.

Not modelled:
    Faults of these calls beyond a crash and a pause; names that the server makes up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from chaosharness.brokers.rabbitmq.errors import ChannelClosed
from chaosharness.brokers.rabbitmq.link import Link
from chaosharness.brokers.rabbitmq.topology import Queue, check_headers
from chaosharness.errors import InvalidDefinition
from chaosharness.faults import Crash, Pause
from chaosharness.handlers.port import Peer, operate, surface
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import World
from chaosharness.machines.machine import Refusal
from chaosharness.machines.rabbitmq.exchanges import EXCHANGE_KINDS, Binding, ExchangeKind
from chaosharness.machines.rabbitmq.node import Node

MANAGE: Final = surface(also=(Crash, Pause))
"""Searched elsewhere: what is declared is there or not, and a crash after it equals one later."""


class Managed(Peer, Protocol):
    """A RabbitMQ broker during one run, as who declares needs it."""

    node: Node
    world: World
    is_down: bool

    def changed(self) -> None:
        """Take note that something was declared or deleted."""

    def link(self, incarnation: Incarnation, connection: str | None, channel: str | None) -> Link:
        """Return a channel: a new one, or the one that the incarnation has by this name."""


class Administrator:
    """Declares and deletes at run time. In `async` code each method is awaited.

    What the broker refuses raises `ChannelClosed` with its `reply_code` and `reply_text`; the
    next call opens the channel again.
    """

    def __init__(self, broker: Managed) -> None:
        self._broker = broker
        self._link: Link | None = None

    # ---- queues

    def queue_declare(self, name: str, queue: Queue | None = None, *, passive: bool = False) -> Any:
        """Declare a queue; `passive` only asks. Return how many messages are ready in it.

        Raises:
            ChannelClosed: 404: it was only asked for. 405: it is another connection's own. 406: it
                is there and was declared otherwise.
        """
        if not isinstance(name, str) or not name:
            raise InvalidDefinition(f"queue_declare needs a name, not {name!r}")
        arguments = None if passive else queue or Queue()

        def do(link: Link) -> Any:
            found = self._broker.node.declared.queue(link.channel, name, arguments)
            return found if isinstance(found, Refusal) else len(found.order)

        return self._do(f"declare {name}", do)

    def queue_bind(
        self,
        queue: str,
        exchange: str,
        routing_key: str = "",
        *,
        headers: Mapping[str, Any] | None = None,
    ) -> Any:
        """Bind a queue to an exchange; for a headers exchange by headers.

        Raises:
            ChannelClosed: 403: the default exchange. 404: one of them is not there.
        """
        return self._bind(exchange, Binding("queue", queue, routing_key, headers or {}), add=True)

    def queue_unbind(
        self,
        queue: str,
        exchange: str,
        routing_key: str = "",
        *,
        headers: Mapping[str, Any] | None = None,
    ) -> Any:
        """Take a binding away; none there is as well."""
        return self._bind(exchange, Binding("queue", queue, routing_key, headers or {}), add=False)

    def queue_purge(self, name: str) -> Any:
        """Drop what is ready in a queue; return how much that was. What is in hand stays so.

        Raises:
            ChannelClosed: 404: it is not there. 405: it is another connection's own.
        """
        return self._do(
            f"purge {name}", lambda link: self._broker.node.declared.purge(link.channel, name)
        )

    def queue_delete(self, name: str, *, if_unused: bool = False, if_empty: bool = False) -> Any:
        """Delete a queue and what is ready in it; return how much that was. None there is as well.

        Raises:
            ChannelClosed: 405: it is another connection's own. 406: it is in use, or not empty.
        """

        def do(link: Link) -> Any:
            return self._broker.node.declared.delete(
                link.channel, name, if_unused=if_unused, if_empty=if_empty
            )

        return self._do(f"delete {name}", do)

    # ---- exchanges

    def exchange_declare(
        self,
        name: str,
        kind: ExchangeKind | None = "direct",
        *,
        alternate: str | None = None,
        durable: bool = True,
        auto_delete: bool = False,
        internal: bool = False,
        passive: bool = False,
    ) -> Any:
        """Declare an exchange; `passive` only asks.

        Args:
            name: Its name.
            kind: Its type.
            alternate: Where goes what it leads nowhere.
            durable: Whether it outlives the node.
            auto_delete: Whether it goes with its last binding.
            internal: Whether only other exchanges publish to it; a client is refused (403).
            passive: Whether it is only asked for.

        Raises:
            ChannelClosed: 404: it was only asked for. 406: it is there, and of another kind.
        """
        if kind not in EXCHANGE_KINDS:
            kinds = ", ".join(EXCHANGE_KINDS)
            raise InvalidDefinition(f"an exchange is one of {kinds}, not {kind!r}")

        def do(_: Link) -> Any:
            asked = None if passive else kind
            found = self._broker.node.declared.exchange(
                name,
                asked,
                alternate=alternate,
                durable=durable,
                auto_delete=auto_delete,
                internal=internal,
            )
            return found if isinstance(found, Refusal) else None

        return self._do(f"declare {name}", do)

    def exchange_delete(self, name: str, *, if_unused: bool = False) -> Any:
        """Delete an exchange with its bindings. None there is as well."""

        def do(_: Link) -> Any:
            return self._broker.node.declared.delete_exchange(name, if_unused=if_unused)

        return self._do(f"delete {name}", do)

    def exchange_bind(self, destination: str, source: str, routing_key: str = "") -> Any:
        """Have an exchange get what comes to another one.

        Raises:
            ChannelClosed: 403: the default exchange. 404: one of them is not there.
        """
        return self._bind(source, Binding("exchange", destination, routing_key), add=True)

    def exchange_unbind(self, destination: str, source: str, routing_key: str = "") -> Any:
        """Take a binding away; none there is as well."""
        return self._bind(source, Binding("exchange", destination, routing_key), add=False)

    # ---- all of them

    def _bind(self, exchange: str, binding: Binding, *, add: bool) -> Any:
        check_headers(binding.headers)
        declared = self._broker.node.declared
        act = declared.bind if add else declared.unbind
        verb = "bind" if add else "unbind"
        return self._do(f"{verb} {binding.name}", lambda link: act(link.channel, exchange, binding))

    def _do(self, what: str, do: Callable[[Link], Any]) -> Any:
        action = f"{self._broker.name}.{what}"
        return operate(action, self._have, do, self._broker, MANAGE)

    def _have(self, scope: Scope, operation: str, attempt: int, do: Callable[[Link], Any]) -> Any:
        if self._broker.is_down:
            raise self._broker.refused(operation)
        link = self._link
        if link is None:
            link = self._link = self._broker.link(scope.incarnation, None, None)
        if not link.reopen():
            raise self._broker.refused(operation)
        before = self._broker.node.declared.changes
        answer = do(link)
        if isinstance(answer, Refusal):
            why = f"{answer.code} {answer.text}"
            link.punish(answer)
            scope.record("reply", operation, attempt, {"outcome": "failed", "happened": False})
            raise ChannelClosed(operation, why)
        self._broker.world.effects += self._broker.node.declared.changes - before
        scope.record("reply", operation, attempt, {"outcome": "ok", "happened": True})
        self._broker.changed()
        return answer
