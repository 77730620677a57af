"""What can be searched of workflows: a record of each run, read from an index.

Real servers keep this index beside their store and fill it later, so that what is listed may be
older than what has happened: `as_of_ms` says how old.

*Source*: docs.temporal.io, "Visibility" (eventually consistent) and "Search Attributes"; names,
order and refusals as Temporal Server 1.32.0 with SQLite answers them (rule T33).
*Not modelled*: Elasticsearch's own ways (text that is taken apart, orders), custom aliases,
`BuildIds`, history sizes, the duration of executions, archived runs.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import attrs

from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.orchestrators.temporal.refusals import Refused, invalid
from chaosharness.orchestrators.temporal.run import Run, upserted

__all__ = [
    "OWN",
    "STATUSES",
    "TYPES",
    "Record",
    "milliseconds_of",
    "records",
    "typed",
    "unsearchable",
    "value_of",
]

TYPES: Final = ("Text", "Keyword", "Int", "Double", "Bool", "Datetime", "KeywordList")
"""Types of search attributes, in the order of `IndexedValueType`, which begins at 1."""

OWN: Final = {
    **dict.fromkeys(("WorkflowId", "RunId", "WorkflowType", "TaskQueue", "ParentWorkflowId",
                     "ParentRunId", "RootWorkflowId", "RootRunId"), "Keyword"),
    "ExecutionStatus": "Status",
    "HistoryLength": "Int",
    **dict.fromkeys(("StartTime", "CloseTime", "ExecutionTime"), "Datetime"),
    "TemporalChangeVersion": "KeywordList",
}  # fmt: skip
"""What each workflow has without being asked, and its type."""

STATUSES: Final = {
    "RUNNING": "Running",
    "COMPLETED": "Completed",
    "FAILED": "Failed",
    "CANCELED": "Canceled",
    "TERMINATED": "Terminated",
    "CONTINUED_AS_NEW": "ContinuedAsNew",
    "TIMED_OUT": "TimedOut",
}
"""The API's names of statuses, in the order of its numbers, as queries call them."""

_KINDS: Final[dict[str, type | tuple[type, ...]]] = {
    "Text": str, "Keyword": str, "Int": int, "Double": (int, float), "Bool": bool,
}  # fmt: skip


@attrs.frozen
class Record:
    """One run as the index has it; times in virtual milliseconds, custom payloads beside."""

    run: Run
    status: str
    close_ms: int | None
    history_length: int
    values: Mapping[str, Any]
    memo: Mapping[str, Any]
    search_attributes: Mapping[str, Any]


def records(runs: Iterable[Run], as_of_ms: int) -> list[Record]:
    """Return what the index has at a time: what runs come first, then what ended last, first."""
    found = [_record(run, as_of_ms) for run in runs if run.started_ms <= as_of_ms]
    late = 1 << 62

    def order(one: Record) -> tuple[int, int, str]:
        return (-(late if one.close_ms is None else one.close_ms), -one.run.started_ms,
                one.run.run_id)  # fmt: skip

    return sorted(found, key=order)


def _record(run: Run, as_of_ms: int) -> Record:
    events = [event for event in run.events if event["eventTime"] <= as_of_ms]
    closed = run.status != "RUNNING" and len(events) == len(run.events)
    begun = run.begun_with
    memo = dict(begun.get("memo", {}).get("fields", {}))
    searchable = dict(begun.get("searchAttributes", {}).get("indexedFields", {}))
    for event in events:
        if told := event.get("workflowPropertiesModifiedEventAttributes"):
            memo = upserted(memo, told["upsertedMemo"]["fields"])
        if told := event.get("upsertWorkflowSearchAttributesEventAttributes"):
            searchable = upserted(searchable, told["searchAttributes"]["indexedFields"])
    parent = begun.get("parentWorkflowExecution", {})
    root = begun.get("rootWorkflowExecution", {})
    close_ms = run.events[-1]["eventTime"] if closed else None
    status = run.status if closed else "RUNNING"
    values = {
        "WorkflowId": run.workflow_id,
        "RunId": run.run_id,
        "WorkflowType": run.type,
        "TaskQueue": run.queue,
        "ParentWorkflowId": parent.get("workflowId"),
        "ParentRunId": parent.get("runId"),
        "RootWorkflowId": root.get("workflowId", run.workflow_id),
        "RootRunId": root.get("runId", run.run_id),
        "ExecutionStatus": STATUSES[status],
        "StartTime": run.started_ms,
        "ExecutionTime": run.begins_ms,
        "CloseTime": close_ms,
        "HistoryLength": len(events) if closed else None,
        **{name: value_of(one) for name, one in searchable.items()},
    }
    return Record(run, status, close_ms, len(events) if closed else 0, values, memo, searchable)


def value_of(payload: Mapping[str, Any]) -> Any:
    """The value of a search attribute: times in virtual milliseconds, a list of one as its one."""
    value = json.loads(base64.b64decode(payload.get("data", ""))) if "data" in payload else None
    kind = base64.b64decode(payload.get("metadata", {}).get("type", "")).decode()
    if isinstance(value, list) and len(value) == 1 and kind != "KeywordList":
        value = value[0]
    if kind == "Datetime" and isinstance(value, str):
        return milliseconds_of(value)
    return value


def milliseconds_of(text: str) -> int:
    """A time in RFC 3339 as virtual milliseconds.

    Raises:
        ValueError: It is none.
    """
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"a time without its zone: {text}")
    return round(at.timestamp() * 1000) - EPOCH_MS


def typed(attributes: Mapping[str, Any], known: Mapping[str, str]) -> dict[str, Any]:
    """Search attributes as the server keeps them: each says of which type it is."""
    return {name: _with_type(one, known.get(name)) for name, one in attributes.items()}


def _with_type(payload: Mapping[str, Any], kind: str | None) -> dict[str, Any]:
    metadata = dict(payload.get("metadata", {}))
    if kind is not None and "type" not in metadata:
        metadata["type"] = base64.b64encode(kind.encode()).decode()
    return {**payload, "metadata": metadata}


def unsearchable(attributes: Mapping[str, Any], known: Mapping[str, str]) -> Refused | None:
    """Return why the server would refuse search attributes; None where it takes them.

    Args:
        attributes: Named payloads, as Temporal's JSON has them.
        known: The types of those that the namespace has, by name.
    """
    for name, payload in sorted(attributes.items()):
        if name == "TemporalChangeVersion":
            continue
        if name not in known:
            words = f"Namespace default has no mapping defined for search attribute {name}"
            return invalid(words)
        try:
            value = value_of(payload)
        except ValueError:
            value = "?"
        if value is not None and not _fits(value, known[name]):
            shown = value if isinstance(value, list) else [value]
            told = " ".join(map(str, shown))
            kind = known[name]
            words = f"invalid value for search attribute {name} of type {kind}: [{told}]"
            return invalid(words)
    return None


def _fits(value: Any, kind: str) -> bool:
    if kind == "KeywordList":
        return isinstance(value, str) or (
            isinstance(value, list) and all(isinstance(one, str) for one in value)
        )
    if kind == "Datetime":
        return isinstance(value, int) and not isinstance(value, bool)
    wanted = _KINDS[kind]
    return isinstance(value, wanted) and (kind == "Bool" or not isinstance(value, bool))
