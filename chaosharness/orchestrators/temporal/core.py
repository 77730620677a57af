"""What Temporal's sdk-core does: a history in, activations to the workflow, its commands out.

A history is cut where workflow tasks were started; each part becomes one activation, and the
commands that it brings must be those of the events that follow. The last part is new; what it
brings is what this task decides.

*Source*: sdk-core, `arch_docs/workflow_task_chunking.md`, `workflow_activation.proto` (rules T8 to
T10, T16); every history made here is held against `temporalio.worker.Replayer` by the tests.
*Not modelled*: updates and queries, local activities, Nexus, signals to other workflows and their
cancellation, search attributes and memos of a workflow's own: a workflow that commands one of these
ends the run with an error that names it.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs
from temporalio.bridge.proto.workflow_activation import WorkflowActivation, WorkflowActivationJob
from temporalio.bridge.proto.workflow_commands import WorkflowCommand

from chaosharness.errors import InvalidDefinition
from chaosharness.orchestrators.temporal import jobs
from chaosharness.orchestrators.temporal.instances import Instance
from chaosharness.orchestrators.temporal.protos import (
    duration_text,
    failure_json,
    payloads_json,
    stamp,
)

__all__ = ["Cached", "Decision", "Nondeterminism", "TaskFailed"]

#: Flags of sdk-core that say that ids and types are checked, and closing commands come last.
CORE_FLAGS: Final = [1, 2, 3, 4]
TRY, WAIT, ABANDON = 0, 1, 2


class Nondeterminism(Exception):
    """The workflow commands something else than it did when its history was written (T7)."""


class TaskFailed(Exception):
    """The workflow raised what is no failure: the task fails, and the workflow does not (T6)."""

    def __init__(self, failure: dict[str, Any]) -> None:
        super().__init__(failure.get("message", ""))
        self.failure = failure


@attrs.frozen
class Decision:
    """What a workflow task decides: commands for the server."""

    commands: list[tuple[str, dict[str, Any]]]
    lang_flags: list[int]


@attrs.define(eq=False)
class Cached:
    """One run in a worker's cache: the workflow object, and how far it has read its history."""

    make: Callable[[], Instance]
    instance: Instance | None = None
    read: int = 0  # events that the workflow has been woken with
    completed: int = 0  # the id of the last WorkflowTaskCompleted that was read
    pending: list[WorkflowCommand] = attrs.field(factory=list)
    timers: dict[str, int] = attrs.field(factory=dict)  # id of a TimerStarted event: its number
    activities: dict[str, int] = attrs.field(factory=dict)
    children: dict[str, int] = attrs.field(factory=dict)
    kinds: dict[int, int] = attrs.field(factory=dict)  # how an activity is to be cancelled
    resolved: set[int] = attrs.field(factory=set)  # activities that were cancelled at once
    patches: set[str] = attrs.field(factory=set)
    lang_flags: set[int] = attrs.field(factory=set)

    def decide(self, events: list[dict[str, Any]], *, run_id: str) -> Decision:
        """Read the history to its end and return what the workflow decides.

        Raises:
            Nondeterminism: The history was written by other code.
            TaskFailed: The workflow raised what is no failure.
            InvalidDefinition: The workflow commands what is not modelled.
        """
        parts = [*_parts(events, self.read)]
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            self._commands_of(part)
            following = parts[number + 1] if not last else []
            told = [*self._jobs(part, following)]
            self.read += len(part)
            if told or self.instance is None:
                self._activate(told, part[-1], run_id, replaying=not last)
        commands = [*self._for_server()]
        return Decision(commands, sorted(self.lang_flags))

    # ---- waking the workflow

    def _activate(
        self,
        told: list[WorkflowActivationJob],
        event: dict[str, Any],
        run_id: str,
        *,
        replaying: bool,
    ) -> None:
        if self.instance is None:
            self.instance = self.make()
        activation = WorkflowActivation(
            run_id=run_id,
            timestamp=stamp(event["eventTime"]),
            is_replaying=replaying,
            history_length=int(event["eventId"]),
            jobs=told,
        )
        while True:
            completion = self.instance.activate(activation)
            if completion.HasField("failed"):
                raised = self.instance.raised
                raise TaskFailed(failure_json(completion.failed.failure)) from raised
            if hasattr(completion.successful, "used_internal_flags"):
                self.lang_flags.update(completion.successful.used_internal_flags)
            again = self._took([*completion.successful.commands])
            if not again:
                return
            activation = WorkflowActivation(
                run_id=run_id,
                timestamp=stamp(event["eventTime"]),
                is_replaying=replaying,
                history_length=int(event["eventId"]),
                jobs=again,
            )

    def _took(self, commands: list[WorkflowCommand]) -> list[WorkflowActivationJob]:
        """Take the workflow's commands; return what it must be told of them at once (T9, T16)."""
        again: list[WorkflowActivationJob] = []
        for command in commands:
            kind = command.WhichOneof("variant")
            if kind not in _SERVER_FORM:
                raise InvalidDefinition(_NOT_MODELLED.format(kind))
            if kind == "schedule_activity":
                self.kinds[command.schedule_activity.seq] = (
                    command.schedule_activity.cancellation_type
                )
                self.pending.append(command)
            elif kind == "cancel_timer":
                if not self._unsend("start_timer", command.cancel_timer.seq):
                    self.pending.append(command)
            elif kind == "request_cancel_activity":
                again += self._cancel_activity(command)
            elif kind == "set_patch_marker":
                self.patches.add(command.set_patch_marker.patch_id)
                self.pending.append(command)
            else:
                self.pending.append(command)
        self._closing_last()
        return again

    def _unsend(self, kind: str, seq: int) -> bool:
        """Take back a command that no server has seen."""
        for command in self.pending:
            if command.WhichOneof("variant") == kind and getattr(command, kind).seq == seq:
                self.pending.remove(command)
                return True
        return False

    def _cancel_activity(self, command: WorkflowCommand) -> list[WorkflowActivationJob]:
        seq = command.request_cancel_activity.seq
        kind = self.kinds.get(seq, TRY)
        if seq in self.resolved:
            return []
        if self._unsend("schedule_activity", seq):
            self.resolved.add(seq)
            return [jobs.activity_cancelled(seq)]
        if kind != ABANDON:
            self.pending.append(command)
        if kind == WAIT:
            return []
        self.resolved.add(seq)
        return [jobs.activity_cancelled(seq)]

    def _closing_last(self) -> None:
        """Of commands that end the run the first counts, and it comes last (core flag 3)."""
        closing = [c for c in self.pending if c.WhichOneof("variant") in _CLOSING]
        if closing:
            rest = [c for c in self.pending if c.WhichOneof("variant") not in _CLOSING]
            self.pending = [*rest, closing[0]]

    # ---- the events that commands have made

    def _commands_of(self, part: list[dict[str, Any]]) -> None:
        """Hold the command events of a part against what the workflow commanded (T7)."""
        waiting = self.pending
        self.pending = []
        for event in part:
            kind = event["eventType"].removeprefix("EVENT_TYPE_")
            if kind not in _COMMAND_OF:
                continue
            if not waiting:
                raise Nondeterminism(f"the history has {kind} ({_shown(event)}), and the workflow "
                                     "commands nothing more")  # fmt: skip
            command = waiting.pop(0)
            self._match(kind, event, command)
        if waiting and self.read:
            left = waiting[0].WhichOneof("variant")
            raise Nondeterminism(f"the workflow commands {left}, which is not in its history")

    def _match(self, kind: str, event: dict[str, Any], command: WorkflowCommand) -> None:
        which = command.WhichOneof("variant")
        if which != _COMMAND_OF[kind]:
            raise Nondeterminism(f"the history has {kind} ({_shown(event)}), and the workflow "
                                 f"commands {which}")  # fmt: skip
        attributes, number = _attributes(event), event["eventId"]
        if kind == "TIMER_STARTED":
            self.timers[number] = command.start_timer.seq
        elif kind == "ACTIVITY_TASK_SCHEDULED":
            asked = command.schedule_activity
            recorded = (attributes["activityId"], attributes["activityType"]["name"])
            if recorded != (asked.activity_id, asked.activity_type):
                raise Nondeterminism(
                    f"Activity type of scheduled event {recorded[1]!r} does not match activity "
                    f"type of activity command {asked.activity_type!r}"
                )
            self.activities[number] = asked.seq
        elif kind == "START_CHILD_WORKFLOW_EXECUTION_INITIATED":
            self.children[number] = command.start_child_workflow_execution.seq
        elif kind == "MARKER_RECORDED":
            self.patches.add(command.set_patch_marker.patch_id)

    # ---- the events that wake it

    def _jobs(
        self, part: list[dict[str, Any]], following: list[dict[str, Any]]
    ) -> Iterator[WorkflowActivationJob]:
        """Yield jobs in sdk-core's order: init, patches, signals, the rest."""
        first: list[WorkflowActivationJob] = []
        told: list[WorkflowActivationJob] = []
        rest: list[WorkflowActivationJob] = []
        for event in part:
            kind = event["eventType"].removeprefix("EVENT_TYPE_")
            attributes = _attributes(event)
            if kind == "WORKFLOW_EXECUTION_STARTED":
                first.append(jobs.initialize(attributes, event))
            elif kind == "WORKFLOW_EXECUTION_SIGNALED":
                told.append(jobs.signal(attributes))
            elif kind == "WORKFLOW_EXECUTION_CANCEL_REQUESTED":
                rest.append(jobs.cancel())
            else:
                rest += self._resolutions(kind, attributes)
        patches = [jobs.patch(name) for name in _patches(following)]
        self.patches.update(_patches(following))
        yield from (*first, *patches, *told, *rest)

    def _resolutions(
        self, kind: str, attributes: dict[str, Any]
    ) -> Iterator[WorkflowActivationJob]:
        if kind == "TIMER_FIRED":
            yield jobs.timer(self.timers[attributes["startedEventId"]])
        elif kind.startswith("ACTIVITY_TASK_") and kind in jobs.ACTIVITY_ENDS:
            seq = self.activities[attributes["scheduledEventId"]]
            if seq not in self.resolved:
                yield jobs.activity(seq, kind, attributes)
        elif kind == "CHILD_WORKFLOW_EXECUTION_STARTED":
            yield jobs.child_started(self.children[attributes["initiatedEventId"]], attributes)
        elif kind == "START_CHILD_WORKFLOW_EXECUTION_FAILED":
            yield jobs.child_refused(self.children[attributes["initiatedEventId"]], attributes)
        elif kind in jobs.CHILD_ENDS:
            yield jobs.child(self.children[attributes["initiatedEventId"]], kind, attributes)

    # ---- for the server

    def _for_server(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for command in self.pending:
            which = command.WhichOneof("variant")
            if which is None:
                continue
            yield from _SERVER_FORM[which](self, getattr(command, which))


def _attributes(event: dict[str, Any]) -> dict[str, Any]:
    return next((v for k, v in event.items() if k.endswith("EventAttributes")), {})


def _shown(event: dict[str, Any]) -> str:
    return f"event {event['eventId']}"


def _parts(events: list[dict[str, Any]], read: int) -> Iterator[list[dict[str, Any]]]:
    """Cut what has not been read yet behind each task start that was completed, and the last."""
    completed = {
        _attributes(event)["startedEventId"]
        for event in events
        if event["eventType"] == "EVENT_TYPE_WORKFLOW_TASK_COMPLETED"
    }
    part: list[dict[str, Any]] = []
    for event in events[read:]:
        part.append(event)
        started = event["eventType"] == "EVENT_TYPE_WORKFLOW_TASK_STARTED"
        if started and event["eventId"] in completed:
            yield part
            part = []
    if part:
        yield part


def _patches(part: list[dict[str, Any]]) -> list[str]:
    return [
        jobs.patch_id(_attributes(event))
        for event in part
        if event["eventType"] == "EVENT_TYPE_MARKER_RECORDED"
        and _attributes(event).get("markerName") == "core_patch"
    ]


_CLOSING: Final = frozenset(
    {
        "complete_workflow_execution",
        "fail_workflow_execution",
        "cancel_workflow_execution",
        "continue_as_new_workflow_execution",
    }
)
_COMMAND_OF: Final = {
    "TIMER_STARTED": "start_timer",
    "TIMER_CANCELED": "cancel_timer",
    "ACTIVITY_TASK_SCHEDULED": "schedule_activity",
    "ACTIVITY_TASK_CANCEL_REQUESTED": "request_cancel_activity",
    "MARKER_RECORDED": "set_patch_marker",
    "START_CHILD_WORKFLOW_EXECUTION_INITIATED": "start_child_workflow_execution",
    "WORKFLOW_EXECUTION_COMPLETED": "complete_workflow_execution",
    "WORKFLOW_EXECUTION_FAILED": "fail_workflow_execution",
    "WORKFLOW_EXECUTION_CANCELED": "cancel_workflow_execution",
    "WORKFLOW_EXECUTION_CONTINUED_AS_NEW": "continue_as_new_workflow_execution",
}


def _with(told: dict[str, Any], **more: Any) -> dict[str, Any]:
    return told | {key: value for key, value in more.items() if value is not None}


def _start_timer(cached: Cached, asked: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    lasting = duration_text(asked.start_to_fire_timeout)
    yield "StartTimer", {"timerId": str(asked.seq), "startToFireTimeout": lasting}


def _cancel_timer(cached: Cached, asked: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "CancelTimer", {"timerId": str(asked.seq)}


def _schedule(cached: Cached, asked: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    told = {
        "activityId": asked.activity_id,
        "activityType": {"name": asked.activity_type},
        "scheduleToCloseTimeout": duration_text(asked.schedule_to_close_timeout),
        "scheduleToStartTimeout": duration_text(asked.schedule_to_start_timeout),
        "startToCloseTimeout": duration_text(asked.start_to_close_timeout),
        "heartbeatTimeout": duration_text(asked.heartbeat_timeout),
        "retryPolicy": jobs.policy_json(asked.retry_policy),
    }
    if asked.task_queue:
        told["taskQueue"] = {"name": asked.task_queue}
    yield "ScheduleActivityTask", _with(told, input=payloads_json(asked.arguments))


def _request_cancel(cached: Cached, asked: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    scheduled = next(n for n, seq in cached.activities.items() if seq == asked.seq)
    yield "RequestCancelActivityTask", {"scheduledEventId": scheduled}


def _patch(cached: Cached, asked: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "RecordMarker", jobs.patch_marker(asked.patch_id, asked.deprecated)
    yield "UpsertWorkflowSearchAttributes", jobs.patch_attributes(sorted(cached.patches))


def _start_child(cached: Cached, asked: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    told: dict[str, Any] = {
        "namespace": "default",
        "workflowId": asked.workflow_id,
        "workflowType": {"name": asked.workflow_type},
        "parentClosePolicy": "PARENT_CLOSE_POLICY_TERMINATE",
    }
    if asked.task_queue:
        told["taskQueue"] = {"kind": "TASK_QUEUE_KIND_NORMAL", "name": asked.task_queue}
    yield "StartChildWorkflowExecution", _with(told, input=payloads_json(asked.input))


def _complete(cached: Cached, asked: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    result = payloads_json([asked.result]) if asked.HasField("result") else None
    yield "CompleteWorkflowExecution", _with({}, result=result)


def _fail(cached: Cached, asked: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "FailWorkflowExecution", {"failure": failure_json(asked.failure)}


def _cancelled(cached: Cached, asked: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "CancelWorkflowExecution", {}


def _continue(cached: Cached, asked: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    told: dict[str, Any] = {}
    if asked.workflow_type:
        told["workflowType"] = {"name": asked.workflow_type}
    if asked.task_queue:
        told["taskQueue"] = {"kind": "TASK_QUEUE_KIND_NORMAL", "name": asked.task_queue}
    yield "ContinueAsNewWorkflowExecution", _with(told, input=payloads_json(asked.arguments))


_SERVER_FORM: Final = {
    "start_timer": _start_timer,
    "cancel_timer": _cancel_timer,
    "schedule_activity": _schedule,
    "request_cancel_activity": _request_cancel,
    "set_patch_marker": _patch,
    "start_child_workflow_execution": _start_child,
    "complete_workflow_execution": _complete,
    "fail_workflow_execution": _fail,
    "cancel_workflow_execution": _cancelled,
    "continue_as_new_workflow_execution": _continue,
}

_NOT_MODELLED: Final = (
    "the workflow commands {!r}, which the Temporal of chaosharness does not model. Modelled are "
    "activities, timers, child workflows, patches and continue-as-new; do this in an activity, or "
    "test this workflow without it."
)
