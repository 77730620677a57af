"""What the code of a task is given: `ti`, `dag_run` and the rest, under Airflow's names.

*Source*: Airflow documentation, "Templates reference", "XComs"; `PythonOperator`'s way of passing
the context by the names of parameters (`determine_kwargs`).
*Not modelled*: connections, variables, templates of own tasks, `outlet_events`,
`map_index_template`.
"""

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping
from types import EllipsisType
from typing import Any

import attrs

from chaosharness.errors import RefusedValue
from chaosharness.handlers.port import call_off
from chaosharness.orchestrators.airflow.definition import AirflowDAG
from chaosharness.orchestrators.airflow.exceptions import XComRefused
from chaosharness.orchestrators.airflow.instances import RETURNED
from chaosharness.orchestrators.airflow.machine import Machine
from chaosharness.orchestrators.airflow.moments import at
from chaosharness.orchestrators.airflow.records import DagRun, TaskInstance
from chaosharness.orchestrators.airflow.xcoms import strange_in

__all__ = ["RuntimeRun", "RuntimeTask", "arguments_for", "context_of"]


@attrs.frozen
class RuntimeRun:
    """`dag_run`: what a task knows of its run."""

    dag_id: str
    run_id: str
    conf: Any
    logical_date: Any
    run_type: str
    state: str
    data_interval_start: Any
    data_interval_end: Any
    run_after: Any


class RuntimeTask:
    """`ti`: the task instance as its own code sees it, with its XComs."""

    def __init__(
        self, machine: Machine, instance: TaskInstance, run: RuntimeRun, task: Any
    ) -> None:
        self._machine = machine
        self.dag_id = instance.dag_id
        self.run_id = instance.run_id
        self.task_id = instance.task_id
        self.map_index = instance.map_index
        self.id = instance.id
        self.try_number = instance.try_number
        self.max_tries = instance.max_tries
        self.dag_run = run
        self.task = task
        self._first_ms = instance.first_ms

    def xcom_push(self, key: str, value: Any, **_: Any) -> None:
        """Set an XCom of this task: it is there at once, whatever becomes of this try (A6)."""
        if (strange := strange_in(value)) is not None:
            call_off(
                RefusedValue(
                    f"the XCom {key!r} of task {self.task_id!r} of DAG {self.dag_id!r} cannot be "
                    f"kept: cannot serialize object of type {strange}. Push plain values"
                )
            )
        own = copy.deepcopy(value)
        refused = self._machine.push(
            self.dag_id, self.run_id, self.task_id, key, own, self.map_index
        )
        if refused is not None:
            raise XComRefused(str(refused))

    def xcom_pull(
        self,
        task_ids: str | Iterable[str] | None = None,
        dag_id: str | None = None,
        key: str = RETURNED,
        *,
        default: Any = None,
        run_id: str | None = None,
        map_indexes: int | Iterable[int] | EllipsisType | None = ...,
        **_: Any,
    ) -> Any:
        """Get what a task has pushed: by default this one, what it returned.

        Of a mapped task, without `map_indexes`, a list of what all its instances have: or the
        one thing, where it is one.
        """
        single = task_ids is None or isinstance(task_ids, str)
        names = [self.task_id] if task_ids is None else _each(task_ids)
        dag, run = dag_id or self.dag_id, run_id or self.run_id
        found: list[Any] = []
        if isinstance(map_indexes, EllipsisType) or type(map_indexes).__name__ == "ArgNotSet":
            for name in names:
                found += copy.deepcopy(self._machine.pull_all(dag, run, name, key)) or [default]
            return found[0] if single and len(found) == 1 else found
        one = map_indexes is None or isinstance(map_indexes, int)
        for name in names:
            for index in _each(-1 if map_indexes is None else map_indexes):
                value = self._machine.pull(dag, run, name, key, index)
                found.append(default if value is None else copy.deepcopy(value))
        return found[0] if single and one else found

    def pull_all(self, dag_id: str, run_id: str, task_id: str, key: str) -> list[Any]:
        """Return what all instances of a mapped task have set, in their order."""
        return copy.deepcopy(self._machine.pull_all(dag_id, run_id, task_id, key))

    def all_of(self, task_id: str) -> Any:
        """Return what one task has returned, or each instance of a mapped one."""
        dag = self._machine.dags[self.dag_id]
        pull = self._machine.pull_all if dag.by_id[task_id].is_mapped else self._machine.pull
        return copy.deepcopy(pull(self.dag_id, self.run_id, task_id, RETURNED))

    def get_relevant_upstream_map_indexes(
        self, upstream: Any, ti_count: int | None = None, session: Any = None
    ) -> int | None:
        """Return which instance of a task in the same mapped group is meant; None means all."""
        tasks = self._machine.dags[self.dag_id].by_id
        own, other = tasks[self.task_id].group, tasks[upstream.task_id].group
        if own is None or other is None or own.group_id != other.group_id:
            return None
        return self.map_index if self.map_index >= 0 else None

    def get_first_reschedule_date(self, context: Any) -> Any:
        """Return when this try was rescheduled first; None where it was not."""
        return None if self._first_ms is None else at(self._first_ms)

    def get_dagrun(self) -> RuntimeRun:
        """Return its run."""
        return self.dag_run


def _each(given: Any) -> list[Any]:
    return [given] if isinstance(given, str | int) else [*given]


def run_of(dag: AirflowDAG, run: DagRun) -> RuntimeRun:
    """Return what a task knows of its run; a run that nobody scheduled has no interval."""
    logical, end_ms = at(run.logical_ms), run.logical_ms
    if run.run_type == "scheduled" and dag.dag_schedule_s is not None:
        end_ms += round(dag.dag_schedule_s * 1000)
    conf, end = copy.deepcopy(run.conf), at(end_ms)
    return RuntimeRun(
        run.dag_id, run.run_id, conf, logical, run.run_type, run.state, logical, end, end
    )


def context_of(
    machine: Machine, dag: AirflowDAG, run: DagRun, instance: TaskInstance, task: Any
) -> dict[str, Any]:
    """Return the context of a task."""
    known = run_of(dag, run)
    ti = RuntimeTask(machine, instance, known, task)
    return {
        "dag": getattr(task, "dag", dag),
        "dag_run": known,
        "data_interval_end": known.data_interval_end,
        "data_interval_start": known.data_interval_start,
        "ds": known.logical_date.date().isoformat(),
        "logical_date": known.logical_date,
        "params": dict(known.conf) if isinstance(known.conf, Mapping) else {},
        "run_id": run.run_id,
        "task": task,
        "task_instance": ti,
        "ti": ti,
        "ts": known.logical_date.isoformat(),
    }


def arguments_for(function: Callable[..., Any], context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a context that a function has parameters for."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a builtin without a signature takes nothing of a context
        return {}
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return dict(context)
    return {one.name: context[one.name] for one in parameters if one.name in context}
