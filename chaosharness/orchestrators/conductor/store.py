"""What outlives the server: workflows, tasks, and queues whose messages come back.

Whoever reads gets copies, so that what a server has worked out and not written yet is lost with
it. Each write is one by itself: workflow, tasks and queues are never written together (rule C9).

*Source*: conductor-oss/conductor, `dao/ExecutionDAO.java`, `dao/QueueDAO.java`,
`core/dal/ExecutionDAOFacade.java`; `PostgresQueueDAO.java` for the 60 s of a message that was
taken and not acknowledged.
*Not modelled*: a store that fails, indexing, archives.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import attrs

from chaosharness.orchestrators.conductor.records import Task, Workflow
from chaosharness.orchestrators.long_waits import Rows

__all__ = ["OFFSET_MS", "UNACKNOWLEDGED_MS", "Queue", "Store"]

OFFSET_MS: Final = 30_000
"""When a workflow is looked at again, if nothing says otherwise: workflowOffsetTimeout."""
UNACKNOWLEDGED_MS: Final = 60_000
"""When a message comes back that was taken and not acknowledged."""


@attrs.define
class Queue:
    """Messages, and when each can be taken. A message is there once, however often it is pushed."""

    visible: dict[str, int] = attrs.field(factory=dict)

    def push(self, message: str, at_ms: int) -> None:
        self.visible[message] = at_ms

    def pop(self, now: int) -> str | None:
        """Take what has waited longest; it comes back unless it is acknowledged."""
        found = min(
            (message for message, at in self.visible.items() if at <= now),
            key=lambda message: self.visible[message],
            default=None,
        )
        if found is not None:
            self.visible[found] = now + UNACKNOWLEDGED_MS
        return found

    def remove(self, message: str) -> None:
        self.visible.pop(message, None)


@attrs.define
class Store:
    """All that is durable."""

    workflows: dict[str, Workflow] = attrs.field(factory=dict)
    tasks: dict[str, Task] = attrs.field(factory=dict)
    tasks_of: dict[str, list[str]] = attrs.field(factory=dict)
    queues: dict[str, Queue] = attrs.field(factory=dict)
    decider: Queue = attrs.field(factory=Queue)
    waits_of: Callable[[str], tuple[int, int]] | None = None
    """Of a definition: how many WAIT tasks of a workflow are waited for, and how long they last, at
    least, to be counted: a loop of them may have no end."""
    rows: Rows = attrs.field(factory=Rows)
    left: set[str] = attrs.field(factory=set)
    """WAIT tasks of workflows that have waited so often that nobody looks on."""
    going: dict[str, dict[str, None]] = attrs.field(factory=dict)
    """Of each workflow those of its tasks of which something may still come, in order."""

    def load(self, workflow_id: str) -> Workflow:
        """Return a copy of a workflow with copies of its tasks."""
        found = copy.copy(self.workflows[workflow_id])
        found.tasks = [self.tasks[one].loaded() for one in self.tasks_of[workflow_id]]
        return found

    def view(self, workflow_id: str) -> Workflow:
        """Return a workflow with its tasks, to be read and not changed."""
        found = self.workflows[workflow_id]
        found.tasks = [self.tasks[one] for one in self.tasks_of[workflow_id]]
        return found

    def open_view(self, workflow_id: str) -> Workflow:
        """Return a workflow with those tasks alone of which something may still come."""
        found = copy.copy(self.workflows[workflow_id])
        found.tasks = [self.tasks[one] for one in self.going[workflow_id]]
        return found

    def _keep(self, task: Task) -> None:
        self.tasks[task.id] = task.loaded()
        if task.terminal and (task.executed or task.retried):
            self.going[task.workflow].pop(task.id, None)
        elif task.id not in self.going[task.workflow]:
            known = self.going[task.workflow]
            known[task.id] = None
            last = next(reversed(self.tasks_of[task.workflow]))
            if task.id != last:  # it is open again: back to its place
                order = {one: at for at, one in enumerate(self.tasks_of[task.workflow])}
                self.going[task.workflow] = dict.fromkeys(sorted(known, key=order.__getitem__))

    def create_workflow(self, workflow: Workflow, now: int) -> None:
        self.tasks_of[workflow.id] = []
        self.going[workflow.id] = {}
        self.write_workflow(workflow, now)
        self.decider.push(workflow.id, now + OFFSET_MS)

    def write_workflow(self, workflow: Workflow, now: int) -> None:
        """Write a workflow by itself; its tasks are another write."""
        workflow.updated_ms = now
        if workflow.terminal:
            workflow.ended_ms = now
        kept = copy.copy(workflow)
        kept.tasks = []
        self.workflows[workflow.id] = kept

    def create_tasks(self, tasks: Iterable[Task], now: int) -> None:
        for task in tasks:
            if task.id not in self.tasks:
                self.tasks_of[task.workflow].append(task.id)
                self._count(task, now)
            task.scheduled_ms = now
            self._keep(task)

    def _count(self, task: Task, now: int) -> None:
        """Count a wait for whoever began it all; the limits are those of who has the least."""
        if self.waits_of is None or task.wait_until_ms is None:
            return
        begun_by = [*self._above(self.workflows[task.workflow])]
        most, from_ms = min(self.waits_of(one.blueprint.name) for one in begun_by)
        if task.wait_until_ms - now < from_ms:
            return
        if self.rows.add(begun_by[-1].id, now, task.wait_until_ms) > most:
            self.left.add(task.id)

    def _above(self, workflow: Workflow) -> Iterator[Workflow]:
        """Yield a workflow, who has started it, and so on."""
        yield workflow
        while (above := workflow.parent or workflow.triggered_by) is not None:
            workflow = self.workflows[above]
            yield workflow

    def names_above(self, workflow: Workflow) -> list[str]:
        """Return the names of a workflow, of who has started it, and so on."""
        return [one.blueprint.name for one in self._above(workflow)]

    def write_task(self, task: Task, now: int) -> None:
        if not task.terminal or task.updated_ms is None:
            task.updated_ms = now
        if task.terminal and task.ended_ms is None:
            task.ended_ms = now
        self._keep(task)

    def queue(self, name: str) -> Queue:
        found = self.queues.get(name)
        if found is None:
            found = self.queues[name] = Queue()
        return found

    def unqueue(self, task: Task) -> None:
        self.queue(task.queue_name).remove(task.id)
