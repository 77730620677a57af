"""A worker in a system: takes workflow tasks and activities, in one incarnation of a service.

What can strike is where a real worker can: before it decides, between its decision and the
server's yes, inside an activity, between an activity's end and its report. A worker that dies
loses its cache; its activities go on nowhere, and the server notices by their timeouts.

*Source*: rules T3 to T6, T11, T13 to T17, T27 to T29.
*Not modelled*: rate limits, pollers by number, eager activities, worker versioning.
"""

import asyncio
from collections.abc import Callable, Hashable, Mapping
from datetime import timedelta
from itertools import islice
from typing import Any, Final, Protocol

import attrs
import temporalio.activity
import temporalio.common
import temporalio.exceptions
from temporalio.api.failure.v1 import Failure
from temporalio.testing import ActivityEnvironment

from chaosharness.errors import ChaosharnessError
from chaosharness.faults import Crash, LostRequest, Pause
from chaosharness.handlers.carrier import PLAIN
from chaosharness.handlers.handling import ended, reach, suffer
from chaosharness.handlers.later import Later
from chaosharness.handlers.places import told
from chaosharness.handlers.port import DECIDE, DECIDE_IN_EITHER, HANDLE, TAKES_OVER, strikes
from chaosharness.handlers.script import Script, drive_in_kernel
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import World
from chaosharness.orchestrators.endless import Decisions
from chaosharness.orchestrators.outage import Outage
from chaosharness.orchestrators.store_rows import store_surface
from chaosharness.orchestrators.temporal import jobs
from chaosharness.orchestrators.temporal.asking import Question
from chaosharness.orchestrators.temporal.calling import (
    BY_SOMEBODY_ELSE,
    environment_of,
    runner_of,
)
from chaosharness.orchestrators.temporal.commands import shown
from chaosharness.orchestrators.temporal.core import (
    CORE_FLAGS,
    Cached,
    Decision,
    Nondeterminism,
    TaskFailed,
)
from chaosharness.orchestrators.temporal.deadlines import TRIES_MS
from chaosharness.orchestrators.temporal.instances import Instance
from chaosharness.orchestrators.temporal.interception import Interception
from chaosharness.orchestrators.temporal.local_activities import BEAT_SHARE, LocalWork
from chaosharness.orchestrators.temporal.markers import End
from chaosharness.orchestrators.temporal.performing import Performing
from chaosharness.orchestrators.temporal.protos import (
    as_payloads,
    failure_json,
    given_fields,
    moment,
    payloads_json,
)
from chaosharness.orchestrators.temporal.refusals import Refused
from chaosharness.orchestrators.temporal.run import ActivityTask, Run, WorkflowTask
from chaosharness.orchestrators.temporal.server import Server
from chaosharness.orchestrators.temporal.shutdown import Interruptible, Shutdown
from chaosharness.orchestrators.temporal.sizes import RESULT_TOO_LARGE, is_too_large
from chaosharness.orchestrators.temporal.slots import Slots
from chaosharness.orchestrators.temporal.unserved import DYNAMIC, Registry, not_registered

__all__ = ["Engine", "Worker"]

STORE: Final = store_surface("temporal", "store decision", before=(Crash, Pause), after=(Crash,))
REPORT: Final = store_surface("temporal", "report")
NOT_FOUND: Final = "NotFoundError"
UNWRITTEN_EVENTS: Final = 2
"""Of a speculative task that did nothing: that it was scheduled, and started (T28)."""
CANCELLED: Final = (temporalio.exceptions.CancelledError, asyncio.CancelledError)
REPORT_MS: Final = 10_000
"""How long a worker tries to report a result, before it gives up (rule T17)."""


