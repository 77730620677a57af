"""What the code of a task is given: `ti`, `dag_run` and the rest, under Airflow's names.

*Source*: Airflow documentation, "Templates reference", "XComs"; `PythonOperator`'s way of passing
the context by the names of parameters (`determine_kwargs`).
*Not modelled*: connections, variables, templates of own tasks, `outlet_events`, XComs of mapped
tasks.
"""

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from chaosharness.errors import RefusedValue
from chaosharness.handlers.port import call_off
from chaosharness.orchestrators.airflow.definition import AirflowDAG
from chaosharness.orchestrators.airflow.machine import Machine
from chaosharness.orchestrators.airflow.moments import at
from chaosharness.orchestrators.airflow.records import DagRun, TaskInstance
from chaosharness.orchestrators.airflow.xcoms import strange_in

__all__ = ["RuntimeRun", "RuntimeTask", "arguments_for", "context_of"]

RETURNED = "return_value"


@attrs.frozen
class RuntimeRun:
    """`dag_run`: what a task knows of its run."""

    dag_id: str
    run_id: str
    conf: Any
    logical_date: Any
    run_type: str
    state: str


class RuntimeTask:
    """`ti`: the task instance as its own code sees it, with its XComs."""

    map_index = -1

    def __init__(
        self, machine: Machine, instance: TaskInstance, run: RuntimeRun, task: Any
    ) -> None:
        self._machine = machine
        self.dag_id = instance.dag_id
        self.run_id = instance.run_id
        self.task_id = instance.task_id
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
        self._machine.push(self.dag_id, self.run_id, self.task_id, key, own)

    def xcom_pull(
        self,
        task_ids: str | Iterable[str] | None = None,
        dag_id: str | None = None,
        key: str = RETURNED,
        *,
        default: Any = None,
        run_id: str | None = None,
        **_: Any,
    ) -> Any:
        """Get what a task has pushed: by default this one, what it returned."""
        if task_ids is None or isinstance(task_ids, str):
            name = task_ids or self.task_id
            found = self._machine.pull(dag_id or self.dag_id, run_id or self.run_id, name, key)
            return default if found is None else copy.deepcopy(found)
        return [
            self.xcom_pull(name, dag_id, key, default=default, run_id=run_id) for name in task_ids
        ]

    def get_first_reschedule_date(self, context: Any) -> Any:
        """Return when this try was rescheduled first; None where it was not."""
        return None if self._first_ms is None else at(self._first_ms)

    def get_dagrun(self) -> RuntimeRun:
        """Return its run."""
        return self.dag_run


def run_of(run: DagRun) -> RuntimeRun:
    """Return what a task knows of its run."""
    logical = at(run.logical_ms)
    conf = copy.deepcopy(run.conf)
    return RuntimeRun(run.dag_id, run.run_id, conf, logical, run.run_type, run.state)


def context_of(
    machine: Machine, dag: AirflowDAG, run: DagRun, instance: TaskInstance, task: Any
) -> dict[str, Any]:
    """Return the context of a task."""
    known = run_of(run)
    ti = RuntimeTask(machine, instance, known, task)
    return {
        "dag": getattr(task, "dag", dag),
        "dag_run": known,
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
