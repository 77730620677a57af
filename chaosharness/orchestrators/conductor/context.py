"""What the expressions of a definition can read: the workflow, and its tasks by their names.

*Source*: conductor-oss/conductor, `core/utils/ParametersUtils.java`, `getTaskInputV2`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from chaosharness.orchestrators.conductor.definition import TaskDef
from chaosharness.orchestrators.conductor.expressions import fill
from chaosharness.orchestrators.conductor.records import Task, Workflow, plain_ref

__all__ = ["context_of", "input_of"]


def context_of(workflow: Workflow) -> Mapping[str, Any]:
    """Return what `${...}` reads."""
    return _Readable(workflow)


class _Readable(Mapping[str, Any]):
    """What can be read by its first name: each is made when somebody reads it."""

    def __init__(self, workflow: Workflow) -> None:
        self._workflow = workflow

    def __getitem__(self, name: str) -> Any:
        for task in reversed(self._workflow.tasks):
            if _name_of(task) == name:
                return {**task.as_json(), "input": task.input, "output": task.output}
        if name == "workflow":
            return _of_workflow(self._workflow)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(["workflow", *map(_name_of, self._workflow.tasks)]))

    def __len__(self) -> int:
        return len([*self])


def _name_of(task: Task) -> str:
    return plain_ref(task.ref) if task.in_loop else task.ref


def _of_workflow(workflow: Workflow) -> dict[str, Any]:
    return {
        "input": workflow.input,
        "output": workflow.output,
        "status": workflow.status,
        "workflowId": workflow.id,
        "parentWorkflowId": workflow.parent,
        "parentWorkflowTaskId": workflow.parent_task,
        "workflowType": workflow.blueprint.name,
        "version": workflow.blueprint.version,
        "correlationId": workflow.correlation,
        "reasonForIncompletion": workflow.reason,
        "variables": workflow.variables,
    }


def input_of(
    parameters: Mapping[str, Any],
    workflow: Workflow,
    *,
    task_id: str | None = None,
    task_def: TaskDef | None = None,
) -> dict[str, Any]:
    """Return a task's input: its parameters with their expressions read.

    What they leave out, or read as null, the template of the task's definition gives.
    """
    given = dict(parameters)
    template = task_def.input_template if task_def is not None else {}
    for name, value in template.items():
        given.setdefault(name, value)
    found = fill(given, context_of(workflow), task_id)
    return {name: template.get(name) if value is None else value for name, value in found.items()}
