"""A request and its reply, with everything that can happen to either.

The request travels on its own: a caller that is cancelled, times out or dies does not
call it back, and what it asked for may still happen. That is how double charges are made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from chaosharness.externals.rows import CALL
from chaosharness.faults import (
    Crash,
    Delay,
    ErrorReply,
    Fault,
    LostReply,
    LostRequest,
)
from chaosharness.handlers.amid import amid_calls
from chaosharness.handlers.places import words_of
from chaosharness.handlers.port import (
    Peer,
    current_scope,
    cut,
    on_behalf,
    refused,
    strikes,
    trouble,
)
from chaosharness.handlers.script import Resume, Script
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import World

Answer = tuple[Any, BaseException | None]
NO_ANSWER: Final = object()
"""What the wait for an answer ends in where none came."""


class Server(Peer, Protocol):
    """Something that answers requests."""

    @property
    def world(self) -> World:
        """The run that it belongs to."""

    @property
    def latency_ms(self) -> int:
        """There and back."""

    def serve(
        self, caller: Scope, operation: str, attempt: int, request: Any, reply: Callable[..., None]
    ) -> None:
        """Do what is asked, now or later, and then call `reply(value, error)` once."""


def call(action: str, server: Server, request: Any, words: dict[str, Any]) -> Any:
    """Pass a port that is a call: its result, or an awaitable of it.

    Args:
        action: What is asked, for example `bank.charge`.
        server: Who is asked.
        request: Passed to `server.serve`.
        words: What the history shows of the request.
    """
    scope = current_scope(action, server.world)
    world = scope.world
    operation = f"{scope.place}/{action}"
    attempt = world.reach(operation, scope.entity, scope.message)
    if operation not in world.surfaces:
        world.meet(operation, CALL)
    script = _call(scope, operation, attempt, server, request, words)
    if scope.run is None and scope.colour.is_async:  # its loop may be about something else by then
        script = on_behalf(scope, scope.entity, scope.message, script)
    return scope.colour.drive(script, scope)


def _call(
    scope: Scope,
    operation: str,
    attempt: int,
    server: Server,
    request: Any,
    words: dict[str, Any],
) -> Script[Any]:
    world = scope.world
    armed = operation in world.armed
    delay_ms = 0
    lost = False
    if armed:
        for fault in strikes(scope, operation, "before", attempt):
            match fault:
                case ErrorReply():
                    yield server.latency_ms
                    raise refused(scope, operation, attempt, server)
                case LostRequest():
                    lost = True
                case Delay():
                    delay_ms = _delay_ms(world, fault, server)
                case _:
                    yield from trouble(scope, fault, server)
    amid_calls(scope, operation)
    scope.record("call", operation, attempt, words)
    journey = Journey(scope, operation, attempt, server, request)
    journey.lost = lost or cut(scope, server, "out")
    answer = yield journey.send(delay_ms)
    if answer is NO_ANSWER:
        data = {"outcome": "unknown", "happened": journey.happened}
        scope.record("reply", operation, attempt, data)
        raise server.lost(operation)
    value, error = answer
    if armed:
        for fault in journey.stalls:
            yield from trouble(scope, fault, server)
    if error is not None:
        scope.record("reply", operation, attempt, {"outcome": "failed", "error": _words(error)})
        try:
            raise error
        finally:
            del error, answer, value  # its traceback holds this frame: a circle
    scope.record("reply", operation, attempt, {"outcome": "ok"})
    return value


def _delay_ms(world: World, fault: Delay, server: Server) -> int:
    if fault.lasting == "timeout":
        return server.timeout_ms + 1  # past this very timeout
    return world.alone_until(fault.lasting) - world.now


def _words(error: BaseException) -> str:
    return words_of(error).removesuffix(": ")


class Journey:
    """One request on its way, and its reply on the way back."""

    __slots__ = (
        "attempt",
        "cause",
        "entity",
        "happened",
        "lost",
        "message",
        "operation",
        "request",
        "resume",
        "scope",
        "server",
        "stalls",
        "timeout",
    )

    def __init__(
        self, scope: Scope, operation: str, attempt: int, server: Server, request: Any
    ) -> None:
        self.scope = scope
        self.operation = operation
        self.attempt = attempt
        self.server = server
        self.request = request
        self.cause = scope.cause
        self.entity = scope.entity
        self.message = scope.message
        self.lost = False
        self.happened = False
        self.stalls: list[Fault] = []
        self.resume: Resume | None = None
        self.timeout: list[Any] | None = None

    def send(self, delay_ms: int) -> Callable[[Resume], None]:
        """Return the wait that sends the request and ends with its answer, if any."""

        def keep(resume: Resume) -> None:
            world = self.scope.world
            self.resume = resume
            # a poll that is held open longer and longer shows no duration of the system
            world.know_duration(getattr(self.server, "known_ms", self.server.timeout_ms))
            self.timeout = world.timer(self.server.timeout_ms, self._give_up, None, None)
            if not self.lost:
                world.after(delay_ms + self.server.latency_ms // 2, self._arrive)

        return keep

    def _give_up(self, _: Any) -> None:
        resume, self.resume = self.resume, None
        if resume is not None:
            resume(NO_ANSWER)

    def _sender(self) -> Scope:
        """Return the caller as it was when it asked: it may be about something else by now."""
        scope = self.scope
        about = (scope.cause, scope.entity, scope.message)
        if about == (self.cause, self.entity, self.message):
            return scope
        then = Scope(
            scope.world,
            scope.incarnation,
            scope.place,
            self.entity,
            self.cause,
            scope.colour,
            scope.hops,
            self.message,
        )
        then.run = scope.run
        return then

    def _arrive(self, _: Any) -> None:
        sender = self._sender()
        self.server.serve(sender, self.operation, self.attempt, self.request, self._reply)

    def _reply(self, value: Any, error: BaseException | None, happened: bool = True) -> None:
        """Send the reply back, unless a fault has it lost."""
        scope = self.scope
        world = scope.world
        self.happened = happened
        if self.operation in world.armed and scope.incarnation.alive:
            for fault in strikes(self._sender(), self.operation, "after", self.attempt):
                match fault:
                    case LostReply():
                        return
                    case Crash():
                        world.crash(scope.incarnation, fault.down, cause=scope.cause)
                        return
                    case _:
                        self.stalls.append(fault)
        if cut(scope, self.server, "back"):
            return
        back_ms = self.server.latency_ms - self.server.latency_ms // 2
        world.after(back_ms, self._return, (value, error))

    def _return(self, answer: Answer) -> None:
        resume, self.resume = self.resume, None
        if resume is None:
            return  # nobody waits any more: the reply came too late
        assert self.timeout is not None
        self.scope.world.agenda.cancel(self.timeout)
        resume(answer)
