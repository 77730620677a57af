"""The server's API for users' own client code: a `temporalio.client.Client` on our server.

*Source*: temporalio 1.35.0, `temporalio/service.py` (`ServiceClient._rpc_call`); Temporal API,
`workflowservice/v1`.
*Not modelled*: batch operations, reset, worker versions.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Final

import temporalio.activity
import temporalio.client
import temporalio.service
import temporalio.workflow
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import MessageToDict, ParseDict
from temporalio.api.common.v1 import GrpcStatus
from temporalio.api.errordetails.v1 import WorkflowExecutionAlreadyStartedFailure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.service import RPCError, RPCStatusCode

from chaosharness.errors import InvalidDefinition
from chaosharness.externals.request import Server, call
from chaosharness.kernel.places import asked_at
from chaosharness.kernel.scope import SCOPE, Scope
from chaosharness.orchestrators.temporal import starting, updates
from chaosharness.orchestrators.temporal.asking import (
    QUERY_MS,
    Patient,
    Polls,
    Question,
    UpdateWaiter,
    in_time,
)
from chaosharness.orchestrators.temporal.by_hand import BY_HAND, run_of
from chaosharness.orchestrators.temporal.chains import first_of_cron
from chaosharness.orchestrators.temporal.listing import LISTINGS, told_of
from chaosharness.orchestrators.temporal.protos import (
    event_json,
    fields_json,
    payloads_json,
)
from chaosharness.orchestrators.temporal.refusals import (
    RUN_ENDED,
    Refused,
    invalid,
    not_found,
)
from chaosharness.orchestrators.temporal.run import Run, Update
from chaosharness.orchestrators.temporal.schedules import SCHEDULES
from chaosharness.orchestrators.temporal.sizes import check_request
from chaosharness.orchestrators.temporal.visibility import STATUSES, records, typed, unsearchable

__all__ = ["answer", "client_of", "names_of", "service_of", "unavailable"]

_STATUS: Final = {
    "NOT_FOUND": RPCStatusCode.NOT_FOUND,
    "INVALID_ARGUMENT": RPCStatusCode.INVALID_ARGUMENT,
    "ALREADY_EXISTS": RPCStatusCode.ALREADY_EXISTS,
    "RESOURCE_EXHAUSTED": RPCStatusCode.RESOURCE_EXHAUSTED,
}
NOT_OPEN, NOT_COMPLETED_CLEANLY = 2, 3
COMPLETED_STAGE: Final = 3
USE_EXISTING: Final = 2
_RUN_STATUS: Final = {status: number for number, status in enumerate(STATUSES, 1)}


def unavailable(words: str, how: str) -> RPCError:
    """What a client sees when the server does not answer, or is away."""
    code = RPCStatusCode.DEADLINE_EXCEEDED if how == "timeout" else RPCStatusCode.UNAVAILABLE
    return RPCError(words, code, b"")


def names_of(
    workflows: Iterable[type], activities: Iterable[Callable[..., Any]], service: str
) -> tuple[dict[str, type], dict[str, Callable[..., Any]]]:
    """Workflow classes and activities by their names.

    Raises:
        InvalidDefinition: One of them is not decorated.
    """
    by_name: dict[str, type] = {}
    for workflow in workflows:
        try:
            definition = temporalio.workflow._Definition.must_from_class(workflow)
        except ValueError:
            raise InvalidDefinition(
                f"service {service!r} has a worker with the workflow {workflow!r}, which is no "
                "class with @workflow.defn"
            ) from None
        _add(by_name, definition.name or "", workflow, f"service {service!r}", "workflow")
    functions: dict[str, Callable[..., Any]] = {}
    for activity in activities:
        try:
            found = temporalio.activity._Definition.must_from_callable(activity)
        except (TypeError, AttributeError):
            raise InvalidDefinition(
                f"service {service!r} has a worker with the activity {activity!r}, which is no "
                "function with @activity.defn"
            ) from None
        _add(functions, found.name or "", activity, f"service {service!r}", "activity")
    return by_name, functions


def _add(known: dict[str, Any], name: str, one: Any, who: str, what: str) -> None:
    """Keep a workflow or an activity under its name; without one it takes any."""
    if name in known:
        words = f"more than one {what} named {name!r}" if name else f"more than one dynamic {what}"
        raise InvalidDefinition(f"{who} has a worker with {words}: give each another name")
    known[name] = one


class _Service(temporalio.service.ServiceClient):
    """Temporal's service client, with the harness's server behind it."""

    def __init__(self, engine: Any, config: temporalio.service.ConnectConfig) -> None:
        super().__init__(config)
        self.engine = engine

    @property
    def worker_service_client(self) -> Any:
        raise InvalidDefinition(
            "temporalio: another client for a worker that is there is not modelled: make another "
            "Worker, with that client"
        )

    def update_rpc_metadata(self, metadata: Mapping[str, str | bytes]) -> None:
        """Keep nothing."""

    def update_api_key(self, api_key: str | None) -> None:
        """Keep nothing."""

    async def _rpc_call(
        self,
        rpc: str,
        req: Any,
        resp_type: Any,
        *,
        service: str,
        retry: bool,
        metadata: Mapping[str, str | bytes],
        timeout: timedelta | None,
    ) -> Any:
        engine = self.engine
        words = {"method": rpc, **_shown(rpc, req)}
        if "workflow" in words and rpc != "create_schedule":
            type, queue = req.workflow_type.name, req.task_queue.name
            engine.registry.started_at(req.workflow_id, queue, type, asked_at)
        asked: Server = engine
        if _waits(rpc, req):
            asked = Patient(engine, engine.polls.timeout_ms(SCOPE.get(), req))
        elif rpc == "query_workflow":
            asked = Patient(engine, QUERY_MS)
        return await call(f"{engine.name}.{rpc}", asked, (rpc, req, resp_type), words)


def service_of(
    engine: Server, config: temporalio.service.ConnectConfig | None = None
) -> temporalio.service.ServiceClient:
    """Return what a client of the library speaks with; `config` is what it was connected with."""
    if config is None:
        config = temporalio.service.ConnectConfig(target_host="chaosharness", identity="client")
    return _Service(engine, config)


def _waits(rpc: str, req: Any) -> bool:
    """Whether the server holds its answer back until there is something to tell."""
    if rpc == "get_workflow_execution_history":
        return bool(req.wait_new_event)
    return rpc in _HELD


_HELD: Final = frozenset(
    ("execute_multi_operation", "poll_workflow_execution_update", "update_workflow_execution")
)
"""Requests about an update of a workflow: that of a schedule, say, is answered at once."""


def client_of(engine: Any) -> temporalio.client.Client:
    """Return the client that users' code knows, with the converter and interceptors it is given."""
    definition = engine.definition
    return temporalio.client.Client(
        service_of(engine),
        data_converter=engine.converter,
        interceptors=[
            one for one in definition.interceptors if isinstance(one, temporalio.client.Interceptor)
        ],
    )


