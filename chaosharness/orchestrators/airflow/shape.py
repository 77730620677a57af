"""The tasks of a DAG in their order, with the trigger rules that are not the usual one."""

from chaosharness.orchestrators.airflow.definition import AirflowDAG
from chaosharness.orchestrators.shape import BEGIN, END, Move, StepGraph

__all__ = ["steps_of"]


def steps_of(dag: AirflowDAG) -> StepGraph:
    """Return the tasks of a DAG and what comes after each."""
    moves = []
    for task in dag.tasks:
        rule = "" if task.trigger_rule == "all_success" else str(task.trigger_rule)
        for source in task.upstream or (BEGIN,):
            moves.append(Move(source, task.task_id, rule))
    moves += [Move(name, END) for name in dag.by_id if not dag.downstream[name]]
    return StepGraph(dag.dag_id, "Airflow", moves)
