"""What a workflow's commands become for the server, and which event each leaves.

*Source*: sdk-core, `core/src/worker/workflow/machines`; Temporal API, `command/v1`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

import attrs
from temporalio.bridge.proto.workflow_commands import WorkflowCommand

from chaosharness.orchestrators.temporal import jobs
from chaosharness.orchestrators.temporal.limits import retry_policy
from chaosharness.orchestrators.temporal.protos import (
    duration_text,
    failure_json,
    fields_json,
    payloads_json,
)

__all__ = [
    "CLOSING_COMMANDS",
    "COMMAND_OF",
    "NOT_MODELLED",
    "SERVER_FORM",
    "Commanded",
    "Marker",
    "kind_of",
]


@attrs.frozen
class Marker:
    """That a local activity has ended: a command of the worker's own."""

    seq: int
    attributes: Mapping[str, Any]


Commanded = WorkflowCommand | Marker


def kind_of(command: Commanded) -> str:
    """What is commanded; empty for nothing."""
    if isinstance(command, Marker):
        return "record_local_activity"
    return command.WhichOneof("variant") or ""


class Known(Protocol):
    """What a worker knows of a run, as far as its commands name it."""

    activities: dict[str, int]
    children: dict[str, int]
    child_ids: dict[int, str]
    patches: set[str]
    accepted: set[str]
    run_id: str


CLOSING_COMMANDS: Final = frozenset(
    {
        "complete_workflow_execution",
        "fail_workflow_execution",
        "cancel_workflow_execution",
        "continue_as_new_workflow_execution",
    }
)
COMMAND_OF: Final = {
    "TIMER_STARTED": "start_timer",
    "TIMER_CANCELED": "cancel_timer",
    "ACTIVITY_TASK_SCHEDULED": "schedule_activity",
    "ACTIVITY_TASK_CANCEL_REQUESTED": "request_cancel_activity",
    "MARKER_RECORDED": "set_patch_marker",
    "START_CHILD_WORKFLOW_EXECUTION_INITIATED": "start_child_workflow_execution",
    "WORKFLOW_EXECUTION_UPDATE_ACCEPTED": "update_response",
    "WORKFLOW_EXECUTION_UPDATE_COMPLETED": "update_response",
    "WORKFLOW_PROPERTIES_MODIFIED": "modify_workflow_properties",
    "UPSERT_WORKFLOW_SEARCH_ATTRIBUTES": "upsert_workflow_search_attributes",
    "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED": "signal_external_workflow_execution",
    "REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED": (
        "request_cancel_external_workflow_execution"
    ),
    "WORKFLOW_EXECUTION_COMPLETED": "complete_workflow_execution",
    "WORKFLOW_EXECUTION_FAILED": "fail_workflow_execution",
    "WORKFLOW_EXECUTION_CANCELED": "cancel_workflow_execution",
    "WORKFLOW_EXECUTION_CONTINUED_AS_NEW": "continue_as_new_workflow_execution",
}


_CLOSE_POLICY: Final = {
    2: "PARENT_CLOSE_POLICY_ABANDON",
    3: "PARENT_CLOSE_POLICY_REQUEST_CANCEL",
}


_REUSE_POLICY: Final = {
    2: "WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY",
    3: "WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE",
    4: "WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING",
}
"""Where nothing is said, an id may be used again."""


def _with(told: dict[str, Any], **more: Any) -> dict[str, Any]:
    return told | {key: value for key, value in more.items() if value is not None}


def _headed(headers: Any) -> dict[str, Any] | None:
    """The headers that interceptors add; None for none."""
    return {"fields": fields_json(headers)} if headers else None


def _named(asked: Any) -> dict[str, Any]:
    """The memo and the search attributes that go with a start, where there are any."""
    found: dict[str, Any] = {}
    if asked.memo:
        found["memo"] = {"fields": fields_json(asked.memo)}
    if (indexed := _indexed(asked.search_attributes))["indexedFields"]:
        found["searchAttributes"] = indexed
    return found


def _indexed(attributes: Any) -> dict[str, Any]:
    """Search attributes; before temporalio 1.22 commands had them without a message around."""
    return {"indexedFields": fields_json(getattr(attributes, "indexed_fields", attributes))}


