"""One run of a function for a task, with all that can happen to it on the way and back.

*Source*: developer guide, "Handle Lambda service exceptions" (rule S2): which errors say that the
function did not run, and which say nothing about it.
"""

import json
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from chaosharness.brokers.sqs.context import Context
from chaosharness.errors import RefusedValue
from chaosharness.faults import Delay, ErrorReply, LostReply, LostRequest
from chaosharness.handlers.carrier import PLAIN
from chaosharness.handlers.handling import ended, reach, suffer
from chaosharness.handlers.port import HANDLE, NOBODY, strikes, surface, trouble
from chaosharness.handlers.script import Script, drive_in_kernel
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import World
from chaosharness.orchestrators.functions import Environments, Function
from chaosharness.orchestrators.stepfunctions.errors import DATA_LIMIT, StateError
from chaosharness.orchestrators.stepfunctions.history import PAYLOAD_MAX, as_text
from chaosharness.orchestrators.stepfunctions.machine import Asked, Service

__all__ = ["Engine", "Function", "Invocation"]

INVOKE: Final = surface(before=(Delay, ErrorReply, LostRequest), after=(LostReply,))

NOT_RUN: Final = "Lambda.ServiceException"
UNKNOWN: Final = "Lambda.Unknown"
NO_ANSWER: Final = "Lambda.SdkClientException"
NOT_FOUND: Final = "Lambda.ResourceNotFoundException"


LAMBDA_MS_MAX: Final = 900_000


class Engine(Protocol):
    """What an invocation needs of the service it belongs to."""

    world: World
    service: Service
    incarnation: Incarnation
    functions: dict[str, list[Function]]
    environments: Environments
    waiting: dict[str, deque[Callable[[], None]]]
    scopes: dict[int, Scope]
    latency_ms: int
    timeout_ms: int

    def go_on(self) -> None:
        """Hand out work, tell what has ended, be woken in time."""


