"""What a service is built with: its ports to the rest of the world."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Protocol

from chaosharness.brokers.intake import Intake
from chaosharness.brokers.message import decoder_for, reader_for
from chaosharness.calls import Endpoint, Switchboard
from chaosharness.errors import ChaosharnessError, InvalidDefinition
from chaosharness.handlers.blocking import BlockingClient
from chaosharness.handlers.blocking import blocking as block
from chaosharness.handlers.colours import check_handler, colour_for
from chaosharness.handlers.places import told
from chaosharness.handlers.port import current_scope, read_clock, refuse_earlier, sleep
from chaosharness.kernel.history import plain
from chaosharness.kernel.scope import SCOPE, BackgroundScope, Incarnation, Scope
from chaosharness.kernel.world import World
from chaosharness.system.parts import RESTART_MS, name_of


class Declared(Protocol):
    """What ports ask about the system they belong to."""

    name: str
    resources: dict[str, Any]


class Surroundings(Protocol):
    """What ports need of the run they belong to."""

    world: World
    switchboard: Switchboard

    @property
    def system(self) -> Declared:
        """The system that runs."""


class Env:
    """What a service is built with: its ports to the rest of the world.

    The ports work in the code that the harness runs for this incarnation, and nowhere else.
    """

    def __init__(
        self, stage: Surroundings, incarnation: Incarnation, service: str, runtime: str | None
    ) -> None:
        self._stage = stage
        self.incarnation = incarnation
        self._service = service
        self._runtime = runtime
        self.loops: list[Callable[[Any], None]] = []

    def _check_run(self) -> None:
        """Refuse what code of a later run asks of this."""
        scope = SCOPE.get()
        if scope is not None and scope.world is not self._stage.world:
            refuse_earlier(scope, "env")

    def _open(self, resource: Any, method: str, what: str) -> Any:
        self._check_run()
        stage = self._stage
        name = getattr(resource, "name", "")
        found = stage.world.states.get(name)
        if found is None or stage.system.resources.get(name) is not resource:
            raise InvalidDefinition(
                f"{resource!r} is no part of system {self._stage.system.name!r}"
            )
        if not hasattr(found, method):
            raise InvalidDefinition(f"{name!r} is no {what}")
        return found

    # ---- messages

    def publisher(self, broker: Any, *, blocking: bool = False) -> Callable[..., Any]:
        """Return what publishes to a broker: `publish(topic, value, key=..., headers=...)`.

        See the `publish` of the broker. In an `async` handler, await it; with `blocking` it
        is never awaited (see `client`).
        """
        publish = self._open(broker, "publish", "broker").publish
        return block(publish) if blocking else publish

    def consume(
        self,
        broker: Any,
        source: str,
        handler: Callable[..., Any],
        *,
        read_as: Any = None,
        **options: Any,
    ) -> None:
        """Have a handler called with each message; it is acknowledged when that returns.

        Args:
            broker: Where from.
            source: Topic (Kafka) or queue (RabbitMQ).
            handler: `handler(value)`, `handler(value, delivery)`, or one whose first
                parameter is annotated `Delivery`; plain or `async`. The annotation of
                `value` says what the payload is decoded into.
            read_as: The type to decode into, where there is no annotation; or a function
                that decodes bytes.
            options: The broker's own, as its class says.
        """
        state = self._open(broker, "consume", "broker")
        check_handler(handler, f"service {self._service!r} consumes {source!r}")
        place = f"{self._service}.{name_of(handler)}"
        colour = colour_for(handler, self._runtime, self.incarnation)
        reader = reader_for(handler, read_as)
        intake = Intake(self.incarnation, place, handler, reader, colour)
        state.consume(intake, source, service=self._service, **options)

    def consumer(
        self,
        broker: Any,
        *sources: str,
        read_as: Any = None,
        blocking: bool = False,
        **options: Any,
    ) -> Any:
        """Return a consumer for the service's own main loop.

        Args:
            broker: Where from.
            sources: Topics (Kafka) or queues (RabbitMQ).
            read_as: The type to decode payloads into, or a function that decodes bytes.
            blocking: Whether its methods block in `async` code too (see `client`).
            options: The broker's own, as its class says.
        """
        state = self._open(broker, "consumer", "broker")
        if not sources:
            raise InvalidDefinition(f"service {self._service!r} has a consumer of nothing")
        made = state.consumer(
            self.incarnation, sources, decoder_for(read_as), service=self._service, **options
        )
        return BlockingClient(made) if blocking else made

    def main(self, function: Callable[[], Any], *, background: bool = False) -> None:
        """Run a service's own main loop, from when it is built until it crashes.

        Args:
            function: The loop, plain or `async`.
            background: Whether it does something again and again for ever, by design: a
                heartbeat, a report every hour. A run does not wait for its sleep to be over
                (`env.sleep`, or asyncio's); without this it would never become quiet.
        """
        check_handler(function, f"service {self._service!r} has a main loop")
        place = f"{self._service}.{name_of(function)}"
        colour = colour_for(function, self._runtime, self.incarnation)
        kind = BackgroundScope if background else Scope
        scope = kind(self.incarnation.world, self.incarnation, place, 0, -1, colour)

        def done(scope: Scope, _: Any, error: BaseException | None) -> None:
            scope.world.in_flight.pop(scope, None)
            if error is not None:
                scope.record("raised", place, 1, told(error))
                if isinstance(error, ChaosharnessError) and not scope.poisoned:
                    scope.world.refuse(error)
                else:
                    scope.world.crash(self.incarnation, RESTART_MS, cause=scope.cause)

        def begin(_: Any) -> None:
            if self.incarnation.alive:
                colour.start(scope, function, None, None, done)

        self.loops.append(begin)

    # ---- calls between services

    def serve(self, name: str, handler: Callable[..., Any], *, read_as: Any = None) -> None:
        """Answer calls of other services: the caller gets what `handler(value)` returns."""
        check_handler(handler, f"service {self._service!r} serves {name!r}")
        place = f"{self._service}.{name_of(handler)}"
        colour = colour_for(handler, self._runtime, self.incarnation)
        reader = reader_for(handler, read_as)
        endpoint = Endpoint(self.incarnation, place, handler, reader, colour)
        self._stage.switchboard.serve(self._service, name, endpoint)

    def call(
        self,
        service: str,
        name: str,
        value: Any = None,
        *,
        timeout_s: float = 10.0,
        read_as: Any = None,
        blocking: bool = False,
    ) -> Any:
        """Call an endpoint of another service. In an `async` handler, await it.

        With `blocking` it is never awaited (see `client`).

        Raises:
            TimeoutError: No answer: it may have happened, or be happening now.
            ConnectionError: Nobody picked up: it did not happen.
            RemoteError: The other service raised.
        """
        timeout_ms = round(timeout_s * 1000)
        self._check_run()
        call = self._stage.switchboard.call
        if blocking:
            call = block(call)
        return call(service, name, value, timeout_ms, read_as)

    # ---- stores and third parties

    def connect(self, store: Any, *, blocking: bool = False) -> Any:
        """Return a connection to a store.

        Of `SQLite` it is an ordinary `sqlite3.Connection`, which is never awaited; what
        `KeyValue` gives is awaited in an `async` handler, unless it is `blocking` (see
        `client`).
        """
        made = self._open(store, "connect", "store").connect(self.incarnation)
        if not blocking or isinstance(made, sqlite3.Connection):
            return made
        return BlockingClient(made)

    def client(self, external: Any, *, blocking: bool = False) -> Any:
        """Return what calls a third party: its methods.

        Args:
            external: Which one.
            blocking: For `async` code that calls a client which is not async, as much real
                code does: the call happens inside the coroutine, takes virtual time, and the
                event loop of this incarnation stands still meanwhile. Plain code blocks anyway.
        """
        made = self._open(external, "client", "third party").client()
        return BlockingClient(made) if blocking else made

    # ---- time, and things worth knowing

    def sleep(self, seconds: float) -> Any:
        """Let virtual time pass. In an `async` handler, await it."""
        return sleep(seconds, made_for=self._stage.world)

    def now_ms(self) -> int:
        """Return the virtual time as this replica's clock has it, in whole milliseconds."""
        world = self._stage.world
        read_clock(world)
        return world.now + self.incarnation.skew_ms

    def note(self, what: str, **words: Any) -> None:
        """Say something about the state of the business, for properties and reports."""
        scope = current_scope("note", self._stage.world)
        data = {"what": what, **{name: plain(value) for name, value in words.items()}}
        scope.record("note", "", 0, data)
