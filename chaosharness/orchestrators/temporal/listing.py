"""What clients ask of the index of workflows: list, count, and which attributes it has.

The index may be older than the store: `Delay` at `<server>/visibility` says how much (T33).

*Source*: Temporal API, `workflowservice/v1` and `operatorservice/v1`; `visibility.py`.
*Not modelled*: pages (a list is one), archived runs, aliases of attributes.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from google.protobuf.json_format import ParseDict
from temporalio.api.workflow.v1 import WorkflowExecutionInfo

from chaosharness.faults import Delay
from chaosharness.handlers.carrier import PLAIN
from chaosharness.handlers.handling import reach
from chaosharness.handlers.port import strikes
from chaosharness.kernel.scope import Scope
from chaosharness.orchestrators.store_rows import store_surface
from chaosharness.orchestrators.temporal.protos import as_payloads, encoded, stamp
from chaosharness.orchestrators.temporal.refusals import Refused
from chaosharness.orchestrators.temporal.visibility import STATUSES, TYPES, Record, records
from chaosharness.orchestrators.temporal.visibility_query import grouped, test_of

__all__ = ["LISTINGS", "told_of"]

VISIBILITY: Final = store_surface("temporal", "visibility")
"""What is read is an index, as old as the delay (T33)."""
_NUMBER: Final = {status: number for number, status in enumerate(STATUSES, 1)}


def _as_of(engine: Any, caller: Scope) -> int:
    """How far the index has come: all that has happened, unless a fault holds it back."""
    world = engine.world
    scope = Scope(world, engine.incarnation, engine.name, caller.entity, caller.cause, PLAIN,
                  caller.hops, caller.message)  # fmt: skip
    operation = f"{engine.name}/visibility"
    attempt = reach(scope, operation, VISIBILITY)
    late = 0
    if operation in world.armed:
        for fault in strikes(scope, operation, "before", attempt):
            if isinstance(fault, Delay):  # no other is legal
                late += world.due(fault.lasting) - world.now
    return int(world.now - late)


def _found(engine: Any, caller: Scope, query: str) -> list[Record]:
    test = test_of(query, engine.server.searchable)
    runs = [run for runs in engine.server.runs.values() for run in runs]
    return [one for one in records(runs, _as_of(engine, caller)) if test(one)]


def told_of(record: Record) -> WorkflowExecutionInfo:
    """What a client is told of a run, by a list or a description."""
    run = record.run
    found = WorkflowExecutionInfo(
        status=_NUMBER[record.status],  # type: ignore[arg-type]
        history_length=record.history_length,
        task_queue=run.queue,
        start_time=stamp(run.started_ms),
        execution_time=stamp(run.begins_ms),
    )
    found.execution.workflow_id, found.execution.run_id = run.workflow_id, run.run_id
    found.type.name = run.type
    if record.close_ms is not None:
        found.close_time.CopyFrom(stamp(record.close_ms))
    if parent := record.values["ParentWorkflowId"]:
        found.parent_execution.workflow_id = parent
        found.parent_execution.run_id = record.values["ParentRunId"]
    if hasattr(found, "root_execution"):
        found.root_execution.workflow_id = record.values["RootWorkflowId"]
        found.root_execution.run_id = record.values["RootRunId"]
    ParseDict({"fields": dict(record.memo)}, found.memo)
    ParseDict({"indexedFields": dict(record.search_attributes)}, found.search_attributes)
    return found


def _list(engine: Any, caller: Scope, req: Any, resp_type: Any, reply: Any) -> Any:
    query, counts = grouped(req.query)
    if counts:
        words = "invalid query: operation is not supported: 'GROUP BY' clause"
        raise Refused("INVALID_ARGUMENT", words)
    return resp_type(executions=[told_of(one) for one in _found(engine, caller, query)])


def _count(engine: Any, caller: Scope, req: Any, resp_type: Any, reply: Any) -> Any:
    query, counts = grouped(req.query)
    found = _found(engine, caller, query)
    response = resp_type(count=len(found))
    if counts:
        by_status = Counter(STATUSES[one.status] for one in found)
        for status in STATUSES.values():
            if status in by_status:
                group = response.groups.add(count=by_status[status])
                group.group_values.extend(as_payloads({"payloads": [_keyword(status)]}))
    return response


def _keyword(value: str) -> Mapping[str, Any]:
    payload = encoded(value)
    return {**payload, "metadata": {**payload["metadata"], "type": "S2V5d29yZA=="}}


def _add_attributes(engine: Any, caller: Scope, req: Any, resp_type: Any, reply: Any) -> Any:
    for name, kind in req.search_attributes.items():
        engine.server.searchable[name] = TYPES[kind - 1]
    return resp_type()


def _attributes(engine: Any, caller: Scope, req: Any, resp_type: Any, reply: Any) -> Any:
    known = engine.server.searchable
    return resp_type(custom_attributes={name: TYPES.index(known[name]) + 1 for name in known})


LISTINGS: Final[Mapping[str, Callable[..., Any]]] = {
    "list_workflow_executions": _list,
    "count_workflow_executions": _count,
    "add_search_attributes": _add_attributes,
    "list_search_attributes": _attributes,
}
