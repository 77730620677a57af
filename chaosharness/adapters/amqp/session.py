"""A client's connection at the broker: its channels, what comes back to it, and how it is lost.

Client libraries keep their own state machines; what they send gets here method by method, as AMQP
has them, in the code that asked for it. What the broker has to say goes back the same way.

Source:
    AMQP 0-9-1, classes `connection` and `channel`; RabbitMQ documentation, "Detecting Dead TCP
    Connections with Heartbeats". What a client meets when its connection is gone was observed on
    3.10.8: the server's TCP connection is closed, and the client's next read or write is reset.

Not modelled:
    `connection.blocked`, `connection.update-secret`, limits of channels and of frames.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

from chaosharness.adapters.amqp.channel import Line
from chaosharness.adapters.amqp.market import Lost
from chaosharness.adapters.spoken import note_spoken
from chaosharness.brokers.rabbitmq.connection import MISSED, Connection
from chaosharness.brokers.rabbitmq.link import Link
from chaosharness.brokers.rabbitmq.rabbitmq import OpenRabbitMQ
from chaosharness.faults import Crash, Pause
from chaosharness.handlers.port import current_scope, operate, surface
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.machines.rabbitmq.exchanges import PREDECLARED

CONNECT: Final = surface(also=(Crash, Pause))
"""Searched elsewhere: a process that dies as it connects has done nothing yet."""

Cause = Literal["refused", "reset", "silent", "closed"]
"""How a connection ends: nobody listens; it is reset; nothing is heard any more; the broker closes
it with a reason."""


class Session:
    """One connection of a client.

    Attributes:
        library: Whose client it is, as reports call it.
        send: Called with what the broker sends: channel number, method's name, its fields, and
            with a message its copy.
        ended: Called once when the connection is lost: how, and in which words.
        user: Whom the client says that it is; empty where that is not known.
    """

    def __init__(
        self,
        broker: OpenRabbitMQ,
        incarnation: Incarnation,
        library: str,
        send: Callable[..., None],
        ended: Callable[[Cause, str], None],
    ) -> None:
        self.broker = broker
        self.world = broker.world
        self.incarnation = incarnation
        self.library = library
        self.send = send
        self.ended = ended
        self.user = ""
        self.connection = Connection(broker)
        self.lines: dict[int, Line] = {}
        self.listens = True
        self._base = Link(broker, incarnation, self.connection)
        self._base.attend((), self._lost)
        self._is_over = not self._base.is_open

    @property
    def is_open(self) -> bool:
        """Whether the broker takes it for open."""
        return self._base.is_open

    def agree(self, heartbeat_s: int | None) -> None:
        """Take the interval of heartbeats that both sides agree on."""
        seconds = self.broker.definition.heartbeat_ms / 1000 if heartbeat_s is None else heartbeat_s
        lost_ms = round(MISSED * seconds * 1000)
        self.connection.lost_ms = lost_ms
        self.world.know_timeout(lost_ms)

    # ---- whose turn it is

    def listen(self) -> None:
        """Have the client read: it answers heartbeats from now on."""
        self.listens = True
        self.connection.end(self)

    def turn_away(self) -> None:
        """Have the client do something else: nobody answers heartbeats meanwhile."""
        self.listens = False
        if self._base.is_open:
            holds = any(line.holds for line in self.lines.values())
            self.connection.begin(self, holds=holds)

    # ---- what the client sends

    def perform(self, number: int, name: str, method: Any, content: Any = None) -> Any:
        """Do what a client asks for by a method of AMQP.

        In `async` code the result is awaited.

        Raises:
            Lost: The connection is lost meanwhile, and its client learns it now.
        """
        if name == "Channel.Open":
            opened = self.lines[number] = Line(self, number)
            if opened.is_open:
                self.send(number, "Channel.OpenOk", {})
            else:  # the network is cut: nobody answers, and the client learns it in the end
                self.world.after(self.broker.timeout_ms, lambda _: self._unanswered(opened))
            return None
        line = self.lines.get(number)
        if line is None or not self._base.is_open:
            return None  # nobody reads it any more
        if name == "Channel.Close":
            del self.lines[number]
            line.shut()
            self.send(number, "Channel.CloseOk", {})
            return None
        if name == "Channel.CloseOk":
            self.lines.pop(number, None)
            return None
        return line.perform(name, method, content)

    def close(self) -> None:
        """Close the connection because its client says so."""
        self._is_over = True
        for line in self.lines.values():
            line.shut()
        self.lines.clear()
        self._base.shut("closed by its client")
        self.connection.end(self)
        self.broker.node.disconnect(self.connection)

    def _unanswered(self, line: Line) -> None:
        if not line.is_open and self.incarnation.alive:
            self.lose("connection lost")

    def lose(self, why: str) -> None:
        """Lose the connection, because a client has found out that nobody answers."""
        self.connection.drop(why)
        self._lost()

    # ---- what becomes of it

    def _lost(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        silent = self._base.channel.closed_because == "missed heartbeats" and self.listens
        why = self._base.channel.closed_because
        self.connection.end(self)
        if why[:1] == "5":
            self.ended("closed", why)
        else:
            self.ended("silent" if silent else "reset", why)


def connect(
    broker: OpenRabbitMQ,
    library: str,
    send: Callable[..., None],
    ended: Callable[[Cause, str], None],
) -> Any:
    """Open a connection; in `async` code the result is awaited.

    Raises:
        Lost: Nobody answers.
        ConnectionRefusedError: The broker is down.
    """

    note_spoken(current_scope("connect"), library, f"{broker.name}.connect")

    def have(scope: Scope, operation: str, attempt: int, _: Any) -> Session:
        if broker.is_down:
            scope.record("reply", operation, attempt, {"outcome": "failed", "happened": False})
            raise ConnectionRefusedError(111, "Connection refused")
        session = Session(broker, scope.incarnation, library, send, ended)
        if not session.is_open:
            raise Lost(operation)
        for name, kind in PREDECLARED.items():
            broker.node.declared.exchange(name, kind)
        return session

    return operate(f"{broker.name}.connect", have, None, Silent(broker), CONNECT)


class Silent:
    """The broker as somebody who connects sees it: where it does not answer, nobody does."""

    def __init__(self, broker: OpenRabbitMQ) -> None:
        self.name = broker.name
        self.timeout_ms = CONNECT_MS

    def lost(self, operation: str) -> BaseException:
        """Return that nobody answered."""
        return Lost(operation)

    def refused(self, operation: str) -> BaseException:
        """Return that nobody listens."""
        return ConnectionRefusedError(111, "Connection refused")

    def lose_writes(self, scope: Scope) -> None:
        """Lose nothing."""


CONNECT_MS: Final = 10_000
"""How long clients wait for a TCP connection: `socket_timeout` of pika, by default."""
