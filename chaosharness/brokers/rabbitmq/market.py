"""What a publisher needs of its broker."""

from __future__ import annotations

from typing import Any, Protocol

from chaosharness.brokers.rabbitmq.alarms import Alarms, Held
from chaosharness.brokers.rabbitmq.connection import Connection
from chaosharness.brokers.rabbitmq.copies import Copy
from chaosharness.brokers.rabbitmq.link import Link
from chaosharness.faults import (
    Fault,
)
from chaosharness.handlers.port import (
    Peer,
)
from chaosharness.handlers.script import Script
from chaosharness.kernel.scope import Incarnation
from chaosharness.kernel.world import Lasting, World
from chaosharness.machines.rabbitmq.node import Node
from chaosharness.machines.rabbitmq.versions import Version


class Settings(Protocol):
    """What publishers go by, as the definition of the broker says it."""

    @property
    def version(self) -> Version:
        """Whose rules."""

    @property
    def confirms(self) -> bool:
        """Whether publishers wait for a confirm."""

    @property
    def resends(self) -> bool:
        """Whether the client sends again by itself what nobody confirmed."""

    @property
    def searched(self) -> tuple[type[Fault], ...]:
        """What a search tries beyond the usual."""

    @property
    def reconnect_ms(self) -> int:
        """How long it takes to be back after a loss."""

    @property
    def latency_ms(self) -> int:
        """From the broker to a client."""


class Market(Peer, Protocol):
    """A RabbitMQ broker during one run, as publishers need it."""

    @property
    def node(self) -> Node:
        """Its queues and exchanges."""

    @property
    def world(self) -> World:
        """The run."""

    @property
    def disturbed(self) -> bool:
        """Whether a fault of this run may strike where something is published."""

    @property
    def alarms(self) -> Alarms:
        """Whether it reads what is published."""

    @property
    def connection(self) -> Connection | None:
        """Whose channel a publisher uses that has none of its own."""

    def wait_for(self, held: Held, *, asks: bool) -> Script[None]:
        """Wait until the broker reads what was written while it had an alarm, if that is asked."""

    @property
    def is_down(self) -> bool:
        """Whether the node is down."""

    @property
    def definition(self) -> Settings:
        """What it goes by."""

    def check_target(self, exchange: str, topic: str) -> str:
        """Return why the channel is closed that publishes there; empty if nothing is wrong."""

    def link(self, incarnation: Incarnation, connection: str | None, channel: str | None) -> Link:
        """Return a channel: a new one, or the one that the incarnation has by this name."""

    def restart(self, down: Lasting) -> None:
        """Let the broker die and come back."""

    def _words(self, copy: Copy, names: tuple[str, ...] | list[str]) -> dict[str, Any]:
        """Return what a history says of a message that is stored."""