def _start_timer(known: Known, asked: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    lasting = duration_text(asked.start_to_fire_timeout)
    yield "StartTimer", {"timerId": str(asked.seq), "startToFireTimeout": lasting}


def _cancel_timer(known: Known, asked: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "CancelTimer", {"timerId": str(asked.seq)}


def _schedule(known: Known, asked: Any) -> Iterator[tuple[str, dict[str, Any]]]:
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
    arguments = payloads_json(asked.arguments)
    yield "ScheduleActivityTask", _with(told, input=arguments, header=_headed(asked.headers))


def _request_cancel(known: Known, asked: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    scheduled = next(n for n, seq in known.activities.items() if seq == asked.seq)
    yield "RequestCancelActivityTask", {"scheduledEventId": scheduled}


def _patch(known: Known, asked: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "RecordMarker", jobs.patch_marker(asked.patch_id, asked.deprecated)
    yield "UpsertWorkflowSearchAttributes", jobs.patch_attributes(sorted(known.patches))


def _start_child(known: Known, asked: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    told: dict[str, Any] = {
        "namespace": "default",
        "workflowId": asked.workflow_id,
        "workflowType": {"name": asked.workflow_type},
        "parentClosePolicy": _CLOSE_POLICY.get(
            asked.parent_close_policy, "PARENT_CLOSE_POLICY_TERMINATE"
        ),
    }
    if asked.workflow_id_reuse_policy in _REUSE_POLICY:
        told["workflowIdReusePolicy"] = _REUSE_POLICY[asked.workflow_id_reuse_policy]
    if asked.task_queue:
        told["taskQueue"] = {"kind": "TASK_QUEUE_KIND_NORMAL", "name": asked.task_queue}
    for which in ("execution", "run", "task"):
        if asked.HasField(f"workflow_{which}_timeout"):
            lasting = getattr(asked, f"workflow_{which}_timeout")
            told[f"workflow{which.capitalize()}Timeout"] = duration_text(lasting)
    if asked.HasField("retry_policy"):
        told["retryPolicy"] = retry_policy(jobs.policy_json(asked.retry_policy))
    if asked.cron_schedule:
        told["cronSchedule"] = asked.cron_schedule
    given = {**_named(asked), "input": payloads_json(asked.input)}
    yield "StartChildWorkflowExecution", _with(told, **given, header=_headed(asked.headers))


def _cancel_child(known: Known, asked: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    target = {"workflowId": known.child_ids[asked.child_workflow_seq]}
    told = {"namespace": "default", "workflowExecution": target, "childWorkflowOnly": True}
    if asked.reason:
        told["reason"] = asked.reason
    yield "RequestCancelExternalWorkflowExecution", told


def _signal_external(known: Known, asked: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    child = asked.WhichOneof("target") == "child_workflow_id"
    target = asked.child_workflow_id if child else asked.workflow_execution.workflow_id
    told: dict[str, Any] = {
        "namespace": "default",
        "workflowExecution": {"workflowId": target},
        "signalName": asked.signal_name,
    }
    if child:
        told["childWorkflowOnly"] = True
    arguments = payloads_json(asked.args)
    given = {"input": arguments, "header": _headed(asked.headers)}
    yield "SignalExternalWorkflowExecution", _with(told, **given)


def _cancel_external(known: Known, asked: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    target = {"workflowId": asked.workflow_execution.workflow_id}
    reason = f"Cancel requested by workflow with run id {known.run_id} with reason: {asked.reason}"
    told = {"namespace": "default", "workflowExecution": target, "reason": reason}
    yield "RequestCancelExternalWorkflowExecution", told


def _memo(known: Known, asked: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    fields = fields_json(asked.upserted_memo.fields)
    yield "ModifyWorkflowProperties", {"upsertedMemo": {"fields": fields}}


def _search(known: Known, asked: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    told = {"searchAttributes": _indexed(asked.search_attributes)}
    yield "UpsertWorkflowSearchAttributes", told


def _update(known: Known, asked: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    told: dict[str, Any] = {"id": asked.protocol_instance_id}
    match asked.WhichOneof("response"):
        case "accepted":
            yield "AcceptUpdate", told
        case "completed":
            outcome = {"success": payloads_json([asked.completed])}
            yield "CompleteUpdate", {**told, "outcome": outcome}
        case _:
            accepted = asked.protocol_instance_id in known.accepted
            outcome = {"failure": failure_json(asked.rejected)}
            yield "CompleteUpdate" if accepted else "RejectUpdate", {**told, "outcome": outcome}


def _local(known: Known, marker: Marker) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "RecordMarker", dict(marker.attributes)


def _complete(known: Known, asked: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    result = payloads_json([asked.result]) if asked.HasField("result") else None
    yield "CompleteWorkflowExecution", _with({}, result=result)


def _fail(known: Known, asked: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "FailWorkflowExecution", {"failure": failure_json(asked.failure)}


def _cancelled(known: Known, asked: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "CancelWorkflowExecution", {}


def _continue(known: Known, asked: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    told: dict[str, Any] = {}
    if asked.workflow_type:
        told["workflowType"] = {"name": asked.workflow_type}
    if asked.task_queue:
        told["taskQueue"] = {"kind": "TASK_QUEUE_KIND_NORMAL", "name": asked.task_queue}
    if asked.HasField("workflow_run_timeout"):
        told["workflowRunTimeout"] = duration_text(asked.workflow_run_timeout)
    if asked.HasField("retry_policy"):
        told["retryPolicy"] = jobs.policy_json(asked.retry_policy)
    given = {**_named(asked), "input": payloads_json(asked.arguments)}
    yield "ContinueAsNewWorkflowExecution", _with(told, **given, header=_headed(asked.headers))


SERVER_FORM: Final = {
    "start_timer": _start_timer,
    "cancel_timer": _cancel_timer,
    "schedule_activity": _schedule,
    "request_cancel_activity": _request_cancel,
    "set_patch_marker": _patch,
    "start_child_workflow_execution": _start_child,
    "cancel_child_workflow_execution": _cancel_child,
    "signal_external_workflow_execution": _signal_external,
    "request_cancel_external_workflow_execution": _cancel_external,
    "modify_workflow_properties": _memo,
    "upsert_workflow_search_attributes": _search,
    "update_response": _update,
    "record_local_activity": _local,
    "complete_workflow_execution": _complete,
    "fail_workflow_execution": _fail,
    "cancel_workflow_execution": _cancelled,
    "continue_as_new_workflow_execution": _continue,
}

NOT_MODELLED: Final = (
    "the workflow commands {!r}, which the Temporal of chaosharness does not model. Modelled are "
    "activities, local ones too, timers, child workflows, signals and cancellation of other "
    "workflows, memos, search attributes, patches and continue-as-new; do this in an activity, or "
    "test this workflow without it."
)
