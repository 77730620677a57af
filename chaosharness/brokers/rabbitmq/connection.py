"""A connection to RabbitMQ: what its channels share, and how heartbeats keep it.

Source:
    RabbitMQ documentation, "Detecting Dead TCP Connections with Heartbeats": after about two
    missed heartbeats a peer is considered unreachable. The server (`rabbit_heartbeat.erl`) gives
    up between two and three intervals after the last byte it got; observed on 3.10.8: a client
    that sends nothing for three intervals is cut off, its messages are requeued, and its next
    acknowledgement finds the connection reset. pika's documentation, "Ensuring message delivery"
    and "Heartbeats and blocked connections": a `BlockingConnection` sends heartbeats only while
    one of its methods runs, so not while a callback does.

Not modelled:
    The third interval (two are the earliest that is legal); that the client notices a cut by
    itself and earlier; that a call of a publisher of the same connection lets the client answer
    heartbeats, unless they share a channel; `async` code that blocks its event loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from chaosharness.faults import Fault
from chaosharness.handlers.port import Peer
from chaosharness.kernel.agenda import ACTION, DUE, WAITER, Entry
from chaosharness.kernel.scope import Incarnation
from chaosharness.kernel.world import BACKGROUND, Lasting, World
from chaosharness.machines.rabbitmq.node import Node
from chaosharness.machines.rabbitmq.takers import Push
from chaosharness.machines.rabbitmq.versions import Version

MISSED: Final = 2
"""After so many intervals without a byte the server gives a client up."""


class Settings(Protocol):
    """What a server goes by with its consumers, as its definition says it."""

    @property
    def version(self) -> Version:
        """Whose rules."""

    @property
    def heartbeat_ms(self) -> int:
        """What client and server agreed on; 0 for no heartbeats."""

    @property
    def consumer_timeout_ms(self) -> int:
        """A channel with a message unacknowledged for longer is closed."""

    @property
    def reconnect_ms(self) -> int:
        """How long a consumer that lost its connection takes to be back."""

    @property
    def latency_ms(self) -> int:
        """From the broker to a consumer."""

    @property
    def searched(self) -> tuple[type[Fault], ...]:
        """What a search tries beyond the usual."""


class Server(Peer, Protocol):
    """What stands at the other end of a link: a RabbitMQ broker during one run."""

    @property
    def definition(self) -> Settings:
        """What it goes by."""

    @property
    def world(self) -> World:
        """The run."""

    @property
    def node(self) -> Node:
        """Its queues and exchanges."""

    @property
    def links(self) -> list[Any]:
        """All channels to it that there were in this run."""

    def handed_out(self, push: Push) -> None:
        """Send a message on its way to its consumer."""

    @property
    def is_down(self) -> bool:
        """Whether the node is down."""

    def restart(self, down: Lasting) -> None:
        """Let the node die and come back."""

    def wait_for_change(self, link: Any) -> None:
        """Have a channel that was refused something come back when that may have changed."""

    def changed(self) -> None:
        """Take note that a consumer is gone, or that something was declared or deleted."""

    def has_dead_letters(self, queue: str) -> bool:
        """Say whether a queue has somewhere to put dead letters."""

    def link(self, incarnation: Incarnation, connection: str | None, channel: str | None) -> Any:
        """Return a channel: a new one, or the one that the incarnation has by this name."""


class Connection:
    """One connection of one incarnation: its channels are lost together.

    While plain code that consumes on it is at work, nobody answers its heartbeats: client
    libraries that block do so in the one thread that the code has.

    Attributes:
        busy: Who does other work in that thread; None where it is free.
        blocked: Whether the broker reads nothing of it, because somebody publishes there.
    """

    __slots__ = ("_broker", "_entry", "_waiting", "_world", "blocked", "busy", "links", "lost_ms")

    def __init__(self, broker: Server) -> None:
        self._broker = broker
        self._world = broker.world
        self.busy: object = None
        self.blocked = False
        self._entry: Entry | None = None
        self._waiting: deque[Callable[[], None]] = deque()
        self.links: list[Any] = []
        self.lost_ms = MISSED * broker.definition.heartbeat_ms
        """How long the server hears nothing until it gives the client up; 0 for ever."""

    def wait_for_thread(self, then: Callable[[], None]) -> None:
        """Have `then` called once its one thread is free."""
        self._waiting.append(then)

    def begin(self, who: object, *, holds: bool = False) -> None:
        """Let somebody do other work: nobody answers heartbeats until `end`.

        Args:
            who: Who does it.
            holds: Whether a run waits for what becomes of it: what is in hand comes back when the
                connection is lost, and whoever has it may have forgotten it.
        """
        if self.busy is who:
            self.end(who)
        self.busy = who
        if self.lost_ms:
            world = self._world
            due_ms = world.now + self.lost_ms
            waiter = None if holds else BACKGROUND
            entry = self._entry
            if entry is not None and entry[DUE] == due_ms:  # of other work, at this very moment
                entry[ACTION], entry[WAITER] = self._missed, waiter
            else:
                self._entry = world.agenda.add(due_ms, self._missed, None, waiter)

    def end(self, who: object) -> None:
        """Answer heartbeats again, if it is not too late."""
        if self.busy is not who:
            return
        self.busy = None
        if self._entry is not None:
            self._entry[ACTION] = None
        if self._waiting:
            self._world.after(0, self._next)

    def _next(self, _: Any) -> None:
        if self._waiting and self.busy is None:
            self._waiting.popleft()()

    def _missed(self, _: Any) -> None:
        self._entry = None
        self.drop("missed heartbeats")

    def drop(self, why: str) -> None:
        """Lose the connection, and all its channels with it."""
        for link in self.links:
            link.drop(why)
        self._broker.node.disconnect(self)

    def forget(self) -> None:
        """Let go of everything, at the end of a run."""
        self.links.clear()
        self._waiting.clear()
        self.busy = self._entry = None
