"""Airflow in a system: DAG runs, a scheduler that may die, workers that run tasks.

*Source*: rules A1 to A9 of `docs/explanation/orchestrators.md`.
*Not modelled*: several schedulers at once, the DAG processor as a process of its own (callbacks of
what the scheduler fails, and those of DAGs, run on a worker), executors that run tasks inside the
scheduler (`LocalExecutor`): tasks live on with a worker, as under Celery or Kubernetes.
"""

import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.faults import Delay, LostRequest, Redeploy, StoreOutage
from chaosharness.handlers.carrier import PLAIN
from chaosharness.handlers.handling import reach, suffer
from chaosharness.handlers.port import NOBODY, strikes, trouble
from chaosharness.handlers.script import Script, drive_in_kernel
from chaosharness.kernel import allowed
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import Lasting, World
from chaosharness.machines.machine import Refusal
from chaosharness.orchestrators.airflow.callables import check_callables
from chaosharness.orchestrators.airflow.callbacks import Loaded, Teller, call_back
from chaosharness.orchestrators.airflow.client import AirflowClient
from chaosharness.orchestrators.airflow.context import context_of
from chaosharness.orchestrators.airflow.definition import AirflowDAG
from chaosharness.orchestrators.airflow.exceptions import AirflowApiException
from chaosharness.orchestrators.airflow.hosts import Fork, Host
from chaosharness.orchestrators.airflow.limits import check_pools, pools_of
from chaosharness.orchestrators.airflow.machine import Machine
from chaosharness.orchestrators.airflow.process import UNHEARD_MS, Process
from chaosharness.orchestrators.airflow.reader import read_dag
from chaosharness.orchestrators.airflow.records import (
    DEFERRED,
    FAILED,
    RETRY,
    SUCCESS,
    DagRun,
    Moved,
    RunEnded,
    RunStarted,
    TaskInstance,
)
from chaosharness.orchestrators.airflow.settings import Settings
from chaosharness.orchestrators.airflow.story import left_behind, shown_run, shown_task, told_of
from chaosharness.orchestrators.airflow.triggerer import Triggerer, keep
from chaosharness.orchestrators.airflow.versions import Versions
from chaosharness.orchestrators.airflow.waits import Waits
from chaosharness.orchestrators.endless import Decisions
from chaosharness.orchestrators.outage import Outage
from chaosharness.orchestrators.store_rows import store_surface

__all__ = ["Airflow", "OpenAirflow"]

QUEUE: Final = store_surface("airflow", "queue", before=(Delay, LostRequest))
"""Between the database's `queued` and a worker: the scheduler dies, or the executor's message is
late or lost."""

QUEUE_OF_EITHER: Final = store_surface("airflow", "queue", before=(Redeploy, Delay, LostRequest))
"""Of a DAG that has another version: its file is changed amid a run (A10)."""


@attrs.frozen
class Airflow:
    """Airflow: a scheduler, its database and API; workers are services with `env.tasks`.

    Args:
        name: What reports call it.
        dags: Its DAGs: `AirflowDAG`, or DAG objects of Airflow (`chaosharness[airflow]`).
        previous: Of some of them the version before. A `Redeploy` at `order/begin`, or at
            `order.ship/queue` amid a run, has the DAG file changed to the other version, until
            the calm.
        pools: Its pools, by name: how many slots, or an `AirflowPool`. `default_pool` has 128.
        max_map_length: How many items a task may return for those that are mapped over it.
        latency_ms: There and back, of a call to its API.
        timeout_ms: How long a client waits for the API.

    Raises:
        InvalidDefinition: A DAG is wrong, or has what is not modelled; says which task.
    """

    name: str = attrs.field(validator=allowed.text())
    dags: Any = attrs.field(kw_only=True)
    previous: Any = attrs.field(default=(), kw_only=True)
    pools: Any = attrs.field(factory=dict, kw_only=True)
    max_map_length: int = attrs.field(default=1024, validator=allowed.whole(1), kw_only=True)
    latency_ms: int = attrs.field(default=20, validator=allowed.whole(0), kw_only=True)
    timeout_ms: int = attrs.field(default=10_000, validator=allowed.whole(1), kw_only=True)
    by_id: Mapping[str, AirflowDAG] = attrs.field(init=False, repr=False)
    before: Mapping[str, AirflowDAG] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        by_id = _dags(self.name, "dags", self.dags)
        if not by_id:
            raise InvalidDefinition(f"Airflow({self.name!r}) needs dags=[...], not {self.dags!r}")
        before = _dags(self.name, "previous", self.previous)
        strange = [dag_id for dag_id in before if dag_id not in by_id]
        if strange:
            raise InvalidDefinition(
                f"Airflow({self.name!r}): previous has {strange[0]!r}, which is none of its DAGs: "
                f"{', '.join(by_id)}"
            )
        object.__setattr__(self, "by_id", by_id)
        object.__setattr__(self, "before", before)
        object.__setattr__(self, "pools", pools_of(self.name, self.pools))
        for dag in self.every_dag():
            check_pools(dag, self.pools)

    def every_dag(self) -> tuple[AirflowDAG, ...]:
        """Return its DAGs, in each version."""
        return (*self.by_id.values(), *self.before.values())

    def functions(self, callables: Mapping[str, Any]) -> dict[str, Any]:
        """Return what tasks run, by task id: what the worker says, else what the DAG has."""
        found = {
            task.task_id: task.run
            for dag in self.by_id.values()
            for task in dag.tasks
            if task.run is not None
        }
        for name, run in callables.items():
            dag, _, rest = name.partition(".")
            found[rest if dag in self.by_id and rest else name] = run
        return {name: getattr(run, "python_callable", run) for name, run in found.items()}

    def open(self, world: World) -> "OpenAirflow":
        """Return it, with no DAG runs, for one run of the system."""
        return OpenAirflow(self, world)


