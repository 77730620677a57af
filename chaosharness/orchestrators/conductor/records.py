"""What a server keeps of a workflow and of a task, and the words for how they stand.

*Source*: conductor-oss/conductor, `model/TaskModel.java`, `model/WorkflowModel.java`,
`common/.../Task.java` (rule C7).
*Not modelled*: priorities, payloads kept outside of the store, execution logs.
"""

from collections.abc import Mapping
from typing import Any, Final

import attrs

from chaosharness.orchestrators.conductor.definition import Blueprint, Step

__all__ = ["RETRIABLE", "SUCCESSFUL", "TERMINAL", "Task", "Workflow", "plain_ref"]

SCHEDULED: Final = "SCHEDULED"
IN_PROGRESS: Final = "IN_PROGRESS"
COMPLETED: Final = "COMPLETED"
FAILED: Final = "FAILED"
FATAL: Final = "FAILED_WITH_TERMINAL_ERROR"
WITH_ERRORS: Final = "COMPLETED_WITH_ERRORS"
TIMED_OUT: Final = "TIMED_OUT"
CANCELED: Final = "CANCELED"
RUNNING: Final = "RUNNING"
TERMINATED: Final = "TERMINATED"

SUCCESSFUL: Final = frozenset({COMPLETED, WITH_ERRORS})
TERMINAL: Final = SUCCESSFUL | {FAILED, FATAL, TIMED_OUT, CANCELED}
RETRIABLE: Final = frozenset({FAILED, TIMED_OUT})

BUILT_IN: Final = frozenset({"SWITCH", "FORK", "JOIN", "DO_WHILE"})
"""What is never retried, whatever a task definition says."""


def plain_ref(ref: str) -> str:
    """A reference name without the number of the iteration that it is in: `charge__2` → `charge`.

    As the server does it: all from the first `__` on goes.
    """
    return ref.split("__", 1)[0]


@attrs.define(eq=False, kw_only=True, slots=False)
class Task:
    """One attempt of one step of one workflow. Its values are replaced, and never changed."""

    id: str
    workflow: str
    step: Step
    ref: str
    kind: str  # of system tasks the type; of others the name that workers poll
    status: str
    input: dict[str, Any] = attrs.field(factory=dict)
    output: dict[str, Any] = attrs.field(factory=dict)
    seq: int = 0
    iteration: int = 0
    retry_count: int = 0
    retried: bool = False
    retried_task: str | None = None
    executed: bool = False
    poll_count: int = 0
    callback_ms: int = 0
    start_delay_ms: int = 0
    scheduled_ms: int = 0
    first_scheduled_ms: int | None = None
    started_ms: int | None = None
    updated_ms: int | None = None
    ended_ms: int | None = None
    wait_until_ms: int | None = None
    worker: str | None = None
    reason: str | None = None
    child: str | None = None
    domain: str | None = None

    @property
    def queue_name(self) -> str:
        """The queue that it is taken from: that of its domain, if it has one (C20)."""
        return self.kind if self.domain is None else f"{self.domain}:{self.kind}"

    @property
    def terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def successful(self) -> bool:
        """Whether it has not failed (so far): SCHEDULED and IN_PROGRESS count as well."""
        return self.status not in TERMINAL or self.status in SUCCESSFUL

    @property
    def in_loop(self) -> bool:
        return self.iteration > 0

    def loaded(self) -> "Task":
        """Return a copy, as who reads the store gets one."""
        made = object.__new__(Task)
        made.__dict__.update(self.__dict__)  # a fifth of what copy.copy costs
        return made

    def as_row(self) -> dict[str, Any]:
        """The task as the server's own screen shows it."""
        return {
            "task": self.ref,
            "type": self.step.kind,
            "status": self.status,
            "retryCount": self.retry_count,
        }

    def as_json(self) -> dict[str, Any]:
        """The task as `GET /workflow/{id}` shows it."""
        return {
            "taskType": self.kind,
            "status": self.status,
            "referenceTaskName": self.ref,
            "taskDefName": self.step.name,
            "workflowTask": {
                "name": self.step.name,
                "taskReferenceName": self.step.ref,
                "type": self.step.kind,
            },
            "retryCount": self.retry_count,
            "seq": self.seq,
            "pollCount": self.poll_count,
            "taskId": self.id,
            "workflowInstanceId": self.workflow,
            "inputData": self.input,
            "outputData": self.output,
            "scheduledTime": self.scheduled_ms,
            "startTime": self.started_ms or 0,
            "updateTime": self.updated_ms or 0,
            "endTime": self.ended_ms or 0,
            "callbackAfterSeconds": self.callback_ms // 1000,
            "iteration": self.iteration,
            "retried": self.retried,
            "executed": self.executed,
            **{
                name: value
                for name, value in (
                    ("retriedTaskId", self.retried_task),
                    ("workerId", self.worker),
                    ("reasonForIncompletion", self.reason),
                    ("subWorkflowId", self.child),
                    ("domain", self.domain),
                )
                if value is not None
            },
        }


@attrs.define(eq=False, kw_only=True, slots=False)
class Workflow:
    """One execution of a definition, with the definition as it was when it began (rule C1)."""

    id: str
    blueprint: Blueprint
    input: dict[str, Any]
    created_ms: int
    status: str = RUNNING
    output: dict[str, Any] = attrs.field(factory=dict)
    variables: dict[str, Any] = attrs.field(factory=dict)
    correlation: str | None = None
    key: str | None = None
    reason: str | None = None
    failed_task: str | None = None
    failed_refs: tuple[str, ...] = ()
    parent: str | None = None
    parent_task: str | None = None
    triggered_by: str | None = None
    updated_ms: int = 0
    ended_ms: int | None = None
    tasks: list[Task] = attrs.field(factory=list)
    domains: Mapping[str, str] = attrs.field(factory=dict)
    """taskToDomain"""

    @property
    def terminal(self) -> bool:
        return self.status not in (RUNNING, "PAUSED")

    def task(self, ref: str) -> Task | None:
        """Return the last task of this reference name."""
        for task in reversed(self.tasks):
            if task.ref == ref:
                return task
        return None

    def as_json(self) -> dict[str, Any]:
        """The workflow as `GET /workflow/{id}` shows it."""
        return {
            "workflowId": self.id,
            "workflowName": self.blueprint.name,
            "workflowVersion": self.blueprint.version,
            "status": self.status,
            "createTime": self.created_ms,
            "updateTime": self.updated_ms,
            "endTime": self.ended_ms or 0,
            "input": self.input,
            "output": self.output,
            "variables": self.variables,
            "failedReferenceTaskNames": list(self.failed_refs),
            **{
                name: value
                for name, value in (
                    ("correlationId", self.correlation),
                    ("reasonForIncompletion", self.reason),
                    ("parentWorkflowId", self.parent),
                    ("parentWorkflowTaskId", self.parent_task),
                    ("failedTaskId", self.failed_task),
                    ("taskToDomain", dict(self.domains) or None),
                )
                if value is not None
            },
            "tasks": [task.as_json() for task in self.tasks],
        }
