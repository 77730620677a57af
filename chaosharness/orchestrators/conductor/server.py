"""The server as a pure machine: its operations, what time does, and nothing of the world.

Each operation is a generator of its writes (`steps.py`); `run` carries one out. `due()` says when
time will change something, `works(now)` what is to be done then; `take()` what has happened.

*Source*: conductor-oss/conductor, `service/ExecutionService.java` (poll),
`WorkflowExecutorOps.java` (`updateTask`, `startWorkflow`), `AsyncSystemTaskExecutor.java`,
`WorkflowSweeper.java` of `org.conductoross` (rules C3, C5, C6, C13, C15, C16).
*Not modelled*: pausing, restarts, reruns and retries by
hand, bulk operations; the sweeper finds what it looks for (no batches).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs

from chaosharness.orchestrators.conductor.agenda import agenda, belongs_in_queue
from chaosharness.orchestrators.conductor.definition import Blueprint
from chaosharness.orchestrators.conductor.evaluation import (
    CHILD_STATUS,
    Evaluation,
    finish_child,
)
from chaosharness.orchestrators.conductor.joins import join
from chaosharness.orchestrators.conductor.limits import POSTPONED_MS, Limits
from chaosharness.orchestrators.conductor.mapping import QUEUED, SYSTEM, Terminate
from chaosharness.orchestrators.conductor.records import (
    CANCELED,
    COMPLETED,
    FAILED,
    IN_PROGRESS,
    SCHEDULED,
    TERMINAL,
    TERMINATED,
    TIMED_OUT,
    Task,
    Workflow,
)
from chaosharness.orchestrators.conductor.refusals import Conflict, Invalid, NotFound
from chaosharness.orchestrators.conductor.steps import Called, Steps, Write

__all__ = ["Result", "Server"]

RESERVED_MS: Final = 3_600_000
"""How long a call of an HTTP task may take, before its message comes back."""


@attrs.frozen(kw_only=True)
class Result:
    """What a worker says of a task: `TaskResult`."""

    task_id: str
    status: str
    output: dict[str, Any] = attrs.field(factory=dict)
    reason: str | None = None
    callback_after_s: int = 0
    worker: str | None = None
    extend_lease: bool = False


@attrs.define
class Server(Evaluation):
    """A Conductor server, and its store."""

    keys: dict[tuple[str, str], str] = attrs.field(factory=dict)
    limits: Limits = attrs.field(factory=Limits)

    # ---- operations of clients

    def start(
        self,
        name: str,
        given: dict[str, Any],
        *,
        correlation: str | None = None,
        key: str | None = None,
        existing: bool = False,
        version: int | None = None,
        domains: Mapping[str, str] | None = None,
        choose: Callable[[Blueprint], Blueprint] = lambda latest: latest,
    ) -> Steps[str]:
        """Start a workflow: each call another one, unless a key says otherwise (C16).

        `choose` may give it another definition than the one that is asked for.
        """
        found = self.definition(name, version)
        if found is None:
            known = ", ".join(_with_versions([*self.blueprints.values(), *self.versions.values()]))
            asked = name if version is None else f"{name}, version: {version}"
            raise NotFound(f"No such workflow found by name: {asked} (there are: {known})")
        if key is not None and (name, key) in self.keys:
            if existing:
                return self.keys[name, key]
            raise Conflict(f"Workflow with idempotency key {key} exists: {self.keys[name, key]}")
        workflow = self.new_workflow(
            choose(found), given, correlation=correlation, key=key, domains=domains or {}
        )
        if key is not None:
            self.keys[name, key] = workflow.id
        yield from self.create(workflow)
        yield from self.decide(workflow.id)
        return workflow.id

    def poll(self, name: str, worker: str) -> Steps[Task | None]:
        """Hand the next task of a queue to a worker; tasks that are over are dropped (C3)."""
        queue = self.store.queue(name)
        while (message := queue.pop(self.now)) is not None:
            found = self.store.tasks.get(message)
            if found is None or found.terminal:
                queue.remove(message)
                continue
            if self.limits.exceeded(self.store, found, self.now):
                queue.push(message, self.now + POSTPONED_MS)
                continue
            task = found.loaded()
            task.status = IN_PROGRESS
            if task.started_ms is None:
                task.started_ms = self.now
            task.callback_ms = 0
            task.worker = worker
            task.poll_count += 1
            self.store.write_task(task, self.now)
            self._look_by(task)
            yield Write(task.workflow, "hand out")
            queue.remove(message)
            return task
        return None

    def _look_by(self, task: Task) -> None:
        """Have the workflow looked at when this task's response is due, or earlier."""
        definition = task.step.task_def
        if definition is None or not definition.response_timeout_s:
            return
        decider = self.store.decider.visible
        at = self.now + definition.response_timeout_s * 1000
        if task.workflow in decider and decider[task.workflow] > at:
            decider[task.workflow] = at

    def update(self, result: Result) -> Steps[None]:
        """Take a worker's result. What comes too late changes nothing, and is no error (C5)."""
        found = self.store.tasks.get(result.task_id)
        if found is None:
            raise NotFound(f"No such task found by id: {result.task_id}")
        task = found.loaded()
        if result.extend_lease:
            if not task.terminal:
                self.store.write_task(task, self.now)
            return
        if task.terminal or self.store.workflows[task.workflow].terminal:
            self.store.unqueue(task)
            return
        if result.status not in TERMINAL | {IN_PROGRESS}:
            raise Invalid(f"Unknown status: {result.status}")
        waits = result.status == IN_PROGRESS
        task.status = SCHEDULED if waits and task.kind not in SYSTEM else result.status
        task.reason = result.reason
        task.worker = result.worker
        task.callback_ms = result.callback_after_s * 1000
        task.output = result.output
        if task.terminal:
            task.ended_ms = self.now
            self.store.unqueue(task)
        else:
            self.store.queue(task.queue_name).push(task.id, self.now + task.callback_ms)
        self.store.write_task(task, self.now)
        yield Write(task.workflow, "save result")
        if task.in_loop or not task.successful or (
            not self.store.workflows[task.workflow].blueprint.lazy(task.ref)
        ):  # fmt: skip
            yield from self.decide(task.workflow)

    def end(self, workflow_id: str, reason: str) -> Steps[None]:
        """Terminate a workflow by hand: its failureWorkflow is not started."""
        workflow = self.store.load(self.known(workflow_id))
        if workflow.status == COMPLETED:
            raise Conflict("Cannot terminate a COMPLETED workflow.")
        if workflow.status != TERMINATED:
            workflow.status = TERMINATED
            yield from self.terminate(workflow, Terminate(reason, TERMINATED), undo=False)

    def known(self, workflow_id: str) -> str:
        """Return the id of a workflow that there is."""
        if workflow_id not in self.store.workflows:
            raise NotFound(f"No such workflow found by id: {workflow_id}")
        return workflow_id

    # ---- what the server does by itself

    def sweep(self, workflow_id: str) -> Steps[None]:
        """Look at a workflow again: timeouts, and what a server that died has left undone (C13)."""
        workflow = self.store.workflows.get(workflow_id)
        if workflow is None or workflow.terminal:
            self.store.decider.remove(workflow_id)
            return
        before = _standing(self.store.load(workflow_id))
        self.store.decider.push(workflow_id, self.now + 60_000)
        yield from self.decide(workflow_id)
        found = self.store.load(workflow_id)
        if found.terminal:
            self.store.decider.remove(workflow_id)
            return
        if _standing(found) == before:
            yield from self._repair(found)
        if all(task.terminal for task in found.tasks) and found.tasks:
            last = found.tasks[-1]
            last.executed = False
            self.store.write_task(last, self.now)
            yield from self.decide(workflow_id)

    def _repair(self, workflow: Workflow) -> Steps[None]:
        """Queue again what is in no queue, and end tasks whose workflow has ended (C11, C15)."""
        ended = False
        for task in workflow.tasks:
            if belongs_in_queue(task) and task.id not in self.store.queue(task.queue_name).visible:
                self.push(task)
            elif task.kind == "SUB_WORKFLOW" and task.status == IN_PROGRESS:
                child = self.store.workflows.get(str(task.child))
                if child is not None and child.status in CHILD_STATUS:
                    finish_child(task, child)
                    self.store.write_task(task, self.now)
                    ended = True
        if ended:
            yield from self.decide(workflow.id)

    def work(self, task_id: str) -> Steps[None]:
        """Carry out a system task that waits in a queue."""
        task = self.store.tasks[task_id].loaded()
        queue = self.store.queue(task.kind)
        workflow = self.store.load(task.workflow)
        if task.terminal or workflow.terminal:
            if not task.terminal:
                task.status = CANCELED
                self.store.write_task(task, self.now)
            queue.remove(task_id)
            return
        if task.status == SCHEDULED and self.limits.exceeded(self.store, task, self.now):
            queue.push(task_id, self.now + POSTPONED_MS)
            return
        match task.kind:
            case "JOIN":
                join(workflow, task)
            case "WAIT":
                if task.wait_until_ms is not None and self.now >= task.wait_until_ms:
                    task.status = COMPLETED
            case "SUB_WORKFLOW":
                yield from self._start_child(workflow, task)
            case "START_WORKFLOW":
                yield from self._start_other(task)
            case "HTTP":
                if self._call(task):
                    return
        self.store.write_task(task, self.now)
        if task.terminal or (task.kind == "SUB_WORKFLOW" and task.status != SCHEDULED):
            queue.remove(task_id)
            yield Write(task.workflow, f"save {task.kind}")
            yield from self.decide(task.workflow)
        else:
            queue.push(task_id, self.now + 1000)

    def _start_child(self, workflow: Workflow, task: Task) -> Steps[None]:
        """Start the workflow of a task; its id follows from the task's, so it is started once."""
        if task.status != SCHEDULED:
            return
        name = str(task.input["subWorkflowName"])
        found = self.definition(name, task.input["subWorkflowVersion"])
        if found is None:
            task.status, task.reason = FAILED, f"No such workflow found by name: {name}"
            return
        child_id = f"{task.id}:{name}"
        if child_id not in self.store.workflows:
            child = self.new_workflow(
                found, task.input["workflowInput"], child_id, correlation=workflow.correlation,
                parent=workflow.id, parent_task=task.id,
                domains=task.input.get("subWorkflowTaskToDomain") or {},
            )  # fmt: skip
            yield from self.create(child)
            self.store.decider.push(child_id, self.now)
        child = self.store.workflows[child_id]
        task.child = child_id
        task.output = {**task.output, "subWorkflowId": child_id}
        task.status = IN_PROGRESS
        if child.terminal:
            finish_child(task, child)

    def _start_other(self, task: Task) -> Steps[None]:
        request = task.input.get("startWorkflow") or {}
        name = request.get("name")
        found = self.definition(name, request.get("version"))
        if found is None:
            task.status, task.reason = FAILED, f"No such workflow found by name: {name}"
            return
        other = self.new_workflow(found, request.get("input") or {}, triggered_by=task.workflow,
                                  domains=request.get("taskToDomain") or {})  # fmt: skip
        yield from self.create(other)
        yield from self.decide(other.id)
        task.output = {"workflowId": other.id}
        task.status = COMPLETED

    def _call(self, task: Task) -> bool:
        """Begin an HTTP task's call; say whether it is under way."""
        if task.started_ms is not None and task.updated_ms is not None:
            task.status = TIMED_OUT
            task.reason = "Task did not complete within its responseTimeout of 3600s"
            return False
        task.started_ms = self.now
        task.poll_count += 1
        self.store.write_task(task, self.now)
        self.store.queue(task.kind).push(task.id, self.now + RESERVED_MS)
        request = task.input.get("http_request") or task.input
        self.told.append(Called(task.workflow, task.id, task.ref, request))
        return True

    def answer(
        self, task_id: str, status: int, body: Any, reason: str | None = None
    ) -> Steps[None]:
        """Take the answer of an HTTP task's call: from 200 to 299 it is good."""
        task = self.store.tasks[task_id].loaded()
        if task.terminal:
            return
        if 200 <= status <= 299:
            task.status = COMPLETED
        else:
            task.status = FAILED
            task.reason = reason or str(body)
        task.output = {"response": {"statusCode": status, "body": body, "headers": {}}}
        self.store.write_task(task, self.now)
        self.store.unqueue(task)
        yield Write(task.workflow, "save HTTP")
        yield from self.decide(task.workflow)

    # ---- time

    def due(self) -> int | None:
        """Return when time will change something next; None for never."""
        found = [at for at, _ in agenda(self.store, self.now)]
        for name, queue in self.store.queues.items():
            if name not in QUEUED:
                found += [at for at in queue.visible.values() if at > self.now]
        return min(found, default=None)

    def works(self, now: int) -> Iterable[tuple[str, str]]:
        """Return what is to be done at a time: sweeps, and system tasks."""
        self.now = max(self.now, now)
        return [what for at, what in sorted(agenda(self.store, self.now)) if at <= now]

    def tick(self, now: int) -> None:
        """Let time act, with no server dying."""
        from chaosharness.orchestrators.conductor.steps import run

        while works := list(self.works(now)):
            what, name = works[0]
            run(self.sweep(name) if what == "sweep" else self.work(name))

    def take(self) -> list[Any]:
        """Return what has happened since this was asked last."""
        told, self.told = self.told, []
        return told


def _with_versions(blueprints: Iterable[Blueprint]) -> list[str]:
    """Return the names of definitions; with the version where there are several."""
    found = sorted({(one.name, one.version) for one in blueprints})
    names = [name for name, _ in found]
    return [
        name if names.count(name) == 1 else f"{name} version {number}" for name, number in found
    ]


def _standing(workflow: Workflow) -> list[tuple[str, str]]:
    return [(task.ref, task.status) for task in workflow.tasks]
