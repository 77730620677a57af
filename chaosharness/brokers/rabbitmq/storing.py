"""Storing what is published in all the queues it is bound for, or saying why not."""

from __future__ import annotations

from collections.abc import Iterator

from chaosharness.brokers.cycle import cycle
from chaosharness.brokers.events import published, unroutable
from chaosharness.brokers.message import NO_HEADERS, POISON
from chaosharness.brokers.rabbitmq.copies import Copy
from chaosharness.brokers.rabbitmq.errors import Unroutable
from chaosharness.brokers.rabbitmq.market import Market
from chaosharness.faults import (
    BrokerRestart,
    Duplicate,
    Poison,
)
from chaosharness.handlers.port import (
    refused,
)
from chaosharness.kernel.scope import Scope

Draft = tuple[Copy, bool, str]
"""A message to be published, whether it is mandatory, and the message in hand."""


class Storing:
    """How a message enters the queues of a broker, with what a fault makes of it."""

    __slots__ = ("_broker", "_dropped", "_world")

    def __init__(self, broker: Market) -> None:
        self._broker = broker
        self._world = broker.world
        self._dropped: list[Copy] = []
        self._world.on_missed.append(self._missed)

    def store(self, scope: Scope, operation: str, attempt: int, draft: Draft) -> None:
        copy, mandatory, in_hand = draft
        copy.name = self._world.publications.name(operation, copy.entity, in_hand, copy.body)
        struck = scope.struck
        for fault in struck:
            if isinstance(fault, Poison):
                self._poison(scope, copy, POISON[fault.content])
            elif isinstance(fault, BrokerRestart):
                self._broker.restart(fault.down)
        if self._broker.is_down:
            raise refused(scope, operation, attempt, self._broker)
        self._route(scope, operation, attempt, copy, mandatory)
        if struck and any(isinstance(fault, Duplicate) for fault in struck):
            again = copy.twin()
            again.expiration_ms = copy.expiration_ms
            again.name = self._world.publications.name(operation, copy.entity, in_hand, copy.body)
            self._route(scope, operation, attempt, again, mandatory)

    def try_to_store(self, scope: Scope, operation: str, attempt: int, draft: Draft) -> None:
        """Publish without a confirm: a refusal is not heard, nor what is returned."""
        try:
            self.store(scope, operation, attempt, (draft[0], False, draft[2]))
        except ConnectionError:
            if self._broker.is_down:
                raise

    def _poison(self, scope: Scope, copy: Copy, body: bytes) -> None:
        """Store a message nobody can read just ahead of another."""
        node = self._broker.node
        names = node.route(copy.exchange, copy.topic, copy.headers)
        poison = Copy(copy.topic, None, NO_HEADERS, body, 0, copy.hops, exchange=copy.exchange)
        poison.name = self._world.publications.poison_at(copy.name)
        words = self._broker._words(poison, names)
        poison.published = published(scope, "", 0, 0, words)
        node.store(poison, names)

    def _route(
        self, scope: Scope, operation: str, attempt: int, copy: Copy, mandatory: bool
    ) -> None:
        """Store a message in all queues it is bound for, or say why not."""
        node, world = self._broker.node, self._world
        names = node.route(copy.exchange, copy.topic, copy.headers)
        refusing = node.refusing(names)
        taking = tuple(name for name in names if name not in refusing) if refusing else names
        if taking or not names:
            words = self._broker._words(copy, taking)
            copy.published = published(scope, operation, attempt, scope.entity, words)
        if copy.hops > world.hops_max and world.too_far(copy.hops):
            world.end("budget", cycle(world.history, copy.published, copy.hops))
        node.store(copy, taking)
        if not names:
            unroutable(scope, copy)
            self._dropped.append(copy)
            if mandatory:
                raise Unroutable(f"{operation}: 312 NO_ROUTE: no queue is bound for it")
        if refusing:
            node.refuse(copy, refusing)
            raise refused(scope, operation, attempt, self._broker)

    def lose(self, scope: Scope, copy: Copy) -> None:
        """Write that a message was published where there is no exchange, and nobody is told.

        It passes no port, so it is no operation at which a fault may strike.
        """
        words = self._broker._words(copy, ()) | {"by": scope.place}
        copy.published = published(scope, "", 0, scope.entity, words)
        unroutable(scope, copy, absent=True)
        self._dropped.append(copy)

    def _missed(self) -> Iterator[int]:
        """Return which messages were dropped that a queue is bound for at the end.

        Queues of one connection are none of these: what was published before they were there is
        not theirs by design. Nor is what was published again once they were there.
        """
        node = self._broker.node
        for copy in self._dropped:
            if copy.exchange and copy.exchange not in node.declared.routes.exchanges:
                continue
            names = node.route(copy.exchange, copy.topic, copy.headers)
            if self._came_again(copy):
                continue
            kinds = [node.queues[name].definition for name in names]
            if any(not (kind.exclusive or kind.auto_delete) for kind in kinds):
                yield copy.published

    def _came_again(self, copy: Copy) -> bool:
        """Say whether the same was published later, and taken."""
        told = self._broker._words(copy, ())
        same = ("exchange", "topic", "value")
        later = self._world.raw[copy.published + 1 :]
        taken = (data for _, kind, *_, data in later if kind == "publish" and data.get("queues"))
        return any(all(data.get(word) == told[word] for word in same) for data in taken)