def _dags(name: str, option: str, given: Any) -> dict[str, AirflowDAG]:
    dags = [given] if hasattr(given, "dag_id") else given
    if not isinstance(dags, list | tuple):
        raise InvalidDefinition(f"Airflow({name!r}) needs {option}=[...], not {given!r}")
    by_id: dict[str, AirflowDAG] = {}
    for one in dags:
        dag = read_dag(one)
        if dag.dag_id in by_id:
            raise InvalidDefinition(f"Airflow({name!r}): two DAGs are called {dag.dag_id!r}")
        by_id[dag.dag_id] = dag
    return by_id


class OpenAirflow:
    """Airflow during one run of the system."""

    def __init__(self, definition: Airflow, world: World) -> None:
        self.definition = definition
        self.name = definition.name
        self.latency_ms = definition.latency_ms
        self.timeout_ms = definition.timeout_ms
        self.world = world
        settings = Settings(max_map_length=definition.max_map_length)
        self.machine = Machine(dict(definition.by_id), settings, definition.pools)
        self.triggerer = Triggerer(self)
        self.versions = Versions(self.machine, definition.by_id, definition.before, self._changed)
        self.hosts: list[Host] = []
        self.loaded: dict[Incarnation, Loaded] = {}  # what a process has read
        self.processes: list[Process] = []
        self.waiting: deque[Callable[[Any], None]] = deque()  # messages that no worker has taken
        self.scopes: dict[tuple[str, str], Scope] = {}
        self.schedules: dict[str, int] = {}  # of DAG schedules: the event that they begin with
        self.decisions = Decisions(world)
        self.waits = Waits(self)
        self.outage = Outage(world, self.go_on)
        self._timer: Any = None
        self._lives = self._begun = 0
        self.scheduler = self._new_scheduler()
        world.know_timeout(definition.timeout_ms)
        world.know_timeout(settings.heartbeat_timeout_ms + 2 * settings.detection_ms)
        world.at_calm(self.versions.settle)
        world.on_settled.append(lambda: left_behind(self.machine.runs.values()))
        for dag in definition.every_dag():
            for task in dag.tasks:
                if task.retries:
                    world.know_duration(round(task.retry_delay_s * 1000))
        if any(dag.dag_schedule_s is not None for dag in definition.every_dag()):
            world.after(0, lambda _: self.go_on())

    # ---- as a peer of its clients

    def lost(self, operation: str) -> BaseException:
        """Return what a client sees when no answer comes."""
        return TimeoutError(f"{operation}: no answer within {self.timeout_ms} ms")

    def refused(self, operation: str) -> BaseException:
        """Return what a client sees when the API is away for a moment."""
        return ConnectionError(f"{operation}: service unavailable, try again later")

    def lose_writes(self, scope: Scope) -> None:
        """Lose nothing: the database keeps what the API has answered."""

    def client(self) -> AirflowClient:
        """Return what a service calls it by."""
        return AirflowClient(self)

    def stay_before(self) -> None:
        """Have each DAG in the version before, to the end of the run."""
        self.versions.stay()

    def close(self) -> None:
        """Let go of everything, at the end of a run."""
        self.hosts.clear()
        self.processes.clear()
        self.loaded.clear()
        self.waiting.clear()

    def event_histories(self) -> dict[str, str]:
        """Return each DAG run with its task instances and their tries, as the API shows them."""
        return {
            f"{run.dag_id}:{run.run_id}": json.dumps(
                shown_run(run) | {"task_instances": [shown_task(t) for t in run.tasks.values()]}
            )
            for run in self.machine.runs.values()
        }

    def serve(
        self, caller: Scope, operation: str, attempt: int, request: Any, reply: Callable[..., None]
    ) -> None:
        """Do what a client asks, and answer."""
        if self.outage.down:
            reply(None, self.refused(operation), happened=False)
            return
        what, words = request
        if what == "trigger":
            scope = self._scope(words["dag_id"], caller)
            self.versions.perhaps_begin(scope, words["dag_id"], words["run_id"])
            found = self.machine.trigger(**words, now_ms=self.world.now)
        else:
            found = self.machine.find(**words)
        if isinstance(found, Refusal):
            reply(None, AirflowApiException(int(found.code), found.text), happened=False)
            return
        if what == "trigger":
            self.world.effects += 1
            self.scopes[found.dag_id, found.run_id] = self._scope(found.dag_id, caller)
            self.go_on()
        shown = [shown_task(one) for one in found.tasks.values()]
        reply(shown if what == "tasks" else shown_run(found), None)

    def _scope(self, dag_id: str, caller: Scope) -> Scope:
        """The scheduler's own work, for a caller."""
        return Scope(
            self.world, self.scheduler, dag_id, caller.entity, caller.cause, PLAIN,
            caller.hops + 1, caller.message,
        )  # fmt: skip

    def _scheduled(self, dag_id: str) -> int:
        """Return what causes the runs of a DAG schedule: one event, which plans them all."""
        if dag_id not in self.schedules:
            data = {"what": "dag schedule begins", "dag": dag_id}
            own = Scope(self.world, self.scheduler, dag_id, 0, -1, PLAIN)
            self.schedules[dag_id] = own.record("note", "", 0, data)
        return self.schedules[dag_id]

    def _changed(self) -> None:
        """A DAG file has changed: tell what became of its tasks, and look again."""
        self._tell()
        self.go_on()

    def scope_of(self, run: DagRun) -> Scope:
        """Whose work a run is, and what it was caused by last."""
        key = (run.dag_id, run.run_id)
        if key not in self.scopes:  # of a DAG schedule
            cause = self._scheduled(run.dag_id)
            self.scopes[key] = Scope(self.world, self.scheduler, run.dag_id, 0, cause, PLAIN)
        scope = self.scopes[key]
        scope.incarnation = self.scheduler
        return scope

    # ---- workers

    def host(
        self,
        incarnation: Incarnation,
        service: str,
        callables: Mapping[str, Any],
        colour_of: Callable[[Callable[..., Any]], Any],
        fork: Fork,
    ) -> None:
        """Have an incarnation be a worker; or take note of what one of its processes has read."""
        check_callables(service, callables, self.name, self.definition.every_dag())
        loaded = Loaded(service, callables, colour_of)
        if incarnation.host is not None:
            self.loaded[incarnation] = loaded
            return
        host = Host(incarnation, loaded, fork, self.hosts)
        self.hosts.append(host)
        incarnation.on_death.append(host.cease)
        incarnation.takers.append(host)
        waiting, self.waiting = self.waiting, deque()
        for message in waiting:
            self.world.after(0, message)

    def place_of(self, loaded: Loaded, dag_id: str, task_id: str) -> str:
        """What sites call a task: by its DAG too, where another DAG has one of that name."""
        twice = sum(task_id in dag.by_id for dag in self.machine.dags.values()) > 1
        return f"{loaded.service}.{dag_id}.{task_id}" if twice else f"{loaded.service}.{task_id}"

    # ---- the scheduler

    def _new_scheduler(self) -> Incarnation:
        self._lives += 1
        scheduler = Incarnation(self.world, self.name, 0, self._lives, self.name)
        died: list[int] = []
        scheduler.on_death.append(lambda: died.append(self.world.now))
        scheduler.restart = lambda: self._restart(died[0])
        return scheduler

    def _restart(self, died_ms: int) -> None:
        """Another scheduler: it takes over at once, and looks for orphans now and then (A5)."""
        self.scheduler = self._new_scheduler()
        settings, now = self.machine.settings, self.world.now
        rounds = max(0, -(-(died_ms + settings.health_ms - now) // settings.orphans_check_ms))
        self.world.know_duration(rounds * settings.orphans_check_ms)
        self.world.after(rounds * settings.orphans_check_ms, self._adopt, self.scheduler)
        self.go_on()

    def _adopt(self, scheduler: Incarnation) -> None:
        if scheduler.alive and self.outage.down:
            self.world.after(self.machine.settings.loop_ms, self._adopt, scheduler)
        elif scheduler.alive:
            self.machine.adopt(self.world.now)
            self._tell()
            self.go_on()

    def go_on(self) -> None:
        """Have the scheduler look, in its next round."""
        self._wake_at(self.world.now + self.machine.settings.loop_ms, None)

    def defer(self, run: DagRun, instance: TaskInstance) -> None:
        """Have a triggerer run the trigger of a task."""
        self.triggerer.take(run, instance)

    def wake_in_time(self) -> None:
        """Have the scheduler look when time will change something."""
        due = self.machine.due()
        if due is not None:
            soonest = self.world.now + self.machine.settings.loop_ms
            self._wake_at(max(due, soonest), False)

    def _wake_at(self, at_ms: int, waiter: bool | None) -> None:
        """Set the timer, unless it goes off earlier; a deadline (`False`) is none of what happens
        next, which short trouble lasts until."""
        if self._timer is not None:
            if self._timer[0] <= at_ms:
                return
            self.world.agenda.cancel(self._timer[1])
        self._timer = (at_ms, self.world.agenda.add(at_ms, self._round, None, waiter))

    def _round(self, _: Any) -> None:
        """One round of the scheduler's loop."""
        self._timer = None
        if not self.scheduler.alive or self.outage.down:
            return
        now, machine = self.world.now, self.machine
        self.processes = [one for one in self.processes if one.alive]
        for process in self.processes:
            process.beat()
        machine.tick(now)
        queued = machine.schedule(now)
        self._tell()
        for instance in queued:
            self.world.after(0, self._send, (instance, instance.id, self.scheduler))
        self.wake_in_time()

    def _tell(self) -> None:
        """Write what happened into the history, and run the callbacks that are due."""
        said: dict[DagRun, list[str]] = {}
        ended: list[DagRun] = []
        for fact in self.machine.take():
            match fact:
                case RunStarted(run):
                    self._note(run, "dag run started")
                case RunEnded(run):
                    ended.append(run)
                case Moved(task):
                    run = self.machine.runs[task.dag_id, task.run_id]
                    if words := told_of(fact, self.world.now):
                        said.setdefault(run, []).append(words)
                    self._call_back_task(run, fact)
                    if (fact.state, fact.by) == (DEFERRED, "scheduler"):
                        self._defer_first(run, task)
        for run, commands in said.items():
            self.world.effects += 1
            self.scope_of(run).record("decide", "", 0, {"commands": commands})
            self.decisions.count(self.scope_of(run), run.run_id)
        for run in ended:
            self._note(run, f"dag run {run.state}")
            self._call_back_run(run)

    def _defer_first(self, run: DagRun, instance: TaskInstance) -> None:
        """Have the trigger begin of a task that no worker has had."""
        try:
            instance.trigger = keep(instance.trigger, self.world.now)
        except TypeError as error:
            place = f"task {instance.task_id!r} of DAG {instance.dag_id!r}"
            self.world.refuse(
                InvalidDefinition(f"{place}: its start_from_trigger cannot be kept: {error}")
            )
            return
        self.defer(run, instance)

    def _note(self, run: DagRun, what: str) -> None:
        self.world.effects += 1
        data = {"what": what, "dag": run.dag_id, "saga": run.run_id}
        if run.run_type == "scheduled":
            data["timetable"] = run.dag_id
        self.scope_of(run).record("note", "", 0, data)

    # ---- the executor: from queued to a process

    def _send(self, what: tuple[TaskInstance, str, Incarnation]) -> None:
        if what[2].alive:
            drive_in_kernel(self._sending(*what), self.world)

    def _sending(self, instance: TaskInstance, id: str, scheduler: Incarnation) -> Script[None]:
        """Hand a queued task to the executor, which hands it to a worker."""
        world, run = self.world, self.machine.runs[instance.dag_id, instance.run_id]
        owner = self.scope_of(run)
        scope = Scope(
            world, scheduler, f"{run.dag_id}.{instance.task_id}", owner.entity, owner.cause, PLAIN,
            owner.hops, owner.message,
        )  # fmt: skip
        operation = f"{scope.place}/queue"
        either = run.dag_id in self.versions.before
        attempt = reach(scope, operation, QUEUE_OF_EITHER if either else QUEUE)
        lost, delay_ms = False, 0
        if operation in world.armed:
            for fault in strikes(scope, operation, "before", attempt):
                match fault:
                    case LostRequest():
                        lost = True
                    case Redeploy():
                        self.versions.change(run.dag_id)
                    case StoreOutage():
                        self._go_without(fault.lasting)
                    case Delay():
                        delay_ms = world.due(fault.lasting) - world.now
                    case _:
                        yield from trouble(scope, fault, NOBODY)
        self.machine.sent(id)
        self.scope_of(run).cause = scope.cause
        if not lost:
            message = _Message(self, run, instance, id)
            world.until(world.now + delay_ms + self.latency_ms // 2, message) if delay_ms else (
                world.after(self.latency_ms // 2, message)
            )
        yield from suffer(scope, operation, "after", attempt)

    def _go_without(self, lasting: Lasting) -> None:
        """The database goes away: whoever runs a task then is killed, if it is not back in time."""
        self.outage.begin(lasting)
        running = [one for one in self.processes if one.alive]
        if self.outage.ends_ms > self.world.now + UNHEARD_MS:
            for one in running:
                self.world.after(UNHEARD_MS, one.unheard)

    def take_up(self, run: DagRun, instance: TaskInstance, id: str) -> None:
        """Have a worker begin a process for a try; where there is none, the first that starts."""
        scope = self.scope_of(run)
        if not self.hosts:
            self.waiting.append(_Message(self, run, instance, id))
            return
        host = self.hosts[scope.entity % len(self.hosts)]
        dag = self.machine.dags[run.dag_id]
        if instance.task_id not in dag.by_id:  # its process finds no such task in the DAG file
            return

        def begin(process: Incarnation) -> None:
            loaded = self.loaded.pop(process, None)
            if loaded is None:
                self.world.refuse(
                    InvalidDefinition(
                        f"service {process.service!r} called env.tasks in one incarnation and not "
                        "in the next: call it each time that the service is built"
                    )
                )
                return
            self._begun += 1
            holder = f"{process.label}, process {self._begun}"
            one = Process(self, process, loaded, dag, run, instance, id, holder)
            self.processes.append(one)
            one.begin()

        host.run(scope.cause, begin)

    # ---- callbacks of what the scheduler decides

    def _call_back_task(self, run: DagRun, fact: Moved) -> None:
        """A try failed that no process reports: a worker is told, at most once."""
        kinds = {FAILED: "on_failure_callback", RETRY: "on_retry_callback"}
        kind = kinds.get(fact.state or "")
        if fact.by != "scheduler" or kind is None:
            return
        task = self.machine.dags[run.dag_id].by_id[fact.task.task_id]
        context = context_of(self.machine, self.machine.dags[run.dag_id], run, fact.task, task)
        place = task.task_id
        self._call_back(run, f"{place}.{kind}", place, getattr(task, kind), context)

    def _call_back_run(self, run: DagRun) -> None:
        dag = self.machine.dags[run.dag_id]
        kind = "on_success_callback" if run.state == SUCCESS else "on_failure_callback"
        last = [one for one in run.tasks.values() if one.task_id in dag.by_id][-1]
        context = context_of(self.machine, dag, run, last, dag.by_id[last.task_id])
        self._call_back(run, kind, "", getattr(dag, kind), context)

    def _call_back(
        self, run: DagRun, name: str, task_id: str, default: Any, context: dict[str, Any]
    ) -> None:
        """Have a worker run a callback, if anybody has it."""
        host = self.hosts[self.scope_of(run).entity % len(self.hosts)] if self.hosts else None
        if host is None or host.loaded.find(run.dag_id, name, default) is None:
            return
        owner = self.scope_of(run)

        def begin(process: Incarnation) -> None:
            loaded = self.loaded.pop(process)
            place = f"{loaded.service}.{run.dag_id}"
            if task_id:
                place = self.place_of(loaded, run.dag_id, task_id)
            scope = Scope(
                self.world, process, place, owner.entity, owner.cause, PLAIN, owner.hops + 1,
                owner.message,
            )  # fmt: skip
            code = loaded.find(run.dag_id, name, default)
            teller = Teller(self.world, process, loaded, scope)
            call_back(teller, name.rpartition(".")[2], code, context)

        host.run(owner.cause, begin)


@attrs.frozen
class _Message:
    """What the executor sends to workers: begin this try."""

    engine: OpenAirflow
    run: DagRun
    instance: TaskInstance
    id: str

    def __call__(self, _: Any) -> None:
        self.engine.take_up(self.run, self.instance, self.id)
