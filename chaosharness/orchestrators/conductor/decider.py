"""What comes next in a workflow, from its tasks alone; time is given, nothing is written.

*Source*: conductor-oss/conductor, `core/execution/DeciderService.java` (rules C1, C4, C7, C8, C14).
*Not modelled*: tasks that are skipped, reruns, restarts, pausing. What is random in a retry's
delay (backoffJitterMs) is none.
"""

import copy
from typing import Final

import attrs

from chaosharness.orchestrators.conductor.context import input_of
from chaosharness.orchestrators.conductor.definition import Blueprint, TaskDef
from chaosharness.orchestrators.conductor.mapping import (
    SYSTEM,
    TaskDefs,
    Terminate,
    task_id,
    tasks_for,
)
from chaosharness.orchestrators.conductor.records import (
    BUILT_IN,
    CANCELED,
    FAILED,
    IN_PROGRESS,
    RETRIABLE,
    SCHEDULED,
    TERMINATED,
    TIMED_OUT,
    WITH_ERRORS,
    Task,
    Workflow,
    plain_ref,
)

__all__ = ["Outcome", "deadline", "decide"]

INT_MAX: Final = 2**31 - 1
"""The most of Java's `int`: as seconds, 68 years."""


@attrs.define
class Outcome:
    """What is to be done: tasks to schedule, tasks to write, whether the workflow is complete."""

    schedule: list[Task] = attrs.field(factory=list)
    update: list[Task] = attrs.field(factory=list)
    complete: bool = False
    terminate: Task | None = None


def decide(workflow: Workflow, task_defs: TaskDefs, now: int) -> Outcome:
    """Decide what comes next. Tasks of the workflow that is given are changed, and not written.

    Raises:
        Terminate: The workflow must end.
    """
    _check_workflow_timeout(workflow, now)
    outcome = Outcome()
    following: dict[str, Task] = {}
    if all(task.executed for task in workflow.tasks):
        for task in _first(workflow, task_defs, now):
            following[task.ref] = task
    done = {task.ref for task in workflow.tasks if task.executed}
    for task in workflow.tasks:
        if task.kind == "TERMINATE" and task.terminal and task.successful:
            outcome.terminate = task
    for task in [one for one in workflow.tasks if not one.retried and not one.executed]:
        if task.kind in SYSTEM and not task.terminal:
            following.setdefault(task.ref, task)
            done.discard(task.ref)
        _check_timeouts(task, now)
        _go_on(workflow, task, task_defs, now, outcome, following, done)
    outcome.schedule = [task for task in following.values() if task.ref not in done]
    if outcome.terminate is not None or (not outcome.schedule and _is_complete(workflow)):
        _refuse_permitted_failures(workflow)
        outcome.complete = True
    return outcome


def _first(workflow: Workflow, task_defs: TaskDefs, now: int) -> list[Task]:
    if workflow.tasks:
        return []
    return tasks_for(workflow, workflow.blueprint.steps[0], task_defs, now)


def _go_on(
    workflow: Workflow,
    task: Task,
    task_defs: TaskDefs,
    now: int,
    outcome: Outcome,
    following: dict[str, Task],
    done: set[str],
) -> None:
    """Try a task again that has failed, or go on behind one that is over."""
    if task.terminal and not task.successful:
        again = _retry(workflow, task, now)
        if again is not None:
            following[again.ref] = again
            done.discard(again.ref)
            outcome.update.append(task)
        elif not task.step.permissive:
            task.status = WITH_ERRORS
    if task.terminal and not task.retried:
        task.executed = True
        for one in _next(workflow, task, task_defs, now):
            following.setdefault(one.ref, one)
        outcome.update.append(task)


def _next(workflow: Workflow, task: Task, task_defs: TaskDefs, now: int) -> list[Task]:
    if task.kind == "SWITCH" and "hasChildren" in task.input:
        return []
    ref = plain_ref(task.ref) if task.in_loop else task.ref
    step = workflow.blueprint.after(ref)
    if step is None:
        return []
    if step.kind == "DO_WHILE" and workflow.task(step.ref) is not None:
        return []
    found = tasks_for(workflow, step, task_defs, now)
    if task.in_loop and task.kind != "DO_WHILE":
        known = {one.ref for one in workflow.tasks if one.terminal or one.status == IN_PROGRESS}
        for one in found:
            in_iteration(workflow, one, task.iteration)
        found = [one for one in found if one.ref not in known]
    return found


