"""DAGs and their tasks, as Airflow's scheduler knows them: what is kept of a DAG file."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.allowed import is_whole, listed, spelled
from chaosharness.orchestrators.airflow.groups import (
    AirflowGroup,
    behind_its_sources,
    check_in_group,
)
from chaosharness.orchestrators.airflow.mapping import check_mapping, sources_of
from chaosharness.orchestrators.airflow.trigger_rules import RULES

__all__ = ["AirflowDAG", "AirflowTask"]

KINDS: Final = ("python", "branch", "short_circuit", "sensor", "empty", "operator")
WEIGHT_RULES: Final = ("downstream", "upstream", "absolute")
SENSOR_TIMEOUT_S: Final = 7 * 86_400.0


def _ids(given: str | Iterable[str]) -> tuple[str, ...]:
    """Ids of tasks; what is none is refused where the task is known."""
    if isinstance(given, str):
        return (given,)
    several: Any = given
    return tuple(several) if isinstance(several, Iterable) else (several,)


@attrs.frozen
class AirflowTask:
    """A task of a DAG, under the names that Airflow's operators have.

    Args:
        task_id: Its name in the DAG.
        run: What it runs, unless the worker says so (`env.tasks`): `python_callable`.
        upstream: The ids of the tasks before it.
        trigger_rule: One of Airflow's thirteen.
        retries: How often it is tried again.
        retry_delay_s: The pause before that.
        retry_exponential_backoff: What the pause is multiplied by each time; 0 is not at all.
        max_retry_delay_s: The longest pause.
        execution_timeout_s: How long one try may take.
        depends_on_past: Whether it waits for its own success in the run before.
        wait_for_downstream: Whether it waits for those after it in the run before, too.
        kind: `python`; `branch` returns the ids to follow; `short_circuit` skips all that comes
            after where it returns something false; `sensor` waits until it returns something
            true; `empty` runs nothing.
        ignore_downstream_trigger_rules: Of a short circuit: whether it skips all that comes
            after, or only what is next.
        poke_interval_s: Of a sensor: the pause between two looks.
        timeout_s: Of a sensor: how long it waits.
        mode: Of a sensor: `poke` sleeps in its worker, `reschedule` gives the slot back.
        soft_fail: Of a sensor: whether it is skipped where its time is over.
        setup: Whether it is a setup task.
        teardown: Whether it is a teardown task: it says nothing about how the run ended.
        on_failure_fail_dagrun: Of a teardown task: whether it does say so.
        expand: Of a mapped task: what each parameter is mapped over, a list or a dict, or the id
            of a task that returns one. Of several each is combined with each.
        expand_kwargs: Or what all are mapped over together: a list of dicts, or the id of a task.
        partial: The parameters that are the same for all instances.
        group: The mapped group that it is in: it has an instance for each item of that one.
        pool: The pool whose slots it takes while it is queued or runs.
        pool_slots: How many.
        priority_weight: Where not all may go on, the heaviest do.
        weight_rule: What else its weight has: that of all `downstream` of it, of all `upstream`,
            or none (`absolute`).
        max_active_tis_per_dag: How many instances go on at once, over all runs.
        max_active_tis_per_dagrun: How many in one run.
        start_from_trigger: What it waits for before any worker has it, a `TaskDeferred`: then it
            goes on with that one's method, on a worker.
        on_success_callback: Told the context once it has succeeded.
        on_failure_callback: Once it has failed for good.
        on_retry_callback: Once a try has failed which is not the last.

    Raises:
        InvalidDefinition: It cannot be so in Airflow either; says where.
    """

    task_id: str
    run: Any = None
    upstream: tuple[str, ...] = attrs.field(default=(), converter=_ids, kw_only=True)
    trigger_rule: str = attrs.field(default="all_success", kw_only=True, converter=str)
    retries: int = attrs.field(default=0, kw_only=True)
    retry_delay_s: float = attrs.field(default=300.0, kw_only=True)
    retry_exponential_backoff: float = attrs.field(default=0, kw_only=True)
    max_retry_delay_s: float | None = attrs.field(default=None, kw_only=True)
    execution_timeout_s: float | None = attrs.field(default=None, kw_only=True)
    depends_on_past: bool = attrs.field(default=False, kw_only=True)
    wait_for_downstream: bool = attrs.field(default=False, kw_only=True)
    kind: str = attrs.field(default="python", kw_only=True)
    ignore_downstream_trigger_rules: bool = attrs.field(default=True, kw_only=True)
    poke_interval_s: float = attrs.field(default=60.0, kw_only=True)
    timeout_s: float = attrs.field(default=SENSOR_TIMEOUT_S, kw_only=True)
    mode: str = attrs.field(default="poke", kw_only=True)
    soft_fail: bool = attrs.field(default=False, kw_only=True)
    setup: bool = attrs.field(default=False, kw_only=True)
    teardown: bool = attrs.field(default=False, kw_only=True)
    on_failure_fail_dagrun: bool = attrs.field(default=False, kw_only=True)
    expand: Mapping[str, Any] | None = attrs.field(default=None, kw_only=True)
    expand_kwargs: Any = attrs.field(default=None, kw_only=True)
    partial: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True)
    group: AirflowGroup | None = attrs.field(default=None, kw_only=True)
    pool: str = attrs.field(default="default_pool", kw_only=True)
    pool_slots: int = attrs.field(default=1, kw_only=True)
    priority_weight: int = attrs.field(default=1, kw_only=True)
    weight_rule: str = attrs.field(default="downstream", kw_only=True)
    max_active_tis_per_dag: int | None = attrs.field(default=None, kw_only=True)
    max_active_tis_per_dagrun: int | None = attrs.field(default=None, kw_only=True)
    start_from_trigger: Any = attrs.field(default=None, kw_only=True)
    on_success_callback: Callable[[Any], Any] | None = attrs.field(default=None, kw_only=True)
    on_failure_callback: Callable[[Any], Any] | None = attrs.field(default=None, kw_only=True)
    on_retry_callback: Callable[[Any], Any] | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        place = f"AirflowTask({spelled(self.task_id)})"
        if not isinstance(self.task_id, str) or not self.task_id:
            raise InvalidDefinition(f"an AirflowTask needs a task_id, not {spelled(self.task_id)}")
        for name in self.upstream:
            if not isinstance(name, str):
                raise InvalidDefinition(
                    f"{place}: upstream is the ids of the tasks before it, not {spelled(name)}"
                )
        _one_of(place, "trigger_rule", self.trigger_rule, RULES)
        _one_of(place, "kind", self.kind, KINDS)
        _one_of(place, "mode", self.mode, ("poke", "reschedule"))
        if not is_whole(self.retries, 0):
            raise InvalidDefinition(
                f"{place}: retries is a whole number from 0, not {spelled(self.retries)}"
            )
        for name in ("retry_delay_s", "max_retry_delay_s", "execution_timeout_s",
                     "poke_interval_s", "timeout_s"):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not _is_seconds(value):
                raise InvalidDefinition(
                    f"{place}: {name} is a number of seconds, not {spelled(value)}"
                )
        self._check_limits(place)
        self._check_trigger(place)
        check_mapping(place, self.expand, self.expand_kwargs, self.partial)
        if self.group is not None:
            check_in_group(place, self)
        own = sources_of(self.expand, self.expand_kwargs)
        more = [name for name in own if name not in self.upstream]
        object.__setattr__(self, "upstream", (*self.upstream, *more))
        if self.teardown and self.trigger_rule == "all_success":
            object.__setattr__(self, "trigger_rule", "all_done_setup_success")

    def _check_trigger(self, place: str) -> None:
        asked = self.start_from_trigger
        if asked is None:
            return
        if not all(
            hasattr(asked, name) for name in ("trigger", "method_name", "kwargs", "timeout")
        ):
            raise InvalidDefinition(
                f"{place}: start_from_trigger is a TaskDeferred(trigger=..., method_name=...), "
                f"not {spelled(asked)}"
            )
        if self.is_mapped:
            raise InvalidDefinition(
                f"{place}: a mapped task that starts from a trigger is not modelled"
            )

    def _check_limits(self, place: str) -> None:
        _one_of(place, "weight_rule", self.weight_rule, WEIGHT_RULES)
        if not isinstance(self.pool, str) or not self.pool:
            raise InvalidDefinition(
                f"{place}: pool is the name of a pool, not {spelled(self.pool)}"
            )
        if not isinstance(self.priority_weight, int):
            raise InvalidDefinition(
                f"{place}: priority_weight is a whole number, not {spelled(self.priority_weight)}"
            )
        for name in ("pool_slots", "max_active_tis_per_dag", "max_active_tis_per_dagrun"):
            value = getattr(self, name)
            if not is_whole(value, 1) and (value is not None or name == "pool_slots"):
                raise InvalidDefinition(
                    f"{place}: {name} is a whole number from 1, not {spelled(value)}"
                )

    @property
    def is_mapped(self) -> bool:
        """Say whether it has an instance for each item of something: its own, or its group's."""
        return self.expand is not None or self.expand_kwargs is not None or self.group is not None

    @property
    def mapped_over(self) -> tuple[str, ...]:
        """Return the tasks whose results it is mapped over."""
        if self.group is not None:
            return self.group.mapped_over
        return sources_of(self.expand, self.expand_kwargs)