class Engine(Protocol):
    """What a worker needs of the server that it polls."""

    world: World
    server: Server
    latency_ms: int
    decisions: Decisions
    outage: Outage
    registry: Registry

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
    cache_max: int = 1_000  # runs that stay in its cache
    interception: Interception = attrs.field(factory=Interception)
    failures: tuple[type[BaseException], ...] = ()  # that fail a workflow, and not its task
    grace_ms: int = 0  # of activities, once it is shut down
    cache: dict[str, Cached] = attrs.field(factory=dict)
    local: dict[str, LocalWork] = attrs.field(factory=dict)  # by the run that it is done for
    busy: dict[str, WorkflowTask | None] = attrs.field(factory=dict)
    """Runs of which a task is in hand, and the task that has come for them meanwhile."""
    beats: set[str] = attrs.field(factory=set)  # tasks that end in another one
    client: Any = None  # what `activity.client()` gives
    is_own: bool = False  # user code runs it, and tells it to shut down
    slots: Slots = attrs.field(factory=Slots)
    shutdown: Shutdown = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.shutdown = Shutdown(
            self.incarnation, self.grace_ms, lambda: bool(self.busy), is_own=self.is_own
        )

    @property
    def alive(self) -> bool:
        return self.incarnation.alive

    @property
    def identity(self) -> str:
        """What histories call it by: the replica, and which life of it."""
        return self.incarnation.label

    # ---- deciding

    def decide(self, task: WorkflowTask) -> None:
        """Work on a workflow task, once an earlier one of the run is no longer in hand."""
        run = task.run
        if run.run_id in self.busy:
            self.busy[run.run_id] = task
            return
        self.busy[run.run_id] = None
        scope = self._deciding(run)
        drive_in_kernel(self._decide(scope, task), scope.world)

    def _free(self, run: Run) -> None:
        """A task of the run is no longer in hand: one that has come meanwhile is next."""
        waiting = self.busy.pop(run.run_id, None)
        if waiting is not None and self.alive:
            self.decide(waiting)
        else:
            was_full = not self.slots.may_decide
            self.slots.deciding.discard(run.run_id)
            if was_full:
                self.engine.go_on()
        self._evict()
        self.shutdown.look()

    def let_go(self) -> None:
        """End what is under way in its cache, at the end of a run."""
        for cached in self.cache.values():
            cached.let_go()

    def _evict(self) -> None:
        """Put runs out of the cache that are too many, those that were awake longest ago first."""
        over = len(self.cache) - self.cache_max
        if over > 0:
            idle = (one for one in self.cache if one not in self.busy)
            for run_id in [*islice(idle, over)]:
                self.cache.pop(run_id).let_go()

    def _deciding(self, run: Run) -> Scope:
        owner = self.engine.scope_of(run)
        return Scope(
            self.engine.world,
            self.incarnation,
            f"{self.service}.{run.type}",
            owner.entity,
            owner.cause,
            PLAIN,
            owner.hops,
            owner.message,
        )

    def _decide(self, scope: Scope, task: WorkflowTask) -> Script[None]:
        operation = f"{scope.place}{TAKES_OVER}"
        either = scope.incarnation.redeploy is not None
        attempt = reach(scope, operation, DECIDE_IN_EITHER if either else DECIDE)
        yield from suffer(scope, operation, "before", attempt)
        self._wake(scope, task, lambda: self._decided(task))

    def _wake(self, scope: Scope, task: WorkflowTask, decide: Callable[[], Decision]) -> None:
        """Have the workflow decide, as its own code: it may spin, or fail."""
        world = scope.world
        world.in_flight[scope] = scope.place

        def done(scope: Scope, decision: Any, error: BaseException | None) -> None:
            world.in_flight.pop(scope, None)
            if world.is_mistake(error):
                world.refuse(error)
            elif error is None and decision.waits:
                self._locally(scope, task, decision)
            else:
                drive_in_kernel(self._store(scope, task, decision, error), world)

        scope.colour.start(scope, decide, _as_is, (), done)

    def _cached(self, run: Run) -> Cached:
        cached = self.cache.pop(run.run_id, None)
        if cached is None:
            workflow = self.workflows.get(run.type) or self.workflows.get(DYNAMIC)
            if workflow is None:
                words = not_registered("Workflow class", run.type, "workflows", self.workflows)
                error = temporalio.exceptions.ApplicationError(words, type=NOT_FOUND)
                raise TaskFailed(_not_found(words)) from error
            cached = Cached(lambda: self._instance(workflow, run))
        self.cache[run.run_id] = cached  # now it is the last one that was awake
        return cached

    def state_of(self, run: Run) -> Hashable:
        """Return in which state a workflow sleeps; None where it is not in the cache."""
        cached = self.cache.get(run.run_id)
        if cached is None or cached.instance is None:
            return None
        return cached.instance.state()

    def may_end(self, run: Run) -> bool:
        """Whether a workflow that sleeps could end, as its code is written, if it knew more."""
        cached = self.cache.get(run.run_id)
        return cached is not None and cached.instance is not None and cached.instance.may_end()

    def _instance(self, workflow: type, run: Run) -> Instance:
        def check_local(name: str) -> None:
            if self.activity(name) is None:
                self._asked_in_vain(run.queue, name, run)
                words = not_registered("Activity function", name, "activities", self.activities)
                raise ValueError(words)

        around, failures = self.interception, self.failures
        return Instance(workflow, run, self.converter, around, failures, check_local)

    def _asked_in_vain(self, queue: str, name: str, run: Run) -> None:
        """Remember an activity that is not here: maybe nobody has it."""
        asker = f"workflow {run.type!r} ({run.workflow_id})"
        self.engine.registry.in_vain.setdefault((queue, name), asker)

    def _decided(self, task: WorkflowTask) -> Decision:
        run = task.run
        cached = self._cached(run)
        try:
            return cached.decide(task.events, run_id=run.run_id, updates=task.updates)
        finally:
            self._note_unheard(cached, run)

    def _note_unheard(self, cached: Cached, run: Run) -> None:
        """Remember which signals the workflow has no handler for, so far."""
        unheard = self.engine.registry.unheard
        found = cached.instance.unheard if cached.instance is not None else None
        if found is not None:
            unheard[run.run_id] = (run, *found)
        elif unheard:
            unheard.pop(run.run_id, None)

    def _forget(self, run: Run) -> None:
        """Lose what is known of a run, and what is done for it in its workflow task."""
        if (cached := self.cache.pop(run.run_id, None)) is not None:
            cached.let_go()
        if (local := self.local.pop(run.run_id, None)) is not None:
            local.given_up = True

    def _store(
        self,
        scope: Scope,
        task: WorkflowTask,
        decision: Any,
        error: BaseException | None,
        *,
        again: bool = False,
    ) -> Script[None]:
        """Have the server store what was decided: all of it or nothing."""
        world, server, run = scope.world, self.engine.server, task.run
        operation = f"{scope.place}/store decision"
        attempt = reach(scope, operation, STORE)
        yield from suffer(scope, operation, "before", attempt)
        self.engine.outage.strike(scope)
        reached = yield from self.engine.outage.reached(TRIES_MS)
        if not self.alive:
            return
        if not reached:  # its task times out, and is anybody's again (T4)
            scope.record("reply", operation, attempt, {"outcome": "failed", "happened": False})
            self._forget(run)
            self._free(run)
            return
        server.now_ms = max(server.now_ms, world.now)
        self.engine.scope_of(run).cause = scope.cause
        following: WorkflowTask | None = None
        try:
            if error is not None:
                self._forget(run)
                scope.record("raised", operation, attempt, told(error.__cause__ or error))
                if task.attempt == 1:  # a worker leaves a later one to time out (T6)
                    failure, cause = _task_failure(error)
                    server.fail_workflow(task.token, cause, failure)
            else:
                self.engine.decisions.count(scope, run.workflow_id)
                told_of = {"commands": shown(run, decision.commands)}
                scope.record("decide", operation, attempt, told_of)
                self.engine.scope_of(run).cause = scope.cause
                sdk = {"coreUsedFlags": CORE_FLAGS, "sdkName": "temporal-python",
                       "langUsedFlags": decision.lang_flags}  # fmt: skip
                written = server.finish_workflow(
                    task.token, decision.commands, sdk=sdk, sticky=self.cache_max > 0, again=again
                )
                if not written:
                    self._cached(run).forget(UNWRITTEN_EVENTS)
                if again and run.status == "RUNNING":
                    following = server.poll_workflow(self.queue, run, identity=self.identity)
        except Refused:
            self._forget(run)  # what it knows is not what the server has (T4)
        if following is not None:
            next_task = following
            self._wake(scope, next_task, lambda: self._decided(next_task))
        self.engine.go_on()
        yield from suffer(scope, operation, "after", attempt)
        if following is None:
            self._free(run)

    # ---- local activities

    def _locally(self, scope: Scope, task: WorkflowTask, decision: Decision) -> None:
        """Do what the workflow waits for before its task can be completed (T29)."""
        world, run = scope.world, task.run
        local = self.local.get(run.run_id)
        if local is None:
            local = LocalWork(Performing(self, run), lambda end: None)
            self.local[run.run_id] = local

        def told(end: End) -> None:
            cached = self.cache.get(run.run_id)
            if cached is None or not self.alive or not self._holds(task):
                self._forget(run)
                self._free(run)
                return
            if not self.engine.decisions.count(scope, run.workflow_id):
                return
            self._wake(
                scope, task, lambda: cached.resolve(end, run_id=run.run_id, now_ms=world.now)
            )

        local.told = told
        try:
            for seq in decision.stopped:
                local.stop(seq)
            for asked in decision.local:
                local.begin(asked, world.now)
        except ChaosharnessError as error:
            world.refuse(error)
            return
        self._beat_in_time(scope, task, decision)

    def _holds(self, task: WorkflowTask) -> bool:
        outstanding = task.run.task
        return outstanding is not None and outstanding.token == task.token

    def _beat_in_time(self, scope: Scope, task: WorkflowTask, decision: Decision) -> None:
        """Ask for another task before this one's time is over, with what is decided so far."""
        world, run = scope.world, task.run
        outstanding = run.task
        if outstanding is None or outstanding.deadline_ms is None or task.token in self.beats:
            return
        self.beats.add(task.token)
        time_ms = round(run.task_timeout_ms * BEAT_SHARE)
        at = outstanding.deadline_ms - run.task_timeout_ms + time_ms

        def beat(_: Any) -> None:
            local, cached = self.local.get(run.run_id), self.cache.get(run.run_id)
            if not self.alive or not self._holds(task) or local is None or cached is None:
                return
            if local.out:
                so_far = cached.so_far()
                drive_in_kernel(self._store(scope, task, so_far, None, again=True), world)

        world.after(max(0, at - world.now), beat)

    # ---- queries

    def ask(self, question: Question) -> None:
        """Ask a workflow something, and tell the answer, or an error (T31)."""
        run = question.run
        scope = self._deciding(run)
        world = scope.world
        world.in_flight[scope] = scope.place
        cached = self._cached(run)

        def asked() -> Any:
            if cached.read < len(run.events):
                cached.decide(run.events, run_id=run.run_id)
            job = jobs.query(question.name, question.arguments, question.headers)
            return cached.query(job, run_id=run.run_id, now_ms=world.now)

        def done(scope: Scope, found: Any, error: BaseException | None) -> None:
            world.in_flight.pop(scope, None)
            if world.is_mistake(error):
                world.refuse(error)
                return
            if error is not None:
                self._forget(run)
            self._evict()
            question.answered(found, error)

        scope.colour.start(scope, asked, _as_is, (), done)

    # ---- activities

    def work(self, task: ActivityTask) -> None:
        """Work on an activity."""
        function = self.activity(task.activity.type)
        if function is None:
            self._refuse(task)
            return
        scope = self.doing(task.run, task.activity.type)
        drive_in_kernel(self._work(scope, task, function), scope.world)

    def runs(self, name: str) -> bool:
        """Whether it has this workflow, or one that takes any name."""
        return name in self.workflows or DYNAMIC in self.workflows

    def activity(self, name: str) -> Callable[..., Any] | None:
        """The activity of this name, or the one that takes any name, if there is one."""
        return self.activities.get(name) or self.activities.get(DYNAMIC)

    def _refuse(self, task: ActivityTask) -> None:
        """Fail an attempt at what nobody here can do: the server has it tried again."""
        what = f"{task.activity.type} for workflow {task.run.workflow_id}"
        failure = _not_found(
            not_registered("Activity function", what, "activities", self.activities)
        )
        self._asked_in_vain(task.activity.queue, task.activity.type, task.run)
        scope = self._deciding(task.run)
        operation = f"{self.service}.{task.activity.type}/handle"
        scope.record("raised", operation, task.attempt, {"error": failure["message"]})
        self.engine.server.fail_activity(task.token, failure)
        self.slots.working.discard(task.token)
        self.engine.go_on()

    def doing(self, run: Run, name: str) -> Scope:
        """A scope in which an activity of a run runs."""
        owner = self.engine.scope_of(run)
        colour = self.colour_of(self.activity(name))  # type: ignore[arg-type]
        return Scope(
            self.engine.world,
            self.incarnation,
            f"{self.service}.{name}",
            owner.entity,
            owner.cause,
            Interruptible() if colour is PLAIN else colour,
            owner.hops + 1,
            owner.message,
        )

    def _work(self, scope: Scope, task: ActivityTask, function: Any) -> Script[None]:
        world = scope.world
        world.in_flight[scope] = scope.place
        operation = f"{scope.place}/handle"
        attempt = reach(scope, operation, HANDLE)
        yield from suffer(scope, operation, "before", attempt)
        environment = self._environment(task)
        arguments = self._arguments(task, function)
        self.shutdown.begin(task.token, environment, scope.colour)

        def done(scope: Scope, result: Any, error: BaseException | None) -> None:
            if ended(scope, operation, attempt, error):
                script = self._report(scope, task, operation, attempt, result, error)
                drive_in_kernel(self._reported(task, script), world)

        headers = given_fields(task.activity.attributes.get("header"))
        runner = runner_of(environment, function, self.interception, headers)
        scope.colour.start(scope, runner, _as_is, arguments, done)

    def _reported(self, task: ActivityTask, script: Script[None]) -> Script[None]:
        """Report on an activity, and have room for another one."""
        yield from self.shutdown.reporting(task.token, script)
        was_full = not self.slots.may_work
        self.slots.working.discard(task.token)
        if was_full and self.alive:
            self.engine.go_on()

    def _environment(self, task: ActivityTask) -> ActivityEnvironment:
        run, activity = task.run, task.activity
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
        environment = environment_of(told_of, self.converter, self.client)

        def beat(*details: Any) -> None:
            server = self.engine.server
            server.now_ms = max(server.now_ms, self.engine.world.now)
            payloads = self.converter.payload_converter.to_payloads(details) if details else []
            if self.engine.outage.down:  # a heartbeat that fails is not sent again
                return
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
        return self.arguments_of(function, as_payloads(task.activity.attributes.get("input")))

    def arguments_of(self, function: Any, payloads: list[Any]) -> tuple[Any, ...]:
        """What an activity is called with."""
        definition = temporalio.activity._Definition.must_from_callable(function)
        if definition.name is None:  # a dynamic one takes what was given as it is
            return ([temporalio.common.RawValue(payload) for payload in payloads],)
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
        if result is BY_SOMEBODY_ELSE:
            return
        if isinstance(result, Later):
            result.refuse()
            return
        report = f"{scope.place}/report"
        number = reach(scope, report, REPORT)
        if report in world.armed:
            for fault in strikes(scope, report, "before", number):
                if isinstance(fault, LostRequest):
                    yield REPORT_MS
                    scope.record("reply", report, number, {"outcome": "failed", "happened": False})
                    return
        yield self.engine.latency_ms
        if not (yield from self.engine.outage.reached(TRIES_MS)):
            scope.record("reply", report, number, {"outcome": "failed", "happened": False})
            return
        if not self.alive:
            return
        server.now_ms = max(server.now_ms, world.now)
        encoded: Any = None
        if error is None:
            try:
                encoded = self.result_json(result)
            except Exception as unserialisable:  # of the user's value, or converter: it has failed
                error = unserialisable
                scope.record("raised", report, number, told(error))
        try:
            if error is None and is_too_large(as_payloads(encoded)):
                server.fail_activity(task.token, RESULT_TOO_LARGE)
            elif error is None:
                server.complete_activity(task.token, encoded)
            elif (failure := self.shutdown.failure(task.token, error)) is not None:
                server.fail_activity(task.token, failure)
            elif isinstance(error, CANCELLED) and task.activity.cancel_id:
                server.canceled_activity(task.token)
            else:
                server.fail_activity(task.token, self.failure_json(error))
        except Refused as refused:
            data = {"outcome": "failed", "error": str(refused), "late": True}
            scope.record("reply", report, number, data)
            return
        if report in world.armed:  # a lost reply: it is reported again, and refused (T14)
            strikes(scope, report, "after", number)
        self.engine.scope_of(task.run).cause = scope.cause
        self.engine.go_on()

    def result_json(self, result: Any) -> Any:
        """What an activity returned, as payloads."""
        return payloads_json(self.converter.payload_converter.to_payloads([result]))

    def failure_json(self, error: BaseException) -> dict[str, Any]:
        """What an activity raised, as a failure."""
        failure = Failure()
        self.converter.failure_converter.to_failure(
            error, self.converter.payload_converter, failure
        )
        return failure_json(failure)


def _lasting(milliseconds: int | None) -> timedelta | None:
    return None if milliseconds is None else timedelta(milliseconds=milliseconds)


def _not_found(words: str) -> dict[str, Any]:
    """What is asked for is not registered: a failure that is tried again."""
    return {"message": words, "applicationFailureInfo": {"type": NOT_FOUND}}


def _task_failure(error: BaseException) -> tuple[dict[str, Any], str]:
    prefix = "WORKFLOW_TASK_FAILED_CAUSE_"
    if isinstance(error, TaskFailed):
        return error.failure, f"{prefix}{error.cause}"
    if isinstance(error, Nondeterminism):
        return {"message": f"[TMPRL1100] Nondeterminism error: {error}"}, (
            f"{prefix}NON_DETERMINISTIC_ERROR"
        )
    return {"message": str(error)}, f"{prefix}WORKFLOW_WORKER_UNHANDLED_FAILURE"


def _as_is(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return arguments