def in_iteration(workflow: Workflow, task: Task, iteration: int) -> None:
    """Name a task after the iteration that it is in."""
    task.ref = f"{task.ref}__{iteration}"
    task.iteration = iteration
    task.id = task_id(workflow, task.ref, task.retry_count)


# ---- ends


def _is_complete(workflow: Workflow) -> bool:
    if not workflow.tasks or not all(task.terminal for task in workflow.tasks):
        return False
    last = {task.ref: task for task in workflow.tasks}
    if any(step.ref not in last for step in workflow.blueprint.steps):
        return False
    for task in workflow.tasks:
        if not (task.retried and task.executed):
            step = workflow.blueprint.after(task.ref)
            if step is not None and step.ref not in last:
                return False
    return True


def _refuse_permitted_failures(workflow: Workflow) -> None:
    """A permissive task lets its siblings go on, and fails the workflow in the end (C7)."""
    last = {task.ref: task for task in workflow.tasks if task.step.permissive}
    failed = [task for task in last.values() if task.terminal and not task.successful]
    if failed:
        raise Terminate(
            ". ".join(
                f"Task {task.id} failed with status: {task.status} and reason: '{task.reason}'"
                for task in failed
            )
        )


# ---- retries


def _retry(workflow: Workflow, task: Task, now: int) -> Task | None:
    """Return the next attempt; None where the failure is allowed.

    Raises:
        Terminate: It is not tried again, and the workflow ends with it.
    """
    definition = task.step.task_def
    left = definition is not None and task.retry_count < task.step.retry_count
    if definition is None or not left or task.status not in RETRIABLE or task.kind in BUILT_IN:
        if task.step.optional or task.step.permissive:
            return None
        status = {CANCELED: TERMINATED, TIMED_OUT: TIMED_OUT}.get(task.status, FAILED)
        reason = f"Task {task.id} failed with status: {status} and reason: '{task.reason}'"
        raise Terminate(reason, status, task)
    if definition.total_timeout_s and task.first_scheduled_ms is not None:
        elapsed_s = (now - task.first_scheduled_ms) // 1000
        if elapsed_s >= definition.total_timeout_s:
            raise Terminate(
                f"Task {task.id}/{task.step.name} exceeded total timeout of "
                f"{definition.total_timeout_s} seconds (elapsed {elapsed_s} seconds across all "
                "attempts). No further retries will be attempted.",
                TIMED_OUT if task.status == TIMED_OUT else FAILED,
                task,
            )
    return _again(workflow, task, definition)


def _again(workflow: Workflow, task: Task, definition: TaskDef) -> Task:
    """The next attempt: a task with an id of its own, the same input, and no output (C4)."""
    task.retried = True
    count = task.retry_count + 1
    again = copy.copy(task)
    again.id = task_id(workflow, task.ref, count)
    again.retry_count = count
    again.retried = False
    again.retried_task = task.id
    again.status = SCHEDULED
    again.start_delay_ms = again.callback_ms = retry_delay_s(definition, task.retry_count) * 1000
    again.output = {}
    again.seq = again.poll_count = again.scheduled_ms = 0
    again.started_ms = again.updated_ms = again.ended_ms = again.worker = again.child = None
    again.input = {
        **task.input,
        **input_of(task.step.parameters, workflow, task_id=again.id, task_def=definition),
    }
    return again


def retry_delay_s(definition: TaskDef, retry_count: int) -> int:
    """Return how long the retry after so many others waits (C4)."""
    match definition.retry_logic:
        case "LINEAR_BACKOFF":
            delay = _as_int(definition.retry_delay_s * definition.backoff_scale * (retry_count + 1))
        case "EXPONENTIAL_BACKOFF":
            delay = _as_int(definition.retry_delay_s * min(2**retry_count, INT_MAX))
        case _:
            delay = definition.retry_delay_s
    return min(delay, definition.delay_max_s) if definition.delay_max_s else delay