class Invocation:
    """One run of a function for a task, with all that can happen to it."""

    def __init__(self, engine: Engine, asked: Asked, name: str, event: Any) -> None:
        self.engine = engine
        self.asked = asked
        self.name = name
        self.event = event
        owner = engine.scopes[id(asked.execution)]
        self.scope = Scope(
            engine.world,
            engine.incarnation,
            f"{asked.execution.machine}.{asked.state}",
            owner.entity,
            owner.cause,
            PLAIN,
            owner.hops,
            owner.message,
        )
        self.operation = f"{self.scope.place}/{name}"
        self.attempt = 0
        self.over = False

    def begin(self) -> None:
        """Send it on its way."""
        world = self.engine.world
        self.attempt = reach(self.scope, self.operation, INVOKE)
        drive_in_kernel(self._go(), world)

    def find_nothing(self) -> None:
        """There is no such function any more, or not yet: the task fails."""
        self.attempt = reach(self.scope, self.operation, INVOKE)
        self.engine.world.after(
            self.engine.latency_ms,
            lambda _: self.fail(NOT_FOUND, f"Function not found: {self.name}", happened=False),
        )

    def _go(self) -> Script[None]:
        scope, engine = self.scope, self.engine
        lost = False
        if self.operation in engine.world.armed:
            for fault in strikes(scope, self.operation, "before", self.attempt):
                match fault:
                    case ErrorReply():
                        yield engine.latency_ms
                        self.fail(NOT_RUN, "the function was not run", happened=False)
                        return
                    case LostRequest():
                        lost = True
                    case _:
                        yield from trouble(scope, fault, NOBODY)
        data = {"method": self.name, "arguments": [self.event]}
        scope.record("call", self.operation, self.attempt, data)
        if lost:
            yield engine.timeout_ms
            self.fail(NO_ANSWER, "no answer: the function may have run", happened=False)
            return
        yield engine.latency_ms // 2
        self.arrive()

    def arrive(self) -> None:
        """Run on a living replica; where there is none, on the first that starts."""
        engine = self.engine
        replicas = engine.functions.get(self.name)
        if not replicas:
            engine.waiting.setdefault(self.name, deque()).append(self.arrive)
            return
        function = replicas[self.scope.entity % len(replicas)]
        cause = self.scope.cause
        engine.environments.run(self.name, function, cause, self._begin_in, self._sandbox_died)

    def _begin_in(self, function: Function) -> None:
        engine = self.engine
        scope = Scope(
            engine.world, function.incarnation, function.place, self.scope.entity,
            self.scope.cause, function.colour, self.scope.hops + 1, self.scope.message,
        )  # fmt: skip
        function.incarnation.on_death.append(self._sandbox_died)
        drive_in_kernel(self._run(function, scope), engine.world)

    def _sandbox_died(self) -> None:
        """The sandbox is gone, and with it what it would have answered."""
        if not self.over:
            self.engine.world.after(
                1, lambda _: self.fail(UNKNOWN, "the function's process died", happened=None)
            )

    def _run(self, function: Function, scope: Scope) -> Script[None]:
        world = scope.world
        world.in_flight[scope] = function.place
        operation = f"{function.place}/handle"
        attempt = reach(scope, operation, HANDLE)
        yield from suffer(scope, operation, "before", attempt)
        if scope.hops > world.hops_max and world.too_far(scope.hops):
            world.end("budget", f"a cycle of calls through {function.place}")
            return
        token, due_ms = self.asked.work.token, world.now + LAMBDA_MS_MAX
        context = Context(scope, self.name, token, due_ms)

        def done(scope: Scope, result: Any, error: BaseException | None) -> None:
            self.engine.environments.free(function.incarnation)
            if ended(scope, operation, attempt, error):
                drive_in_kernel(self._answer(scope, operation, attempt, result, error), world)

        event = json.loads(as_text(self.event))  # its own copy
        function.colour.start(scope, function.handler, _as_is, (event, context), done)

    def _answer(
        self, scope: Scope, operation: str, attempt: int, result: Any, error: BaseException | None
    ) -> Script[None]:
        world = scope.world
        yield from suffer(scope, operation, "after", attempt)
        self.scope.cause = scope.cause
        if self.operation in world.armed:
            for fault in strikes(self.scope, self.operation, "after", self.attempt):
                if isinstance(fault, LostReply):
                    yield self.engine.timeout_ms
                    self.fail(NO_ANSWER, "no answer: the function may have run", happened=True)
                    return
        yield self.engine.latency_ms - self.engine.latency_ms // 2
        if error is not None:
            cause = as_text({"errorMessage": str(error), "errorType": type(error).__name__})
            self.fail(type(error).__name__, cause, happened=None)
            return
        try:
            text = as_text(result)
        except (TypeError, ValueError) as wrong:
            said = RefusedValue(f"{operation} returns what has no JSON form: {wrong}")
            if world.is_mistake(said):
                world.refuse(said)
                return
            cause = as_text({"errorMessage": str(wrong), "errorType": "Runtime.MarshalError"})
            self.fail("Runtime.MarshalError", cause, happened=None)
            return
        if len(text) > PAYLOAD_MAX // 4 and len(text.encode()) > PAYLOAD_MAX:
            what = "lambda" if self.asked.work.kind == "service" else self.name
            cause = f"The state/task '{what}' returned a result with a size exceeding the "
            self.fail(DATA_LIMIT, cause + "maximum number of bytes service limit.", happened=None)
            return
        self.succeed(json.loads(text))

    def succeed(self, output: Any) -> None:
        """Give the answer to the execution, if it still waits for it."""
        self.over = True
        token = self.asked.work.token
        engine = self.engine
        if not engine.service.is_waited_for(token):
            self.scope.record(
                "reply", self.operation, self.attempt, {"outcome": "ok", "late": True}
            )
            return
        self.scope.record("reply", self.operation, self.attempt, {"outcome": "ok"})
        if self.asked.work.kind == "service":
            output = {"ExecutedVersion": "$LATEST", "Payload": output, "StatusCode": 200}
        engine.scopes[id(self.asked.execution)].cause = self.scope.cause
        if self.asked.work.callback:  # its own answer comes by the token
            engine.service.submitted(token, output, engine.world.now)
        else:
            engine.service.succeed(token, output, engine.world.now)
        engine.go_on()

    def fail(self, name: str, cause: str, *, happened: bool | None) -> None:
        """Tell the execution that the task has failed, if it still waits for it."""
        if self.over:
            return
        self.over = True
        token = self.asked.work.token
        engine = self.engine
        data: dict[str, Any] = {"outcome": "failed", "error": name}
        if happened is not None:
            data = {"outcome": "unknown" if name == NO_ANSWER else "failed", "happened": happened,
                    "error": name}  # fmt: skip
        self.scope.record("reply", self.operation, self.attempt, data)
        if engine.service.is_waited_for(token):
            engine.scopes[id(self.asked.execution)].cause = self.scope.cause
            engine.service.fail(token, StateError(name, cause), engine.world.now)
            engine.go_on()


def _as_is(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return arguments
