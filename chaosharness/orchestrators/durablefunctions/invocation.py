"""One invocation of a durable function: a replay from its beginning, on one living replica.

Source:
    AWS Lambda developer guide, "Durable functions", basic concepts: "How replay works"; "Lambda
    quotas": 900 s at most. aws-durable-execution-sdk-python 3.0.0, `execution.py`: what is raised
    is a failed invocation, which Lambda repeats.

Not modelled:
    One execution environment for each invocation: a replica of a service runs several, and what
    kills it kills all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from chaosharness.brokers.sqs.context import Context, request_id
from chaosharness.handlers.handling import ended, reach, suffer
from chaosharness.handlers.port import HANDLE
from chaosharness.handlers.script import Script, drive_in_kernel
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import World
from chaosharness.orchestrators.durablefunctions.execution import Execution
from chaosharness.orchestrators.durablefunctions.sdk import Client, event_of
from chaosharness.orchestrators.functions import Environments, Function

__all__ = ["Engine", "Function", "Invocation"]


class Engine(Protocol):
    """What an invocation needs of the service it belongs to."""

    world: World
    name: str
    latency_ms: int
    timeout_ms: int
    function_timeout_ms: int
    environments: Environments

    def lost(self, operation: str) -> BaseException:
        """Return what a client sees when no answer comes."""

    def refused(self, operation: str) -> BaseException:
        """Return what a client sees when the service is away."""

    def lose_writes(self, scope: Scope) -> None:
        """Lose nothing."""

    def serve(
        self, caller: Scope, operation: str, attempt: int, request: Any, reply: Callable[..., None]
    ) -> None:
        """Do what a client asks, and answer."""

    def returned(self, execution: Execution, number: int, result: Any) -> None:
        """Hear how an invocation has ended; None where it failed."""


class Invocation:
    """One run of the handler of an execution."""

    def __init__(
        self, engine: Engine, execution: Execution, function: Function, number: int
    ) -> None:
        self.engine = engine
        self.execution = execution
        self.function = function
        self.number = number
        self.over = False
        self.timer: Any = None
        self.token = execution.journal.renew()
        owner = execution.scope
        self.scope = Scope(
            engine.world, function.incarnation, function.place, owner.entity, owner.cause,
            function.colour, owner.hops, owner.message,
        )  # fmt: skip

    def begin(self) -> None:
        """Run it; it is cut off when its time is over."""
        engine = self.engine
        self.function.incarnation.on_death.append(self._died)
        self.timer = engine.world.after(engine.function_timeout_ms, self._cut_off)
        drive_in_kernel(self._run(), engine.world)

    def _run(self) -> Script[None]:
        scope, execution, engine = self.scope, self.execution, self.engine
        world = scope.world
        world.in_flight[scope] = self.function.place
        operation = f"{self.function.place}/handle"
        attempt = reach(scope, operation, HANDLE)
        yield from suffer(scope, operation, "before", attempt)
        if scope.hops > world.hops_max and world.too_far(scope.hops):
            world.end("budget", f"a cycle of calls through {self.function.place}")
            return
        name = execution.function
        id = request_id(scope, f"{name}/{execution.name}", self.number)
        context = Context(scope, name, id, world.now + engine.function_timeout_ms)
        event = event_of(execution.journal, self.token, execution.text, Client(engine, execution))

        def done(scope: Scope, result: Any, error: BaseException | None) -> None:
            self.engine.environments.free(self.function.incarnation)
            if ended(scope, operation, attempt, error):
                drive_in_kernel(self._answer(operation, attempt, result, error), world)

        self.function.colour.start(scope, self.function.handler, _as_is, (event, context), done)

    def _answer(
        self, operation: str, attempt: int, result: Any, error: BaseException | None
    ) -> Script[None]:
        yield from suffer(self.scope, operation, "after", attempt)
        yield self.engine.latency_ms - self.engine.latency_ms // 2
        self._end(result if error is None else None)

    def _end(self, result: Any) -> None:
        if not self.over:
            self.over = True
            if self.timer is not None:
                self.engine.world.agenda.cancel(self.timer)
            self.execution.scope.cause = self.scope.cause
            self.engine.returned(self.execution, self.number, result)

    def _died(self) -> None:
        if not self.over:
            self.engine.world.after(1, lambda _: self._end(None))

    def _cut_off(self, _: Any) -> None:
        self.timer = None
        incarnation = self.function.incarnation
        if not self.over and incarnation.alive:
            self.engine.world.crash(incarnation, 1, cause=self.scope.cause)


def _as_is(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return arguments