def _as_int(seconds: int) -> int:
    """What Java's `int` makes of it; what is below 0 then is the most (`DeciderService`, `retry`).

    So pauses that double come to 68 years, and some of them to none at all: 60 s × 2³⁰ are 0.
    """
    wrapped = (seconds + 2**31) % 2**32 - 2**31
    return INT_MAX if wrapped < 0 else wrapped


# ---- timeouts


def _check_workflow_timeout(workflow: Workflow, now: int) -> None:
    blueprint = workflow.blueprint
    if not blueprint.timeout_s or blueprint.policy == "ALERT_ONLY":
        return
    elapsed = now - workflow.created_ms
    if elapsed >= blueprint.timeout_s * 1000:
        raise Terminate(
            f"Workflow timed out after {elapsed // 1000} seconds. Timeout configured as "
            f"{blueprint.timeout_s} seconds. Timeout policy configured to {blueprint.policy}",
            TIMED_OUT,
        )


NO_RESPONSE: Final = frozenset({"SUB_WORKFLOW", "START_WORKFLOW"})
"""Tasks that are completed from elsewhere: no response timeout is theirs."""


def limits(task: Task) -> list[tuple[int, str]]:
    """Return when a task that is not over runs into its timeouts, and into which."""
    definition, found = task.step.task_def, []
    if definition is None or task.terminal:
        return []
    if definition.total_timeout_s and task.first_scheduled_ms is not None:
        found.append((task.first_scheduled_ms + definition.total_timeout_s * 1000, "total"))
    if definition.timeout_s and task.started_ms is not None:
        at = task.started_ms + task.start_delay_ms + definition.timeout_s * 1000
        found.append((at, "task"))
    if definition.poll_timeout_s and task.status == SCHEDULED:
        begun = task.scheduled_ms + task.start_delay_ms
        found.append((begun + definition.poll_timeout_s * 1000 + task.callback_ms, "poll"))
    if task.status == IN_PROGRESS and definition.response_timeout_s and (
        task.kind not in NO_RESPONSE and task.updated_ms is not None
    ):  # fmt: skip
        at = task.updated_ms + definition.response_timeout_s * 1000 + task.callback_ms
        found.append((at, "response"))
    return [
        (at, which) for at, which in found
        if which == "response" or definition.policy != "ALERT_ONLY"
    ]  # fmt: skip


def _check_timeouts(task: Task, now: int) -> None:
    """Time a task out, in the order in which the server looks (C4, C8)."""
    definition = task.step.task_def
    for at, which in limits(task):
        if now < at or task.terminal or definition is None:
            continue
        task.status = TIMED_OUT
        if which == "response":
            task.reason = (
                f"responseTimeout: {definition.response_timeout_s} exceeded for the taskId: "
                f"{task.id} with Task Definition: {task.step.name}"
            )
            continue
        seconds = {"total": definition.total_timeout_s, "task": definition.timeout_s,
                   "poll": definition.poll_timeout_s}[which]  # fmt: skip
        task.reason = (
            f"Task {which if which != 'task' else ''} timed out. Timeout configured as {seconds} "
            f"seconds. Timeout policy configured to {definition.policy}"
        ).replace("  ", " ")
        if definition.policy == "TIME_OUT_WF":
            raise Terminate(task.reason, TIMED_OUT, task)


def deadline(workflow: Workflow) -> int | None:
    """Return when the next timeout of a workflow, or of one of its tasks, has passed."""
    blueprint: Blueprint = workflow.blueprint
    waiting = [task for task in workflow.tasks if not (task.terminal or task.retried)]
    found = [at for task in waiting for at, _ in limits(task)]
    if blueprint.timeout_s and blueprint.policy != "ALERT_ONLY":
        found.append(workflow.created_ms + blueprint.timeout_s * 1000)
    return min(found, default=None)
