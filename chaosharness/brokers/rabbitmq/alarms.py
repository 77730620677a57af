"""An alarm of the broker, memory or disk: it reads nothing any more from who publishes.

Source:
    RabbitMQ documentation, "Memory and Disk Alarms", "Blocked connections": connections that
    publish are blocked, until the alarm is over; those that only consume go on. What was written
    meanwhile lies in the buffers of TCP, and is read then. A blocked connection is not given up for
    missed heartbeats. pika, `blocked_connection_timeout`.

Not modelled:
    Buffers that are full: whoever waits for no confirm goes on writing. Flow control by credit,
    which slows down and never stops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from chaosharness.brokers.rabbitmq.connection import Connection
from chaosharness.faults import BrokerAlarm
from chaosharness.handlers.script import Resume, Script
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import Lasting, World

Store = Callable[[Scope, str, int, Any], None]


class Peer(Protocol):
    """The broker, as who waits for its confirm needs it."""

    def lost(self, operation: str) -> BaseException:
        """Return what a publisher sees when no confirm comes."""


class Held:
    """A message that was written to a connection, and is not read yet."""

    __slots__ = ("_attempt", "_draft", "_operation", "_resume", "_scope", "_store", "error", "then")

    def __init__(
        self, scope: Scope, operation: str, attempt: int, store: Store, draft: Any
    ) -> None:
        self._scope = Scope(
            scope.world,
            scope.incarnation,
            scope.place,
            scope.entity,
            scope.cause,
            scope.colour,
            scope.hops,
            scope.message,
        )
        self._scope.struck = tuple(
            fault for fault in scope.struck if not isinstance(fault, BrokerAlarm)
        )
        self._operation = operation
        self._attempt = attempt
        self._store = store
        self._draft = draft
        self._resume: Resume | None = None
        self.error: BaseException | None = None
        self.then: Callable[[bool], None] | None = None
        """Told whether it was taken, where nobody waits."""

    def wait(self, peer: Peer, patience_ms: int | None) -> Script[None]:
        """Wait until it is read, and no longer than a publisher waits: None is for ever.

        Raises:
            BaseException: What the publisher sees: no confirm in time, though it may be stored
                later; or that the broker did not take it.
        """
        scope = self._scope
        world = scope.world

        def keep(resume: Resume) -> None:
            self._resume = resume
            if patience_ms is not None:
                world.after(patience_ms, lambda _: resume(False))

        if not (yield keep):
            data = {"outcome": "unknown", "happened": True}
            scope.record("reply", self._operation, self._attempt, data)
            raise peer.lost(self._operation)
        if self.error is not None:
            raise self.error

    def read(self, _: Any = None) -> None:
        """Be read, unless its connection is gone with its process."""
        if not self._scope.incarnation.alive:
            return
        try:
            self._store(self._scope, self._operation, self._attempt, self._draft)
        except ConnectionError as error:
            self.error = error
        if self.then is not None:
            self.then(self.error is None)
        if self._resume is not None:
            self._resume(True)


class Alarms:
    """Whether the broker reads what is published, and what waits for that."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._held: list[Held] = []
        self._blocked: list[Connection] = []
        self.on = False

    def store(
        self,
        scope: Scope,
        operation: str,
        attempt: int,
        store: Store,
        draft: Any,
        connection: Connection | None,
    ) -> Held | None:
        """Store a message now, or hold it until the alarm is over.

        Args:
            scope: Who publishes.
            operation: Where.
            attempt: The how-manieth time.
            store: Stores it.
            draft: What `store` takes.
            connection: On which connection, where others are on it too.
        """
        for fault in scope.struck:
            if isinstance(fault, BrokerAlarm):
                self._begin(fault.lasting)
        if not self.on:
            store(scope, operation, attempt, draft)
            return None
        held = Held(scope, operation, attempt, store, draft)
        self._held.append(held)
        if connection is not None and not connection.blocked:
            connection.blocked = True
            self._blocked.append(connection)
        return held

    def _begin(self, lasting: Lasting) -> None:
        if self.on:
            return
        world = self._world
        self.on = True
        world.effects += 1
        world.until(max(world.due(lasting), world.now + 1), self._over)

    def _over(self, _: Any) -> None:
        """Read again, in the order in which it was written."""
        self.on = False
        held, self._held = self._held, []
        for one in held:
            self._world.after(0, one.read)
        blocked, self._blocked = self._blocked, []
        for connection in blocked:
            connection.blocked = False
            for link in connection.links:
                link.read_again()
