"""Calls between services: a request, a reply, and no broker in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from chaosharness.brokers.message import Decode, Message, Reader, decoder_for, encode_json
from chaosharness.errors import InvalidDefinition
from chaosharness.externals.request import Answer, call
from chaosharness.handlers.amid import note_answer
from chaosharness.handlers.handling import ended, reach, suffer
from chaosharness.handlers.places import told
from chaosharness.handlers.port import HANDLE
from chaosharness.handlers.script import Script, drive_in_kernel
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import World


class RemoteError(Exception):
    """The called service raised. What it did before that, it did."""


@attrs.define(eq=False)
class Endpoint:
    """One handler of one incarnation that answers calls; `in_hand` so many of them now."""

    incarnation: Incarnation
    place: str
    handler: Callable[..., Any]
    reader: Reader
    colour: Any
    in_hand: int = 0


class Listening:
    """One endpoint, as long as callers find it."""

    __slots__ = ("_endpoint", "_endpoints")

    def __init__(self, endpoint: Endpoint, endpoints: list[Endpoint]) -> None:
        self._endpoint = endpoint
        self._endpoints = endpoints

    def cease(self) -> None:
        """Let nobody find it any more."""
        if self._endpoint in self._endpoints:
            self._endpoints.remove(self._endpoint)

    def is_busy(self) -> bool:
        """Say whether a request is in hand."""
        return self._endpoint.in_hand > 0


class Switchboard:
    """Who answers what, during one run."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.endpoints: dict[tuple[str, str], list[Endpoint]] = {}

    def serve(self, service: str, name: str, endpoint: Endpoint) -> None:
        """Have an incarnation answer calls, as long as it lives."""
        endpoints = self.endpoints.setdefault((service, name), [])
        endpoints.append(endpoint)
        taker = Listening(endpoint, endpoints)
        endpoint.incarnation.on_death.append(taker.cease)
        endpoint.incarnation.takers.append(taker)

    def call(self, service: str, name: str, value: Any, timeout_ms: int, read_as: Any) -> Any:
        """Call an endpoint of a service: its answer, or an awaitable of it."""
        if (service, name) not in self.endpoints:
            known = ", ".join(f"{one}.{other}" for one, other in sorted(self.endpoints)) or "none"
            raise InvalidDefinition(f"no service serves {service}.{name}; served are: {known}")
        body = encode_json(value, f"{service}.{name}")
        line = Line(self, service, name, timeout_ms, decoder_for(read_as))
        words = {"service": service, "endpoint": name, "value": body}
        return call(f"{service}.{name}", line, body, words)


@attrs.frozen
class Line:
    """The other end of a call: whichever replica of a service picks up.

    Not modelled: connection reuse, so a replica that has died is never called again.
    """

    switchboard: Switchboard
    name: str
    endpoint: str
    timeout_ms: int
    decode: Decode
    latency_ms: int = 2

    @property
    def world(self) -> World:
        """The run that it belongs to."""
        return self.switchboard.world

    def lost(self, operation: str) -> BaseException:
        """Return what a caller sees when no answer comes."""
        return TimeoutError(f"{operation}: no answer within {self.timeout_ms} ms")

    def refused(self, operation: str) -> BaseException:
        """Return what a caller sees when nobody picks up."""
        return ConnectionError(f"{operation}: connection refused")

    def lose_writes(self, scope: Scope) -> None:
        """Lose nothing: a call stores nothing."""

    def serve(
        self, caller: Scope, operation: str, attempt: int, request: Any, reply: Callable[..., None]
    ) -> None:
        """Hand the request to a living replica: always the same for the same item."""
        endpoints = self.switchboard.endpoints[self.name, self.endpoint]
        if not endpoints:
            reply(None, self.refused(operation), happened=False)
            return
        endpoint = endpoints[caller.entity % len(endpoints)]
        scope = Scope(
            caller.world,
            endpoint.incarnation,
            endpoint.place,
            caller.entity,
            caller.cause,
            endpoint.colour,
            caller.hops + 1,
            caller.message,
        )
        message = Message(self.endpoint, None, {}, request, scope.entity, 0)
        asked = scope.cause

        def answered(*answer: Any, **words: Any) -> None:
            note_answer(scope, asked)
            reply(*answer, **words)

        pick_up(endpoint, scope, message, self._answer, answered)

    def _answer(self, scope: Scope, operation: str, result: Any, error: Any) -> Answer:
        """Return what the caller gets of how a handler ended."""
        if error is not None:
            words = told(error)
            return None, RemoteError(f"{scope.place} raised {words['error']}")
        return self.decode(encode_json(result, operation)), None


Ended = Callable[[Scope, str, Any, BaseException | None], Answer]
"""Makes the answer of how a handler ended: its scope, its operation, its result, its error."""


def pick_up(
    endpoint: Endpoint,
    scope: Scope,
    message: Message,
    answer: Ended,
    reply: Callable[..., None],
) -> None:
    """Have an endpoint handle a request, with what may strike it before and after.

    Args:
        endpoint: Who handles it.
        scope: On whose behalf.
        message: What its reader reads.
        answer: Makes the answer. What it refuses calls the run off; a value under a fault
            is an error of the handler.
        reply: Called with the answer.
    """
    endpoint.in_hand += 1

    def replied(*answer: Any, **words: Any) -> None:
        endpoint.in_hand -= 1
        reply(*answer, **words)
        if endpoint.incarnation.stopping is not None:
            endpoint.incarnation.stopping.look()

    drive_in_kernel(_pick_up(endpoint, scope, message, answer, replied), scope.world)


def _pick_up(
    endpoint: Endpoint,
    scope: Scope,
    message: Message,
    answer: Ended,
    reply: Callable[..., None],
) -> Script[None]:
    world = scope.world
    world.in_flight[scope] = endpoint.place
    operation = f"{endpoint.place}/handle"
    attempt = reach(scope, operation, HANDLE)
    yield from suffer(scope, operation, "before", attempt)
    if scope.hops > world.hops_max and world.too_far(scope.hops):
        world.end("budget", f"a cycle of calls through {endpoint.place}")
        return

    def done(scope: Scope, result: Any, error: BaseException | None) -> None:
        if not ended(scope, operation, attempt, error):
            return
        try:
            made = answer(scope, operation, result, error)
        except InvalidDefinition as wrong:
            if world.is_mistake(wrong):
                world.refuse(wrong)
                return
            made = answer(scope, operation, None, wrong)
        drive_in_kernel(_hang_up(scope, operation, attempt, made, reply), world)

    endpoint.colour.start(scope, endpoint.handler, endpoint.reader.read, message, done)


def _hang_up(
    scope: Scope,
    operation: str,
    attempt: int,
    answer: Answer,
    reply: Callable[..., None],
) -> Script[None]:
    """Answer, if nothing strikes between the end of the handler and its answer."""
    yield from suffer(scope, operation, "after", attempt)
    reply(*answer)
