"""Airflow's scheduler, database and execution API as a pure machine.

`schedule(now)` is one round of the scheduler's loop; the operations below it are what processes of
tasks ask of the API. `due()` says when time changes something, `tick(now)` lets it, `take()` is
what happened. Who runs the tasks, and whether the scheduler lives, is the caller's.

*Source*: apache-airflow-core 3.3.2: `jobs/scheduler_job_runner.py`, `models/dagrun.py`,
`api_fastapi/execution_api/routes/task_instances.py`, `xcoms.py` (rules A1 to A8, A10 to A13).
*Not modelled*: assets, clearing and backfills, pausing a DAG, fail_fast, a database that is away.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import attrs

from chaosharness.machines.machine import Refusal
from chaosharness.orchestrators.airflow.deferral import (
    Resumption,
    deferred_first,
    handed_back,
    timed_out,
)
from chaosharness.orchestrators.airflow.definition import AirflowDAG
from chaosharness.orchestrators.airflow.instances import RETURNED, Instances
from chaosharness.orchestrators.airflow.limits import DEFAULT_POOLS, AirflowPool, to_queue
from chaosharness.orchestrators.airflow.moments import at, run_id_of
from chaosharness.orchestrators.airflow.records import (
    DEFERRED,
    FAILED,
    QUEUED,
    RESCHEDULE,
    RETRY,
    RUNNING,
    SCHEDULED,
    SKIPPED,
    SUCCESS,
    DagRun,
    Moved,
    RunEnded,
    RunStarted,
    TaskInstance,
)
from chaosharness.orchestrators.airflow.retries import delay_ms
from chaosharness.orchestrators.airflow.rounds import past_is_met, run_state, start_of
from chaosharness.orchestrators.airflow.settings import DEFAULTS, Settings

__all__ = ["Fact", "Machine"]

Fact = RunStarted | RunEnded | Moved
XComKey = tuple[str, str, str, int, str]
"""The DAG, the run, the task, its map index, and the key."""

SKIPS: Final = "skipmixin_key"
"""The XCom by which an operator says which tasks a choice of it skips."""


@attrs.define
class Machine:
    """One deployment of Airflow: `dags` by their ids."""

    dags: dict[str, AirflowDAG]
    settings: Settings = DEFAULTS
    pools: Mapping[str, AirflowPool] = attrs.field(factory=lambda: dict(DEFAULT_POOLS))
    runs: dict[tuple[str, str], DagRun] = attrs.field(factory=dict)
    by_id: dict[str, TaskInstance] = attrs.field(factory=dict)  # of every try there was
    xcoms: dict[XComKey, Any] = attrs.field(factory=dict)
    facts: list[Fact] = attrs.field(factory=list)
    scheduled_to_ms: dict[str, int] = attrs.field(factory=dict)
    instances: Instances = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.instances = Instances(self)

    def take(self) -> list[Fact]:
        """Return what happened since this was asked last, in order."""
        facts, self.facts = self.facts, []
        return facts

    # ---- the REST API

    def trigger(
        self, dag_id: str, run_id: str, conf: Any, now_ms: int, run_type: str = "manual"
    ) -> DagRun | Refusal:
        """Create a DAG run. A run id is used once."""
        dag = self.dags.get(dag_id)
        if dag is None:
            return Refusal("404", f"DAG with dag_id: '{dag_id}' not found")
        run_id = run_id or run_id_of(run_type, now_ms)
        if (dag_id, run_id) in self.runs:
            return Refusal(
                "409", f"A DagRun with dag_id:'{dag_id}' and run_id:'{run_id}' already exists"
            )
        run = DagRun(dag_id, run_id, conf, now_ms, run_type, now_ms)
        self.instances.give(run, dag)
        self.runs[dag_id, run_id] = run
        return run

    def deploy(self, dag: AirflowDAG) -> None:
        """Read a DAG file that has changed: runs that go on have the new tasks, too (A10).

        What the DAG no longer has is removed, whatever its state; what is back is begun anew.
        """
        self.dags[dag.dag_id] = dag
        going = [run for run in self.runs.values()
                 if run.dag_id == dag.dag_id and run.state in (QUEUED, RUNNING)]  # fmt: skip
        for run in going:
            for instance in [*run.tasks.values()]:
                self.instances.read_anew(run, dag, instance)
            self.instances.give(run, dag)

    def find(self, dag_id: str, run_id: str) -> DagRun | Refusal:
        """Return a DAG run."""
        run = self.runs.get((dag_id, run_id))
        if run is None:
            return Refusal(
                "404", f"The DagRun with dag_id: `{dag_id}` and run_id: `{run_id}` was not found"
            )
        return run

    # ---- the scheduler

    def schedule(self, now_ms: int) -> list[TaskInstance]:
        """Go once round the scheduler's loop; return what is queued now, for the executor."""
        self._create_scheduled(now_ms)
        self._start_runs()
        for run in self.runs.values():
            if run.state == RUNNING:
                while run.state == RUNNING and self._move_on(run, now_ms):
                    pass
                self._end(run, [*run.tasks.values()])
        return self._queue(now_ms)

    def _create_scheduled(self, now_ms: int) -> None:
        for dag in self.dags.values():
            if dag.dag_schedule_s is None or dag.dag_end_s is None:
                continue
            every, end = round(dag.dag_schedule_s * 1000), round(dag.dag_end_s * 1000)
            begun = self.scheduled_to_ms.get(dag.dag_id, 0)
            while begun + every <= min(now_ms, end):
                run = self.trigger(
                    dag.dag_id, run_id_of("scheduled", begun), {}, now_ms, "scheduled"
                )
                if isinstance(run, DagRun):
                    run.logical_ms = begun
                begun += every
            self.scheduled_to_ms[dag.dag_id] = begun

    def _start_runs(self) -> None:
        for dag in self.dags.values():
            own = [run for run in self.runs.values() if run.dag_id == dag.dag_id]
            active = sum(run.state == RUNNING for run in own)
            for run in own:
                if run.state == QUEUED and active < dag.max_active_runs:
                    run.state = RUNNING
                    active += 1
                    self.facts.append(RunStarted(run))

    def _move_on(self, run: DagRun, now_ms: int) -> bool:
        """Look at every task that could start, once; say whether any came to its end."""
        dag = self.dags[run.dag_id]
        before = {name: one.state for name, one in run.tasks.items()}
        moved, revised, expanded = False, set[str](), False
        known, looked_at = [*run.tasks.values()], [*run.tasks.values()]
        for instance in looked_at:  # those that are made meanwhile, too
            waits = instance.state in (RETRY, RESCHEDULE) and instance.due_ms > now_ms
            if instance.state not in (None, RETRY, RESCHEDULE) or waits:
                continue
            verdict = start_of(dag, run, instance, before, partial(self.instances.total, run))
            if verdict.becomes is not None:
                self.move(instance, verdict.becomes, "scheduler", f"by {verdict.why}")
                moved = True
            elif verdict.ready and past_is_met(self._before(run), dag, instance.task_id):
                task = dag.by_id[instance.task_id]
                if task.is_mapped and instance.map_index < 0:
                    looked_at += self.instances.expand(run, task, instance)
                    moved = expanded = True
                    continue
                if task.is_mapped and task.task_id not in revised:
                    revised.add(task.task_id)
                    for one in self.instances.revise(run, task):
                        moved = self._schedule(dag, one, now_ms) or moved
                if instance.state in (None, RETRY, RESCHEDULE):
                    moved = self._schedule(dag, instance, now_ms) or moved
        if expanded:
            self._end(run, known)
        return moved

    def _schedule(self, dag: AirflowDAG, instance: TaskInstance, now_ms: int) -> bool:
        if instance.state != RESCHEDULE:
            instance.try_number += 1
        task = dag.by_id[instance.task_id]
        if task.start_from_trigger is not None:
            deferred_first(instance, task.start_from_trigger, task.execution_timeout_s, now_ms)
            self.move(instance, DEFERRED, "scheduler", "no worker is needed yet")
            return False
        empty = task.kind == "empty"
        self.move(instance, SUCCESS if empty else SCHEDULED, "scheduler")
        return empty

    def _before(self, run: DagRun) -> DagRun | None:
        """The run of the same DAG before this one, by its logical date."""
        earlier = [
            one
            for one in self.runs.values()
            if one.dag_id == run.dag_id and one.logical_ms <= run.logical_ms and one is not run
        ]
        place = [*self.runs.values()].index
        earlier = [
            one for one in earlier if one.logical_ms < run.logical_ms or place(one) < place(run)
        ]
        return max(earlier, key=lambda one: (one.logical_ms, place(one)), default=None)

    def _end(self, run: DagRun, known: list[TaskInstance]) -> None:
        """End a run of which all these have ended, though others were made in this round (A14)."""
        state = run_state(self.dags[run.dag_id], known)
        if state is not None and run.state == RUNNING:
            run.state = state
            self.facts.append(RunEnded(run))

    def _queue(self, now_ms: int) -> list[TaskInstance]:
        queued = to_queue(self.dags, self.pools, self.runs.values())
        for instance in queued:
            instance.queued_ms = now_ms
            self.move(instance, QUEUED, "scheduler")
        return queued

    def sent(self, id: str) -> None:
        """The executor has the task: another scheduler adopts it, and does not reset it (A5)."""
        self.by_id[id].sent = True

    def adopt(self, now_ms: int = 0) -> list[TaskInstance]:
        """Reset what a dead scheduler has queued and no executor has; adopt all else (A5)."""
        orphans = [one for one in self._instances() if one.state == QUEUED and not one.sent]
        # What is reset is scheduled as another try, and may use up the last retry: so does Airflow.
        for instance in orphans:
            self.renew(instance, QUEUED, "its scheduler died", now_ms)
            self.move(instance, None, "scheduler", "its scheduler died")
        return orphans

    def _instances(self) -> list[TaskInstance]:
        return [one for run in self.runs.values() for one in run.tasks.values()]

    # ---- time

    def due(self) -> int | None:
        """When time will change something: a deadline, a retry, an interval of a DAG schedule."""
        times = self.waits()
        for instance in self._instances():
            if instance.state == RUNNING:
                times.append(self._noticed_ms(instance))
            elif instance.state == QUEUED:
                times.append(self._stuck_ms(instance))
        return min(times, default=None)

    def waits(self) -> list[int]:
        """When something goes on that waits by itself: a retry, a sensor's next look, a trigger
        that is given up, an interval of a DAG schedule."""
        times: list[int] = []
        for instance in self._instances():
            if instance.state in (RETRY, RESCHEDULE):
                times.append(instance.due_ms)
            elif instance.state == DEFERRED and instance.trigger_timeout_ms is not None:
                times.append(self._given_up_ms(instance.trigger_timeout_ms))
        for dag in self.dags.values():
            if dag.dag_schedule_s is not None and dag.dag_end_s is not None:
                every = round(dag.dag_schedule_s * 1000)
                then = self.scheduled_to_ms.get(dag.dag_id, 0) + every
                if then <= round(dag.dag_end_s * 1000):
                    times.append(then)
        return times

    def _noticed_ms(self, instance: TaskInstance) -> int:
        """When a process that is not heard of any more is noticed, at a round of the check."""
        return _next(instance.beat_ms + self.settings.heartbeat_timeout_ms + 1,
                     self.settings.detection_ms)  # fmt: skip

    def _stuck_ms(self, instance: TaskInstance) -> int:
        return _next(instance.queued_ms + self.settings.queued_timeout_ms + 1,
                     self.settings.queued_check_ms)  # fmt: skip

    def _is_too_late(self, instance: TaskInstance, now_ms: int) -> bool:
        timeout_ms = instance.trigger_timeout_ms
        return timeout_ms is not None and self._given_up_ms(timeout_ms) <= now_ms

    def _given_up_ms(self, timeout_ms: int) -> int:
        return _next(timeout_ms + 1, self.settings.trigger_check_ms)

    def tick(self, now_ms: int) -> None:
        """Let time act: processes that nobody hears of, tasks that nobody begins."""
        for instance in self._instances():
            if instance.state == RUNNING and self._noticed_ms(instance) <= now_ms:
                self._fail(instance, now_ms, "scheduler", "no heartbeat", final=False)
            elif instance.state == QUEUED and self._stuck_ms(instance) <= now_ms:
                self._requeue(instance, now_ms)
            elif instance.state == DEFERRED and self._is_too_late(instance, now_ms):
                timed_out(instance)
                self.move(instance, SCHEDULED, "scheduler", "its trigger has not fired in time")

    def _requeue(self, instance: TaskInstance, now_ms: int) -> None:
        """Nobody has begun a task that is queued: schedule it anew, at most twice (A5)."""
        if instance.stuck >= self.settings.stuck_retries:
            self._fail(instance, now_ms, "scheduler", "stuck in queued", final=True)
            return
        instance.stuck += 1
        instance.sent = False
        self.move(instance, SCHEDULED, "scheduler", "stuck in queued")

    # ---- the execution API: what the process of a task asks

    def start(self, id: str, holder: str, now_ms: int) -> TaskInstance | Refusal:
        """Begin a try. Only what is queued can begin; the same process may ask twice (A2)."""
        instance = self._current(id)
        if isinstance(instance, Refusal):
            return instance
        if instance.state != QUEUED and (instance.state, instance.holder) != (RUNNING, holder):
            return Refusal(
                "409", "TI was not in a state where it could be marked as running, but "
                f"{instance.state}"
            )  # fmt: skip
        instance.holder, instance.host, instance.beat_ms = holder, holder, now_ms
        if instance.start_ms is None:
            instance.start_ms = now_ms
        if not instance.next_method:
            self._clear_xcoms(instance)
        if instance.state != RUNNING:
            self.move(instance, RUNNING, "task")
        return instance

    def heartbeat(self, id: str, now_ms: int) -> Refusal | None:
        """Say that a try goes on; refused, its process is killed (A2)."""
        if id in self.by_id and self.by_id[id].id != id:
            return Refusal(
                "410", "Task Instance not found, it may have been moved to the Task Instance "
                "History table"
            )  # fmt: skip
        instance = self._current(id)
        if isinstance(instance, Refusal):
            return instance
        if instance.state != RUNNING:
            return Refusal("409", "TI is no longer in the running state and task should terminate")
        instance.beat_ms = max(instance.beat_ms, now_ms)
        return None

    def finish(
        self, id: str, state: str, now_ms: int, *, due_ms: int = 0, final: bool = False,
        why: str = "",
    ) -> Refusal | None:  # fmt: skip
        """End a try: success, skipped, failed (`final`: not tried again), up_for_reschedule."""
        instance = self._current(id)
        if isinstance(instance, Refusal):
            return instance
        if instance.state == state:
            return None
        if instance.state != RUNNING:
            return Refusal("409", "TI was not in the running state so it cannot be updated")
        if state == FAILED:
            self._fail(instance, now_ms, "task", why, final=final)
        else:
            instance.resumed()
            if state == RESCHEDULE:
                instance.due_ms = due_ms
                instance.holder, instance.sent = "", False  # the same try, in another process
                if instance.first_ms is None:
                    instance.first_ms = now_ms
            else:
                instance.end_ms = now_ms
            self.move(instance, state, "task", why)
        return None

    def defer(
        self, id: str, trigger: Any, resumption: Resumption, timeout_ms: int | None
    ) -> Refusal | None:
        """End a process, whose try goes on once a trigger has fired (A13)."""
        instance = self._current(id)
        if isinstance(instance, Refusal):
            return instance
        if instance.state == DEFERRED:
            return None
        if instance.state != RUNNING:
            return Refusal("409", "TI was not in the running state so it cannot be updated")
        instance.trigger, instance.trigger_timeout_ms = trigger, timeout_ms
        instance.next_method, instance.next_kwargs = resumption.method, dict(resumption.kwargs)
        instance.holder, instance.sent = "", False
        self.move(instance, DEFERRED, "task")
        return None

    def fire(self, instance: TaskInstance, trigger: Any, event: Any, error: str = "") -> bool:
        """A trigger has fired, or failed: its task goes on. Only the first time counts (A13)."""
        if instance.state != DEFERRED or instance.trigger is not trigger:
            return False
        handed_back(instance, event, error)
        self.move(
            instance, SCHEDULED, "scheduler", "its trigger has " + ("failed" if error else "fired")
        )
        return True

    def end_deferred(self, instance: TaskInstance, trigger: Any, state: str, now_ms: int) -> bool:
        """A trigger has ended its task itself: no process of it runs any more (A13)."""
        if instance.state != DEFERRED or instance.trigger is not trigger:
            return False
        instance.resumed()
        if state == FAILED:
            self._fail(instance, now_ms, "scheduler", "its trigger said so", final=False)
        else:
            instance.end_ms = now_ms
            self.move(instance, state, "scheduler", "its trigger said so")
        return True

    def skip(self, id: str, task_ids: tuple[str, ...]) -> Refusal | None:
        """Skip other tasks of the run, unless they run or have run (A7).

        Of a mapped instance the choice is only kept: there may be no such others yet.
        """
        instance = self._current(id)
        if isinstance(instance, Refusal):
            return instance
        run = self.runs[instance.dag_id, instance.run_id]
        run.skips[instance.key] = frozenset(task_ids)
        for name in task_ids if instance.map_index < 0 else ():
            one = run.tasks.get(name)  # what is mapped and known has no instance of this name
            if one is not None and one.state not in (RUNNING, SUCCESS, FAILED):
                self.move(one, SKIPPED, "task", f"skipped by {instance.task_id}")
        return None

    def push(
        self, dag_id: str, run_id: str, task_id: str, key: str, value: Any, map_index: int = -1
    ) -> Refusal | None:
        """Set an XCom; the last write is the one that is there (A6).

        What others are mapped over has a limit: its length is kept beside it (A11).
        """
        dag, run = self.dags.get(dag_id), self.runs.get((dag_id, run_id))
        if dag is not None and run is not None and map_index < 0:
            if key == RETURNED and task_id in dag.mapped_over:
                if len(value) > self.settings.max_map_length:
                    return Refusal(
                        "400", "pushed value is too large to map as a downstream's dependency"
                    )
                run.lengths[task_id] = len(value)
        elif dag is not None and run is not None and key == SKIPS:
            followed = value.get("followed", dag.downstream[task_id])
            skipped = {*dag.downstream[task_id]} - {*followed} | {*value.get("skipped", ())}
            run.skips[f"{task_id}[{map_index}]"] = frozenset(skipped)
        self.xcoms[dag_id, run_id, task_id, map_index, key] = value
        return None

    def pull(self, dag_id: str, run_id: str, task_id: str, key: str, map_index: int = -1) -> Any:
        """Get an XCom; None where there is none."""
        return self.xcoms.get((dag_id, run_id, task_id, map_index, key))

    def pull_all(self, dag_id: str, run_id: str, task_id: str, key: str) -> list[Any]:
        """Get what all instances of a task have set, in their order."""
        own = (dag_id, run_id, task_id)
        found = [
            (of[3], value) for of, value in self.xcoms.items() if (*of[:3], of[4]) == (*own, key)
        ]
        return [value for _, value in sorted(found, key=lambda one: one[0])]

    # ---- within

    def _current(self, id: str) -> TaskInstance | Refusal:
        """The task instance of an id, unless another try has another one now."""
        instance = self.by_id.get(id)
        if instance is None or instance.id != id:
            return Refusal("404", "Task Instance not found")
        return instance

    def renew(
        self, instance: TaskInstance, state: str | None = None, why: str = "", now_ms: int = 0
    ) -> None:
        """Give a task instance an id of its own, for its next try."""
        instance.renew(state, why, now_ms)
        self.by_id[instance.id] = instance

    def move(self, instance: TaskInstance, state: str | None, by: str, why: str = "") -> None:
        """Have a task instance come into a state."""
        instance.state = state
        self.facts.append(Moved(instance, state, by, why))

    def _fail(self, instance: TaskInstance, now_ms: int, by: str, why: str, *, final: bool) -> None:
        """A try has failed: there is another one, or the task has failed (A3, A4)."""
        task = self.dags[instance.dag_id].by_id[instance.task_id]
        if final or instance.try_number > instance.max_tries:
            instance.end_ms = now_ms
            self.move(instance, FAILED, by, why)
            return
        logical = str(at(self.runs[instance.dag_id, instance.run_id].logical_ms))
        pause = delay_ms(task, instance.dag_id, logical, instance.try_number)
        instance.due_ms = now_ms + pause
        self.renew(instance, FAILED, why, now_ms)
        self.move(instance, RETRY, by, why)

    def _clear_xcoms(self, instance: TaskInstance) -> None:
        own = (instance.dag_id, instance.run_id, instance.task_id, instance.map_index)
        for key in [key for key in self.xcoms if key[:4] == own]:
            del self.xcoms[key]


def _next(at_ms: int, every_ms: int) -> int:
    """The first round of a check, at this moment or after it."""
    return -(-at_ms // every_ms) * every_ms
