"""Events of a history as the jobs that wake a workflow.

*Source*: `workflow_activation.proto` and the state machines of sdk-core (rules T8, T16).
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import ParseDict
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import RetryState, TimeoutType
from temporalio.api.failure.v1 import (
    ActivityFailureInfo,
    ApplicationFailureInfo,
    CanceledFailureInfo,
    ChildWorkflowExecutionFailureInfo,
    Failure,
)
from temporalio.api.update.v1 import Meta
from temporalio.bridge.proto.activity_result import ActivityResolution, Cancellation, Success
from temporalio.bridge.proto.activity_result import Failure as ActivityFailed
from temporalio.bridge.proto.child_workflow import Cancellation as ChildCancelled
from temporalio.bridge.proto.child_workflow import ChildWorkflowResult
from temporalio.bridge.proto.child_workflow import Failure as ChildFailed
from temporalio.bridge.proto.child_workflow import Success as ChildSucceeded
from temporalio.bridge.proto.workflow_activation import (
    CancelWorkflow,
    DoUpdate,
    FireTimer,
    InitializeWorkflow,
    NotifyHasPatch,
    QueryWorkflow,
    ResolveActivity,
    ResolveChildWorkflowExecution,
    ResolveChildWorkflowExecutionStart,
    ResolveChildWorkflowExecutionStartCancelled,
    ResolveChildWorkflowExecutionStartFailure,
    ResolveChildWorkflowExecutionStartSuccess,
    ResolveRequestCancelExternalWorkflow,
    ResolveSignalExternalWorkflow,
    SignalWorkflow,
    WorkflowActivationJob,
)

from chaosharness.orchestrators.temporal.protos import (
    as_failure,
    as_payloads,
    duration_text,
    encoded,
    given_fields,
    stamp,
)
from chaosharness.orchestrators.temporal.run import milliseconds

Attributes = Mapping[str, Any]

ACTIVITY_ENDS: Final = frozenset(
    f"ACTIVITY_TASK_{how}" for how in ("COMPLETED", "FAILED", "CANCELED", "TIMED_OUT")
)
_OF_AN_ACTIVITY: Final = ("scheduledEventId", "startedEventId", "retryState")
START_TO_CLOSE: Final = TimeoutType.Value("TIMEOUT_TYPE_START_TO_CLOSE")
_HOW_CHILDREN_END: Final = {
    "CANCELED": ("cancelled", ""),
    "TIMED_OUT": ("timed out", "Timed out"),
    "TERMINATED": ("terminated", "Terminated"),
}
CHILD_ENDS: Final = frozenset(
    f"CHILD_WORKFLOW_EXECUTION_{how}"
    for how in ("COMPLETED", "FAILED", "CANCELED", "TIMED_OUT", "TERMINATED")
)


def initialize(attributes: Attributes, event: Attributes) -> WorkflowActivationJob:
    """The first job of a run."""
    timeout = Duration()
    timeout.FromMilliseconds(milliseconds(attributes.get("workflowTaskTimeout", "10s")))
    parent = attributes.get("parentWorkflowExecution")
    started = InitializeWorkflow(
        workflow_type=attributes["workflowType"]["name"],
        workflow_id=attributes.get("workflowId", ""),
        arguments=as_payloads(attributes.get("input")),
        randomness_seed=1,
        attempt=attributes.get("attempt", 1),
        workflow_task_timeout=timeout,
        first_execution_run_id=attributes.get("firstExecutionRunId", ""),
        continued_from_execution_run_id=attributes.get("continuedExecutionRunId", ""),
        headers=given_fields(attributes.get("header")),
        start_time=stamp(event["eventTime"]),
    )
    started.cron_schedule = attributes.get("cronSchedule", "")
    ParseDict(attributes.get("lastCompletionResult", {}), started.last_completion_result)
    if "continuedFailure" in attributes:
        started.continued_failure.CopyFrom(as_failure(attributes["continuedFailure"]))
    ParseDict(attributes.get("memo", {}), started.memo)
    ParseDict(attributes.get("searchAttributes", {}), started.search_attributes)
    if parent:
        told = {"namespace": "default", **parent}
        ParseDict(told, started.parent_workflow_info)
    return WorkflowActivationJob(initialize_workflow=started)


def signal(attributes: Attributes, event_id: int) -> WorkflowActivationJob:
    """A signal."""
    told = SignalWorkflow(
        signal_name=attributes["signalName"],
        input=as_payloads(attributes.get("input")),
        headers=given_fields(attributes.get("header")),
    )
    if hasattr(told, "originating_event_id"):  # from temporalio 1.33 on
        told.originating_event_id = event_id
    return WorkflowActivationJob(signal_workflow=told)


def update(id: str, request: Attributes, *, validate: bool) -> WorkflowActivationJob:
    """An update; one that was accepted before is not validated again (T27)."""
    asked = request["input"]
    told = DoUpdate(
        id=id,
        protocol_instance_id=id,
        name=asked["name"],
        input=as_payloads(asked.get("args")),
        headers=given_fields(asked.get("header")),
        meta=ParseDict(dict(request["meta"]), Meta()),
        run_validator=validate,
    )
    return WorkflowActivationJob(do_update=told)


def query(name: str, arguments: Any, headers: Any) -> WorkflowActivationJob:
    """A question."""
    told = QueryWorkflow(
        query_id="legacy_query", query_type=name, arguments=arguments, headers=headers
    )
    return WorkflowActivationJob(query_workflow=told)


def cancel() -> WorkflowActivationJob:
    """The run was asked to end."""
    return WorkflowActivationJob(cancel_workflow=CancelWorkflow())


def timer(seq: int) -> WorkflowActivationJob:
    """A timer has fired."""
    return WorkflowActivationJob(fire_timer=FireTimer(seq=seq))


def patch(name: str) -> WorkflowActivationJob:
    """The history has this patch."""
    return WorkflowActivationJob(notify_has_patch=NotifyHasPatch(patch_id=name))


def activity(
    seq: int, kind: str, attributes: Attributes, asked: tuple[str, str]
) -> WorkflowActivationJob:
    """An activity has ended; `asked` is its id and its type."""
    if kind == "ACTIVITY_TASK_COMPLETED":
        result = as_payloads(attributes.get("result"))
        done = Success(result=result[0]) if result else Success()
        return _resolved(seq, ActivityResolution(completed=done))
    if kind == "ACTIVITY_TASK_CANCELED":
        return activity_cancelled(seq)
    word = "timed out" if kind.endswith("TIMED_OUT") else "failed"
    failure = Failure(
        message=f"Activity task {word}",
        cause=as_failure(attributes["failure"]),
        activity_failure_info=_activity_info(attributes, asked),
    )
    return _resolved(seq, ActivityResolution(failed=ActivityFailed(failure=failure)))


def _activity_info(attributes: Attributes, asked: tuple[str, str]) -> ActivityFailureInfo:
    told = {
        "activityId": asked[0],
        "activityType": {"name": asked[1]},
        **{k: attributes[k] for k in _OF_AN_ACTIVITY if k in attributes},
    }
    return ParseDict(told, ActivityFailureInfo())


def activity_cancelled(seq: int) -> WorkflowActivationJob:
    """An activity is cancelled, as far as the workflow sees."""
    cause = Failure(message="Activity cancelled", canceled_failure_info=CanceledFailureInfo())
    failure = Failure(
        message="Activity cancelled", cause=cause, activity_failure_info=ActivityFailureInfo()
    )
    return _resolved(seq, ActivityResolution(cancelled=Cancellation(failure=failure)))


def _resolved(seq: int, result: ActivityResolution) -> WorkflowActivationJob:
    return WorkflowActivationJob(resolve_activity=ResolveActivity(seq=seq, result=result))


def child_started(seq: int, attributes: Attributes) -> WorkflowActivationJob:
    """A child workflow runs."""
    begun = ResolveChildWorkflowExecutionStartSuccess(
        run_id=attributes["workflowExecution"]["runId"]
    )
    told = ResolveChildWorkflowExecutionStart(seq=seq, succeeded=begun)
    return WorkflowActivationJob(resolve_child_workflow_execution_start=told)


def child_refused(seq: int, attributes: Attributes) -> WorkflowActivationJob:
    """A child workflow was not started: its id is in use."""
    refused = ResolveChildWorkflowExecutionStartFailure(
        workflow_id=attributes["workflowId"],
        workflow_type=attributes["workflowType"]["name"],
        cause=1,  # type: ignore[arg-type]
    )
    told = ResolveChildWorkflowExecutionStart(seq=seq, failed=refused)
    return WorkflowActivationJob(resolve_child_workflow_execution_start=told)


def child(seq: int, kind: str, attributes: Attributes) -> WorkflowActivationJob:
    """A child workflow has ended."""
    if kind.endswith("COMPLETED"):
        result = as_payloads(attributes.get("result"))
        done = ChildSucceeded(result=result[0]) if result else ChildSucceeded()
        found = ChildWorkflowResult(completed=done)
    else:
        info = ChildWorkflowExecutionFailureInfo(
            namespace="default",
            workflow_execution=WorkflowExecution(
                workflow_id=attributes["workflowExecution"]["workflowId"],
                run_id=attributes["workflowExecution"]["runId"],
            ),
        )
        info.workflow_type.name = attributes["workflowType"]["name"]
        ended = kind.removeprefix("CHILD_WORKFLOW_EXECUTION_")
        how, why = _HOW_CHILDREN_END.get(ended, ("failed", ""))
        if how == "terminated":
            info.retry_state = RetryState.Value("RETRY_STATE_NON_RETRYABLE_FAILURE")
        elif "retryState" in attributes:
            info.retry_state = RetryState.Value(attributes["retryState"])
        failure = Failure(
            message=f"Child Workflow execution {how}",
            child_workflow_execution_failure_info=info,
        )
        if why:
            failure.cause.message = why
        if how == "timed out":
            failure.cause.timeout_failure_info.timeout_type = START_TO_CLOSE
        elif how == "terminated":
            failure.cause.terminated_failure_info.SetInParent()
        if "failure" in attributes:
            failure.cause.CopyFrom(as_failure(attributes["failure"]))
        if kind.endswith("CANCELED"):
            failure.cause.canceled_failure_info.SetInParent()
            found = ChildWorkflowResult(cancelled=ChildCancelled(failure=failure))
        else:
            found = ChildWorkflowResult(failed=ChildFailed(failure=failure))
    told = ResolveChildWorkflowExecution(seq=seq, result=found)
    return WorkflowActivationJob(resolve_child_workflow_execution=told)


def child_cancelled(seq: int) -> WorkflowActivationJob:
    """A child is cancelled, as far as the workflow sees."""
    cause = Failure(canceled_failure_info=CanceledFailureInfo())
    failure = Failure(
        message="Child Workflow execution cancelled",
        cause=cause,
        child_workflow_execution_failure_info=ChildWorkflowExecutionFailureInfo(),
    )
    found = ChildWorkflowResult(cancelled=ChildCancelled(failure=failure))
    told = ResolveChildWorkflowExecution(seq=seq, result=found)
    return WorkflowActivationJob(resolve_child_workflow_execution=told)


def child_never_started(seq: int, workflow_id: str) -> WorkflowActivationJob:
    """A child that was asked for and cancelled in one go."""
    cause = Failure(
        message="Child Workflow Execution cancelled before scheduled",
        canceled_failure_info=CanceledFailureInfo(),
    )
    info = ChildWorkflowExecutionFailureInfo(
        workflow_execution=WorkflowExecution(workflow_id=workflow_id)
    )
    failure = Failure(
        message="Child Workflow execution cancelled",
        cause=cause,
        child_workflow_execution_failure_info=info,
    )
    cancelled = ResolveChildWorkflowExecutionStartCancelled(failure=failure)
    told = ResolveChildWorkflowExecutionStart(seq=seq, cancelled=cancelled)
    return WorkflowActivationJob(resolve_child_workflow_execution_start=told)


# ---- other workflows

_NOT_FOUND: Final = "ExternalWorkflowExecutionNotFound"
ANSWERED_ELSEWHERE: Final[Mapping[str, str]] = {
    "EXTERNAL_WORKFLOW_EXECUTION_SIGNALED": "",
    "EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED": "",
    "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED": (
        "Unable to signal external workflow because it was not found"
    ),
    "REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED": (
        "Unable to cancel external workflow because not found"
    ),
}
"""Events that say what came of it, and what the workflow is told of those that failed."""


def answered(kind: str, seq: int) -> WorkflowActivationJob:
    """What was asked of another workflow has been told, or could not be."""
    words = ANSWERED_ELSEWHERE[kind]
    failure = None
    if words:
        info = ApplicationFailureInfo(type=_NOT_FOUND)
        failure = Failure(message=words, application_failure_info=info)
    if "SIGNAL" in kind:
        signalled = ResolveSignalExternalWorkflow(seq=seq, failure=failure)
        return WorkflowActivationJob(resolve_signal_external_workflow=signalled)
    cancelled = ResolveRequestCancelExternalWorkflow(seq=seq, failure=failure)
    return WorkflowActivationJob(resolve_request_cancel_external_workflow=cancelled)


def signal_cancelled(seq: int) -> WorkflowActivationJob:
    """A signal that was taken back before any server saw it."""
    failure = Failure(message="Signal was cancelled before being sent",
                      canceled_failure_info=CanceledFailureInfo())  # fmt: skip
    told = ResolveSignalExternalWorkflow(seq=seq, failure=failure)
    return WorkflowActivationJob(resolve_signal_external_workflow=told)


# ---- patches


def patch_marker(name: str, deprecated: bool) -> dict[str, Any]:
    """The marker that `patched` leaves."""
    data = encoded({"id": name, "deprecated": deprecated})
    return {"markerName": "core_patch", "details": {"patch-data": {"payloads": [data]}}}


def patch_attributes(names: list[str]) -> dict[str, Any]:
    """The search attribute that goes with it."""
    value = encoded(names)
    value["metadata"]["type"] = base64.b64encode(b"KeywordList").decode()
    return {"searchAttributes": {"indexedFields": {"TemporalChangeVersion": value}}}


def patch_id(attributes: Attributes) -> str:
    """The id in a patch marker."""
    payload = attributes["details"]["patch-data"]["payloads"][0]
    found: str = json.loads(base64.b64decode(payload["data"]))["id"]
    return found


def policy_json(policy: Any) -> dict[str, Any]:
    """A retry policy as the server keeps it."""
    found: dict[str, Any] = {}
    if policy.HasField("initial_interval"):
        found["initialInterval"] = duration_text(policy.initial_interval)
    if policy.HasField("maximum_interval"):
        found["maximumInterval"] = duration_text(policy.maximum_interval)
    if policy.backoff_coefficient:
        found["backoffCoefficient"] = policy.backoff_coefficient
    if policy.maximum_attempts:
        found["maximumAttempts"] = policy.maximum_attempts
    if policy.non_retryable_error_types:
        found["nonRetryableErrorTypes"] = list(policy.non_retryable_error_types)
    return found
