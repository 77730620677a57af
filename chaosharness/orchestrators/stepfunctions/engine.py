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
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Literal

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.faults import Delay, Redeploy
from chaosharness.handlers.carrier import PLAIN
from chaosharness.handlers.handling import reach
from chaosharness.handlers.port import strikes, surface
from chaosharness.handlers.stopping import LAMBDA, Unknown
from chaosharness.kernel import allowed
from chaosharness.kernel.mortal import Once
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import World
from chaosharness.orchestrators.functions import Environments, Function, Spare, replicate
from chaosharness.orchestrators.given_up import note_given_up
from chaosharness.orchestrators.long_waits import LongWaits
from chaosharness.orchestrators.stepfunctions.client import StepFunctionsClient
from chaosharness.orchestrators.stepfunctions.definition import Graph, read_definition
from chaosharness.orchestrators.stepfunctions.errors import StateError
from chaosharness.orchestrators.stepfunctions.execution import Execution
from chaosharness.orchestrators.stepfunctions.history import as_text
from chaosharness.orchestrators.stepfunctions.invocation import NOT_FOUND, Invocation
from chaosharness.orchestrators.stepfunctions.machine import Asked, Service, arn_of
from chaosharness.orchestrators.stepfunctions.refusals import (
    ExecutionDoesNotExist,
    StateMachineTypeNotSupported,
    StepFunctionsError,
)
from chaosharness.orchestrators.stepfunctions.tasks import function_name, functions_of
from chaosharness.orchestrators.stepfunctions.unserved import (
    no_function,
    no_machine,
    no_worker,
    unanswered,
)
from chaosharness.orchestrators.store_rows import store_surface

__all__ = ["OpenStepFunctions", "StepFunctions"]


