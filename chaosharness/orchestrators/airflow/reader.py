"""Real DAG objects, read and run: `chaosharness[airflow]`.

A DAG of `airflow.sdk` is built without a database; what the scheduler keeps of it is read from its
operators' attributes. Operators are run by their own `execute(context)`, with templates and XCom
arguments resolved by their own code against our `ti`. Airflow itself is not imported here: what
is read is found by its attributes, so a DAG of Airflow 2 with the same ones is read, too.

*Source*: apache-airflow-task-sdk 1.3.2: `bases/operator.py`, `definitions/dag.py`,
`execution_time/task_runner.py` (`_execute_task`); providers-standard 1.21.0.
*Not modelled*: mapped task groups in one another, `fail_fast`, tasks that wait for a person,
priority strategies of one's own, cron expressions and other timetables than an interval, assets:
refused by name where they change what runs.
"""

import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.allowed import listed
from chaosharness.orchestrators.airflow.deferral import Named, Resumption
from chaosharness.orchestrators.airflow.definition import WEIGHT_RULES, AirflowDAG, AirflowTask
from chaosharness.orchestrators.airflow.exceptions import TaskDeferred
from chaosharness.orchestrators.airflow.expansions import (
    answer_for,
    expansion_of,
    group_of,
    is_in_group,
    is_mapped_operator,
)
from chaosharness.orchestrators.airflow.groups import AirflowGroup

__all__ = ["is_operator", "read_dag", "run_operator"]


def is_operator(thing: Any) -> bool:
    """Say whether something is an operator of Airflow: it has an id, and can be executed."""
    return hasattr(thing, "task_id") and (
        callable(getattr(thing, "execute", None)) or is_mapped_operator(thing)
    )


def read_dag(dag: Any) -> AirflowDAG:
    """Return what the scheduler keeps of a DAG object.

    Raises:
        InvalidDefinition: It is no DAG, or has what is not modelled; says which task.
    """
    if isinstance(dag, AirflowDAG):
        return dag
    tasks = getattr(dag, "task_dict", None)
    if not isinstance(tasks, Mapping) or not hasattr(dag, "dag_id"):
        called = " (call the function that @dag is above)" if callable(dag) else ""
        raise InvalidDefinition(
            f"{dag!r} is no DAG: give an AirflowDAG, or a DAG object of Airflow{called}"
        )
    if getattr(dag, "fail_fast", False):
        raise InvalidDefinition(f"DAG {dag.dag_id!r} has fail_fast, which is not modelled")
    groups: dict[str, AirflowGroup] = {}
    return AirflowDAG(
        dag.dag_id,
        tasks=[_read_task(dag.dag_id, task, groups) for task in tasks.values()],
        max_active_runs=getattr(dag, "max_active_runs", 16) or 16,
        max_active_tasks=getattr(dag, "max_active_tasks", 16) or 16,
        on_success_callback=_all_of(getattr(dag, "on_success_callback", None)),
        on_failure_callback=_all_of(getattr(dag, "on_failure_callback", None)),
    )


def _read_task(dag_id: str, task: Any, groups: dict[str, AirflowGroup]) -> AirflowTask:
    place = f"task {task.task_id!r} of DAG {dag_id!r}"
    if not is_operator(task):
        raise InvalidDefinition(f"{place} is no operator: {task!r}")
    if _waits_for_a_person(task):
        raise InvalidDefinition(
            f"{place} waits for a person ({_kind_of(task).__name__}), which is not modelled: let a "
            "sensor look for what the person says, and have the entry say it"
        )
    upstream = [name for name in task.dag.task_dict if name in task.upstream_task_ids]
    return AirflowTask(
        task.task_id,
        task,
        upstream=upstream,
        kind="empty" if _runs_nothing(task) else "operator",
        **expansion_of(place, task),
        group=group_of(place, task, groups),
        pool=getattr(task, "pool", None) or "default_pool",
        pool_slots=getattr(task, "pool_slots", 1),
        priority_weight=getattr(task, "priority_weight", 1),
        weight_rule=_weight_rule(place, getattr(task, "weight_rule", "downstream")),
        max_active_tis_per_dag=getattr(task, "max_active_tis_per_dag", None),
        max_active_tis_per_dagrun=getattr(task, "max_active_tis_per_dagrun", None),
        trigger_rule=getattr(task.trigger_rule, "value", task.trigger_rule),
        retries=task.retries or 0,
        retry_delay_s=_seconds(task.retry_delay, 300.0),
        retry_exponential_backoff=_multiplier(task.retry_exponential_backoff),
        max_retry_delay_s=_seconds(task.max_retry_delay, None),
        execution_timeout_s=_seconds(task.execution_timeout, None),
        depends_on_past=bool(task.depends_on_past),
        wait_for_downstream=bool(task.wait_for_downstream),
        start_from_trigger=_started_by(task),
        setup=bool(getattr(task, "is_setup", False)),
        teardown=bool(getattr(task, "is_teardown", False)),
        on_failure_fail_dagrun=bool(getattr(task, "on_failure_fail_dagrun", False)),
        on_success_callback=_all_of(task.on_success_callback),
        on_failure_callback=_all_of(task.on_failure_callback),
        on_retry_callback=_all_of(task.on_retry_callback),
    )


