"""One try of a task: a process on a worker, watched over by its supervisor.

What can strike is where a real worker can: inside the task, between its end and its XCom, between
that and the report. A worker that dies takes its processes with it, and the scheduler notices by
their heartbeats. A worker that stalls past the timeout goes on afterwards: the task runs twice,
until its supervisor's next heartbeat is refused and kills the first.

*Source*: apache-airflow-task-sdk 1.3.2, `execution_time/supervisor.py`, `task_runner.py` (rules A2,
A3, A6, A9).
*Not modelled*: a process that dies alone (its supervisor reports it at once: a crash of the worker
is the same, noticed later); `on_kill`; `AirflowTaskTimeout` as an exception inside the task (what
runs past its `execution_timeout` is killed, and its try fails); a network that is cut between a
worker and the API (its supervisor kills the task after three heartbeats: a crash, too); XComs that
a task asks for itself while the database is away (it is there for them).
"""

import copy
from collections.abc import Sequence
from typing import Any, Final, Protocol

import attrs

from chaosharness.errors import InvalidDefinition, RefusedValue
from chaosharness.faults import Crash
from chaosharness.handlers.carrier import PLAIN
from chaosharness.handlers.handling import reach, suffer
from chaosharness.handlers.places import told
from chaosharness.handlers.port import HANDLE, strikes
from chaosharness.handlers.script import Script, drive_in_kernel
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import World
from chaosharness.machines.machine import Refusal
from chaosharness.orchestrators.airflow.callbacks import Loaded, Teller, call_back
from chaosharness.orchestrators.airflow.context import context_of
from chaosharness.orchestrators.airflow.deferral import FAIL, Resumption, seconds_of
from chaosharness.orchestrators.airflow.definition import AirflowDAG, AirflowTask
from chaosharness.orchestrators.airflow.exceptions import (
    UnmappableXComTypePushed,
    XComForMappingNotPushed,
    XComRefused,
    named,
)
from chaosharness.orchestrators.airflow.machine import Machine
from chaosharness.orchestrators.airflow.outcomes import Outcome, outcome_of, runner_of
from chaosharness.orchestrators.airflow.reader import is_operator
from chaosharness.orchestrators.airflow.records import (
    DEFERRED,
    FAILED,
    RETRY,
    SUCCESS,
    DagRun,
    TaskInstance,
)
from chaosharness.orchestrators.airflow.triggerer import Kept, keep
from chaosharness.orchestrators.airflow.xcoms import strange_in
from chaosharness.orchestrators.outage import Outage
from chaosharness.orchestrators.store_rows import store_surface

__all__ = ["Engine", "Process"]

PUSH: Final = store_surface("airflow", "push", also_before=(Crash,))
REPORT: Final = store_surface("airflow", "report")
TRIES_MS: Final = (1_000, 3_000, 7_000, 15_000, 31_000)
"""When a supervisor asks again, since it first did: `[workers] execution_api_retries`, 5 with 1 s
and twice as long each time between."""
REPORT_MS: Final = TRIES_MS[-1]
"""How long it tries to report."""
UNHEARD_MS: Final = 3 * REPORT_MS + 2 * 5_000
"""How long it beats in vain before it kills its task: `[workers] max_failed_heartbeats`, each of
which is tried for so long, with `min_heartbeat_interval` between."""

ENDINGS: Final = (
    "AirflowSkipException", "AirflowRescheduleException", "DownstreamTasksSkipped", "TaskDeferred",
)  # fmt: skip
"""What is raised to say how a task ends, and is no error."""


class Engine(Protocol):
    """What a process needs of the Airflow it belongs to."""

    world: World
    machine: Machine
    latency_ms: int
    outage: Outage

    def scope_of(self, run: DagRun) -> Scope:
        """Whose work a run is, and what it was caused by last."""

    def place_of(self, loaded: Loaded, dag_id: str, task_id: str) -> str:
        """What sites call a task."""

    def go_on(self) -> None:
        """Have the scheduler look, soon."""

    def defer(self, run: DagRun, instance: TaskInstance) -> None:
        """Have a triggerer run the trigger of a task."""

    def wake_in_time(self) -> None:
        """Have the scheduler look when time will change something."""


