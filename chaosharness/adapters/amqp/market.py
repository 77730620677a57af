"""The broker as one client's connection sees it: with the client's own patience and confirms.

Source:
    RabbitMQ documentation, "Consumer Acknowledgements and Publisher Confirms"; "Detecting Dead TCP
    Connections with Heartbeats".

Not modelled:
    A confirm that is lost alone: over TCP its connection is lost with it, which the client learns
    once the broker's `timeout_ms` is over.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import attrs

from chaosharness.brokers.rabbitmq.alarms import Held
from chaosharness.brokers.rabbitmq.connection import Connection
from chaosharness.brokers.rabbitmq.copies import Copy
from chaosharness.brokers.rabbitmq.errors import Unroutable
from chaosharness.brokers.rabbitmq.link import Link
from chaosharness.brokers.rabbitmq.rabbitmq import OpenRabbitMQ
from chaosharness.errors import InternalError
from chaosharness.faults import Fault
from chaosharness.handlers.script import Script
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import Lasting, World
from chaosharness.machines.rabbitmq.node import Node
from chaosharness.machines.rabbitmq.versions import Version


class Lost(Exception):
    """Nobody answers: the connection is gone, and its client learns it now."""


class Nacked(ConnectionError):
    """The broker said no to a message: a negative confirm."""


TOLD: Final = (Nacked, Unroutable)
"""What the broker answers to a message that is published."""


class Confirming(Protocol):
    """A channel that may be in confirm mode."""

    confirming: bool


@attrs.frozen
class Terms:
    """What a publisher of one channel goes by."""

    version: Version
    confirms: bool
    searched: tuple[type[Fault], ...]
    reconnect_ms: int
    latency_ms: int
    resends: bool = False


class Market:
    """The broker, as the publisher of one channel needs it."""

    def __init__(self, broker: OpenRabbitMQ, channel: Confirming, connection: Connection) -> None:
        self._broker = broker
        self._channel = channel
        self.connection = connection
        self.alarms = broker.alarms
        self.writes = False
        """Whether its client learns by itself what becomes of what it has written."""
        self.held: Held | None = None
        definition = broker.definition
        self._terms = {
            confirms: Terms(
                definition.version,
                confirms,
                definition.searched,
                definition.reconnect_ms,
                definition.latency_ms,
            )
            for confirms in (False, True)
        }

    @property
    def name(self) -> str:
        """What reports call it."""
        return self._broker.name

    @property
    def timeout_ms(self) -> int:
        """How long a client waits until it takes its connection for lost."""
        return self._broker.timeout_ms

    @property
    def node(self) -> Node:
        """Its queues and exchanges."""
        return self._broker.node

    @property
    def world(self) -> World:
        """The run."""
        return self._broker.world

    @property
    def disturbed(self) -> bool:
        """Whether a fault of this run may strike where something is published."""
        return self._broker.disturbed

    @property
    def is_down(self) -> bool:
        """Whether the node is down."""
        return self._broker.is_down

    @property
    def definition(self) -> Terms:
        """What the channel goes by now."""
        return self._terms[self._channel.confirming]

    def wait_for(self, held: Held, *, asks: bool) -> Script[None]:
        """Wait for ever, as clients do; or leave that to the client."""
        if self.writes:
            self.held = held
        elif asks:
            yield from held.wait(self, None)

    def check_target(self, exchange: str, topic: str) -> str:
        """Return why the channel is closed that publishes there; empty if nothing is wrong."""
        return self._broker.check_target(exchange, topic)

    def link(self, incarnation: Incarnation, connection: str | None, channel: str | None) -> Link:
        """Return a channel of its own: never asked for, a client has one."""
        raise InternalError("a client library has its own channels")

    def restart(self, down: Lasting) -> None:
        """Let the broker die and come back."""
        self._broker.restart(down)

    def lost(self, operation: str) -> BaseException:
        """Return that nobody answered."""
        return Lost(operation)

    def refused(self, operation: str) -> BaseException:
        """Return what becomes of a message that is not taken."""
        return Lost(operation) if self._broker.is_down else Nacked(operation)

    def lose_writes(self, scope: Scope) -> None:
        """Lose nothing: a confirmed message is on disk."""

    def _words(self, copy: Copy, names: tuple[str, ...] | list[str]) -> dict[str, Any]:
        return self._broker._words(copy, names)
