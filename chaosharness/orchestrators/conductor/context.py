"""What the expressions of a definition can read: the workflow, and its tasks by their names.

*Source*: conductor-oss/conductor, `core/utils/ParametersUtils.java`, `getTaskInputV2`.
"""

from collections.abc import Mapping
from typing import Any

from chaosharness.orchestrators.conductor.definition import TaskDef
from chaosharness.orchestrators.conductor.expressions import fill
from chaosharness.orchestrators.conductor.records import Workflow, plain_ref

__all__ = ["context_of", "input_of"]


def context_of(workflow: Workflow) -> dict[str, Any]:
    """Return what `${...}` reads."""
    found: dict[str, Any] = {
        "workflow": {
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
    }
    for task in workflow.tasks:
        ref = plain_ref(task.ref) if task.in_loop else task.ref
        found[ref] = {**task.as_json(), "input": task.input, "output": task.output}
    return found


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
