"""When the server looks at what by itself: workflows at its sweeper, system tasks in their queues.

Looks that would find nothing are left out, and the others keep their places: each is where it
would be if all had been made.

*Source*: conductor-oss/conductor, `ExecutorUtils.java` (`computePostpone`), `WorkflowSweeper.java`
of `org.conductoross`, `AsyncSystemTaskExecutor.java` (rules C11, C13, C14).
"""

from typing import Final

from chaosharness.orchestrators.conductor.decider import deadline
from chaosharness.orchestrators.conductor.joins import join, join_poll_ms
from chaosharness.orchestrators.conductor.mapping import QUEUED, SYSTEM
from chaosharness.orchestrators.conductor.records import IN_PROGRESS, SCHEDULED, Task, Workflow
from chaosharness.orchestrators.conductor.store import Store

__all__ = ["agenda", "belongs_in_queue", "postpone_ms"]

Due = tuple[int, tuple[str, str]]
"""When; whether it is a sweep or a task's work; of which workflow or task."""

OFFSET_S: Final = 30
POSTPONE_S_MAX: Final = 3600


def agenda(store: Store, now: int) -> list[Due]:
    """Return what the server will do by itself, and when: looks that find nothing are left out."""
    found: list[Due] = []
    for workflow_id, visible in store.decider.visible.items():
        at = _sweep_at(store, workflow_id, visible)
        if at is not None:
            found.append((at, ("sweep", workflow_id)))
    for kind in sorted(QUEUED & store.queues.keys()):
        for task_id, visible in store.queues[kind].visible.items():
            at = _work_at(store, now, store.tasks[task_id], visible)
            if at is not None:
                found.append((at, ("work", task_id)))
    return found


def _work_at(store: Store, now: int, task: Task, visible: int) -> int | None:
    """When carrying a queued system task out will change something."""
    if task.kind == "JOIN":
        workflow = store.view(task.workflow)
        if not workflow.terminal and not join(workflow, task.loaded()):
            return None
        return join_poll_ms(task.scheduled_ms, max(now, visible))
    if task.kind == "WAIT":
        return None if task.id in store.left else task.wait_until_ms
    return visible


def _sweep_at(store: Store, workflow_id: str, visible: int) -> int | None:
    """When looking at a workflow will change something: on the grid of its looks."""
    workflow = store.open_view(workflow_id)  # what is over and done has no part in it
    if _left_undone(store, workflow):
        return visible
    useful = deadline(workflow)
    if useful is None:
        return None
    open_tasks = [task for task in workflow.tasks if not task.terminal]
    at = visible  # looks that find nothing are skipped, and keep their places
    while at < useful:
        step = max(_postpone_ms(workflow, open_tasks, at), 1000)
        far = step == POSTPONE_S_MAX * 1000 and (useful - at) // step - 1
        at += step * max(far, 1)  # they are all of one length, as long as all is far away
    return at


def _left_undone(store: Store, workflow: Workflow) -> bool:
    """Whether a look finds something to do that needs no time to pass."""
    if workflow.terminal or not store.tasks_of[workflow.id]:
        return True
    open_tasks = sum(not task.terminal for task in workflow.tasks)
    if not open_tasks:
        return True
    for task in workflow.tasks:
        if task.terminal:
            if not task.executed and not task.retried:
                return True
            continue
        if belongs_in_queue(task) and task.id not in store.queue(task.queue_name).visible:
            return True
        if task.kind == "SUB_WORKFLOW" and task.status == IN_PROGRESS:
            child = store.workflows.get(str(task.child))
            if child is None or child.terminal:
                return True
        if task.kind in SYSTEM - QUEUED - {"HUMAN", "DO_WHILE"}:
            return not (task.kind == "EVENT" and bool(task.input.get("asyncComplete")))
        if task.kind == "DO_WHILE" and open_tasks == 1:
            return True
    return False


def belongs_in_queue(task: Task) -> bool:
    """Whether a task that is not over must be in a queue: else it was never put there."""
    if task.kind not in SYSTEM:
        return task.status == SCHEDULED
    if task.kind == "SUB_WORKFLOW":
        return task.status == SCHEDULED
    return task.kind in QUEUED and not task.terminal


def postpone_ms(workflow: Workflow, now: int) -> int:
    """Return how long a workflow is left alone, if nothing happens to it (C13)."""
    return _postpone_ms(workflow, [task for task in workflow.tasks if not task.terminal], now)


def _postpone_ms(workflow: Workflow, open_tasks: list[Task], now: int) -> int:
    found = [_candidate_s(workflow, task, now) for task in open_tasks]
    seconds = min((min(max(one, 0), POSTPONE_S_MAX) for one in found), default=OFFSET_S)
    return seconds * 1000


def _candidate_s(workflow: Workflow, task: Task, now: int) -> int:
    definition = task.step.task_def
    if task.kind == "SUB_WORKFLOW" or task.kind == "HUMAN":
        return OFFSET_S
    if task.status == IN_PROGRESS and task.kind == "WAIT":
        return OFFSET_S if task.wait_until_ms is None else (task.wait_until_ms - now) // 1000
    if task.status == IN_PROGRESS:
        response_s = definition.response_timeout_s if definition is not None else 0
        if not response_s:
            return OFFSET_S
        started_ms = now if task.started_ms is None else task.started_ms
        return response_s - (now - started_ms) // 1000 + 1
    if definition is not None and definition.poll_timeout_s:
        return definition.poll_timeout_s - (now - task.scheduled_ms) // 1000 + 1
    timeout_s = workflow.blueprint.timeout_s
    return timeout_s + 1 if timeout_s else OFFSET_S
