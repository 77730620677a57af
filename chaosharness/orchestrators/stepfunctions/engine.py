"""Step Functions as part of a system: state machines, functions that tasks run, and its client.

The service itself is AWS's: it does not crash here, and an execution of type STANDARD is kept
between its states. What can go wrong is around it: a function that runs and whose answer is lost,
one that outlives the state's timeout, an invocation that is refused, a start that is repeated.

*Source*: developer guide, "Execution guarantees", "Handle Lambda service exceptions" (rules S1, S2,
S3); the names of errors from there.
*Not modelled*: throttling by quotas; a service other than Lambda behind a Task, unless the system
says who answers (`integrations`).
"""

import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.externals.request import call
from chaosharness.faults import Crash, Delay, ErrorReply, LostReply, LostRequest, Pause
from chaosharness.handlers.carrier import PLAIN
from chaosharness.handlers.places import told
from chaosharness.handlers.port import HANDLE, NOBODY, strikes, surface, trouble
from chaosharness.handlers.script import Script, drive_in_kernel
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import RESTART_MS, World
from chaosharness.orchestrators.stepfunctions.definition import Graph, read_definition
from chaosharness.orchestrators.stepfunctions.errors import StateError
from chaosharness.orchestrators.stepfunctions.execution import Execution
from chaosharness.orchestrators.stepfunctions.history import as_text
from chaosharness.orchestrators.stepfunctions.machine import Asked, Service, arn_of
from chaosharness.orchestrators.stepfunctions.refusals import StepFunctionsError
from chaosharness.orchestrators.stepfunctions.tasks import parse_resource

__all__ = ["Function", "LambdaContext", "StepFunctions"]

INVOKE: Final = surface(before=(Delay, ErrorReply, LostRequest), after=(LostReply,))

NOT_RUN: Final = "Lambda.ServiceException"
UNKNOWN: Final = "Lambda.Unknown"
NO_ANSWER: Final = "Lambda.SdkClientException"


@attrs.frozen
class StepFunctions:
    """AWS Step Functions: runs definitions in Amazon States Language as they are.

    Args:
        name: What reports call it.
        machines: State machines by name: the definition as JSON text or as a mapping. A Task's
            Resource is the ARN of a function or just its name, `arn:aws:states:::lambda:invoke`
            with a FunctionName, or an activity.
        express: Which of them are Express workflows: their executions begin anew each time
            they are started, and may run twice.
        latency_ms: There and back, of a call to the service.
        timeout_ms: How long a client waits for the service.

    Raises:
        InvalidDefinition: A definition is wrong: every mistake with its place.
    """

    name: str = attrs.field(validator=attrs.validators.instance_of(str))
    machines: Mapping[str, Any] = attrs.field(kw_only=True)
    express: tuple[str, ...] = attrs.field(default=(), converter=tuple, kw_only=True)
    latency_ms: int = attrs.field(default=20, validator=attrs.validators.ge(0), kw_only=True)
    timeout_ms: int = attrs.field(default=10_000, validator=attrs.validators.ge(1), kw_only=True)
    graphs: Mapping[str, Graph] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.machines, Mapping) or not self.machines:
            raise InvalidDefinition(
                f"StepFunctions({self.name!r}) needs machines={{name: definition}}, not "
                f"{self.machines!r}"
            )
        unknown = [name for name in self.express if name not in self.machines]
        if unknown:
            raise InvalidDefinition(
                f"StepFunctions({self.name!r}): express names {unknown[0]!r}, which is none of its "
                f"machines: {', '.join(self.machines)}"
            )
        graphs = {name: read_definition(source, name=name) for name, source in self.machines.items()}
        object.__setattr__(self, "graphs", graphs)

    def open(self, world: World) -> "OpenStepFunctions":
        """Return the service, with no executions, for one run."""
        return OpenStepFunctions(self, world)


@attrs.frozen
class Function:
    """A function of one incarnation that tasks run: `handler(event, context)`."""

    incarnation: Incarnation
    place: str
    handler: Callable[..., Any]
    colour: Any


