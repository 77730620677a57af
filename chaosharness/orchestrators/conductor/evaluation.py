"""The server's loop around a decision: what it writes, in which order, and what it starts.

*Source*: conductor-oss/conductor, `core/execution/WorkflowExecutorOps.java`: `decide`,
`scheduleTask`, `endExecution`, `terminateWorkflow` (rules C1, C9, C11, C15).
*Not modelled*: several servers, so locks and their leases; a decision that takes time; a store
that fails anywhere but where tasks are made.
"""

from collections.abc import Callable
from typing import Any, Final

import attrs

from chaosharness.orchestrators.conductor.agenda import postpone_ms
from chaosharness.orchestrators.conductor.context import input_of
from chaosharness.orchestrators.conductor.decider import decide, in_iteration
from chaosharness.orchestrators.conductor.definition import Blueprint
from chaosharness.orchestrators.conductor.limits import domain_of
from chaosharness.orchestrators.conductor.loops import Loop
from chaosharness.orchestrators.conductor.mapping import (
    QUEUED,
    SYSTEM,
    TaskDefs,
    Terminate,
    tasks_for,
)
from chaosharness.orchestrators.conductor.records import (
    CANCELED,
    COMPLETED,
    FAILED,
    FATAL,
    IN_PROGRESS,
    SCHEDULED,
    TERMINATED,
    TIMED_OUT,
    Task,
    Workflow,
)
from chaosharness.orchestrators.conductor.steps import (
    Ended,
    Published,
    Scheduled,
    Started,
    Steps,
    Trial,
    Write,
)
from chaosharness.orchestrators.conductor.store import Store

__all__ = ["CHILD_STATUS", "Evaluation"]

CHILD_STATUS: Final = {COMPLETED: COMPLETED, FAILED: FAILED, TERMINATED: CANCELED,
                       TIMED_OUT: TIMED_OUT}  # fmt: skip
"""How a SUB_WORKFLOW task ends when its workflow does."""


