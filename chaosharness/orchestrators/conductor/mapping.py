"""From a step of a definition to the tasks that are scheduled for it.

*Source*: conductor-oss/conductor, `core/execution/mapper/*.java`, and `getTasksToBeScheduled` of
`DeciderService.java` (rules C14, C15).
*Not modelled*: time zones other than UTC in the `until` of a WAIT.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.orchestrators.conductor.context import input_of
from chaosharness.orchestrators.conductor.definition import Step, TaskDef
from chaosharness.orchestrators.conductor.reading import read_step
from chaosharness.orchestrators.conductor.records import (
    COMPLETED,
    FAILED,
    FATAL,
    IN_PROGRESS,
    SCHEDULED,
    Task,
    Workflow,
)

__all__ = ["Terminate", "task_id", "tasks_for"]

SYSTEM: Final = frozenset(
    {"FORK", "JOIN", "SWITCH", "DO_WHILE", "SUB_WORKFLOW", "START_WORKFLOW", "WAIT", "HUMAN",
     "EVENT", "HTTP", "INLINE", "SET_VARIABLE", "TERMINATE", "NOOP",
     "JSON_JQ_TRANSFORM"}
)  # fmt: skip
"""Types of tasks that the server carries out itself."""
QUEUED: Final = frozenset({"JOIN", "SUB_WORKFLOW", "START_WORKFLOW", "WAIT", "HTTP"})
"""Those that it takes from a queue, and does not carry out while it decides."""

TaskDefs = Callable[[str], TaskDef | None]


class Terminate(Exception):
    """The workflow must end, and not well."""

    def __init__(self, reason: str, status: str = FAILED, task: Task | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.task = task


def task_id(workflow: Workflow, ref: str, retry_count: int) -> str:
    """Return the id of an attempt: each attempt has its own (C4)."""
    return f"{workflow.id}/{ref}" + (f".{retry_count}" if retry_count else "")


def tasks_for(workflow: Workflow, step: Step, task_defs: TaskDefs, now: int) -> list[Task]:
    """Return the tasks of a step, less those that are under way or done already."""
    known = {task.ref for task in workflow.tasks if task.terminal or task.status == IN_PROGRESS}
    make = _MAKERS.get(step.kind, _simple)
    found = make(_Making(workflow, task_defs, now), step)
    return [task for task in found if task.ref not in known]


@attrs.frozen
class _Making:
    workflow: Workflow
    task_defs: TaskDefs
    now: int

    def task(self, step: Step, kind: str, status: str, given: dict[str, Any]) -> Task:
        return Task(
            id=task_id(self.workflow, step.ref, 0),
            workflow=self.workflow.id,
            step=step,
            ref=step.ref,
            kind=kind,
            status=status,
            input=given,
            started_ms=self.now if status == IN_PROGRESS else None,
        )

    def input(self, step: Step, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return input_of(
            step.parameters if parameters is None else parameters,
            self.workflow,
            task_id=task_id(self.workflow, step.ref, 0),
            task_def=step.task_def,
        )

    def inner(self, step: Step) -> list[Task]:
        return tasks_for(self.workflow, step, self.task_defs, self.now)


def _simple(making: _Making, step: Step) -> list[Task]:
    delay_ms = int(step.fields.get("startDelay") or 0) * 1000
    kind = step.name if step.kind == "SIMPLE" else step.kind
    task = making.task(step, kind, SCHEDULED, making.input(step))
    task.start_delay_ms = task.callback_ms = delay_ms
    return [task]


def _dynamic(making: _Making, step: Step) -> list[Task]:
    given = making.input(step)
    parameter = step.fields["dynamicTaskNameParam"]
    name = given.get(parameter)
    if name is None:
        raise Terminate(
            "Cannot map a dynamic task based on the parameter and input. "
            f"Parameter= {parameter}, input= {given}"
        )
    named = attrs.evolve(
        step, name=str(name), task_def=making.task_defs(str(name)) or step.task_def
    )
    return [making.task(named, str(name), SCHEDULED, given)]


def _under_way(making: _Making, step: Step) -> list[Task]:
    return [making.task(step, step.kind, IN_PROGRESS, making.input(step))]


def _do_while(making: _Making, step: Step) -> list[Task]:
    known = making.workflow.task(step.ref)
    if known is not None and known.terminal:
        return []
    return _under_way(making, step)


def _switch(making: _Making, step: Step) -> list[Task]:
    given = making.input(step)
    try:
        if step.script is not None:
            case = _case(step.script(given))
        else:
            case = _case(given.get(step.fields["expression"]))
    except (TypeError, ValueError) as error:
        failed = making.task(step, "SWITCH", FAILED, given)
        failed.reason = str(error)
        return [failed]
    given["case"] = case
    task = making.task(step, "SWITCH", IN_PROGRESS, given)
    task.output = {"evaluationResult": [case], "selectedCase": case}
    chosen = step.lists[step.cases.index(case)] if case in step.cases else step.lists[-1]
    if not chosen:
        return [task]
    given["hasChildren"] = "true"
    return [task, *making.inner(chosen[0])]


def _case(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)


def _fork(making: _Making, step: Step) -> list[Task]:
    fork = making.task(step, "FORK", COMPLETED, making.input(step))
    heads = [task for branch in step.lists for task in making.inner(branch[0])]
    return [fork, *heads, *making.inner(_join_after(making, step))]


def _join_after(making: _Making, step: Step) -> Step:
    join = making.workflow.blueprint.after(step.ref)
    if join is None or join.kind != "JOIN":
        raise Terminate("Fork task definition is not followed by a join task.  Check the blueprint")
    return join


def _join(making: _Making, step: Step) -> list[Task]:
    given = {"joinOn": list(step.fields.get("joinOn") or ())}
    return [making.task(step, "JOIN", IN_PROGRESS, given)]


def _dynamic_fork(making: _Making, step: Step) -> list[Task]:
    given = making.input(step)
    steps = _dynamic_steps(making, step, given)
    fork = making.task(step, "FORK", COMPLETED, {**given, "forkedTasks": [s.ref for s in steps]})
    fork.executed = True
    found, waited = [fork], []
    if making.workflow.task(step.ref) is None:
        for one in steps:
            tasks = making.inner(one)
            if not tasks:
                raise Terminate(
                    "No dynamic tasks could be created for the Workflow: "
                    f"{making.workflow.id}, Dynamic Fork Task: {one.ref}"
                )
            found += tasks
            waited.append(tasks[-1].ref)
    join = making.task(_join_after(making, step), "JOIN", IN_PROGRESS, {"joinOn": waited})
    return [*found, join]


def _dynamic_steps(making: _Making, step: Step, given: dict[str, Any]) -> list[Step]:
    many = given.get("forkTaskInputs")
    if isinstance(many, list):
        sources = [_same_task(step, given, one, index) for index, one in enumerate(many)]
    else:
        tasks = given.get(step.fields.get("dynamicForkTasksParam", ""))
        inputs = given.get(step.fields.get("dynamicForkTasksInputParamName", ""))
        if not isinstance(tasks, list):
            raise Terminate(
                f"Input '{step.fields.get('dynamicForkTasksParam')}' is invalid. Cannot "
                f"deserialize a list of Workflow Tasks from '{tasks}'"
            )
        if not isinstance(inputs, Mapping):
            raise Terminate(
                "Input to the dynamically forked tasks is not a map -> expecting a map of K,V "
                f" but found {inputs}"
            )
        sources = [
            {**one, "inputParameters": {**(one.get("inputParameters") or {}),
                                        **(inputs.get(one.get("taskReferenceName")) or {})}}
            for one in tasks
        ]  # fmt: skip
    try:
        where = f"what {step.ref!r} forks"
        return [read_step(one, where=where, task_defs=making.task_defs) for one in sources]
    except InvalidDefinition as error:
        raise Terminate(str(error)) from None


def _same_task(step: Step, given: dict[str, Any], one: Any, index: int) -> dict[str, Any]:
    """One of many tasks of the same name, each with another input."""
    child = given.get("forkTaskWorkflow")
    name = child or given.get("forkTaskName") or step.ref
    parameters = dict(one) if isinstance(one, Mapping) else {"input": one}
    found = {
        "name": name,
        "taskReferenceName": f"_{given.get('forkTaskName') or name}_{index}",
        "type": "SUB_WORKFLOW" if child else given.get("forkTaskType") or "SIMPLE",
        "inputParameters": {**parameters, "__index": index},
        "optional": step.optional,
    }
    return found | ({"subWorkflowParam": {"name": child}} if child else {})


def _child(making: _Making, step: Step) -> list[Task]:
    params = making.input(step, step.fields.get("subWorkflowParam") or {})
    given = making.input(step)
    domains = params.get("taskToDomain") or making.workflow.domains
    task = making.task(step, "SUB_WORKFLOW", SCHEDULED, {
        **given,
        "subWorkflowName": params.get("name"),
        "subWorkflowVersion": params.get("version"),
        **({"subWorkflowTaskToDomain": dict(domains)} if domains else {}),
        "workflowInput": given,
    })  # fmt: skip
    return [task]


def _wait(making: _Making, step: Step) -> list[Task]:
    given = making.input(step)
    task = making.task(step, "WAIT", IN_PROGRESS, given)
    duration, until = given.get("duration"), given.get("until")
    if duration and until:
        task.status = FATAL
        task.reason = "Both 'duration' and 'until' specified. Please provide only one input"
    elif duration:
        lasting = _duration_ms(str(duration))
        if lasting is None:
            raise Terminate(f"Not valid duration: {duration}")
        task.wait_until_ms = making.now + lasting
    elif until:
        task.wait_until_ms = _moment_ms(str(until))
        if task.wait_until_ms is None:
            task.status = FATAL
            task.reason = f"Invalid/Unsupported Wait Until format.  Provided: {until}"
    return [task]


_DURATION: Final = re.compile(
    r"\s*(?:(\d+)\s*(?:days?|d))?\s*(?:(\d+)\s*(?:hours?|hrs?|h))?"
    r"\s*(?:(\d+)\s*(?:minutes?|mins?|m))?\s*(?:(\d+)\s*(?:seconds?|secs?|s))?\s*",
    re.IGNORECASE,
)


def _duration_ms(text: str) -> int | None:
    found = _DURATION.fullmatch(text)
    if found is None or not any(found.groups()):
        return None
    days, hours, minutes, seconds = (int(one or 0) for one in found.groups())
    return (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000


def _moment_ms(text: str) -> int | None:
    """A moment of the calendar in virtual time: `2030-01-02 15:00`, in UTC."""
    text = text.strip().removesuffix("UTC").removesuffix("GMT").rstrip()
    for form in ("%Y-%m-%d %H:%M", "%Y-%m-%d"):
        try:
            moment = datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
        return round(moment.timestamp() * 1000) - EPOCH_MS
    return None


def _event(making: _Making, step: Step) -> list[Task]:
    parameters = {**step.parameters, "sink": step.fields["sink"],
                  "asyncComplete": bool(step.fields.get("asyncComplete"))}  # fmt: skip
    return [making.task(step, "EVENT", SCHEDULED, making.input(step, parameters))]


_MAKERS: Final[Mapping[str, Callable[[_Making, Step], list[Task]]]] = {
    "DYNAMIC": _dynamic,
    "SWITCH": _switch,
    "FORK_JOIN": _fork,
    "FORK_JOIN_DYNAMIC": _dynamic_fork,
    "JOIN": _join,
    "DO_WHILE": _do_while,
    "SUB_WORKFLOW": _child,
    "WAIT": _wait,
    "EVENT": _event,
    "HUMAN": _under_way,
    "TERMINATE": _under_way,
    "INLINE": _under_way,
    "SET_VARIABLE": _under_way,
    "NOOP": _under_way,
    "JSON_JQ_TRANSFORM": _under_way,
}
