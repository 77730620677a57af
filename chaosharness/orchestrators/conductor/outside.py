"""What workflows ask of the world outside: an HTTP task's request, an EVENT task's message.

*Source*: conductor-oss/conductor, `http-task/.../HttpTask.java`, `core/.../tasks/Event.java`
(rule C15): an HTTP task takes 200 to 299 for success; an event is published at least once.
*Not modelled*: headers, the connection and read timeouts of a request; event handlers of
Conductor's own queue.
"""

import json
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

import attrs

from chaosharness.errors import InvalidDefinition, RefusedValue
from chaosharness.faults import Delay, Duplicate, ErrorReply, LostReply, LostRequest
from chaosharness.handlers.handling import ended, reach, suffer
from chaosharness.handlers.places import words_of
from chaosharness.handlers.port import HANDLE, NOBODY, strikes, surface, trouble
from chaosharness.handlers.script import Script, drive_in_kernel
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import World
from chaosharness.orchestrators.conductor.server import Server
from chaosharness.orchestrators.conductor.steps import Called, Published, Steps

__all__ = ["Endpoint", "Outside"]

REQUEST: Final = surface(before=(Delay, ErrorReply, LostRequest), after=(LostReply,))
DELIVER: Final = surface(before=(Delay, Duplicate))
COPY_MS: Final = 1000
"""How much later the copy of a message comes."""


@attrs.define(eq=False)
class Endpoint:
    """A function of one incarnation that answers: `handler(body)`; `in_hand` so many now.

    Where its process is told to stop it answers what it has in hand, and nothing else.
    """

    incarnation: Incarnation
    place: str
    handler: Callable[..., Any]
    colour: Any
    in_hand: int = 0
    replicas: list["Endpoint"] = attrs.field(factory=list)

    def cease(self) -> None:
        """Be found by nobody any more."""
        if self in self.replicas:
            self.replicas.remove(self)

    def is_busy(self) -> bool:
        """Say whether it is at work."""
        return self.in_hand > 0

    def free(self) -> None:
        """Be done with one."""
        self.in_hand -= 1
        if self.incarnation.stopping is not None:
            self.incarnation.stopping.look()


class Engine(Protocol):
    """What calls need of the server they come from."""

    name: str
    world: World
    server: Server
    latency_ms: int
    timeout_ms: int

    @property
    def up(self) -> bool:
        """Whether the server's process lives."""

    def scope_of(self, workflow_id: str) -> Scope:
        """Whose work a workflow is."""

    def perform(self, steps: Steps[Any], caller: Scope, finish: Callable[[Any], None]) -> None:
        """Have the server carry an operation out."""