def _shown(rpc: str, req: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in ("workflow_id", "signal_name"):
        if getattr(req, field, ""):
            found[field] = getattr(req, field)
    execution = getattr(req, "workflow_execution", None) or getattr(req, "execution", None)
    if execution is not None and execution.workflow_id:
        found["workflow_id"] = execution.workflow_id
    if hasattr(req, "workflow_type") and req.workflow_type.name:
        found["workflow"] = req.workflow_type.name
    return found


def answer(engine: Any, caller: Scope, request: Any, reply: Callable[..., None]) -> None:
    """Carry out one request and answer it, now or later."""
    rpc, req, resp_type = request
    handler = _HANDLERS.get(rpc)
    if handler is None:
        engine.world.refuse(InvalidDefinition(_not_modelled(rpc)))
        return
    try:
        check_request(req)
        found = handler(engine, caller, req, resp_type, reply)
    except Refused as refused:
        reply(None, _error(refused, req), happened=False)
        return
    except InvalidDefinition as error:
        engine.world.refuse(error)
        return
    if found is not None:
        reply(found, None)


def _not_modelled(rpc: str) -> str:
    what = f"the client asks the Temporal server for {rpc!r}: not modelled"
    return f"{what}. Leave it out of what is tested, or put it behind a port of your own"


def _pinned(req: Any) -> str:
    return (
        f"workflow {req.workflow_type.name!r} ({req.workflow_id}) is started with a pinned "
        "versioning_override: worker versioning, pinned and auto-upgrade, is not modelled. Leave "
        "it out of what is tested. What a deploy does to workflows that run is tried with "
        "service(..., previous=...) and a Redeploy"
    )


def _error(refused: Refused, req: Any) -> RPCError:
    raw = GrpcStatus(code=int(_STATUS[refused.status]), message=refused.message)
    if refused.status == "ALREADY_EXISTS":
        detail = AnyMessage()
        detail.Pack(WorkflowExecutionAlreadyStartedFailure(start_request_id="", run_id=""))
        raw.details.append(detail)
    return RPCError(refused.message, _STATUS[refused.status], raw.SerializeToString())


def _start(engine: Any, caller: Scope, req: Any, resp_type: Any, reply: Any) -> Any:
    known = len(engine.server.runs.get(req.workflow_id, ()))
    run = _begin(engine, caller, req)
    started = len(engine.server.runs[req.workflow_id]) > known
    return resp_type(run_id=run.run_id, started=started)


def _begin(engine: Any, caller: Scope, req: Any) -> Run:
    asked = engine.asked.get(req.request_id)
    if asked is not None and req.request_id:
        return asked[1]  # type: ignore[no-any-return]  # the client repeats a request of its own (T21)
    server = engine.server
    if starting.is_pinned(req):
        raise InvalidDefinition(_pinned(req))
    limits = starting.limits_of(req, server.now_ms)
    delay_ms = starting.delay_ms(req)
    if limits.cron and delay_ms:
        raise invalid("CronSchedule and WorkflowStartDelay may not be used together.")
    cron_ms, of_cron = first_of_cron(limits, server.now_ms)
    more = _given(req)
    named = more.get("searchAttributes", {}).get("indexedFields", {})
    if named:
        more["searchAttributes"] = {"indexedFields": typed(named, server.searchable)}
    if (refused := unsearchable(named, server.searchable)) is not None:
        raise refused
    runs = server.runs.get(req.workflow_id, [])
    ends = partial(server.terminate, req.workflow_id, "TerminateIfRunning WorkflowIdReusePolicy")
    existing = starting.allowed(runs, req, ends)
    if existing is not None:
        return existing
    timeout = round(req.workflow_task_timeout.ToNanoseconds() / 1e6) or 10_000
    run: Run = engine.server.start(
        req.workflow_id,
        req.workflow_type.name,
        req.task_queue.name,
        input=payloads_json(req.input.payloads),
        task_timeout_ms=timeout,
        extra={**of_cron, **more},
        wait_ms=delay_ms or cron_ms,
        limits=limits,
    )
    for lasting in filter(None, (limits.run_ms, limits.execution_ms)):
        engine.world.know_timeout(lasting)
    engine.asked[req.request_id] = (req.workflow_id, run)
    engine.begun(run, caller)
    return run


def _given(req: Any) -> dict[str, Any]:
    """The memo, the search attributes and the headers of a start, where there are any."""
    found = {}
    if req.memo.fields:
        found["memo"] = {"fields": fields_json(req.memo.fields)}
    if req.search_attributes.indexed_fields:
        named = fields_json(req.search_attributes.indexed_fields)
        found["searchAttributes"] = {"indexedFields": named}
    return {**found, **_header(req)}


def _header(req: Any) -> dict[str, Any]:
    fields = fields_json(req.header.fields)
    return {"header": {"fields": fields}} if fields else {}


def _caused(engine: Any, caller: Scope, workflow_id: str) -> None:
    """What the run does next is caused by who has told it something."""
    engine.scope_of(engine.server.find(workflow_id)).cause = caller.cause


def _signal(engine: Any, caller: Scope, req: Any, resp_type: Any, reply: Any) -> Any:
    workflow_id = req.workflow_execution.workflow_id
    if req.request_id and req.request_id in engine.asked:
        return resp_type()
    told = payloads_json(req.input.payloads)
    engine.server.signal(workflow_id, req.signal_name, told, **_header(req))
    engine.asked[req.request_id] = (workflow_id, engine.server.find(workflow_id))
    _caused(engine, caller, workflow_id)
    return resp_type()


def _signal_with_start(engine: Any, caller: Scope, req: Any, resp_type: Any, reply: Any) -> Any:
    runs = engine.server.runs.get(req.workflow_id)
    running = bool(runs) and runs[-1].status == "RUNNING"
    run = runs[-1] if running else _begin(engine, caller, req)
    if running and "initiator" not in run.begun_with and not run.limits.cron:
        run.not_before_ms = 0  # the rest of a delay is left out (T34)
    told = payloads_json(req.signal_input.payloads)
    engine.server.signal(req.workflow_id, req.signal_name, told, **_header(req))
    return resp_type(run_id=run.run_id)


def _cancel(engine: Any, caller: Scope, req: Any, resp_type: Any, reply: Any) -> Any:
    engine.server.cancel(req.workflow_execution.workflow_id)
    _caused(engine, caller, req.workflow_execution.workflow_id)
    return resp_type()


def _terminate(engine: Any, caller: Scope, req: Any, resp_type: Any, reply: Any) -> Any:
    details = payloads_json(req.details.payloads)
    reason = req.reason or "terminated by user via frontend"
    engine.server.terminate(req.workflow_execution.workflow_id, reason, details)
    return resp_type()


def _query(engine: Any, caller: Scope, req: Any, resp_type: Any, reply: Any) -> Any:
    run = run_of(engine, req.execution)
    condition = req.query_reject_condition
    closed = run.status != "RUNNING"
    if closed and (condition == NOT_OPEN or (condition == NOT_COMPLETED_CLEANLY
                                             and run.status != "COMPLETED")):  # fmt: skip
        found = resp_type()
        found.query_rejected.status = _RUN_STATUS[run.status]
        return found

    def answered(result: Any, error: BaseException | None) -> None:
        if error is not None:
            words = f"the workflow cannot be asked: {error}"
            reply(None, RPCError(words, RPCStatusCode.INVALID_ARGUMENT, b""), happened=False)
        elif result.WhichOneof("variant") == "failed":
            words = result.failed.message
            reply(None, RPCError(words, RPCStatusCode.INVALID_ARGUMENT, b""), happened=False)
        else:
            found = resp_type()
            found.query_result.payloads.append(result.succeeded.response)
            reply(found, None)

    asked = req.query
    engine.asks.append(
        Question(
            run,
            asked.query_type,
            [*asked.query_args.payloads],
            dict(asked.header.fields),
            answered,
            engine.world.now,
        )
    )
    return None


def _update(engine: Any, caller: Scope, req: Any, resp_type: Any, reply: Any) -> Any:
    run = run_of(engine, req.workflow_execution)
    request = MessageToDict(req.request)
    update = engine.server.update(run.workflow_id, req.request.meta.update_id, request)
    _caused(engine, caller, run.workflow_id)
    wanted = _stage_name(req.wait_policy.lifecycle_stage)
    return _when_it_is_so_far(engine, caller, req, run, update, wanted, resp_type, reply)


def _poll_update(engine: Any, caller: Scope, req: Any, resp_type: Any, reply: Any) -> Any:
    run = run_of(engine, req.update_ref.workflow_execution)
    update = run.updates.get(req.update_ref.update_id)
    if update is None:
        raise not_found(f"update {req.update_ref.update_id!r} not found")
    wanted = _stage_name(req.wait_policy.lifecycle_stage)
    return _when_it_is_so_far(engine, caller, req, run, update, wanted, resp_type, reply)


def _when_it_is_so_far(
    engine: Any,
    caller: Scope,
    req: Any,
    run: Run,
    update: Update,
    wanted: str,
    resp_type: Any,
    reply: Any,
) -> Any:
    polls: Polls = engine.polls

    def told() -> Any:
        if update.lost:
            raise not_found(RUN_ENDED)
        found = resp_type()
        found.stage = 3 if update.stage == "COMPLETED" else 2
        found.update_ref.workflow_execution.workflow_id = run.workflow_id
        found.update_ref.workflow_execution.run_id = run.run_id
        found.update_ref.update_id = update.id
        if update.outcome is not None:
            ParseDict(update.outcome, found.outcome)
        return found

    if updates.is_over(update, wanted=wanted):
        return told()

    def later() -> None:
        try:
            reply(told(), None)
        except Refused as refused:
            reply(None, _error(refused, None), happened=False)

    def late() -> None:
        engine.updates.remove(waiter)
        polls.in_vain(caller, req)
        reply(resp_type(), None)  # the client asks again

    held = in_time(engine.world, later, late, polls.hold_ms(caller, req))
    waiter = UpdateWaiter(update, wanted, held)
    engine.updates.append(waiter)
    return None


def _stage_name(stage: int) -> str:
    return "COMPLETED" if stage >= COMPLETED_STAGE else "ACCEPTED"


def _start_and_update(engine: Any, caller: Scope, req: Any, resp_type: Any, reply: Any) -> Any:
    """A start and an update at once: the update comes with the first workflow task (T27)."""
    start, update = req.operations[0].start_workflow, req.operations[1].update_workflow
    runs = engine.server.runs.get(start.workflow_id)
    running = bool(runs) and runs[-1].status == "RUNNING"
    known = engine.asked.get(start.request_id)
    if running and known is None and start.workflow_id_conflict_policy != USE_EXISTING:
        _begin(engine, caller, start)  # is refused
    run = runs[-1] if running else _begin(engine, caller, start)
    update.workflow_execution.workflow_id = run.workflow_id

    def answered(found: Any, error: Any, **more: Any) -> None:
        if error is not None:
            reply(None, error, **more)
            return
        reply(both(found), None)

    def both(found: Any) -> Any:
        told = resp_type()
        first, second = told.responses.add(), told.responses.add()
        first.start_workflow.run_id, first.start_workflow.started = run.run_id, not running
        second.update_workflow.CopyFrom(found)
        return told

    kind = type(resp_type().responses.add().update_workflow)
    found = _update(engine, caller, update, kind, answered)
    return None if found is None else both(found)


def _history(engine: Any, caller: Scope, req: Any, resp_type: Any, reply: Any) -> Any:
    run = run_of(engine, req.execution)
    closing = req.history_event_filter_type == 2

    def events(run: Run) -> Any:
        found = resp_type()
        kept = [_last_of(run)] if closing else run.events
        for event in kept:
            found.history.events.append(ParseDict(event_json(event), HistoryEvent()))
        return found

    if not req.wait_new_event or run.status != "RUNNING":
        return events(run)
    watchers = engine.watchers.setdefault(run.run_id, [])
    polls: Polls = engine.polls

    def late() -> None:
        watchers.remove(waiting)
        polls.in_vain(caller, req)
        found = resp_type()
        found.next_page_token = b"more"  # the client asks again
        reply(found, None)

    waiting = in_time(
        engine.world, lambda ended: reply(events(ended), None), late, polls.hold_ms(caller, req)
    )
    watchers.append(waiting)
    return None


def _last_of(run: Run) -> dict[str, Any]:
    """The end of a run, as clients that cannot follow it are told: where another one follows it
    says so, and nothing else (`makeFakeContinuedAsNewEvent` of the frontend)."""
    last = run.events[-1]
    [attributes] = [value for key, value in last.items() if key.endswith("EventAttributes")]
    following = attributes.get("newExecutionRunId")
    if following is None:
        return last
    key = "workflowExecutionContinuedAsNewEventAttributes"
    kind = "EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW"
    kept = {name: last[name] for name in ("eventId", "eventTime")}
    return {**kept, "eventType": kind, key: {"newExecutionRunId": following}}


def _describe(engine: Any, caller: Scope, req: Any, resp_type: Any, reply: Any) -> Any:
    run = run_of(engine, req.execution)
    found = resp_type()
    [record] = records([run], engine.world.now)  # of the store itself: it is never old
    found.workflow_execution_info.CopyFrom(told_of(record))
    found.workflow_execution_info.history_length = len(run.events)
    return found


def _system_info(engine: Any, caller: Scope, req: Any, resp_type: Any, reply: Any) -> Any:
    return resp_type()


_HANDLERS: Final[dict[str, Callable[..., Any]]] = {
    "start_workflow_execution": _start,
    "signal_workflow_execution": _signal,
    "signal_with_start_workflow_execution": _signal_with_start,
    "request_cancel_workflow_execution": _cancel,
    "terminate_workflow_execution": _terminate,
    "query_workflow": _query,
    "update_workflow_execution": _update,
    "poll_workflow_execution_update": _poll_update,
    "execute_multi_operation": _start_and_update,
    "get_workflow_execution_history": _history,
    "describe_workflow_execution": _describe,
    "get_system_info": _system_info,
    **BY_HAND,
    **LISTINGS,
    **SCHEDULES,
}
