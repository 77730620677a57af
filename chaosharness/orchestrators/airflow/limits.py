"""Who is queued, where not all that could go on may: pools, and limits of DAGs and tasks.

*Source*: apache-airflow-core 3.3.2: `jobs/scheduler_job_runner.py`
(`_executable_task_instances_to_queued`), `models/pool.py` (`slots_stats`),
`task/priority_strategy.py`, `ti_deps/dependencies_states.py` (rule A12).
*Not modelled*: `[core] parallelism` and `max_tis_per_query`, which are beyond what a run has;
several executors, teams, priority strategies of one's own.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.allowed import is_whole, listed, spelled
from chaosharness.orchestrators.airflow.definition import AirflowDAG, AirflowTask
from chaosharness.orchestrators.airflow.records import (
    DEFERRED,
    QUEUED,
    RUNNING,
    SCHEDULED,
    DagRun,
    TaskInstance,
)

__all__ = ["DEFAULT_POOLS", "AirflowPool", "check_pools", "pools_of", "to_queue"]

DEFAULT_POOL: Final = "default_pool"
DEFAULT_SLOTS: Final = 128


@attrs.frozen
class AirflowPool:
    """A pool: how many slots its tasks share while they are queued or running.

    Args:
        slots: How many; -1 is as many as anybody wants.
        include_deferred: Whether a task that waits for its trigger holds its slots, too.

    Raises:
        InvalidDefinition: No such pool could be.
    """

    slots: int
    include_deferred: bool = attrs.field(default=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not is_whole(self.slots, -1):
            raise InvalidDefinition(
                f"AirflowPool: slots is a whole number from 0, or -1; not {spelled(self.slots)}"
            )


DEFAULT_POOLS: Final[Mapping[str, AirflowPool]] = {DEFAULT_POOL: AirflowPool(DEFAULT_SLOTS)}


def pools_of(name: str, given: object) -> dict[str, AirflowPool]:
    """Return the pools of an Airflow, with the one that every Airflow has.

    Raises:
        InvalidDefinition: They are no pools.
    """
    if not isinstance(given, Mapping):
        raise InvalidDefinition(
            f"Airflow({name!r}): pools is {{name: slots}}, not {spelled(given)}"
        )
    pools = dict(DEFAULT_POOLS)
    for pool, slots in given.items():
        pools[pool] = slots if isinstance(slots, AirflowPool) else AirflowPool(slots)
    return pools


def check_pools(dag: AirflowDAG, pools: Mapping[str, AirflowPool]) -> None:
    """Refuse tasks that Airflow would only warn of in its log, and never run.

    Raises:
        InvalidDefinition: Says which task, and what there is.
    """
    for task in dag.tasks:
        place = f"task {task.task_id!r} of DAG {dag.dag_id!r}"
        pool = pools.get(task.pool)
        if pool is None:
            raise InvalidDefinition(
                f"{place} is in pool {spelled(task.pool)}, which there is not: Airflow would never "
                f"run it. There are: {listed(pools)}; name it in Airflow(..., pools={{...}})"
            )
        if 0 <= pool.slots < task.pool_slots:
            raise InvalidDefinition(
                f"{place} needs {task.pool_slots} slots of pool {task.pool!r}, which has "
                f"{pool.slots}: Airflow would never run it"
            )


def weight_of(dag: AirflowDAG, task: AirflowTask) -> int:
    """Return the priority of a task: with that of all after it, as its `weight_rule` says."""
    if task.weight_rule == "absolute":
        return task.priority_weight
    if task.weight_rule == "upstream":
        others = [one for one in dag.by_id if task.task_id in dag.after(one)]
    else:
        others = [*dag.after(task.task_id)]
    return task.priority_weight + sum(dag.by_id[one].priority_weight for one in others)


@attrs.define
class _Room:
    """What is taken of each limit."""

    pools: Counter[str] = attrs.field(factory=Counter)
    runs: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    tasks: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    tasks_of_runs: Counter[tuple[str, str, str]] = attrs.field(factory=Counter)

    def take(self, one: TaskInstance, task: AirflowTask, pool: AirflowPool | None) -> None:
        """Count an instance that goes on."""
        deferred = one.state == DEFERRED
        if not deferred or (pool is not None and pool.include_deferred):
            self.pools[task.pool] += task.pool_slots
        self.runs[one.dag_id, one.run_id] += not deferred
        self.tasks[one.dag_id, one.task_id] += 1
        self.tasks_of_runs[one.dag_id, one.run_id, one.task_id] += 1

    def has(self, one: TaskInstance, dag: AirflowDAG, task: AirflowTask, pool: AirflowPool) -> bool:
        """Say whether an instance may be queued, too."""
        if 0 <= pool.slots < self.pools[task.pool] + task.pool_slots:
            return False
        if self.runs[one.dag_id, one.run_id] >= dag.max_active_tasks:
            return False
        everywhere, here = task.max_active_tis_per_dag, task.max_active_tis_per_dagrun
        if everywhere is not None and self.tasks[one.dag_id, one.task_id] >= everywhere:
            return False
        number = self.tasks_of_runs[one.dag_id, one.run_id, one.task_id]
        return here is None or number < here


def _room_of(
    dags: Mapping[str, AirflowDAG], pools: Mapping[str, AirflowPool], runs: Iterable[DagRun]
) -> _Room:
    room = _Room()
    for run in runs:
        for one in run.tasks.values():
            task = dags[run.dag_id].by_id.get(one.task_id)
            if task is not None and one.state in (QUEUED, RUNNING, DEFERRED):
                room.take(one, task, pools.get(task.pool))
    return room


def to_queue(
    dags: Mapping[str, AirflowDAG], pools: Mapping[str, AirflowPool], runs: Iterable[DagRun]
) -> list[TaskInstance]:
    """Return the scheduled instances that may be queued now, in the order in which they are."""
    going = [*runs]
    waiting: list[tuple[int, int, int, TaskInstance, AirflowTask]] = []
    for run in going:
        dag = dags[run.dag_id]
        for one in run.tasks.values() if run.state == RUNNING else ():
            if one.state == SCHEDULED and one.task_id in dag.by_id:
                task = dag.by_id[one.task_id]
                place = (-weight_of(dag, task), run.logical_ms, one.map_index)
                waiting.append((*place, one, task))
    if not waiting:
        return []
    waiting.sort(key=lambda found: found[:3])
    room = _room_of(dags, pools, going)
    queued: list[TaskInstance] = []
    for *_, one, task in waiting:
        pool = pools[task.pool]
        if room.has(one, dags[one.dag_id], task, pool):
            room.take(one, task, pool)
            queued.append(one)
    return queued