class Outside:
    """Who answers what, and the ways there and back."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.endpoints: dict[str, list[Endpoint]] = {}
        self.waiting: dict[str, deque[Callable[[Endpoint], None]]] = {}

    def add(self, target: str, endpoint: Endpoint) -> None:
        """Have an incarnation answer for a URI or a sink, as long as it lives."""
        replicas = self.endpoints.setdefault(target, [])
        replicas.append(endpoint)
        endpoint.replicas = replicas
        endpoint.incarnation.on_death.append(endpoint.cease)
        endpoint.incarnation.takers.append(endpoint)
        waiting = self.waiting.get(target)
        while waiting:
            deliver = waiting.popleft()
            self.engine.world.after(0, partial(_deliver, deliver, endpoint))

    def _known(self, target: str, ref: str) -> bool:
        if target in self.endpoints:
            return True
        known = ", ".join(sorted(self.endpoints)) or "none"
        self.engine.world.refuse(
            InvalidDefinition(
                f"task {ref!r} asks {target!r}, which no service of this system answers: "
                f"env.task_endpoint({self.engine.name}, {target!r}, handler); there are: {known}"
            )
        )
        return False

    # ---- events

    def publish(self, told: Published) -> None:
        """Deliver a message to whoever listens to its sink: at least once, in no certain order."""
        if self._known(told.sink, told.ref):
            drive_in_kernel(self._publish(told), self.engine.world)

    def _publish(self, told: Published) -> Script[None]:
        owner = self.engine.scope_of(told.workflow)
        scope = _scope(owner, owner.incarnation, owner.place, owner.colour)
        operation = f"{owner.place}.{told.ref}/{told.sink}"
        attempt = reach(scope, operation, DELIVER)
        data = {"method": told.sink, "arguments": [told.payload]}
        scope.record("call", operation, attempt, data)
        if operation in scope.world.armed:
            for fault in strikes(scope, operation, "before", attempt):
                if isinstance(fault, Duplicate):
                    scope.world.after(COPY_MS, lambda _: self._arrive(scope, told))
                else:
                    yield from trouble(scope, fault, NOBODY)
        yield self.engine.latency_ms
        self._arrive(scope, told)

    def _arrive(self, scope: Scope, told: Published) -> None:
        replicas = self.endpoints[told.sink]

        def deliver(endpoint: Endpoint) -> None:
            drive_in_kernel(self._handle(scope, endpoint, told.payload, _ignored), scope.world)

        if replicas:
            deliver(replicas[scope.entity % len(replicas)])
        else:
            self.waiting.setdefault(told.sink, deque()).append(deliver)

    # ---- requests

    def call(self, told: Called) -> None:
        """Make an HTTP task's request, and hand its answer to the server."""
        uri = str(told.request.get("uri", ""))
        if self._known(uri, told.ref):
            drive_in_kernel(self._call(told, uri), self.engine.world)

    def _call(self, told: Called, uri: str) -> Script[None]:
        engine, world = self.engine, self.engine.world
        owner = engine.scope_of(told.workflow)
        scope = _scope(owner, owner.incarnation, owner.place, owner.colour)
        operation = f"{owner.place}.{told.ref}/{uri}"
        attempt = reach(scope, operation, REQUEST)
        lost = False
        if operation in world.armed:
            for fault in strikes(scope, operation, "before", attempt):
                if isinstance(fault, ErrorReply):
                    yield engine.latency_ms
                    self._answer(scope, told, operation, attempt, 503, "unavailable", False)
                    return
                if isinstance(fault, LostRequest):
                    lost = True
                else:
                    yield from trouble(scope, fault, NOBODY)
        method = str(told.request.get("method", "GET"))
        body = told.request.get("body")
        scope.record("call", operation, attempt, {"method": method, "arguments": [body]})
        if lost:
            yield engine.timeout_ms
            self._answer(scope, told, operation, attempt, 0, "timeout", False)
            return
        yield engine.latency_ms // 2

        def back(status: int, value: Any, cause: int) -> None:
            scope.cause = cause
            script = self._back(scope, told, operation, attempt, status, value)
            drive_in_kernel(script, world)

        replicas = self.endpoints[uri]
        if not replicas:
            self._answer(scope, told, operation, attempt, 0, "connection refused", False)
            return
        endpoint = replicas[scope.entity % len(replicas)]
        over: list[int] = []

        def once(status: int, value: Any, cause: int) -> None:
            if not over:
                over.append(status)
                back(status, value, cause)

        def died() -> None:
            world.after(1, lambda _: once(0, "connection reset", scope.cause))

        endpoint.incarnation.on_death.append(died)
        yield from self._handle(scope, endpoint, body, once)

    def _back(
        self, scope: Scope, told: Called, operation: str, attempt: int, status: int, value: Any
    ) -> Script[None]:
        if operation in scope.world.armed:
            for fault in strikes(scope, operation, "after", attempt):
                if isinstance(fault, LostReply):
                    yield self.engine.timeout_ms
                    self._answer(scope, told, operation, attempt, 0, "timeout", True)
                    return
        yield self.engine.latency_ms - self.engine.latency_ms // 2
        self._answer(scope, told, operation, attempt, status, value, None)

    def _answer(
        self, scope: Scope, told: Called, operation: str, attempt: int, status: int, value: Any,
        happened: bool | None,
    ) -> None:  # fmt: skip
        """Tell the server; one that has died since has forgotten that it asked."""
        data: dict[str, Any] = {"outcome": "ok" if 200 <= status <= 299 else "failed"}
        if happened is not None:
            data = {"outcome": "unknown" if status == 0 else "failed", "happened": happened}
        scope.record("reply", operation, attempt, data)
        engine = self.engine
        if not engine.up or scope.incarnation is not engine.scope_of(told.workflow).incarnation:
            return
        owner = engine.scope_of(told.workflow)
        owner.cause = scope.cause
        reason = None if data["outcome"] == "ok" else str(value)
        engine.perform(engine.server.answer(told.task, status, value, reason), owner, _nothing)

    # ---- both

    def _handle(
        self, scope: Scope, endpoint: Endpoint, body: Any, answer: Callable[[int, Any, int], None]
    ) -> Script[None]:
        own = _scope(scope, endpoint.incarnation, endpoint.place, endpoint.colour)
        own.hops += 1
        world = scope.world
        world.in_flight[own] = endpoint.place
        endpoint.in_hand += 1
        operation = f"{endpoint.place}/handle"
        attempt = reach(own, operation, HANDLE)
        yield from suffer(own, operation, "before", attempt)
        given = json.loads(json.dumps(body))

        def done(own: Scope, value: Any, error: BaseException | None) -> None:
            if ended(own, operation, attempt, error):
                script = self._done(own, operation, attempt, value, error, answer)
                drive_in_kernel(script, world, lambda _: endpoint.free())

        own.colour.start(own, endpoint.handler, _one, given, done)

    def _done(
        self, own: Scope, operation: str, attempt: int, value: Any, error: BaseException | None,
        answer: Callable[[int, Any, int], None],
    ) -> Script[None]:  # fmt: skip
        yield from suffer(own, operation, "after", attempt)
        if error is not None:
            answer(500, words_of(error), own.cause)
            return
        try:
            found = json.loads(json.dumps(value))
        except (TypeError, ValueError) as wrong:
            said = RefusedValue(f"{operation} returns what has no JSON form: {wrong}")
            if own.world.is_mistake(said):
                own.world.refuse(said)
            else:
                answer(500, words_of(said), own.cause)
            return
        answer(200, found, own.cause)


def _deliver(deliver: Callable[[Endpoint], None], endpoint: Endpoint, _: Any) -> None:
    deliver(endpoint)


def _scope(source: Scope, incarnation: Incarnation, place: str, colour: Any) -> Scope:
    return Scope(
        source.world, incarnation, place, source.entity, source.cause, colour, source.hops,
        source.message,
    )  # fmt: skip


def _one(body: Any) -> tuple[Any]:
    return (body,)


def _ignored(status: int, value: Any, cause: int) -> None:
    """Nobody waits for an answer to a message."""


def _nothing(_: Any) -> None:
    """Nobody waits for it."""
