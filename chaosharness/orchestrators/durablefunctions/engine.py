"""AWS Lambda durable functions as part of a system: executions, their timers, their invocations.

The service itself is AWS's: it does not crash here, and keeps what was checkpointed. What can go
wrong is around it: a function's process that dies, a checkpoint that is refused, or whose request
or answer is lost, a start that is repeated, an invocation that takes too long. Each has the handler
run again from its beginning, over what was checkpointed.

Source:
    AWS Lambda developer guide, "Durable functions": "Idempotency" (a name that is known and the
    same payload: the execution that is there; another payload: refused), "Basic concepts",
    "Invoking durable functions"; API Reference, `Invoke`, `CheckpointDurableExecution`,
    `SendDurableExecutionCallback...`.

Not modelled:
    How long Lambda waits before it repeats a failed invocation is not published: here 1 s, doubled
    each time up to a minute, to the end of the execution. Ordinary functions behind
    `context.invoke`; event source mappings; versions, aliases and tenants; retention of ended
    executions; throttling; destinations.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.carrier import PLAIN
from chaosharness.handlers.stopping import LAMBDA, Unknown
from chaosharness.kernel import allowed
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import World
from chaosharness.orchestrators.durablefunctions.client import DurableFunctionsClient
from chaosharness.orchestrators.durablefunctions.execution import Execution, arn_of
from chaosharness.orchestrators.durablefunctions.invocation import Invocation
from chaosharness.orchestrators.durablefunctions.journal import Journal
from chaosharness.orchestrators.durablefunctions.refusals import (
    CallbackTimeoutException,
    DurableExecutionAlreadyStartedException,
    InvalidParameterValueException,
    LambdaError,
    ResourceNotFoundException,
)
from chaosharness.orchestrators.durablefunctions.sdk import check_durable
from chaosharness.orchestrators.functions import Environments, Function, Spare, replicate
from chaosharness.orchestrators.given_up import note_given_up
from chaosharness.orchestrators.long_waits import LongWaits

__all__ = ["DurableFunctions", "OpenDurableFunctions"]

YEAR_S: Final = 31_622_400


@attrs.frozen
class DurableFunctions:
    """AWS Lambda durable functions: handlers under `@durable_execution`, as they are.

    A service has them run with `env.function(engine, name, handler)`; `env.client(engine)` is
    Lambda's API under boto3's names. Needs the extra `chaosharness[durable-functions]`.

    Args:
        name: What reports call it.
        execution_timeout_s: How long an execution may last, in seconds: its `ExecutionTimeout`.
        function_timeout_s: How long one invocation may last, in seconds, from 1 to 900.
        latency_ms: There and back, of a call to the service.
        timeout_ms: How long a client waits for the service.
    """

    name: str = attrs.field(validator=allowed.text())
    execution_timeout_s: int = attrs.field(default=YEAR_S, validator=allowed.whole(1), kw_only=True)
    function_timeout_s: int = attrs.field(default=900, validator=allowed.whole(1), kw_only=True)
    latency_ms: int = attrs.field(default=20, validator=allowed.whole(0), kw_only=True)
    timeout_ms: int = attrs.field(default=50_000, validator=allowed.whole(1), kw_only=True)

    def __attrs_post_init__(self) -> None:
        for name, most in (("execution_timeout_s", YEAR_S), ("function_timeout_s", 900)):
            if getattr(self, name) > most:
                words = f"at most {most:,} seconds"
                raise allowed.refused("DurableFunctions", name, words, getattr(self, name))

    def open(self, world: World) -> OpenDurableFunctions:
        """Return the service, with no executions, for one run."""
        return OpenDurableFunctions(self, world)


class OpenDurableFunctions:
    """The service during one run."""

    def __init__(self, definition: DurableFunctions, world: World) -> None:
        self.definition = definition
        self.name = definition.name
        self.latency_ms = definition.latency_ms
        self.timeout_ms = definition.timeout_ms
        self.function_timeout_ms = definition.function_timeout_s * 1000
        self.world = world
        self.incarnation = Incarnation(world, self.name, 0, 1, self.name)
        self.functions: dict[str, list[Function]] = {}
        self.environments = Environments()
        self.known: set[str] = set()  # functions that are deployed, also while none of them lives
        self.executions: dict[str, Execution] = {}  # by name
        self.by_arn: dict[str, Execution] = {}
        self.waiting: dict[str, deque[Execution]] = {}
        self.sought: set[str] = set()  # functions that a service may have yet
        self._timer: Any = None
        self.waits = LongWaits(world)
        world.on_built.append(self._miss_sought)
        world.at_calm(lambda: self.waits.until(self._due()))
        world.on_waiting.append(self._unanswered)
        world.know_timeout(definition.timeout_ms)

    # ---- as a peer of its clients

    def lost(self, operation: str) -> BaseException:
        """Return what a client sees when no answer comes."""
        return TimeoutError(f"{operation}: no answer within {self.timeout_ms} ms")

    def refused(self, operation: str) -> BaseException:
        """Return what a client sees when the service is away for a moment."""
        return ConnectionError(f"{operation}: service unavailable, try again later")

    def lose_writes(self, scope: Scope) -> None:
        """Lose nothing: the service keeps what it has answered."""

    def client(self) -> DurableFunctionsClient:
        """Return what a service calls it by."""
        return DurableFunctionsClient(self)

    def close(self) -> None:
        """Let go of everything, at the end of a run."""
        self.functions.clear()
        self.environments.close()
        self.waiting.clear()

    def event_histories(self) -> dict[str, str]:
        """Return the operations of every execution, as JSON."""
        return {
            f"{one.function}:{one.name}": json.dumps(
                {**one.described(), "Operations": [*one.journal.operations.values()]}
            )
            for one in self.executions.values()
        }

    def names_that_wait(self) -> Iterator[str]:
        """Yield what `may_wait` may name: functions."""
        yield from self.known

    # ---- functions

    def function(
        self,
        name: str,
        incarnation: Incarnation,
        place: str,
        handler: Callable[..., Any],
        colour: Any,
        spare: Spare | None,
    ) -> None:
        """Have an incarnation run a durable function, as long as it lives.

        Raises:
            InvalidDefinition: It is not under `@durable_execution`.
        """
        check_durable(incarnation.service, name, handler)
        function = Function(incarnation, place, handler, colour)
        if not self.environments.add(name, function, spare):
            return
        self.known.add(name)
        replicas = self.functions.setdefault(name, [])
        replicate(self.world, replicas, function)
        Unknown(incarnation, LAMBDA)
        for execution in self.waiting.pop(name, ()):
            self.world.after(0, self._invoke, execution)

    # ---- operations

    def serve(
        self, caller: Scope, operation: str, attempt: int, request: Any, reply: Callable[..., None]
    ) -> None:
        """Do what is asked, and answer."""
        what, words = request
        try:
            value = getattr(self, f"_do_{what}")(caller, reply, **words)
        except LambdaError as error:
            reply(None, error, happened=False)
            return
        self._wake_in_time()
        if value is not None:
            reply(value, None)

    def _do_start(
        self, caller: Scope, reply: Any, function: str, text: str, name: str, wait: bool
    ) -> Any:
        named = function.removesuffix(":$LATEST").rsplit(":", 1)[-1]
        if named not in self.known:
            self._miss(named)
        try:
            json.loads(text)
        except ValueError as error:
            raise InvalidParameterValueException(f"Payload is no JSON: {error}") from None
        execution = self._begin(named, name, text, caller)
        if not wait:
            return {"StatusCode": 202, "DurableExecutionArn": execution.journal.arn}
        if execution.status != "RUNNING":
            return execution.invoked()
        execution.watchers.append(lambda ended: reply(ended.invoked(), None))
        return None

    def _do_checkpoint(
        self, caller: Scope, reply: Any, arn: str, token: str, updates: list[dict[str, Any]]
    ) -> Any:
        execution = self._execution(arn)
        if execution.status != "RUNNING":
            raise InvalidParameterValueException("Invalid checkpoint token: it has ended")
        journal = execution.journal
        journal.checkpoint(token, updates, self.world.now)
        self.world.effects += 1
        for update in updates:
            self._tell(execution, update)
        asked, journal.asked = journal.asked, []
        for id, function, text in asked:
            self._chain(execution, id, function, text)
        if journal.terminal is not None:
            ended = journal.terminal
            status = "SUCCEEDED" if ended["Action"] == "SUCCEED" else "FAILED"
            self._end(execution, status, ended.get("Payload"), ended.get("Error"))
            return None, journal.told()
        return journal.token, journal.told()

    def _do_get(self, caller: Scope, reply: Any, arn: str) -> Any:
        return self._execution(arn).described()

    def _do_stop(self, caller: Scope, reply: Any, arn: str) -> Any:
        execution = self._execution(arn)
        if execution.status == "RUNNING":
            self._end(execution, "STOPPED", None, None)
        return {"StopTimestamp": execution.ended_ms}

    def _do_callback(
        self, caller: Scope, reply: Any, callback: str, status: str, result: Any, error: Any
    ) -> Any:
        execution, id = self._callback(callback)
        alive = execution.status == "RUNNING"
        now = self.world.now
        if not alive or not execution.journal.answer(id, status, now, result=result, error=error):
            raise CallbackTimeoutException(f"callback {id} is over")
        execution.scope.cause = caller.cause
        self._go_on(execution)
        return {}

    def _do_heartbeat(self, caller: Scope, reply: Any, callback: str) -> Any:
        execution, id = self._callback(callback)
        if execution.status != "RUNNING" or not execution.journal.heartbeat(id, self.world.now):
            raise CallbackTimeoutException(f"callback {id} is over")
        return {}

    def _callback(self, callback: str) -> tuple[Execution, str]:
        arn, _, id = str(callback).rpartition("|")
        return self._execution(arn), id

    def _execution(self, arn: str) -> Execution:
        if arn not in self.by_arn:
            raise ResourceNotFoundException(f"there is no durable execution {arn}")
        return self.by_arn[arn]

    # ---- executions

    def _begin(self, function: str, name: str, text: str, caller: Scope) -> Execution:
        """Start an execution, or return the one that has this name."""
        known = self.executions.get(name)
        if known is not None:
            if (known.function, known.text) != (function, text):
                raise DurableExecutionAlreadyStartedException(
                    f"the execution {name!r} was started with another payload"
                )
            return known
        given = name or f"{function}-{caller.entity}-{len(self.executions) + 1}"
        world = self.world
        scope = Scope(
            world, self.incarnation, function, caller.entity, caller.cause, PLAIN,
            caller.hops + 1, caller.message,
        )  # fmt: skip
        journal = Journal(arn_of(function, given))
        execution = Execution(function, given, text, scope, world.now, journal)
        self.executions[given] = self.by_arn[journal.arn] = execution
        world.effects += 1
        self._note(execution, "execution started")
        if self.definition.execution_timeout_s < YEAR_S:
            lasts_ms = self.definition.execution_timeout_s * 1000
            execution.deadline = world.after(lasts_ms, self._time_out, execution)
        self._invoke_soon(execution)
        return execution

    def _chain(self, parent: Execution, id: str, function: str, text: str) -> None:
        """Start what another execution invokes, and bring back how it ended."""
        named = function.removesuffix(":$LATEST").rsplit(":", 1)[-1]
        if named not in self.known:
            self._miss(named)
        child = self._begin(named, f"{parent.name}-{id[:16]}", text, parent.scope)

        def brought(ended: Execution) -> None:
            if parent.status != "RUNNING":
                return
            status = "SUCCEEDED" if ended.status == "SUCCEEDED" else "FAILED"
            now = self.world.now
            parent.journal.answer(id, status, now, result=ended.result, error=ended.error)
            parent.scope.cause = ended.scope.cause
            self._go_on(parent)

        child.watchers.append(brought)

    def _miss_sought(self) -> None:
        """Every service has been built: refuse what was asked for and none has."""
        for name in sorted(self.sought - self.known):
            self._refuse(name)
            return

    def _miss(self, name: str) -> None:
        """Refuse a function that no service has: it is misspelt, here or there.

        While a service is being built it may have it yet, and the execution waits for it.
        """
        if self.world.unbuilt:
            self.sought.add(name)
            return
        self._refuse(name)
        raise ResourceNotFoundException(f"Function not found: {name}")

    def _refuse(self, name: str) -> None:
        there = ", ".join(sorted(self.known)) or "none"
        self.world.refuse(
            InvalidDefinition(
                f"{self.name} is to run the function {name!r}, which no service has: "
                f"env.function({self.name}, {name!r}, handler); there are: {there}"
            )
        )

    def _invoke_soon(self, execution: Execution) -> None:
        self.world.after(self.latency_ms // 2, self._invoke, execution)

    def _invoke(self, execution: Execution) -> None:
        """Run the handler from its beginning, unless it runs already."""
        if execution.status != "RUNNING" or execution.invocation:
            return
        replicas = self.functions.get(execution.function)
        if not replicas:
            queue = self.waiting.setdefault(execution.function, deque())
            if execution not in queue:
                queue.append(execution)
            return
        function = replicas[execution.scope.entity % len(replicas)]
        execution.invocations += 1
        execution.invocation = number = execution.invocations

        def begin(function: Function) -> None:
            Invocation(self, execution, function, number).begin()

        def lost() -> None:
            self.world.after(1, lambda _: self.returned(execution, number, None))

        name, cause = execution.function, execution.scope.cause
        self.environments.run(name, function, cause, begin, lost)

    def returned(self, execution: Execution, number: int, result: Any) -> None:
        """Hear how an invocation has ended; None where it failed: it is made again."""
        if execution.invocation != number:
            return
        execution.invocation = 0
        if execution.status != "RUNNING":
            return
        status = result.get("Status") if isinstance(result, dict) else None
        if status in ("SUCCEEDED", "FAILED"):
            execution.failed = 0
            self._end(execution, status, result.get("Result"), result.get("Error"))
        elif status == "PENDING":
            execution.failed = 0
            if execution.journal.fresh:
                self._invoke_soon(execution)
        else:
            self._note(execution, "invocation failed")
            execution.journal.renew()  # whoever still has the token can write nothing more
            self.world.after(execution.backoff_ms(), self._invoke, execution)
        self._wake_in_time()

    def _go_on(self, execution: Execution) -> None:
        if execution.journal.fresh and not execution.invocation:
            self._invoke_soon(execution)

    def _end(self, execution: Execution, status: str, result: Any, error: Any) -> None:
        execution.status, execution.result, execution.error = status, result, error
        execution.ended_ms = self.world.now
        if execution.deadline is not None:
            self.world.agenda.cancel(execution.deadline)
            execution.deadline = None
        execution.journal.due.clear()
        execution.journal.silent.clear()
        self.world.effects += 1
        self._note(execution, f"execution {status.lower().replace('_', ' ')}")
        watchers, execution.watchers = execution.watchers, []
        for watcher in watchers:
            watcher(execution)

    def _time_out(self, execution: Execution) -> None:
        execution.deadline = None
        if execution.status == "RUNNING":
            self._end(execution, "TIMED_OUT", None, {"ErrorType": "Execution.Timeout"})

    # ---- time

    def _due(self) -> int | None:
        found = (one.journal.next_ms() for one in self.executions.values())
        return min((at for at in found if at is not None), default=None)

    def _wake_in_time(self) -> None:
        due = self._due()
        self.waits.until(due)
        if self._timer is not None:
            self.world.agenda.cancel(self._timer)
            self._timer = None
        if due is not None:
            self._timer = self.world.agenda.add(max(due, self.world.now), self._tick)

    def _tick(self, _: Any) -> None:
        self._timer = None
        for execution in [*self.executions.values()]:
            execution.journal.tick(self.world.now)
            while execution.journal.given_up:
                of = f"callback {execution.journal.given_up.pop(0)}"
                note_given_up(execution.scope, execution.name, of)
            if execution.status == "RUNNING":
                self._go_on(execution)
        self.world.effects += 1
        self._wake_in_time()

    # ---- what is told

    def _note(self, execution: Execution, what: str, **more: Any) -> None:
        data = {"what": what, "function": execution.function, "saga": execution.name, **more}
        if execution.error is not None and execution.error.get("ErrorType"):
            data["error"] = execution.error["ErrorType"]
        execution.scope.record("note", "", 0, data)

    def _tell(self, execution: Execution, update: dict[str, Any]) -> None:
        name = update.get("Name") or update.get("SubType") or update["Type"]
        words = {"START": "started", "SUCCEED": "succeeded", "FAIL": "failed",
                 "RETRY": "to be tried again", "CANCEL": "cancelled"}  # fmt: skip
        self._note(execution, f"{name} {words[update['Action']]}")
        error = update.get("Error") or {}
        interrupted = str(error.get("ErrorType", "")).endswith("StepInterruptedError")
        if update["Action"] == "FAIL" and interrupted:  # nobody refused it: who did it has died
            note_given_up(execution.scope, execution.name, f"step {name}")

    def _unanswered(self) -> Iterator[tuple[tuple[str, str], str]]:
        """Yield callbacks without a timeout that nobody has answered."""
        for execution in self.executions.values():
            if execution.status != "RUNNING":
                continue
            for id, operation in execution.journal.operations.items():
                journal = execution.journal
                timed = id in journal.due or id in journal.silent
                if (
                    operation["Type"] == "CALLBACK"
                    and operation["Status"] == "STARTED"
                    and not timed
                ):
                    name = operation.get("Name") or id[:8]
                    yield (
                        (name, execution.function),
                        f"callback {name!r} of execution {execution.name!r} "
                        f"({execution.function}) was answered by nobody; it has no timeout",
                    )