@attrs.define(eq=False)
class Process:
    """One try of a task in a process of its own."""

    engine: Engine
    incarnation: Incarnation
    loaded: Loaded
    dag: AirflowDAG
    run: DagRun
    instance: TaskInstance
    id: str
    holder: str
    scope: Scope = attrs.field(init=False)
    context: dict[str, Any] = attrs.field(factory=dict)
    kept: Kept | None = None

    def begin(self) -> None:
        """Ask whether the try may begin, and run it."""
        engine, owner = self.engine, self.engine.scope_of(self.run)
        place = engine.place_of(self.loaded, self.dag.dag_id, self.instance.task_id)
        self.scope = Scope(
            engine.world, self.incarnation, place, owner.entity, owner.cause, PLAIN,
            owner.hops + 1, owner.message,
        )  # fmt: skip
        drive_in_kernel(self._begin(), engine.world)

    def _begin(self) -> Script[None]:
        engine = self.engine
        if not (yield from engine.outage.reached(TRIES_MS)):
            self._give_up("start")
            return
        if not self.alive:
            return
        answer = engine.machine.start(self.id, self.holder, engine.world.now)
        if isinstance(answer, Refusal):
            self._told_no("start", answer)
            engine.world.exit(self.incarnation)
            return
        engine.world.effects += 1
        engine.wake_in_time()
        self.incarnation.on_death.append(self._last_beat)
        self.incarnation.on_resume.append(self._beat_soon)
        timeout_s = self.task.execution_timeout_s
        if timeout_s is not None:
            engine.world.know_timeout(round(timeout_s * 1000))
            engine.world.after(round(timeout_s * 1000), self._time_is_over)
        yield from self._run()

    @property
    def task(self) -> AirflowTask:
        return self.dag.by_id[self.instance.task_id]

    @property
    def alive(self) -> bool:
        return self.incarnation.alive

    # ---- its supervisor

    def beat(self) -> None:
        """Send the heartbeat that is due, as of when the process went on last (A3)."""
        since = self.incarnation.stalled_since
        now = self.engine.world.now
        self.engine.machine.heartbeat(self.id, now if since is None else since)

    def unheard(self, _: object) -> None:
        """Its heartbeats have failed, and do so still: its supervisor kills it."""
        if self.alive and self.engine.outage.down and self.incarnation.stalled_since is None:
            self._give_up("heartbeat")

    def _give_up(self, what: str) -> None:
        """Nobody can be told anything: the process ends, and is missed in time (A3, A9)."""
        data = {"outcome": "failed", "happened": False}
        self.scope.record("reply", f"{self.scope.place}/{what}", self.instance.try_number, data)
        self.engine.world.in_flight.pop(self.scope, None)
        self.engine.world.exit(self.incarnation)

    def _last_beat(self) -> None:
        self.beat()
        self.engine.go_on()

    def _beat_soon(self) -> None:
        """It went on after a stall: the next heartbeat says whether it may."""
        self.engine.world.after(self.engine.latency_ms, self._beat_or_die)

    def _beat_or_die(self, _: Any) -> None:
        if not self.alive or self.incarnation.stalled_since is not None:
            return
        answer = self.engine.machine.heartbeat(self.id, self.engine.world.now)
        if answer is not None:
            self._told_no("heartbeat", answer)
            self.engine.world.exit(self.incarnation)

    def _told_no(self, what: str, answer: Refusal) -> None:
        operation = f"{self.scope.place}/{what}"
        data = {"outcome": "failed", "error": str(answer), "late": True}
        self.scope.record("reply", operation, self.instance.try_number, data)

    def _time_is_over(self, _: Any) -> None:
        """The try has run for its execution_timeout: it ends, and has failed."""
        if not self.alive or self.instance.id != self.id or self.context.get("over"):
            return
        if self.incarnation.stalled_since is not None:
            self.incarnation.on_resume.append(lambda: self._time_is_over(None))
            return
        world = self.engine.world
        self.scope.record(
            "raised", f"{self.scope.place}/handle", self.instance.try_number,
            {"error": f"AirflowTaskTimeout: {self.task.execution_timeout_s} s"},
        )  # fmt: skip
        world.in_flight.pop(self.scope, None)
        self.context["over"] = True
        why = "AirflowTaskTimeout"
        drive_in_kernel(self._report(Outcome(FAILED, why=why)), world)

    # ---- its work

    def _run(self) -> Script[None]:
        scope, world = self.scope, self.engine.world
        world.in_flight[scope] = scope.place
        operation = f"{scope.place}/handle"
        attempt = reach(scope, operation, HANDLE)
        yield from suffer(scope, operation, "before", attempt)
        if not self.alive:
            return
        task = self.task
        resumption = self._resumption()
        code = self._code(resumption)
        if code is None:
            return
        self.context.update(
            context_of(self.engine.machine, self.dag, self.run, self.instance, _shown(task, code))
        )
        scope.colour = self.loaded.colour_of(code)
        runner = runner_of(task, code, self.context, lambda: world.now, resumption)

        def done(scope: Scope, result: Any, error: BaseException | None) -> None:
            self._ended(operation, attempt, result, error)

        scope.colour.start(scope, runner, None, None, done)

    def _resumption(self) -> Resumption | None:
        """What a deferred task goes on with, now that its trigger has fired."""
        one = self.instance
        return Resumption(one.next_method, one.next_kwargs) if one.next_method else None

    def _code(self, resumption: Resumption | None) -> Any:
        """What this try runs; None where there is nothing, and the run is called off."""
        task, dag_id = self.task, self.dag.dag_id
        code = self.loaded.find(dag_id, task.task_id, task.run)
        if code is None:
            self.engine.world.refuse(
                InvalidDefinition(
                    f"task {task.task_id!r} of DAG {dag_id!r} has nothing to run: give it "
                    f"run=..., or env.tasks(..., {{{task.task_id!r}: function}})"
                )
            )
        if code is None or resumption is None or is_operator(code) or resumption.method == FAIL:
            return code
        name = f"{task.task_id}.{resumption.method}"
        code = self.loaded.find(dag_id, name, None)
        if code is None:
            self.engine.world.refuse(
                InvalidDefinition(
                    f"task {task.task_id!r} of DAG {dag_id!r} is deferred to "
                    f"{resumption.method!r}, which service {self.loaded.service!r} does not have: "
                    f"give env.tasks(..., {{{name!r}: function}})"
                )
            )
        return code

    def _ended(
        self, operation: str, attempt: int, result: Any, error: BaseException | None
    ) -> None:
        scope, world = self.scope, self.engine.world
        world.in_flight.pop(scope, None)
        if self.context.get("over"):
            return
        self.context["over"] = True
        if error is None and (strange := strange_in(result)) is not None:
            error = RefusedValue(
                f"what task {self.task.task_id!r} of DAG {self.dag.dag_id!r} returns is kept as an "
                f"XCom, and cannot be: cannot serialize object of type {strange}. Return plain "
                "values"
            )
        if error is None and self.task.task_id in self.dag.mapped_over and not self.task.is_mapped:
            if result is None:
                error = XComForMappingNotPushed()
            elif not isinstance(result, Sequence | dict) or isinstance(result, str | bytes):
                error = UnmappableXComTypePushed(result)
        outcome = None
        try:
            outcome = outcome_of(self.dag, self.task, result, error)
        except InvalidDefinition as wrong:
            error = wrong
        if error is None and outcome is not None and outcome.state == FAILED:
            scope.record("raised", operation, attempt, {"error": outcome.why})  # a wrong branch
        elif error is None or named(error, *ENDINGS):
            scope.record("handled", operation, attempt, None)
        else:
            scope.record("raised", operation, attempt, told(error))
        if isinstance(error, Exception) and (outcome is None or world.is_mistake(error)):
            world.refuse(error)
            return
        assert outcome is not None
        if outcome.deferred is not None:
            try:
                self.kept = keep(outcome.deferred.trigger, world.now)
            except Exception as wrong:  # of the trigger's own `serialize`
                scope.record("raised", operation, attempt, told(wrong))
                outcome = Outcome(FAILED, why=f"{type(wrong).__name__}: {wrong}")
        drive_in_kernel(self._finish(operation, attempt, outcome), world)

    def _finish(self, operation: str, attempt: int, outcome: Outcome) -> Script[None]:
        scope, machine = self.scope, self.engine.machine
        yield from suffer(scope, operation, "after", attempt)
        if outcome.returned is not None or outcome.skips is not None:
            push = f"{scope.place}/push"
            number = reach(scope, push, PUSH)
            yield from suffer(scope, push, "before", number)
            if not (yield from self.engine.outage.reached(TRIES_MS)):
                self._give_up("push")
                return
            if not self.alive:
                return
            try:
                if outcome.returned is not None:
                    self.context["ti"].xcom_push("return_value", outcome.returned)
            except XComRefused as refused:
                yield from self._report(Outcome(FAILED, why=f"AirflowRuntimeError: {refused}"))
                return
            if outcome.skips is not None:
                machine.skip(self.id, outcome.skips)
                self.engine.go_on()
            yield from suffer(scope, push, "after", number)
        yield from self._report(outcome)

    def _report(self, outcome: Outcome) -> Script[None]:
        """Tell the API how the try has ended, unless nobody wants to know any more (A2)."""
        scope, world, machine = self.scope, self.engine.world, self.engine.machine
        report = f"{scope.place}/report"
        number = reach(scope, report, REPORT)
        armed = report in world.armed
        lost = armed and bool(strikes(scope, report, "before", number))
        yield REPORT_MS if lost else self.engine.latency_ms
        lost = lost or not (yield from self.engine.outage.reached(TRIES_MS))
        if not self.alive:
            return
        if lost:
            scope.record("reply", report, number, {"outcome": "failed", "happened": False})
            world.exit(self.incarnation)
            return
        if outcome.deferred is not None:
            refused = self._defer(outcome.deferred)
        else:
            refused = machine.finish(
                self.id, outcome.state, world.now, due_ms=outcome.due_ms, final=outcome.final,
                why=outcome.why,
            )  # fmt: skip
        if refused is not None:
            self._told_no("report", refused)
            world.exit(self.incarnation)
            return
        if armed:  # a lost reply: it is sent again, and the API says that it knows
            strikes(scope, report, "after", number)
        world.effects += 1
        self.engine.scope_of(self.run).cause = scope.cause
        self.engine.go_on()
        self._call_back(_CALLBACKS.get(self.instance.state or "", ""))

    def _defer(self, asked: Any) -> Refusal | None:
        """Leave the try to a trigger, until that has fired (A13)."""
        seconds = seconds_of(asked.timeout)
        now_ms = self.engine.world.now
        due_ms = None if seconds is None else now_ms + round(seconds * 1000)
        resumption = Resumption(asked.method_name, copy.deepcopy(asked.kwargs or {}))
        waits = self.instance.state == DEFERRED
        refused = self.engine.machine.defer(self.id, self.kept, resumption, due_ms)
        if refused is None and not waits:
            self.engine.defer(self.run, self.instance)
        return refused

    # ---- callbacks

    def _call_back(self, kind: str) -> None:
        """Run the callback of a state in the same process, after the report: at most once."""
        task = self.task
        code = self.loaded.find(
            self.dag.dag_id, f"{task.task_id}.{kind}", getattr(task, kind, None)
        )
        if code is None:
            self.engine.world.exit(self.incarnation)
            return
        teller = Teller(self.engine.world, self.incarnation, self.loaded, self.scope)
        call_back(teller, kind, code, self.context)


_CALLBACKS: Final = {
    SUCCESS: "on_success_callback",
    FAILED: "on_failure_callback",
    RETRY: "on_retry_callback",
}


def _shown(task: AirflowTask, code: Any) -> Any:
    """What `context["task"]` is: the operator, where there is one."""
    return code if hasattr(code, "task_id") else task