def _tasks(given: "Iterable[AirflowTask]") -> "tuple[AirflowTask, ...]":
    """Tasks; what is none is refused where the DAG is known."""
    several: Any = given
    if isinstance(several, Iterable) and not isinstance(several, str):
        return tuple(several)
    return (several,)


@attrs.frozen
class AirflowDAG:
    """A DAG: what Airflow's scheduler knows of a DAG file.

    Args:
        dag_id: Its name.
        tasks: Its tasks, in any order.
        max_active_runs: How many of its runs go on at once; the others wait.
        max_active_tasks: How many of its tasks are queued or running at once, in one run.
        dag_schedule_s: Its DAG schedule: a run each so many seconds, at the end of its interval.
            Faults strike in the first two; those to come are like these.
        dag_end_s: When the last interval of the DAG schedule ends: its `end_date`.
        on_success_callback: Told the context once a run has succeeded.
        on_failure_callback: Once a run has failed.

    Raises:
        InvalidDefinition: No such DAG could be; says which task.
    """

    dag_id: str
    tasks: tuple[AirflowTask, ...] = attrs.field(converter=_tasks, kw_only=True)
    max_active_runs: int = attrs.field(default=16, kw_only=True)
    max_active_tasks: int = attrs.field(default=16, kw_only=True)
    dag_schedule_s: float | None = attrs.field(default=None, kw_only=True)
    dag_end_s: float | None = attrs.field(default=None, kw_only=True)
    on_success_callback: Callable[[Any], Any] | None = attrs.field(default=None, kw_only=True)
    on_failure_callback: Callable[[Any], Any] | None = attrs.field(default=None, kw_only=True)
    by_id: Mapping[str, AirflowTask] = attrs.field(init=False, repr=False)
    downstream: Mapping[str, tuple[str, ...]] = attrs.field(init=False, repr=False)
    mapped_over: frozenset[str] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        place = f"AirflowDAG({spelled(self.dag_id)})"
        if not isinstance(self.dag_id, str) or not self.dag_id:
            raise InvalidDefinition(f"an AirflowDAG needs a dag_id, not {spelled(self.dag_id)}")
        by_id = _by_id(place, behind_its_sources(self.tasks))
        object.__setattr__(self, "tasks", (*by_id.values(),))
        downstream: dict[str, list[str]] = {name: [] for name in by_id}
        for task in self.tasks:
            for name in task.upstream:
                if name not in by_id:
                    known = listed(by_id)
                    raise InvalidDefinition(
                        f"{place}: task {spelled(task.task_id)} comes after {spelled(name)}, which "
                        f"is no task of it; they are: {known}"
                    )
                downstream[name].append(task.task_id)
        object.__setattr__(self, "by_id", by_id)
        over = frozenset(name for task in self.tasks for name in task.mapped_over)
        object.__setattr__(self, "mapped_over", over)
        object.__setattr__(self, "downstream", {k: tuple(v) for k, v in downstream.items()})
        _refuse_cycle(place, by_id)
        for name in ("max_active_runs", "max_active_tasks"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise InvalidDefinition(
                    f"{place}: {name} is a whole number from 1, not {spelled(value)}"
                )
        if (self.dag_schedule_s is None) != (self.dag_end_s is None):
            raise InvalidDefinition(
                f"{place}: a DAG schedule needs dag_schedule_s and dag_end_s, when it ends: a run "
                "of the system ends, too"
            )
        if self.dag_schedule_s is not None and not (
            _is_seconds(self.dag_schedule_s) and self.dag_schedule_s > 0
        ):
            raise InvalidDefinition(f"{place}: dag_schedule_s is more than 0 seconds")
        if self.dag_end_s is not None and not _is_seconds(self.dag_end_s):
            raise InvalidDefinition(
                f"{place}: dag_end_s is a number of seconds, not {spelled(self.dag_end_s)}"
            )

    def after(self, task_id: str) -> tuple[str, ...]:
        """Return the ids of all tasks that come after one, however far, in the DAG's order."""
        found: set[str] = set()
        left = [*self.downstream[task_id]]
        while left:
            name = left.pop()
            if name not in found:
                found.add(name)
                left.extend(self.downstream[name])
        return tuple(name for name in self.by_id if name in found)

    def setups_of(self, task_id: str) -> tuple[str, ...]:
        """Return the setups that a task needs though it is not right behind them (rule A7).

        Those before it whose teardown comes after it, or that have none.
        """
        later = {name for name in self.after(task_id) if self.by_id[name].teardown}
        found = []
        for name, task in self.by_id.items():
            before = task.setup and task_id in self.after(name)
            if before and name not in self.by_id[task_id].upstream:
                own = {one for one in self.downstream[name] if self.by_id[one].teardown}
                if not own or own & later:
                    found.append(name)
        return tuple(found)

    def leaves(self) -> tuple[str, ...]:
        """Return the tasks that say how a run has ended (rule A1)."""

        def counts(task: AirflowTask) -> bool:
            return not task.teardown or task.on_failure_fail_dagrun

        found = tuple(
            name
            for name, task in self.by_id.items()
            if counts(task) and not any(counts(self.by_id[one]) for one in self.downstream[name])
        )
        return found or tuple(name for name in self.by_id if not self.downstream[name])


def _by_id(place: str, tasks: tuple[AirflowTask, ...]) -> dict[str, AirflowTask]:
    by_id: dict[str, AirflowTask] = {}
    for task in tasks:
        if not isinstance(task, AirflowTask):
            raise InvalidDefinition(f"{place}: its tasks are AirflowTask(...), not {spelled(task)}")
        if task.task_id in by_id:
            raise InvalidDefinition(f"{place}: two tasks are called {spelled(task.task_id)}")
        by_id[task.task_id] = task
    if not by_id:
        raise InvalidDefinition(f"{place} has no tasks")
    return by_id


def _refuse_cycle(place: str, by_id: Mapping[str, AirflowTask]) -> None:
    done: set[str] = set()
    while len(done) < len(by_id):
        free = [n for n, task in by_id.items() if n not in done and done.issuperset(task.upstream)]
        if not free:
            left = listed(name for name in by_id if name not in done)
            raise InvalidDefinition(f"{place}: a cycle goes through {left}")
        done.update(free)


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12


def _one_of(place: str, name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise InvalidDefinition(f"{place}: {name} is {listed(allowed)}; not {spelled(value)}")
