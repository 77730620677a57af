"""Activities that somebody else completes, by their token or their id.

*Source*: Temporal API, `workflowservice/v1` (`RespondActivityTaskCompleted` and its kin).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from temporalio.api.common.v1 import WorkflowExecution

from chaosharness.kernel.scope import Scope
from chaosharness.orchestrators.temporal.protos import failure_json, payloads_json
from chaosharness.orchestrators.temporal.refusals import not_found
from chaosharness.orchestrators.temporal.run import Run

__all__ = ["BY_HAND", "run_of"]


def run_of(engine: Any, execution: WorkflowExecution) -> Run:
    """The run that a client means: the one with this id, else the latest."""
    runs = engine.server.runs.get(execution.workflow_id, [])
    for run in runs:
        if execution.run_id in ("", run.run_id) and (execution.run_id or run is runs[-1]):
            return run  # type: ignore[no-any-return]
    return engine.server.find(execution.workflow_id)  # type: ignore[no-any-return]


def _activity_token(engine: Any, req: Any) -> str:
    if hasattr(req, "task_token"):
        return str(req.task_token.decode())
    run = run_of(engine, WorkflowExecution(workflow_id=req.workflow_id, run_id=req.run_id))
    for activity in run.activities.values():
        if activity.id == req.activity_id and activity.started:
            return str(activity.token)
    raise not_found(
        f"cannot find pending activity with ActivityID {req.activity_id}, check workflow execution "
        "history for more details"
    )


def _activity_done(engine: Any, caller: Scope, req: Any, resp_type: Any, reply: Any) -> Any:
    token = _activity_token(engine, req)
    _activity_caused(engine, caller, token)
    engine.server.complete_activity(token, payloads_json(req.result.payloads))
    return resp_type()


def _activity_failed(engine: Any, caller: Scope, req: Any, resp_type: Any, reply: Any) -> Any:
    token = _activity_token(engine, req)
    _activity_caused(engine, caller, token)
    engine.server.fail_activity(token, failure_json(req.failure))
    return resp_type()


def _activity_cancelled(engine: Any, caller: Scope, req: Any, resp_type: Any, reply: Any) -> Any:
    token = _activity_token(engine, req)
    engine.server.canceled_activity(token, payloads_json(req.details.payloads))
    return resp_type()


def _activity_beats(engine: Any, caller: Scope, req: Any, resp_type: Any, reply: Any) -> Any:
    token = _activity_token(engine, req)
    asked = engine.server.heartbeat(token, payloads_json(req.details.payloads))
    return resp_type(cancel_requested=asked)


def _activity_caused(engine: Any, caller: Scope, token: str) -> None:
    if (held := engine.server.holders.get(token)) is not None:
        engine.scope_of(held[0]).cause = caller.cause


BY_HAND: Final[Mapping[str, Callable[..., Any]]] = {
    "respond_activity_task_completed": _activity_done,
    "respond_activity_task_completed_by_id": _activity_done,
    "respond_activity_task_failed": _activity_failed,
    "respond_activity_task_failed_by_id": _activity_failed,
    "respond_activity_task_canceled": _activity_cancelled,
    "respond_activity_task_canceled_by_id": _activity_cancelled,
    "record_activity_task_heartbeat": _activity_beats,
    "record_activity_task_heartbeat_by_id": _activity_beats,
}