@attrs.frozen
class LambdaContext:
    """What a Lambda function is told about its invocation."""

    function_name: str
    aws_request_id: str
    deadline_ms: int
    world: World = attrs.field(repr=False)
    function_version: str = "$LATEST"
    memory_limit_in_mb: str = "128"

    @property
    def invoked_function_arn(self) -> str:
        return f"arn:aws:lambda:us-east-1:123456789012:function:{self.function_name}"

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds of virtual time that are left to this invocation."""
        return max(0, self.deadline_ms - self.world.now)


LAMBDA_MS_MAX: Final = 900_000


class OpenStepFunctions:
    """The service during one run."""

    def __init__(self, definition: StepFunctions, world: World) -> None:
        self.definition = definition
        self.name = definition.name
        self.latency_ms = definition.latency_ms
        self.timeout_ms = definition.timeout_ms
        self.world = world
        kinds: dict[str, Literal["STANDARD", "EXPRESS"]] = {
            name: "EXPRESS" if name in definition.express else "STANDARD"
            for name in definition.graphs
        }
        self.service = Service(definition.graphs, kinds)
        self.incarnation = Incarnation(world, self.name, 0, 1, self.name)
        self.functions: dict[str, list[Function]] = {}
        self.waiting: dict[str, deque[Callable[[], None]]] = {}
        self.activities: dict[str, deque[Asked]] = {}
        self.scopes: dict[int, Scope] = {}  # who an execution belongs to: its item and cause
        self.watchers: dict[int, list[Callable[[Execution], None]]] = {}
        self._timer: Any = None
        world.know_timeout(definition.timeout_ms)
        for graph in definition.graphs.values():
            for state in graph.every_state():
                for field in ("TimeoutSeconds", "HeartbeatSeconds"):
                    if isinstance(seconds := state.get(field), int | float):
                        world.know_timeout(int(seconds * 1000))

    # ---- as a peer of its clients

    def lost(self, operation: str) -> BaseException:
        """Return what a client sees when no answer comes."""
        return TimeoutError(f"{operation}: no answer within {self.timeout_ms} ms")

    def refused(self, operation: str) -> BaseException:
        """Return what a client sees when the service is away for a moment."""
        return ConnectionError(f"{operation}: service unavailable, try again later")

    def lose_writes(self, scope: Scope) -> None:
        """Lose nothing: the service keeps what it has answered."""

    def client(self) -> "StepFunctionsClient":
        """Return what a service calls it by."""
        return StepFunctionsClient(self)

    def close(self) -> None:
        """Let go of everything, at the end of a run."""
        self.functions.clear()
        self.waiting.clear()

    # ---- functions

    def function(self, name: str, function: Function) -> None:
        """Have an incarnation run a function for tasks, as long as it lives."""
        known = sorted(self._names())
        if known and name not in known and not self._named_in_data():
            raise InvalidDefinition(
                f"no state machine of {self.name!r} runs a function {name!r}; they run: "
                f"{', '.join(known)}"
            )
        replicas = self.functions.setdefault(name, [])
        replicas.append(function)
        function.incarnation.on_death.append(lambda: replicas.remove(function))
        waiting = self.waiting.get(name)
        while waiting:
            self.world.after(0, lambda _, go=waiting.popleft(): go())

    def _names(self) -> set[str]:
        names: set[str] = set()
        for graph in self.definition.graphs.values():
            for state in graph.every_state():
                if state.kind == "Task":
                    kind, service, name = parse_resource(state["Resource"])
                    if kind == "function":
                        names.add(name)
                    elif service == "lambda":
                        given = state.get("Parameters", state.get("Arguments", {}))
                        found = given.get("FunctionName") if isinstance(given, Mapping) else None
                        names.add(_function_name(found) if isinstance(found, str) else "")
        return names

    def _named_in_data(self) -> bool:
        return "" in self._names()

    # ---- operations

    def serve(
        self, caller: Scope, operation: str, attempt: int, request: Any, reply: Callable[..., None]
    ) -> None:
        """Do what a client asks, and answer."""
        what, words = request
        try:
            value = getattr(self, f"_do_{what}")(caller, operation, attempt, reply, **words)
        except StepFunctionsError as error:
            reply(None, error, happened=False)
            return
        self._go_on()
        if value is not None:
            reply(value, None)

    def _do_start(
        self, caller: Scope, operation: str, attempt: int, reply: Any, machine: str, name: str,
        text: str, wait: bool,
    ) -> Any:  # fmt: skip
        world = self.world
        known = set(map(id, self.service.executions.values()))
        given = name or f"{caller.entity}-{len(self.service.executions) + 1}"
        execution = self.service.start(machine, given, text, world.now)
        if id(execution) not in known:
            world.effects += 1
            self.scopes[id(execution)] = Scope(
                world, self.incarnation, execution.machine, caller.entity, caller.cause, PLAIN,
                caller.hops + 1,
            )  # fmt: skip
            self._note(execution, "execution started")
        if not wait:
            return _started(execution)
        watchers = self.watchers.setdefault(id(execution), [])
        watchers.append(lambda ended: reply(_described(ended), None))
        return None

    def _do_stop(
        self, caller: Scope, operation: str, attempt: int, reply: Any, arn: str,
        error: str | None, cause: str | None,
    ) -> Any:  # fmt: skip
        self.service.stop(arn, error, cause, self.world.now)
        return {"stopDate": self.world.now}

    def _do_describe(
        self, caller: Scope, operation: str, attempt: int, reply: Any, arn: str
    ) -> Any:
        return _described(self.service.find(arn))

    def _do_history(
        self, caller: Scope, operation: str, attempt: int, reply: Any, arn: str
    ) -> Any:
        return {"events": [event.as_json() for event in self.service.find(arn).events]}

    def _do_success(
        self, caller: Scope, operation: str, attempt: int, reply: Any, token: str, text: str
    ) -> Any:
        self.service.succeed(token, json.loads(text), self.world.now)
        self._follow(token, caller)
        return {}

    def _do_failure(
        self, caller: Scope, operation: str, attempt: int, reply: Any, token: str,
        error: str | None, cause: str | None,
    ) -> Any:  # fmt: skip
        self.service.fail(token, StateError(error, cause), self.world.now)
        self._follow(token, caller)
        return {}

    def _do_heartbeat(
        self, caller: Scope, operation: str, attempt: int, reply: Any, token: str
    ) -> Any:
        self.service.beat(token, self.world.now)
        return {}

    def _do_activity(
        self, caller: Scope, operation: str, attempt: int, reply: Any, name: str
    ) -> Any:
        queue = self.activities.get(name, deque())
        while queue:
            asked = queue.popleft()
            if self.service.is_waited_for(asked.work.token):
                branch = asked.execution.pending[asked.work.token].branch
                asked.execution.write(branch, "ActivityStarted")
                owner = self.scopes[id(asked.execution)]
                caller.entity, caller.cause = owner.entity, owner.cause
                return {"taskToken": asked.work.token, "input": as_text(asked.work.arguments)}
        return {"taskToken": None, "input": None}

    def _follow(self, token: str, caller: Scope) -> None:
        """What an execution does next is caused by who has answered it."""
        self.scopes[id(self.service.owners[token])].cause = caller.cause

    # ---- going on

    def _go_on(self) -> None:
        """Hand out the work that is asked for, tell what has ended, and be woken in time."""
        world = self.world
        for asked in self.service.take_work():
            world.effects += 1
            self._hand_out(asked)
        for execution in self.service.take_ended():
            world.effects += 1
            self._note(execution, f"execution {execution.status.lower()}")
            for watcher in self.watchers.pop(id(execution), ()):
                watcher(execution)
        self._wake_in_time()

    def _wake_in_time(self) -> None:
        due = self.service.due()
        if self._timer is not None:
            self.world.agenda.cancel(self._timer)
            self._timer = None
        if due is not None:
            self._timer = self.world.agenda.add(max(due, self.world.now), self._tick)

    def _tick(self, _: Any) -> None:
        self._timer = None
        self.service.tick(self.world.now)
        self._go_on()

    def _note(self, execution: Execution, what: str) -> None:
        scope = self.scopes[id(execution)]
        data: dict[str, Any] = {"what": what, "machine": execution.machine, "saga": execution.name}
        if execution.error is not None and execution.error.error:
            data["error"] = execution.error.error
        scope.record("note", "", 0, data)

    def _hand_out(self, asked: Asked) -> None:
        kind, work = asked.work.kind, asked.work
        if kind == "function":
            self._invoke(asked, work.resource, work.arguments)
        elif kind == "activity":
            self.activities.setdefault(work.resource, deque()).append(asked)
        elif work.service == "lambda" and work.resource.startswith("invoke"):
            given = work.arguments if isinstance(work.arguments, Mapping) else {}
            name = _function_name(str(given.get("FunctionName", "")))
            self._invoke(asked, name, given.get("Payload", {}))
        else:
            self.world.refuse(
                InvalidDefinition(
                    f"state {asked.state!r} of {asked.execution.machine!r} asks "
                    f"{work.service}:{work.resource}, which is not modelled: let a function do it"
                )
            )

    def _invoke(self, asked: Asked, name: str, event: Any) -> None:
        if name not in self.functions and not self.waiting.get(name):
            known = ", ".join(sorted(self.functions)) or "none"
            self.world.refuse(
                InvalidDefinition(
                    f"state {asked.state!r} of {asked.execution.machine!r} runs the function "
                    f"{name!r}, which no service has: env.function(..., {name!r}, handler); "
                    f"there are: {known}"
                )
            )
            return
        Invocation(self, asked, name, event).begin()


def _function_name(resource: str) -> str:
    """A FunctionName, which may be an ARN and end in a version, as a plain name."""
    if ":function:" in resource:
        resource = resource.split(":function:", 1)[1]
    return resource.split(":", 1)[0]


def _started(execution: Execution) -> dict[str, Any]:
    return {"executionArn": arn_of(execution.machine, execution.name),
            "startDate": execution.started_ms}  # fmt: skip


def _described(execution: Execution) -> dict[str, Any]:
    answer = _started(execution) | {
        "stateMachineArn": arn_of(execution.machine),
        "name": execution.name,
        "status": execution.status,
        "input": as_text(execution.data),
    }
    if execution.status == "SUCCEEDED":
        answer["output"] = as_text(execution.output)
    if execution.error is not None:
        answer |= {"error": execution.error.error, "cause": execution.error.cause}
    return answer


class Invocation:
    """One run of a function for a task, with all that can happen to it."""

    def __init__(self, engine: OpenStepFunctions, asked: Asked, name: str, event: Any) -> None:
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
        )
        self.operation = f"{self.scope.place}/{name}"
        self.attempt = 0
        self.over = False

    def begin(self) -> None:
        """Send it on its way."""
        world = self.engine.world
        self.attempt = world.reach(self.operation, self.scope.entity)
        if self.operation not in world.surfaces:
            world.meet(self.operation, INVOKE)
        drive_in_kernel(self._go(), world)

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
        scope = Scope(
            engine.world, function.incarnation, function.place, self.scope.entity,
            self.scope.cause, function.colour, self.scope.hops + 1,
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
        attempt = world.reach(operation, scope.entity)
        if operation not in world.surfaces:
            world.meet(operation, HANDLE)
        if operation in world.armed:
            for fault in strikes(scope, operation, "before", attempt):
                yield from trouble(scope, fault, NOBODY)
        if scope.hops > world.budget.hops_max:
            world.end("budget", f"a cycle of calls through {function.place}")
            return
        context = LambdaContext(
            self.name, self.asked.work.token, world.now + LAMBDA_MS_MAX, world
        )

        def done(scope: Scope, result: Any, error: BaseException | None) -> None:
            world.in_flight.pop(scope, None)
            if error is not None:
                scope.record("raised", operation, attempt, told(error))
                if isinstance(error, SystemExit):
                    world.crash(scope.incarnation, RESTART_MS, cause=scope.cause)
                    return
            else:
                scope.record("handled", operation, attempt, None)
            drive_in_kernel(self._answer(scope, operation, attempt, result, error), world)

        event = json.loads(as_text(self.event))  # its own copy
        function.colour.start(scope, function.handler, _as_is, (event, context), done)

    def _answer(
        self, scope: Scope, operation: str, attempt: int, result: Any, error: BaseException | None
    ) -> Script[None]:
        world = scope.world
        if operation in world.armed:
            for fault in strikes(scope, operation, "after", attempt):
                yield from trouble(scope, fault, NOBODY)
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
            world.refuse(InvalidDefinition(f"{operation} returns what has no JSON form: {wrong}"))
            return
        self.succeed(json.loads(text))

    def succeed(self, output: Any) -> None:
        """Give the answer to the execution, if it still waits for it."""
        self.over = True
        token = self.asked.work.token
        engine = self.engine
        if not engine.service.is_waited_for(token):
            self.scope.record("reply", self.operation, self.attempt, {"outcome": "ok", "late": True})
            return
        self.scope.record("reply", self.operation, self.attempt, {"outcome": "ok"})
        if self.asked.work.kind == "service":
            output = {"ExecutedVersion": "$LATEST", "Payload": output, "StatusCode": 200}
        engine.scopes[id(self.asked.execution)].cause = self.scope.cause
        engine.service.succeed(token, output, engine.world.now)
        engine._go_on()

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
            engine._go_on()


def _as_is(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return arguments


class StepFunctionsClient:
    """The service's API under boto3's names: `client("stepfunctions")`.

    In an `async` handler, await each method. Times are in milliseconds of virtual time.
    """

    def __init__(self, engine: OpenStepFunctions) -> None:
        self._engine = engine

    def _ask(self, what: str, action: str, shown: dict[str, Any], **words: Any) -> Any:
        engine = self._engine
        data = {"method": action, **shown}
        return call(f"{engine.name}.{action}", engine, (what, words), data)

    def start_execution(
        self, *, stateMachineArn: str, name: str = "", input: str = "{}"
    ) -> Any:
        """Start an execution; with a name and the same input it is started once.

        Raises:
            ExecutionAlreadyExists, StateMachineDoesNotExist, InvalidExecutionInput.
        """
        shown = {"machine": stateMachineArn, "name": name, "input": input}
        return self._ask("start", "start_execution", shown, machine=stateMachineArn, name=name,
                         text=input, wait=False)  # fmt: skip

    def start_sync_execution(
        self, *, stateMachineArn: str, name: str = "", input: str = "{}"
    ) -> Any:
        """Start an execution and wait for its end (Express)."""
        shown = {"machine": stateMachineArn, "name": name, "input": input}
        return self._ask("start", "start_sync_execution", shown, machine=stateMachineArn,
                         name=name, text=input, wait=True)  # fmt: skip

    def stop_execution(
        self, *, executionArn: str, error: str | None = None, cause: str | None = None
    ) -> Any:
        """Stop an execution where it stands: no Catch runs."""
        shown = {"execution": executionArn}
        return self._ask("stop", "stop_execution", shown, arn=executionArn, error=error,
                         cause=cause)  # fmt: skip

    def describe_execution(self, *, executionArn: str) -> Any:
        """Return status, input and output."""
        return self._ask("describe", "describe_execution", {"execution": executionArn},
                         arn=executionArn)  # fmt: skip

    def get_execution_history(self, *, executionArn: str) -> Any:
        """Return the event history."""
        return self._ask("history", "get_execution_history", {"execution": executionArn},
                         arn=executionArn)  # fmt: skip

    def send_task_success(self, *, taskToken: str, output: str) -> Any:
        """Answer a task by its token.

        Raises:
            TaskTimedOut, TaskDoesNotExist, InvalidToken.
        """
        return self._ask("success", "send_task_success", {"output": output}, token=taskToken,
                         text=output)  # fmt: skip

    def send_task_failure(
        self, *, taskToken: str, error: str | None = None, cause: str | None = None
    ) -> Any:
        """Have a task fail by its token; raises as `send_task_success`."""
        return self._ask("failure", "send_task_failure", {"error": error}, token=taskToken,
                         error=error, cause=cause)  # fmt: skip

    def send_task_heartbeat(self, *, taskToken: str) -> Any:
        """Say that a task goes on; raises as `send_task_success`."""
        return self._ask("heartbeat", "send_task_heartbeat", {}, token=taskToken)

    def get_activity_task(self, *, activityArn: str, workerName: str = "") -> Any:
        """Return the next task of an activity; its token is None where there is none."""
        name = activityArn.rsplit(":", 1)[-1]
        return self._ask("activity", "get_activity_task", {"activity": name}, name=name)