def _names(given: Iterable[str]) -> tuple[str, ...]:
    return tuple(given)


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
        previous: Of some of them the definition before this one: a `Redeploy` at `order/begin` has
            an execution begin under it, and keep it to its end.
        latency_ms: There and back, of a call to the service.
        timeout_ms: How long a client waits for the service.

    Raises:
        InvalidDefinition: A definition is wrong: every mistake with its place.
    """

    name: str = attrs.field(validator=allowed.text())
    machines: Mapping[str, Any] = attrs.field(kw_only=True)
    express: tuple[str, ...] = attrs.field(default=(), converter=_names, kw_only=True)
    previous: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True)
    latency_ms: int = attrs.field(default=20, validator=allowed.whole(0), kw_only=True)
    timeout_ms: int = attrs.field(default=10_000, validator=allowed.whole(1), kw_only=True)
    graphs: Mapping[str, Graph] = attrs.field(init=False)
    before: Mapping[str, Graph] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.machines, Mapping) or not self.machines:
            raise InvalidDefinition(
                f"StepFunctions({self.name!r}) needs machines={{name: definition}}, not "
                f"{self.machines!r}"
            )
        if not isinstance(self.previous, Mapping):
            raise InvalidDefinition(
                f"StepFunctions({self.name!r}) takes previous={{name: definition}}, not "
                f"{self.previous!r}"
            )
        for option, named in (("express", self.express), ("previous", self.previous)):
            unknown = [name for name in named if name not in self.machines]
            if unknown:
                raise InvalidDefinition(
                    f"StepFunctions({self.name!r}): {option} names {unknown[0]!r}, which is none "
                    f"of its machines: {', '.join(self.machines)}"
                )
        graphs = {
            name: read_definition(source, name=name) for name, source in self.machines.items()
        }
        before = {
            name: read_definition(source, name=f"{name}, the one before")
            for name, source in self.previous.items()
        }
        object.__setattr__(self, "graphs", graphs)
        object.__setattr__(self, "before", before)

    def every_graph(self) -> Iterator[Graph]:
        """Yield all definitions that executions may have from the beginning."""
        yield from self.graphs.values()
        yield from self.before.values()

    def open(self, world: World) -> "OpenStepFunctions":
        """Return the service, with no executions, for one run."""
        return OpenStepFunctions(self, world)


EXPRESS: Final = store_surface("step functions", "run")
"""AWS may run an Express execution again from its beginning, beside the first (S1)."""

DESCRIBE: Final = store_surface("step functions", "describe")
"""What is read is a copy, as old as the delay (S12)."""

BEGIN: Final = surface(before=(Redeploy,))
"""An execution begins before its state machine has the definition that it has later (S13)."""

UPDATE: Final = surface(before=(Delay,))
"""For a moment executions may still begin under the definition before (S13)."""

SEEN_MS_MAX: Final = 5_000
"""How long that moment is at most: `within a few seconds`."""


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
        self.service = Service(dict(definition.graphs), kinds)
        self.incarnation = Incarnation(world, self.name, 0, 1, self.name)
        self.functions: dict[str, list[Function]] = {}
        self.environments = Environments()
        self.waiting: dict[str, deque[Callable[[], None]]] = {}
        self.activities: dict[str, deque[Asked]] = {}
        self.polled: set[str] = set()  # activities that a worker asks for
        self.scopes: dict[int, Scope] = {}  # who an execution belongs to: its item and cause
        self.watchers: dict[int, list[Callable[[Execution], None]]] = {}
        self.named = functions_of(definition.every_graph())
        self.unnamed: list[str] = []
        self.sought: dict[str, list[Invocation]] = {}  # functions that a service may have yet
        self.redrives: dict[tuple[str, str], int] = {}  # those that were asked for, by their token
        self._timer: Any = None
        self._stays_before = False
        world.on_built.append(self._miss_functions)
        world.at_calm(self.miss_workers)
        self.waits = LongWaits(world)
        world.at_calm(lambda: self.waits.until(self.service.due()))
        world.on_settled.append(self._abandoned)
        world.on_waiting.append(lambda: unanswered(self.service.executions.values()))
        world.know_timeout(definition.timeout_ms)
        for graph in definition.every_graph():
            for state in graph.every_state():
                for field in ("TimeoutSeconds", "HeartbeatSeconds"):
                    if isinstance(seconds := state.get(field), int | float):
                        world.know_timeout(int(seconds * 1000))

    def names_that_wait(self) -> Iterator[str]:
        """Yield what `may_wait` may name: state machines and their states."""
        yield from self.definition.graphs
        for graph in self.definition.every_graph():
            yield from (state.name for state in graph.every_state())

    # ---- as a peer of its clients

    def lost(self, operation: str) -> BaseException:
        """Return what a client sees when no answer comes."""
        return TimeoutError(f"{operation}: no answer within {self.timeout_ms} ms")

    def refused(self, operation: str) -> BaseException:
        """Return what a client sees when the service is away for a moment."""
        return ConnectionError(f"{operation}: service unavailable, try again later")

    def lose_writes(self, scope: Scope) -> None:
        """Lose nothing: the service keeps what it has answered."""

    def client(self) -> StepFunctionsClient:
        """Return what a service calls it by."""
        return StepFunctionsClient(self)

    def stay_before(self) -> None:
        """Have all begin under the definition before, to the end of the run."""
        self._stays_before = True

    def close(self) -> None:
        """Let go of everything, at the end of a run."""
        self.functions.clear()
        self.environments.close()
        self.waiting.clear()
        self.sought.clear()

    def event_histories(self) -> dict[str, str]:
        """Return the history of every execution, as `get_execution_history` answers it."""
        return {
            f"{machine}:{name}": json.dumps({"events": [e.as_json() for e in execution.events]})
            for (machine, name), execution in self.service.executions.items()
        }

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
        """Have an incarnation run a function for tasks, as long as it lives."""
        function = Function(incarnation, place, handler, colour)
        if not self.environments.add(name, function, spare):
            return
        if name not in self.named and "" not in self.named:
            self.unnamed.append(name)
        replicas = self.functions.setdefault(name, [])
        replicate(self.world, replicas, function)
        Unknown(incarnation, LAMBDA)
        waiting = self.waiting.get(name)
        while waiting:
            self.world.after(0, Once(waiting.popleft()))

    def miss_workers(self) -> None:
        """Refuse an activity that no worker asks for, and a function that has a misspelt name.

        Functions of state machines that came by an update count, too. Looked for when the faults
        stop, and at the end.
        """
        known = self.named | functions_of(self.service.graphs.values())
        strange = [name for name in self.unnamed if name not in known]
        words = ""
        if known and "" not in known:
            words = no_machine(self.name, strange, known, known - self.functions.keys())
        if not words and not self.world.struck():
            words = self._abandoned()
        if words:
            self.world.refuse(InvalidDefinition(words))

    def _abandoned(self) -> str:
        """Say which activity a state waits for that no worker asks for; or nothing."""
        waiting = {
            name: [one for one in queue if self.service.is_waited_for(one.work.token)]
            for name, queue in self.activities.items()
        }
        return no_worker(waiting, self.polled)

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
        self.go_on()
        if value is not None:
            reply(value, None)

    def _do_start(
        self, caller: Scope, operation: str, attempt: int, reply: Any, machine: str, name: str,
        text: str, wait: bool,
    ) -> Any:  # fmt: skip
        world = self.world
        if wait and self.service.kinds.get(machine.rsplit(":", 1)[-1]) == "STANDARD":
            raise StateMachineTypeNotSupported(
                "This operation is not supported by this type of state machine"
            )
        known = set(map(id, self.service.executions.values()))
        given = name or f"{caller.entity}-{len(self.service.executions) + 1}"
        execution = self.service.start(
            machine, given, text, world.now, lambda name: self._begins_under(name, caller)
        )
        if id(execution) not in known:
            self._own(execution, caller)
            if not wait and self.service.kinds[execution.machine] == "EXPRESS":
                self._perhaps_twice(execution, caller)
        if not wait:
            return _started(execution)
        watchers = self.watchers.setdefault(id(execution), [])
        watchers.append(lambda ended: reply(_described(ended), None))
        return None

    def _begins_under(self, machine: str, caller: Scope) -> Graph | None:
        """The definition before, where an execution begins before the deploy (S13)."""
        before = self.definition.before.get(machine)
        if before is None:
            return None
        operation = f"{machine}/begin"
        scope = self._scope(machine, caller)
        attempt = reach(scope, operation, BEGIN)
        struck = operation in self.world.armed and strikes(scope, operation, "before", attempt)
        return before if struck or self._stays_before else None

    def _do_update(
        self, caller: Scope, operation: str, attempt: int, reply: Any, machine: str,
        definition: str,
    ) -> Any:  # fmt: skip
        """Give a state machine another definition; it may be a moment until each start sees it."""
        world, place = self.world, machine.rsplit(":", 1)[-1]
        scope, seen_ms, update = self._scope(place, caller), world.now, f"{place}/update"
        number = reach(scope, update, UPDATE)
        if update in world.armed:
            for fault in strikes(scope, update, "before", number):
                if isinstance(fault, Delay):  # no other is legal
                    seen_ms = min(world.due(fault.lasting), world.now + SEEN_MS_MAX)
        self.service.update(machine, definition, world.now, seen_ms)
        world.effects += 1
        scope.record("note", "", 0, {"what": "state machine updated", "machine": place})
        return {"updateDate": world.now}

    def _scope(self, machine: str, caller: Scope) -> Scope:
        """The service's own work, for a caller."""
        return Scope(
            self.world, self.incarnation, machine, caller.entity, caller.cause, PLAIN,
            caller.hops, caller.message,
        )  # fmt: skip

    def _own(self, execution: Execution, caller: Scope) -> None:
        """Remember whose work an execution is."""
        self.world.effects += 1
        self.scopes[id(execution)] = Scope(
            self.world, self.incarnation, execution.machine, caller.entity, caller.cause, PLAIN,
            caller.hops + 1, caller.message,
        )  # fmt: skip
        self._note(execution, "execution started")

    def _perhaps_twice(self, execution: Execution, caller: Scope) -> None:
        """An asynchronous Express execution is carried out at least once: here, also twice (S1)."""
        scope = self.scopes[id(execution)]
        operation = f"{scope.place}/run"
        attempt = reach(scope, operation, EXPRESS)
        if operation in self.world.armed:
            for _ in strikes(scope, operation, "before", attempt):
                twin = self.service.again(execution, self.world.now)
                self._own(twin, caller)

    def _do_stop(
        self, caller: Scope, operation: str, attempt: int, reply: Any, arn: str,
        error: str | None, cause: str | None,
    ) -> Any:  # fmt: skip
        self.service.stop(arn, error, cause, self.world.now)
        return {"stopDate": self.world.now}

    def _do_redrive(
        self, caller: Scope, operation: str, attempt: int, reply: Any, arn: str, token: str
    ) -> Any:
        key = (arn, token)
        if token and key in self.redrives:
            return {"redriveDate": self.redrives[key]}
        execution = self.service.redrive(arn, self.world.now)
        self.redrives[key] = self.world.now
        self.world.effects += 1
        self.scopes[id(execution)].cause = caller.cause
        self._note(execution, "execution redriven")
        return {"redriveDate": self.world.now}

    def _do_describe(
        self, caller: Scope, operation: str, attempt: int, reply: Any, arn: str
    ) -> Any:
        """Answer from a copy, which may not know yet what happened last (S12)."""
        execution = self.service.find(arn)
        place = self.scopes[id(execution)].place
        scope, read = self._scope(place, caller), f"{place}/describe"
        number = reach(scope, read, DESCRIBE)
        as_of = self.world.now
        if read in self.world.armed:
            for fault in strikes(scope, read, "before", number):
                if isinstance(fault, Delay):  # no other is legal
                    as_of -= self.world.due(fault.lasting) - self.world.now
        if execution.started_ms > as_of:
            raise ExecutionDoesNotExist(f"Execution Does Not Exist: '{arn}'")
        return _described(execution, as_of)

    def _do_history(self, caller: Scope, operation: str, attempt: int, reply: Any, arn: str) -> Any:
        return {"events": [event.as_json() for event in self.service.find(arn).events]}

    def _do_success(
        self, caller: Scope, operation: str, attempt: int, reply: Any, token: str, text: str
    ) -> Any:
        self.service.send_success(token, text, self.world.now)
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
        self.polled.add(name)
        queue = self.activities.get(name, deque())
        while queue:
            asked = queue.popleft()
            if self.service.is_waited_for(asked.work.token):
                asked.execution.taken(asked.work.token)
                if asked.execution.status != "RUNNING":
                    continue
                owner = self.scopes[id(asked.execution)]
                caller.entity, caller.cause = owner.entity, owner.cause
                return {"taskToken": asked.work.token, "input": as_text(asked.work.arguments)}
        return {"taskToken": None, "input": None}

    def _follow(self, token: str, caller: Scope) -> None:
        """What an execution does next is caused by who has answered it."""
        self.scopes[id(self.service.owners[token])].cause = caller.cause

    # ---- going on

    def go_on(self) -> None:
        """Hand out the work that is asked for, tell what has ended, and be woken in time."""
        world = self.world
        for asked in self.service.take_work():
            world.effects += 1
            self._hand_out(asked)
        for execution in self.service.executions.values():
            while execution.given_up:
                of = f"state {execution.given_up.pop(0)}"
                note_given_up(self.scopes[id(execution)], execution.name, of)
        for execution in self.service.take_ended():
            world.effects += 1
            self._note(execution, f"execution {execution.status.lower()}")
            for watcher in self.watchers.pop(id(execution), ()):
                watcher(execution)
        self._wake_in_time()

    def _wake_in_time(self) -> None:
        due = self.service.due()
        self.waits.until(due)
        if self._timer is not None:
            self.world.agenda.cancel(self._timer)
            self._timer = None
        if due is not None:
            self._timer = self.world.agenda.add(max(due, self.world.now), self._tick)

    def _tick(self, _: Any) -> None:
        self._timer = None
        self.service.tick(self.world.now)
        self.go_on()

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
            name = function_name(str(given.get("FunctionName", "")))
            self._invoke(asked, name, given.get("Payload", {}))
        else:
            self.world.refuse(
                InvalidDefinition(
                    f"state {asked.state!r} of {asked.execution.machine!r} asks "
                    f"{work.service}:{work.resource}, which is not modelled: let a function do it"
                )
            )

    def _invoke(self, asked: Asked, name: str, event: Any) -> None:
        if name not in self.functions and self.world.unbuilt:
            invocation = Invocation(self, asked, name, event)  # it waits for its environment
            self.sought.setdefault(name, []).append(invocation)
            invocation.begin()
            return
        if name not in self.functions and not self.waiting.get(name):
            if self.world.struck() or self.service.before:  # deployed, and this one is gone
                Invocation(self, asked, name, event).find_nothing()
                return
            self._has_no_function(asked, name)
            return
        Invocation(self, asked, name, event).begin()

    def _has_no_function(self, asked: Asked, name: str) -> None:
        self.world.refuse(InvalidDefinition(no_function(asked, name, self.functions)))

    def _miss_functions(self) -> None:
        """Every service has been built: what they do not have was asked for in vain."""
        sought, self.sought = self.sought, {}
        for name, invocations in sought.items():
            if name in self.functions:
                continue
            self.waiting.pop(name, None)
            for one in invocations:
                if self.world.struck() or self.service.before:
                    one.fail(NOT_FOUND, f"Function not found: {name}", happened=False)
                else:
                    self._has_no_function(one.asked, name)


def _started(execution: Execution) -> dict[str, Any]:
    return {"executionArn": arn_of(execution.machine, execution.name),
            "startDate": execution.started_ms}  # fmt: skip


def _described(execution: Execution, as_of_ms: int | None = None) -> dict[str, Any]:
    if as_of_ms is not None and execution.events[-1].at_ms > as_of_ms:
        execution = attrs.evolve(execution, status="RUNNING", error=None)
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
    if execution.status != "RUNNING":
        answer["stopDate"] = execution.events[-1].at_ms
    answer["redriveCount"] = execution.redriven
    return answer
