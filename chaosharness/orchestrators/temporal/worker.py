"""A worker in a system: takes workflow tasks and activities, in one incarnation of a service.

What can strike is where a real worker can: before it decides, between its decision and the
server's yes, inside an activity, between an activity's end and its report. A worker that dies
loses its cache; its activities go on nowhere, and the server notices by their timeouts.

*Source*: rules T3 to T6, T11, T13 to T17.
*Not modelled*: updates and queries, local activities, rate limits, pollers by number, eager
activities, worker versioning.
"""

import dataclasses
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final, Protocol

import attrs
import temporalio.activity
import temporalio.exceptions
from temporalio.api.failure.v1 import Failure
from temporalio.testing import ActivityEnvironment

from chaosharness.errors import ChaosharnessError
from chaosharness.faults import Crash, LostReply, LostRequest, Pause
from chaosharness.handlers.carrier import PLAIN
from chaosharness.handlers.handling import ended, reach, suffer
from chaosharness.handlers.places import told
from chaosharness.handlers.port import HANDLE, strikes, surface
from chaosharness.handlers.script import Script, drive_in_kernel
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import World
from chaosharness.orchestrators.temporal.commands import shown
from chaosharness.orchestrators.temporal.core import (
    CORE_FLAGS,
    Cached,
    Decision,
    Nondeterminism,
    TaskFailed,
)
from chaosharness.orchestrators.temporal.instances import Instance
from chaosharness.orchestrators.temporal.protos import (
    as_payloads,
    failure_json,
    moment,
    payloads_json,
)
from chaosharness.orchestrators.temporal.refusals import Refused
from chaosharness.orchestrators.temporal.run import ActivityTask, Run, WorkflowTask
from chaosharness.orchestrators.temporal.server import Server

__all__ = ["Engine", "Worker"]

DECIDE: Final = surface(before=(Crash,), also_before=(Pause,))
STORE: Final = surface(before=(Crash, Pause), after=(Crash,), also_after=(LostReply,))
REPORT: Final = surface(before=(LostRequest,), also_after=(LostReply,))
REPORT_MS: Final = 10_000
"""How long a worker tries to report a result, before it gives up (rule T17)."""


class Engine(Protocol):
    """What a worker needs of the server that it polls."""

    world: World
    server: Server
    latency_ms: int

    def scope_of(self, run: Run) -> Scope:
        """Whose work a run is, and what it was caused by last."""

    def go_on(self) -> None:
        """Hand out what is ready, and be woken in time."""