def _kind_of(task: Any) -> type:
    kind: type = getattr(task, "operator_class", None) or type(task)
    return kind


def _waits_for_a_person(task: Any) -> bool:
    return any(one.__name__ == "HITLOperator" for one in _kind_of(task).__mro__)


def _started_by(task: Any) -> TaskDeferred | None:
    """What a task waits for first, where its operator says so by `StartTriggerArgs`."""
    asked = getattr(task, "start_trigger_args", None)
    if not getattr(task, "start_from_trigger", False) or asked is None:
        return None
    return TaskDeferred(
        trigger=Named(asked.trigger_cls, asked.trigger_kwargs or {}),
        method_name=asked.next_method or "",
        kwargs=dict(asked.next_kwargs or {}),
        timeout=asked.timeout,
    )


def _runs_nothing(task: Any) -> bool:
    """Whether the scheduler itself marks it a success: an EmptyOperator without callbacks."""
    empty = any(one.__name__ == "EmptyOperator" for one in _kind_of(task).__mro__)
    return empty and not (task.on_execute_callback or task.on_success_callback)


def _weight_rule(place: str, rule: Any) -> str:
    """The name of a priority rule, which may be a string, an enum or one of Airflow's classes."""
    name = str(getattr(rule, "value", rule if isinstance(rule, str) else type(rule).__name__))
    known = {f"_{one.title()}PriorityWeightStrategy": one for one in WEIGHT_RULES}
    if name not in WEIGHT_RULES and name not in known:
        raise InvalidDefinition(
            f"{place} has weight_rule={rule!r}, which is not modelled: give the DAG under test "
            f"one of {listed(WEIGHT_RULES)}"
        )
    return known.get(name, name)


def _seconds(value: Any, default: Any) -> Any:
    return value.total_seconds() if isinstance(value, timedelta) else default


def _multiplier(value: Any) -> float:
    """Airflow 2 and 3.0 have a flag here, which means 2."""
    return 2.0 if value is True else float(value or 0)


def _all_of(callbacks: Any) -> Callable[[Any], None] | None:
    """One callback, or a list of them, as one."""
    if not callbacks:
        return None
    each = [callbacks] if callable(callbacks) else [*callbacks]

    def call_each(context: Any) -> None:
        for callback in each:
            callback(context)

    return call_each


def run_operator(task: Any, context: dict[str, Any], resumption: Resumption | None = None) -> Any:
    """Run an operator as a worker does: a copy, its templates rendered, then `execute`.

    Of a mapped one the operator is made first, for its item; of a deferred one `execute` is not
    called again, but what it goes on with.
    """
    one = task.prepare_for_execution() if hasattr(task, "prepare_for_execution") else task
    context["ti"].task = context["task"] = one
    mapped = any(is_mapped_operator(of) for of in (one, *getattr(one, "upstream_list", ())))
    if mapped or is_in_group(one) or "airflow.sdk" in sys.modules:
        answer_for(context["ti"])
    if hasattr(one, "render_template_fields"):
        one.render_template_fields(context)
        one = context["ti"].task  # what was made for its item
    if hasattr(one, "pre_execute"):
        one.pre_execute(context)
    execute = _guarded(one, resumption)
    result = execute(context)
    if hasattr(one, "post_execute"):
        one.post_execute(context, result)
    return result


def _guarded(task: Any, resumption: Resumption | None) -> Callable[[Any], Any]:
    """Its `execute`, past the guard that lets nobody but a worker call it."""
    guard = _guard_of(type(task))

    def execute(context: Any) -> Any:
        if resumption is None:
            return task.execute(context)
        kwargs = dict(resumption.kwargs)
        return task.resume_execution(resumption.method, kwargs, context)

    if guard is None:
        return execute

    def run(context: Any) -> Any:
        token = guard.tracker.set(task)
        try:
            return execute(context)
        finally:
            guard.tracker.reset(token)

    return run


def _guard_of(kind: type) -> Any:
    """Return Airflow's ExecutorSafeguard, from the module that the operator's base is from."""
    for base in kind.__mro__:
        module = sys.modules.get(base.__module__)
        guard = getattr(module, "ExecutorSafeguard", None)
        if guard is not None and hasattr(guard, "tracker"):
            return guard
    return None
