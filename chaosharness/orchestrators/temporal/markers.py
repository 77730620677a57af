"""How local activities have ended, as the history keeps it: markers.

*Source*: sdk-core, `local_activity_state_machine.rs`; markers recorded with temporalio 1.35.0
(rule T29).
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

import attrs
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.failure.v1 import ActivityFailureInfo, CanceledFailureInfo, Failure
from temporalio.bridge.proto.activity_result import (
    ActivityResolution,
    Cancellation,
    DoBackoff,
    Success,
)
from temporalio.bridge.proto.activity_result import Failure as ActivityFailed
from temporalio.bridge.proto.workflow_activation import ResolveActivity, WorkflowActivationJob

from chaosharness.orchestrators.temporal.commands import LOCAL_MARKER
from chaosharness.orchestrators.temporal.protos import (
    as_failure,
    as_payloads,
    encoded,
    stamp,
)

__all__ = ["NAME", "End", "Kept", "cancelled", "job", "kept", "marker"]

NAME: Final = LOCAL_MARKER


@attrs.frozen
class End:
    """How a local activity has ended.

    Args:
        seq: Its number in the workflow.
        attempt: The attempt that ended.
        result: Payloads, as Temporal's JSON has them.
        failure: A failure, likewise; with neither it returned nothing.
        backoff_ms: How long the workflow itself waits before the next attempt; None: it is over.
        first_ms: When its first attempt was asked for.
    """

    seq: int
    attempt: int = 1
    result: Any = None
    failure: Mapping[str, Any] | None = None
    backoff_ms: int | None = None
    first_ms: int = 0


@attrs.frozen
class Kept:
    """An end that a history has: the number of the waking that told of it, and when that was."""

    end: End
    number: int
    completed: Timestamp
    attributes: Mapping[str, Any]


def cancelled(seq: int) -> End:
    """The end of one that is to stop."""
    return End(seq, 0, failure={"message": "Activity cancelled", "canceledFailureInfo": {}})


def marker(asked: Any, end: End, now_ms: int, number: int) -> dict[str, Any]:
    """What the history keeps of an end, which tells the workflow in its `number`th waking of it."""
    data = {
        "seq": end.seq,
        "attempt": end.attempt,
        "activity_id": asked.activity_id,
        "activity_type": asked.activity_type,
        "complete_time": _seconds(now_ms),
        "backoff": None if end.backoff_ms is None else _parts(end.backoff_ms),
        "original_schedule_time": _seconds(end.first_ms),
        "activation_index": number,
    }
    details: dict[str, Any] = {"data": {"payloads": [encoded(data)]}}
    if end.result is not None:
        details["result"] = end.result
    told: dict[str, Any] = {"markerName": NAME, "details": details}
    if end.failure is not None:
        told["failure"] = dict(end.failure)
    return told


def _parts(milliseconds: int) -> dict[str, int]:
    whole, rest = divmod(milliseconds, 1000)
    return {"seconds": whole, "nanos": rest * 1_000_000}


def _seconds(at_ms: int) -> dict[str, int]:
    at = stamp(at_ms)
    return {"seconds": at.seconds, "nanos": at.nanos}


def kept(attributes: Mapping[str, Any]) -> Kept:
    """Read a marker."""
    payload = attributes["details"]["data"]["payloads"][0]
    data = json.loads(base64.b64decode(payload["data"]))
    backoff = data.get("backoff")
    end = End(
        data["seq"],
        data["attempt"],
        attributes["details"].get("result"),
        attributes.get("failure"),
        None if backoff is None else backoff["seconds"] * 1000 + backoff["nanos"] // 1_000_000,
    )
    told = {k: v for k, v in attributes.items() if k != "workflowTaskCompletedEventId"}
    return Kept(end, data.get("activation_index", 0), Timestamp(**data["complete_time"]), told)


def job(end: End) -> WorkflowActivationJob:
    """What the workflow is told of an end."""
    if end.backoff_ms is not None:
        lasting = Duration()
        lasting.FromMilliseconds(end.backoff_ms)
        again = DoBackoff(
            attempt=end.attempt + 1,
            backoff_duration=lasting,
            original_schedule_time=stamp(end.first_ms),
        )
        result = ActivityResolution(backoff=again)
    elif end.failure is None:
        payloads = as_payloads(end.result)
        result = ActivityResolution(
            completed=Success(result=payloads[0]) if payloads else Success()
        )
    elif "canceledFailureInfo" in end.failure:
        cause = Failure(message="Activity cancelled", canceled_failure_info=CanceledFailureInfo())
        failure = Failure(
            message="Activity cancelled", cause=cause, activity_failure_info=ActivityFailureInfo()
        )
        result = ActivityResolution(cancelled=Cancellation(failure=failure))
    else:
        failure = as_failure(end.failure)
        if failure.HasField("timeout_failure_info"):
            failure = Failure(
                message="Activity timed out",
                cause=failure,
                activity_failure_info=ActivityFailureInfo(),
            )
        result = ActivityResolution(failed=ActivityFailed(failure=failure))
    told = ResolveActivity(seq=end.seq, result=result, is_local=True)
    return WorkflowActivationJob(resolve_activity=told)