@attrs.define
class Evaluation:
    """Carries decisions out."""

    store: Store
    blueprints: dict[str, Blueprint]
    task_defs: TaskDefs
    now: int = 0
    told: list[Any] = attrs.field(factory=list)
    versions: dict[tuple[str, int], Blueprint] = attrs.field(factory=dict)
    """Definitions by name and version; those of `blueprints` are the latest."""
    store_may_fail: bool = False
    """Whether it is asked before tasks are made if that fails (C11)."""
    polled: Callable[[str], bool] = attrs.field(default=lambda queue: False)
    """Whether anybody has polled a queue lately."""

    # ---- beginning

    def create(self, workflow: Workflow) -> Steps[None]:
        """Write a new workflow; what comes first in it is decided apart."""
        self.store.create_workflow(workflow, self.now)
        self.told.append(Started(workflow.id, workflow.parent or workflow.triggered_by))
        yield Write(workflow.id, "create workflow")

    def definition(self, name: Any, version: Any = None) -> Blueprint | None:
        """Return a definition as it is now: without a version the latest (C18)."""
        if not isinstance(name, str) or not isinstance(version, int | str | None):
            return None
        latest = self.blueprints.get(name)
        if isinstance(version, str) and version.isdecimal():
            version = int(version)
        if version is None or (latest is not None and latest.version == version):
            return latest
        return self.versions.get((name, version))

    def new_workflow(
        self, blueprint: Blueprint, given: dict[str, Any], workflow_id: str = "", **words: Any
    ) -> Workflow:
        """Return a workflow that is not written yet: it keeps its definition (C1)."""
        return Workflow(
            id=workflow_id or self.next_id(blueprint.name),
            blueprint=blueprint,
            input={**blueprint.input_template, **given},
            created_ms=self.now,
            **words,
        )

    def next_id(self, name: str) -> str:
        """Return an id: of a kind that people can read."""
        count = sum(1 for one in self.store.workflows.values() if one.blueprint.name == name)
        return f"{name}-{count + 1}"

    # ---- deciding

    def decide(self, workflow_id: str) -> Steps[None]:
        """Look at a workflow, and do what comes next until nothing is left to do at once."""
        workflow = self.store.load(workflow_id)
        if workflow.terminal:
            if workflow.status != COMPLETED:
                yield from self._cancel_rest(workflow)
            return
        try:
            while (yield from self._round(workflow)):
                pass
        except Terminate as ended:
            yield from self.terminate(workflow, ended)

    def _round(self, workflow: Workflow) -> Steps[bool]:
        """Decide once; say whether there is more to decide."""
        outcome = decide(workflow, self.task_defs, self.now)
        if outcome.complete:
            yield from self._end(workflow, outcome.terminate)
            return False
        made = self._add(workflow, outcome.schedule)
        changed = yield from self._schedule(workflow, made)
        for task in outcome.schedule:
            here = task.kind in SYSTEM - QUEUED and not task.terminal
            if here and (yield from self._execute(workflow, task)):
                outcome.update.append(task)
                changed = True
        if outcome.update or made:
            for task in outcome.update:
                self.store.write_task(task, self.now)
            yield Write(workflow.id, "save tasks")
        if changed:
            return True
        if outcome.update or made:
            self.store.write_workflow(workflow, self.now)
            yield Write(workflow.id, "save workflow")
        self._postpone(workflow)
        return False

    def _add(self, workflow: Workflow, tasks: list[Task]) -> list[Task]:
        """Add the tasks that the workflow does not have yet: attempts are told apart by number."""
        known = {(task.ref, task.retry_count) for task in workflow.tasks}
        made = [task for task in tasks if (task.ref, task.retry_count) not in known]
        workflow.tasks.extend(made)
        return made

    def _schedule(self, workflow: Workflow, tasks: list[Task]) -> Steps[bool]:
        """Write new tasks, then queue them (C11); say whether some were started here."""
        if not tasks:
            return False
        count = max((task.seq for task in workflow.tasks), default=0)
        for task in tasks:
            if task.seq == 0:
                count += 1
                task.seq = count
            if task.first_scheduled_ms is None:
                task.first_scheduled_ms = self.now
            if workflow.domains and task.kind not in SYSTEM:
                task.domain = domain_of(task.kind, workflow.domains, self.polled)
        if self.store_may_fail:
            failed = yield Trial(workflow.id, "create tasks")
            if failed is not None:
                raise self._not_made(workflow, tasks, written=failed == "committed")
        self.store.create_tasks(tasks, self.now)
        shown = tuple(task.ref for task in tasks)
        self.told.append(Scheduled(workflow.id, shown))
        yield Write(workflow.id, "create tasks")
        started = False
        for task in tasks:
            if task.kind in SYSTEM:
                if not task.terminal and task.started_ms is None:
                    task.started_ms = self.now
                if task.kind not in QUEUED:
                    if task.status == SCHEDULED:
                        task.status = IN_PROGRESS
                    started = True
                    self.store.write_task(task, self.now)
        queued = [task for task in tasks if task.kind not in SYSTEM or task.kind in QUEUED]
        for task in queued:
            self.push(task)
        if queued:
            yield Write(workflow.id, "queue tasks")
        return started

    def _not_made(self, workflow: Workflow, tasks: list[Task], *, written: bool) -> Terminate:
        """The store has failed while tasks were made: that ends their workflow (C11)."""
        if written:
            self.store.create_tasks(tasks, self.now)
        else:
            workflow.tasks = [task for task in workflow.tasks if task not in tasks]
        ids = ", ".join(task.id for task in tasks)
        reason = f"Error scheduling tasks: [{ids}], for workflow: {workflow.id}"
        return Terminate(reason, FAILED)

    def push(self, task: Task) -> None:
        """Put a task into the queue that its worker, or the server, takes it from."""
        at = self.now + task.callback_ms
        self.store.queue(task.queue_name).push(task.id, at)

    def _execute(self, workflow: Workflow, task: Task) -> Steps[bool]:
        """Carry a system task out while deciding; say whether that changed anything."""
        match task.kind:
            case "SWITCH" | "FORK" | "NOOP":
                task.status = COMPLETED
            case "TERMINATE":
                status = task.input.get("terminationStatus")
                if status not in ("COMPLETED", "FAILED", "TERMINATED"):
                    task.status = FAILED
                    task.reason = "given termination status is not valid"
                    return False
                output = task.input.get("workflowOutput") or {}
                task.output = output if isinstance(output, dict) else {"output": output}
                task.status = COMPLETED
            case "SET_VARIABLE":
                workflow.variables = {**workflow.variables, **task.input}
                self.store.write_workflow(workflow, self.now)
                yield Write(workflow.id, "save workflow")
                task.status = COMPLETED
            case "INLINE" | "JSON_JQ_TRANSFORM":
                _compute(task)
            case "EVENT":
                yield from self._publish(task)
                return task.terminal
            case "DO_WHILE":
                return (yield from self._loop(workflow, task))
            case _:
                return False
        return True

    def _publish(self, task: Task) -> Steps[None]:
        payload = {
            key: value for key, value in task.input.items() if key not in ("sink", "asyncComplete")
        }
        sink = str(task.input["sink"])
        self.told.append(Published(task.workflow, task.id, task.ref, sink, payload))
        task.output = {**payload, "event_produced": sink}
        yield Write(task.workflow, "publish event")
        if not task.input.get("asyncComplete"):
            task.status = COMPLETED

    def _loop(self, workflow: Workflow, task: Task) -> Steps[bool]:
        loop = Loop(workflow, task)
        verdict = loop.look()
        if verdict == "next":
            body = task.step.lists[0]
            tasks = tasks_for(workflow, body[0], self.task_defs, self.now)
            for one in tasks:
                in_iteration(workflow, one, task.iteration)
            self.store.write_task(task, self.now)
            made = self._add(workflow, tasks)
            yield from self._schedule(workflow, made)
        return verdict != "wait"

    # ---- ends

    def _end(self, workflow: Workflow, terminate: Task | None) -> Steps[None]:
        if terminate is None:
            yield from self._complete(workflow)
            return
        status = terminate.input.get("terminationStatus")
        reason = terminate.input.get("terminationReason") or (
            f"Workflow is {status} by TERMINATE task: {terminate.id}"
        )
        if status == COMPLETED:
            workflow.reason = str(reason)
            yield from self._complete(workflow)
        else:
            yield from self.terminate(workflow, Terminate(str(reason), str(status), terminate))

    def _complete(self, workflow: Workflow) -> Steps[None]:
        """Write that a workflow is complete, then tell its parent (C9: here nothing is lost)."""
        workflow.output = self._output(workflow)
        workflow.status = COMPLETED
        workflow.failed_refs = _failed_refs(workflow)
        self.store.write_workflow(workflow, self.now)
        self.told.append(Ended(workflow.id))
        yield Write(workflow.id, "end workflow")
        yield from self._tell_parent(workflow)
        yield from self._cancel_rest(workflow)

    def terminate(self, workflow: Workflow, ended: Terminate, *, undo: bool = True) -> Steps[None]:
        """End a workflow that has not gone well: one write after the other (C9).

        With `undo` its failureWorkflow is started: not where a person, or a parent, ends it.
        """
        if not workflow.terminal:
            workflow.status = ended.status
        if ended.task is not None:
            workflow.failed_task = workflow.failed_task or ended.task.id
            self.store.write_task(ended.task, self.now)
        workflow.output = self._output(workflow)
        workflow.reason = ended.reason
        workflow.failed_refs = _failed_refs(workflow)
        yield from self._cancel_rest(workflow)
        self.store.write_workflow(workflow, self.now)
        for task in workflow.tasks:
            self.store.unqueue(task)
        self.told.append(Ended(workflow.id))
        yield Write(workflow.id, "end workflow")
        yield from self._tell_parent(workflow)
        if undo:
            yield from self._start_failure_workflow(workflow)

    def _cancel_rest(self, workflow: Workflow) -> Steps[None]:
        """Cancel what is under way, and look at the workflow no more. Workers are not told."""
        for task in workflow.tasks:
            if not task.terminal:
                task.status = CANCELED
                if task.kind == "SUB_WORKFLOW" and task.child in self.store.workflows:
                    child = self.store.load(str(task.child))
                    if not child.terminal:
                        why = workflow.reason or f"status {workflow.status}"
                        reason = f"Parent workflow has been terminated with {why}"
                        ended = Terminate(reason, TERMINATED)
                        yield from self.terminate(child, ended, undo=False)
                self.store.write_task(task, self.now)
        self.store.decider.remove(workflow.id)
        if workflow.status != COMPLETED:
            yield Write(workflow.id, "cancel tasks")

    def _tell_parent(self, workflow: Workflow) -> Steps[None]:
        if workflow.parent is None or workflow.parent_task not in self.store.tasks:
            return
        task = self.store.tasks[workflow.parent_task].loaded()
        if not task.terminal:
            finish_child(task, workflow)
            self.store.write_task(task, self.now)
        self.store.decider.push(workflow.parent, self.now)
        yield Write(workflow.id, "tell parent")

    def _start_failure_workflow(self, workflow: Workflow) -> Steps[None]:
        """Start what undoes it. A server that dies before this never comes back to it (C9)."""
        name = workflow.blueprint.failure_workflow
        if name is not None and name.startswith("$"):
            name = workflow.input.get(name.split(".")[2].rstrip("}"))
        if not name:
            return
        given = {
            **workflow.input,
            "workflowId": workflow.id,
            "reason": workflow.reason,
            "failureStatus": workflow.status,
            "failedWorkflow": workflow.as_json(),
        }
        if workflow.failed_task is not None:
            given["failureTaskId"] = workflow.failed_task
        found = self.definition(name)
        if found is None:
            said = f"Error workflow {name} failed to start.  reason: No such workflow found by name"
            workflow.output = {**workflow.output, "conductor.failure_workflow": said}
        else:
            failure = self.new_workflow(
                found,
                given,
                correlation=workflow.correlation,
                triggered_by=workflow.id,
                domains=workflow.domains,
            )
            yield from self.create(failure)
            yield from self.decide(failure.id)
            workflow.output = {**workflow.output, "conductor.failure_workflow": failure.id}
        self.store.write_workflow(workflow, self.now)
        yield Write(workflow.id, "save workflow")

    def _output(self, workflow: Workflow) -> dict[str, Any]:
        for task in workflow.tasks:
            if task.kind == "TERMINATE" and task.status == COMPLETED:
                return task.output
        if workflow.blueprint.output_parameters:
            return input_of(workflow.blueprint.output_parameters, workflow)
        return workflow.tasks[-1].output if workflow.tasks else {}

    # ---- when a workflow is looked at again

    def _postpone(self, workflow: Workflow) -> None:
        if not workflow.terminal:
            self.store.decider.push(workflow.id, self.now + postpone_ms(workflow, self.now))


def finish_child(task: Task, child: Workflow) -> None:
    """End a SUB_WORKFLOW task as its workflow has ended."""
    task.status = CHILD_STATUS.get(child.status, IN_PROGRESS)
    task.output = {**task.output, **child.output}
    if child.terminal and child.status != COMPLETED:
        task.reason = f"Sub workflow {child.id} failure reason: {child.reason}"


def _failed_refs(workflow: Workflow) -> tuple[str, ...]:
    return tuple(dict.fromkeys(t.ref for t in workflow.tasks if t.status in (FAILED, FATAL)))


def _compute(task: Task) -> None:
    script = task.step.script
    try:
        result = script(task.input) if script is not None else None
    except (TypeError, ValueError) as error:
        task.status = FATAL
        task.reason = str(error)
        task.output = {"error": str(error)}
        return
    task.output = {"result": result}
    if task.kind == "JSON_JQ_TRANSFORM":
        task.output["resultList"] = [result]
    task.status = COMPLETED
