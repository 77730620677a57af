"""Which task instances a run has: one a task, or one an item of what it is mapped over.

*Source*: apache-airflow-core 3.3.2: `models/dagrun.py` (`verify_integrity`, `_create_tasks`,
`_revise_map_indexes_if_mapped`), `models/taskmap.py` (`expand_mapped_task`), rules A10, A11.
"""

from typing import Any, Final, Protocol

from chaosharness.orchestrators.airflow.definition import AirflowDAG, AirflowTask
from chaosharness.orchestrators.airflow.mapping import total_of
from chaosharness.orchestrators.airflow.records import (
    FINISHED,
    REMOVED,
    SKIPPED,
    UPSTREAM_FAILED,
    DagRun,
    TaskInstance,
)

__all__ = ["RETURNED", "Database", "Instances"]

RETURNED: Final = "return_value"
"""The XCom of what a task has returned."""


class Database(Protocol):
    """What is needed of the deployment."""

    dags: dict[str, AirflowDAG]

    def pull_all(self, dag_id: str, run_id: str, task_id: str, key: str) -> list[Any]:
        """Get what all instances of a task have set."""

    def move(self, instance: TaskInstance, state: str | None, by: str, why: str = "") -> None:
        """Have a task instance come into a state."""

    def renew(
        self, instance: TaskInstance, state: str | None = None, why: str = "", now_ms: int = 0
    ) -> None:
        """Give a task instance an id of its own."""


class Instances:
    """Makes and removes the task instances of runs."""

    def __init__(self, machine: Database) -> None:
        self.machine = machine

    def give(self, run: DagRun, dag: AirflowDAG) -> None:
        """Make the instances that a run has none of; of a mapped task those that are known now."""
        for task in dag.tasks:
            if not run.of(task.task_id):
                total = self.total(run, task)
                for index in range(total) if total else (-1,):
                    self._make(run, task, index)
        order = {name: place for place, name in enumerate(dag.by_id)}

        def place_of(one: TaskInstance) -> tuple[int, int]:
            return order.get(one.task_id, len(order)), one.map_index

        if any(task.is_mapped for task in dag.tasks):
            run.tasks = {one.key: one for one in sorted(run.tasks.values(), key=place_of)}

    def _make(self, run: DagRun, task: AirflowTask, index: int) -> TaskInstance:
        instance = TaskInstance(run.dag_id, run.run_id, task.task_id, task.retries, map_index=index)
        self.machine.renew(instance)
        run.tasks[instance.key] = instance
        return instance

    def read_anew(self, run: DagRun, dag: AirflowDAG, instance: TaskInstance) -> None:
        """See what becomes of an instance whose DAG file has changed (A10)."""
        task = dag.by_id.get(instance.task_id)
        if task is None:
            if instance.state != REMOVED:
                self.machine.move(instance, REMOVED, "scheduler", "its DAG no longer has it")
            return
        if instance.state == REMOVED:
            self.machine.move(instance, None, "scheduler", "its DAG has it again")
        if task.is_mapped:
            total, literal = self.total(run, task), not task.mapped_over
            beyond = instance.map_index >= (total or 0)
            if (beyond and instance.map_index >= 0) or (literal and instance.map_index < 0):
                self.machine.move(
                    instance, REMOVED, "scheduler", "its DAG maps it over something else"
                )

    def total(self, run: DagRun, task: AirflowTask) -> int | None:
        """How many instances a task has; None where it is not mapped, or nobody knows yet."""
        if not task.is_mapped:
            return None
        of = task if task.group is None else task.group
        return total_of(of.expand, of.expand_kwargs, lambda name: self._items(run, name))

    def _items(self, run: DagRun, task_id: str) -> int | None:
        """How many items a task has returned: of a mapped one, one an instance that returned.

        Of a task in a mapped group Airflow keeps no length, so nothing can be mapped over it.
        """
        task = self.machine.dags[run.dag_id].by_id.get(task_id)
        if task is None or not task.is_mapped or task.group is not None:
            return run.lengths.get(task_id)
        if any(one.state not in FINISHED for one in run.of(task_id)):
            return None
        return len(self.machine.pull_all(run.dag_id, run.run_id, task_id, RETURNED))

    def expand(self, run: DagRun, task: AirflowTask, one: TaskInstance) -> list[TaskInstance]:
        """Make an instance an item of one that stood for all of them; or say why there is none."""
        total = self.total(run, task)
        if total is None:
            self.machine.move(
                one, UPSTREAM_FAILED, "scheduler", "what it is mapped over is not there"
            )
            return []
        if total == 0:
            self.machine.move(one, SKIPPED, "scheduler", "it is mapped over nothing")
            return []
        one.map_index = 0
        for index in range(1, total):
            self._make(run, task, index)
        run.tasks = {of.key: of for of in run.tasks.values()}
        self.give(run, self.machine.dags[run.dag_id])  # in their order
        return run.of(task.task_id)

    def revise(self, run: DagRun, task: AirflowTask) -> list[TaskInstance]:
        """What a task is mapped over may have been returned anew: fewer items, or more."""
        total = self.total(run, task)
        if total is None:
            return []
        there = {one.map_index: one for one in run.of(task.task_id)}
        for index, one in there.items():
            if index >= total:
                self.machine.move(
                    one, REMOVED, "scheduler", "what it is mapped over has fewer items"
                )
        made = [self._make(run, task, index) for index in range(total) if index not in there]
        if made:
            self.give(run, self.machine.dags[run.dag_id])
        return made
