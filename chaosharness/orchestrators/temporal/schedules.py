"""The client's API of schedules: create, describe, update, patch, delete, list.

*Source*: Temporal API, `workflowservice/v1` and `schedule/v1`; scripts that begin with `schedule`,
recorded from Temporal Server 1.32.0.
*Not modelled*: `list_schedule_matching_times`, queries of lists, tokens for conflicts.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from google.protobuf.json_format import MessageToDict, ParseDict

from chaosharness.kernel.scope import Scope
from chaosharness.orchestrators.temporal import timetables
from chaosharness.orchestrators.temporal.protos import stamp
from chaosharness.orchestrators.temporal.refusals import Refused, invalid, not_found
from chaosharness.orchestrators.temporal.timetables import Timetable

__all__ = ["SCHEDULES"]


def _found(engine: Any, req: Any) -> Timetable:
    found: Timetable | None = engine.server.timetables.get(req.schedule_id)
    if found is None:
        raise not_found("schedule not found")
    return found


def _checked(req: Any) -> dict[str, Any]:
    told = MessageToDict(req.schedule)
    asked = told.get("action", {}).get("startWorkflow", {})
    if not asked.get("workflowId") or not asked.get("workflowType", {}).get("name"):
        raise invalid("WorkflowId is not set on request.")
    return told


def _create(engine: Any, caller: Scope, req: Any, resp_type: Any, reply: Any) -> Any:
    known = engine.server.timetables.get(req.schedule_id)
    if known is not None:
        if known.request_id == req.request_id:
            return resp_type()
        raise Refused("ALREADY_EXISTS", f"schedule {req.schedule_id!r} is already registered")
    told = _checked(req)
    extra = {
        name: MessageToDict(getattr(req, field))
        for name, field in (("memo", "memo"), ("searchAttributes", "search_attributes"))
        if req.HasField(field)
    }
    spec = timetables.spec_of(told.get("spec", {}))
    made = Timetable(req.schedule_id, told, spec, engine.server.now_ms, req.request_id, extra)
    engine.owners[made.id] = caller
    timetables.make(engine.server, made)
    if req.HasField("initial_patch"):
        timetables.patch(engine.server, made, MessageToDict(req.initial_patch))
    return resp_type()


def _update(engine: Any, caller: Scope, req: Any, resp_type: Any, reply: Any) -> Any:
    found = _found(engine, req)
    told = _checked(req)
    found.spec = timetables.spec_of(told.get("spec", {}))
    found.told = told
    timetables.make(engine.server, found)
    return resp_type()


def _patch(engine: Any, caller: Scope, req: Any, resp_type: Any, reply: Any) -> Any:
    timetables.patch(engine.server, _found(engine, req), MessageToDict(req.patch))
    return resp_type()


def _delete(engine: Any, caller: Scope, req: Any, resp_type: Any, reply: Any) -> Any:
    del engine.server.timetables[_found(engine, req).id]
    return resp_type()


def _tell_times(found: Any, timetable: Timetable, now_ms: int) -> None:
    """Say what it did last, and when it is to act."""
    for one in timetable.recent:
        taken = found.recent_actions.add()
        taken.schedule_time.CopyFrom(stamp(one.nominal_ms))
        taken.actual_time.CopyFrom(stamp(one.actual_ms))
        taken.start_workflow_result.workflow_id = one.workflow_id
        taken.start_workflow_result.run_id = one.run_id
    for at_ms in timetables.upcoming(timetable, now_ms):
        found.future_action_times.add().CopyFrom(stamp(at_ms))


def _describe(engine: Any, caller: Scope, req: Any, resp_type: Any, reply: Any) -> Any:
    timetable = _found(engine, req)
    found = resp_type()
    ParseDict(timetable.told, found.schedule)
    info = found.info
    info.action_count, info.overlap_skipped = timetable.actions, timetable.skipped
    info.create_time.CopyFrom(stamp(timetable.made_ms))
    if hasattr(info, "buffer_size"):
        info.buffer_size = len(timetable.buffer)
    for one in timetable.running:
        info.running_workflows.add(workflow_id=one.workflow_id, run_id=one.run_id)
    _tell_times(info, timetable, engine.server.now_ms)
    ParseDict(timetable.extra.get("memo", {}), found.memo)
    ParseDict(timetable.extra.get("searchAttributes", {}), found.search_attributes)
    return found


def _list(engine: Any, caller: Scope, req: Any, resp_type: Any, reply: Any) -> Any:
    if req.query:
        raise invalid("a query of schedules is not modelled: list all of them")
    found = resp_type()
    for timetable in engine.server.timetables.values():
        entry = found.schedules.add(schedule_id=timetable.id)
        ParseDict(timetable.extra.get("memo", {}), entry.memo)
        ParseDict(timetable.extra.get("searchAttributes", {}), entry.search_attributes)
        ParseDict(timetable.told.get("spec", {}), entry.info.spec)
        action = timetable.told["action"]["startWorkflow"]
        entry.info.workflow_type.name = action["workflowType"]["name"]
        entry.info.notes = timetable.state.get("notes", "")
        entry.info.paused = bool(timetable.state.get("paused"))
        _tell_times(entry.info, timetable, engine.server.now_ms)
    return found


SCHEDULES: Final[Mapping[str, Callable[..., Any]]] = {
    "create_schedule": _create,
    "delete_schedule": _delete,
    "describe_schedule": _describe,
    "list_schedules": _list,
    "patch_schedule": _patch,
    "update_schedule": _update,
}
