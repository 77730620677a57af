"""What a round of the scheduler finds: which tasks may start, which never will, how a run ended.

*Source*: apache-airflow-core 3.3.2: `models/dagrun.py` (`update_state`, rule A1),
`ti_deps/deps/trigger_rule_dep.py`, `not_previously_skipped_dep.py`, `prev_dagrun_dep.py` (A7, A8).
*Not modelled*: the deadlock of a run: no rule here can wait for ever once all upstream has ended.
"""

from collections.abc import Mapping

import attrs

from chaosharness.orchestrators.airflow.definition import AirflowDAG
from chaosharness.orchestrators.airflow.records import (
    FAILED,
    FINISHED,
    SKIPPED,
    SUCCESS,
    UPSTREAM_FAILED,
    DagRun,
)
from chaosharness.orchestrators.airflow.trigger_rules import Upstream, judge

__all__ = ["Start", "past_is_met", "run_state", "start_of"]


@attrs.frozen
class Start:
    """Whether a task may start; or what it becomes instead, and by what."""

    ready: bool = False
    becomes: str | None = None
    why: str = ""


def start_of(dag: AirflowDAG, run: DagRun, task_id: str, states: Mapping[str, str | None]) -> Start:
    """Say what becomes of a task, by the states that this round began with."""
    task = dag.by_id[task_id]
    for name in task.upstream:
        if states[name] in FINISHED and task_id in run.skips.get(name, ()):
            return Start(becomes=SKIPPED, why=f"a choice of {name}")
    upstream = [
        Upstream(states[name] if states[name] in FINISHED else None, dag.by_id[name].setup)
        for name in task.upstream
    ]
    verdict = judge(task.trigger_rule, upstream)
    why = f"its trigger rule {task.trigger_rule}"
    if task.trigger_rule == "always":
        return Start(ready=True)
    if task.teardown:
        waits = any(states[name] not in FINISHED for name in _torn_down(dag, task_id))
        return Start(verdict.ready and not waits, verdict.becomes, why)
    setups = [states[name] for name in dag.setups_of(task_id)]
    if FAILED in setups or UPSTREAM_FAILED in setups:
        return Start(becomes=UPSTREAM_FAILED, why="a setup")
    if SKIPPED in setups:
        return Start(becomes=SKIPPED, why="a setup")
    ready = verdict.ready and all(state == SUCCESS for state in setups)
    return Start(ready, verdict.becomes, why)


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
    known = [before.tasks[name] for name in names if name in before.tasks]  # its DAG may have grown
    return all(one.state in (SUCCESS, SKIPPED) for one in known)


def run_state(dag: AirflowDAG, run: DagRun) -> str | None:
    """Say how a run has ended: by its leaves alone; None while any task has not."""
    if any(one.state not in FINISHED for one in run.tasks.values()):
        return None
    ends = {run.tasks[name].state for name in dag.leaves()}
    return FAILED if ends & {FAILED, UPSTREAM_FAILED} else SUCCESS