@attrs.define(eq=False)
class Worker:
    """A worker of one incarnation: its workflow classes, its activities, its cache."""

    engine: Engine
    incarnation: Incarnation
    service: str
    queue: str
    workflows: Mapping[str, type]
    activities: Mapping[str, Callable[..., Any]]
    converter: Any
    colour_of: Callable[[Callable[..., Any]], Any]
    cache: dict[str, Cached] = attrs.field(factory=dict)

    @property
    def alive(self) -> bool:
        return self.incarnation.alive

    # ---- deciding

    def decide(self, task: WorkflowTask) -> None:
        """Work on a workflow task."""
        run = task.run
        owner = self.engine.scope_of(run)
        scope = Scope(
            self.engine.world,
            self.incarnation,
            f"{self.service}.{run.type}",
            owner.entity,
            owner.cause,
            PLAIN,
            owner.hops,
            owner.message,
        )
        drive_in_kernel(self._decide(scope, task), scope.world)

    def _decide(self, scope: Scope, task: WorkflowTask) -> Script[None]:
        world = scope.world
        operation = f"{scope.place}/decide"
        attempt = reach(scope, operation, DECIDE)
        yield from suffer(scope, operation, "before", attempt)
        world.in_flight[scope] = scope.place

        def done(scope: Scope, decision: Any, error: BaseException | None) -> None:
            world.in_flight.pop(scope, None)
            if error is not None and isinstance(error, ChaosharnessError):
                world.refuse(error)
                return
            drive_in_kernel(self._store(scope, task, decision, error), world)

        scope.colour.start(scope, self._wake, _as_is, (task,), done)

    def _wake(self, task: WorkflowTask) -> Decision:
        run = task.run
        cached = self.cache.get(run.run_id)
        if cached is None:
            workflow = self.workflows[run.type]
            cached = Cached(lambda: Instance(workflow, run, self.converter))
            self.cache[run.run_id] = cached
        return cached.decide(task.events, run_id=run.run_id)

    def _store(
        self, scope: Scope, task: WorkflowTask, decision: Any, error: BaseException | None
    ) -> Script[None]:
        """Have the server store what was decided: all of it or nothing."""
        world, server, run = scope.world, self.engine.server, task.run
        operation = f"{scope.place}/store decision"
        attempt = reach(scope, operation, STORE)
        yield from suffer(scope, operation, "before", attempt)
        if not self.alive:
            return
        server.now_ms = max(server.now_ms, world.now)
        self.engine.scope_of(run).cause = scope.cause
        try:
            if error is not None:
                self.cache.pop(run.run_id, None)
                scope.record("raised", operation, attempt, told(error.__cause__ or error))
                if task.attempt == 1:  # a worker leaves a later one to time out (T6)
                    failure, cause = _task_failure(error)
                    server.fail_workflow(task.token, cause, failure)
            else:
                told_of = {"commands": shown(run, decision.commands)}
                scope.record("decide", operation, attempt, told_of)
                self.engine.scope_of(run).cause = scope.cause
                sdk = {"coreUsedFlags": CORE_FLAGS, "sdkName": "temporal-python",
                       "langUsedFlags": decision.lang_flags}  # fmt: skip
                server.finish_workflow(task.token, decision.commands, sdk=sdk)
        except Refused:
            self.cache.pop(run.run_id, None)  # what it knows is not what the server has (T4)
        self.engine.go_on()
        yield from suffer(scope, operation, "after", attempt)

    # ---- activities

    def work(self, task: ActivityTask) -> None:
        """Work on an activity."""
        owner = self.engine.scope_of(task.run)
        function = self.activities[task.activity.type]
        scope = Scope(
            self.engine.world,
            self.incarnation,
            f"{self.service}.{task.activity.type}",
            owner.entity,
            owner.cause,
            self.colour_of(function),
            owner.hops + 1,
            owner.message,
        )
        drive_in_kernel(self._work(scope, task, function), scope.world)

    def _work(self, scope: Scope, task: ActivityTask, function: Any) -> Script[None]:
        world = scope.world
        world.in_flight[scope] = scope.place
        operation = f"{scope.place}/handle"
        attempt = reach(scope, operation, HANDLE)
        yield from suffer(scope, operation, "before", attempt)
        environment = self._environment(task)
        arguments = self._arguments(task, function)

        def done(scope: Scope, result: Any, error: BaseException | None) -> None:
            if ended(scope, operation, attempt, error):
                script = self._report(scope, task, operation, attempt, result, error)
                drive_in_kernel(script, world)

        runner = _runner(environment, function)
        scope.colour.start(scope, runner, _as_is, arguments, done)

    def _environment(self, task: ActivityTask) -> ActivityEnvironment:
        environment = ActivityEnvironment()
        run, activity = task.run, task.activity
        known = {field.name for field in dataclasses.fields(environment.info)}
        told_of: dict[str, Any] = {
            "activity_id": activity.id,
            "activity_type": activity.type,
            "attempt": task.attempt,
            "heartbeat_details": self._details(activity.details),
            "heartbeat_timeout": _lasting(activity.limit("heartbeatTimeout")),
            "scheduled_time": moment(activity.first_ms),
            "started_time": moment(self.engine.world.now),
            "start_to_close_timeout": _lasting(activity.limit("startToCloseTimeout")),
            "schedule_to_close_timeout": _lasting(activity.limit("scheduleToCloseTimeout")),
            "task_queue": activity.queue,
            "task_token": task.token.encode(),
            "workflow_id": run.workflow_id,
            "workflow_run_id": run.run_id,
            "workflow_type": run.type,
        }
        environment.info = dataclasses.replace(
            environment.info, **{name: v for name, v in told_of.items() if name in known}
        )

        def beat(*details: Any) -> None:
            server = self.engine.server
            server.now_ms = max(server.now_ms, self.engine.world.now)
            payloads = self.converter.payload_converter.to_payloads(details) if details else []
            try:
                asked = server.heartbeat(task.token, payloads_json(payloads))
            except Refused:
                asked = True  # a late attempt is told to stop
            self.engine.go_on()
            if asked:
                environment.cancel()

        environment.on_heartbeat = beat
        return environment

    def _details(self, details: Any) -> list[Any]:
        found: list[Any] = self.converter.payload_converter.from_payloads(as_payloads(details))
        return found

    def _arguments(self, task: ActivityTask, function: Any) -> tuple[Any, ...]:
        definition = temporalio.activity._Definition.must_from_callable(function)
        payloads = as_payloads(task.activity.attributes.get("input"))
        types = definition.arg_types if definition.arg_types else None
        if types is not None and len(types) != len(payloads):
            types = None
        return tuple(self.converter.payload_converter.from_payloads(payloads, types))

    def _report(
        self,
        scope: Scope,
        task: ActivityTask,
        operation: str,
        attempt: int,
        result: Any,
        error: BaseException | None,
    ) -> Script[None]:
        """Tell the server how an attempt has ended, unless it is too late (T14, T17)."""
        world, server = scope.world, self.engine.server
        yield from suffer(scope, operation, "after", attempt)
        report = f"{scope.place}/report"
        number = reach(scope, report, REPORT)
        if report in world.armed:
            for fault in strikes(scope, report, "before", number):
                if isinstance(fault, LostRequest):
                    yield REPORT_MS
                    scope.record("reply", report, number, {"outcome": "failed", "happened": False})
                    return
        yield self.engine.latency_ms
        if not self.alive:
            return
        server.now_ms = max(server.now_ms, world.now)
        try:
            if error is None:
                server.complete_activity(task.token, self._result(result))
            elif isinstance(error, temporalio.exceptions.CancelledError) and (
                task.activity.cancel_id
            ):
                server.canceled_activity(task.token)
            else:
                server.fail_activity(task.token, self._failure(error))
        except Refused as refused:
            data = {"outcome": "failed", "error": str(refused), "late": True}
            scope.record("reply", report, number, data)
            return
        self.engine.scope_of(task.run).cause = scope.cause
        self.engine.go_on()

    def _result(self, result: Any) -> Any:
        return payloads_json(self.converter.payload_converter.to_payloads([result]))

    def _failure(self, error: BaseException) -> dict[str, Any]:
        failure = Failure()
        self.converter.failure_converter.to_failure(
            error, self.converter.payload_converter, failure
        )
        return failure_json(failure)


def _runner(environment: ActivityEnvironment, function: Callable[..., Any]) -> Any:
    """The activity in its own context, in the colour that it has."""
    from chaosharness.handlers.colours import is_async

    if is_async(function):

        async def handle(*arguments: Any) -> Any:
            return await environment.run(function, *arguments)

        return handle

    def handle_plain(*arguments: Any) -> Any:
        return environment.run(function, *arguments)

    return handle_plain


def _lasting(milliseconds: int | None) -> timedelta | None:
    return None if milliseconds is None else timedelta(milliseconds=milliseconds)


def _task_failure(error: BaseException) -> tuple[dict[str, Any], str]:
    prefix = "WORKFLOW_TASK_FAILED_CAUSE_"
    if isinstance(error, TaskFailed):
        return error.failure, f"{prefix}WORKFLOW_WORKER_UNHANDLED_FAILURE"
    if isinstance(error, Nondeterminism):
        return {"message": f"[TMPRL1100] Nondeterminism error: {error}"}, (
            f"{prefix}NON_DETERMINISTIC_ERROR"
        )
    return {"message": str(error)}, f"{prefix}WORKFLOW_WORKER_UNHANDLED_FAILURE"


def _as_is(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return arguments
