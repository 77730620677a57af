"""What a round of the scheduler finds: which tasks may start, which never will, how a run ended.

*Source*: apache-airflow-core 3.3.2: `models/dagrun.py` (`update_state`, rule A1),
`ti_deps/deps/trigger_rule_dep.py`, `not_previously_skipped_dep.py`, `prev_dagrun_dep.py`,
`mapped_task_upstream_dep.py` (A7, A8, A11, A14).
*Not modelled*: the deadlock of a run: no rule here can wait for ever once all upstream has ended.
"""

from collections.abc import Callable, Mapping, Sequence

import attrs

from chaosharness.orchestrators.airflow.definition import AirflowDAG, AirflowTask
from chaosharness.orchestrators.airflow.groups import FAST
from chaosharness.orchestrators.airflow.records import (
    FAILED,
    FINISHED,
    SKIPPED,
    SUCCESS,
    UPSTREAM_FAILED,
    DagRun,
    TaskInstance,
)
from chaosharness.orchestrators.airflow.trigger_rules import Upstream, judge

__all__ = ["Start", "past_is_met", "run_state", "start_of"]


@attrs.frozen
class Start:
    """Whether a task may start; or what it becomes instead, and by what."""

    ready: bool = False
    becomes: str | None = None
    why: str = ""


Total = Callable[[AirflowTask], int | None]
"""How many instances a task has; None where nobody knows yet."""


def start_of(
    dag: AirflowDAG,
    run: DagRun,
    instance: TaskInstance,
    states: Mapping[str, str | None],
    total: Total,
) -> Start:
    """Say what becomes of a task instance, by the states that this round began with."""
    task = dag.by_id[instance.task_id]
    for name in task.upstream:
        own = dag.by_id[name].is_mapped and dag.by_id[name].group is None
        parent = f"{name}[{instance.map_index}]" if own else name  # a group's choice: A14
        if task.task_id in run.skips.get(parent, ()) and states.get(parent) in FINISHED:
            return Start(becomes=SKIPPED, why=f"a choice of {parent}")
    rule = _by_rule(dag, run, instance, states, total)
    if rule.becomes in (FAILED, UPSTREAM_FAILED) or not task.is_mapped:
        return rule
    # What it is mapped over has to be there, whatever its trigger rule says (rule A11). Where the
    # rule would skip it and this fails it, Airflow has either: it goes by the order of a set.
    ends = {states.get(name) for name in task.mapped_over if name in run.tasks} & FINISHED
    if ends & {FAILED, UPSTREAM_FAILED}:
        return Start(becomes=UPSTREAM_FAILED, why="what it is mapped over")
    if SKIPPED in ends:
        return Start(becomes=SKIPPED, why="what it is mapped over")
    return rule if ends <= {SUCCESS} else attrs.evolve(rule, ready=False)


def _by_rule(
    dag: AirflowDAG,
    run: DagRun,
    instance: TaskInstance,
    states: Mapping[str, str | None],
    total: Total,
) -> Start:
    task, task_id = dag.by_id[instance.task_id], instance.task_id

    def states_of(name: str) -> list[str | None]:
        return [states.get(one.key) for one in _looked_at(dag, run, instance, name, total)]

    upstream = [
        Upstream(state if state in FINISHED else None, dag.by_id[name].setup)
        for name in task.upstream
        for state in states_of(name)
    ]
    verdict = judge(task.trigger_rule, upstream, instance.map_index, alone=not task.upstream)
    why = f"its trigger rule {task.trigger_rule}"
    if task.trigger_rule == "always":
        return Start(ready=True)
    if task.teardown:
        between = [state for name in _torn_down(dag, task_id) for state in states_of(name)]
        waits = any(state not in FINISHED for state in between)
        return Start(verdict.ready and not waits, verdict.becomes, why)
    setups = [state for name in dag.setups_of(task_id) for state in states_of(name)]
    if FAILED in setups or UPSTREAM_FAILED in setups:
        return Start(becomes=UPSTREAM_FAILED, why="a setup")
    if SKIPPED in setups:
        return Start(becomes=SKIPPED, why="a setup")
    ready = verdict.ready and all(state == SUCCESS for state in setups)
    return Start(ready, verdict.becomes, why)


def _looked_at(
    dag: AirflowDAG, run: DagRun, instance: TaskInstance, upstream: str, total: Total
) -> list[TaskInstance]:
    """Which instances of a task upstream count: all, and within a mapped group that of one's item.

    Where a group is not expanded yet, rules that some task may satisfy alone look at all (A14).
    """
    task, every = dag.by_id[instance.task_id], run.of(upstream)
    group, other = task.group, dag.by_id[upstream].group
    if group is None:
        return every
    fast = instance.map_index < 0 and task.trigger_rule in FAST
    if fast and upstream not in group.mapped_over:
        return every
    if not total(task) or other is None or other.group_id != group.group_id:
        return every
    return [one for one in every if one.map_index < 0 or one.map_index == instance.map_index]


def _torn_down(dag: AirflowDAG, task_id: str) -> list[str]:
    """What lies between the setups of a teardown and it: all that has to end first."""
    task = dag.by_id[task_id]
    setups = [name for name in task.upstream if dag.by_id[name].setup]
    between = {name for setup in setups for name in dag.after(setup)}
    return [name for name in between if task_id in dag.after(name)]


def past_is_met(before: DagRun | None, dag: AirflowDAG, task_id: str) -> bool:
    """Say whether the run before lets a task start that depends on its past."""
    task = dag.by_id[task_id]
    if before is None or not (task.depends_on_past or task.wait_for_downstream):
        return True
    names = [task_id]
    if task.wait_for_downstream:
        names += dag.downstream[task_id]
    known = [one for name in names for one in before.of(name)]  # its DAG may have grown
    return all(one.state in (SUCCESS, SKIPPED) for one in known)


def run_state(dag: AirflowDAG, known: Sequence[TaskInstance]) -> str | None:
    """Say how a run has ended: by its leaves alone; None while any of these tasks has not."""
    if any(one.state not in FINISHED for one in known):
        return None
    leaves = dag.leaves()
    ends = {one.state for one in known if one.task_id in leaves}
    return FAILED if ends & {FAILED, UPSTREAM_FAILED} else SUCCESS
