"""The states of a Step Functions execution, as its console's table shows them.

A row for each visit of a state. In a Parallel or a Map state, visits of branches come in the order
of their entry.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import attrs

from chaosharness.reporting.story.executions.execution import Execution, Row
from chaosharness.reporting.story.legible import seconds

HEAD: Final = ("state", "type", "status", "attempts", "until", "what became of it")
_BEGUN: Final = ("LambdaFunctionScheduled", "TaskScheduled", "ActivityScheduled")
_TROUBLE: Final = ("Failed", "TimedOut", "Aborted")


@attrs.define
class _Visit:
    """One visit of a state, as far as it is read."""

    name: str
    type: str
    at_ms: int
    end_ms: int | None = None
    attempts: int = 0
    troubles: list[str] = attrs.field(factory=list)
    last: str = ""


def read(name: str, value: Mapping[str, Any]) -> Execution | None:
    """Return an execution's states as a table; None where it is none."""
    events = value.get("events")
    if not events or "previousEventId" not in events[0]:
        return None
    visits: list[_Visit] = []
    of: dict[int, _Visit] = {}  # whose visit an event belongs to
    for event in events:
        _take(event, visits, of)
    ended = next((e for e in reversed(events) if e["type"].startswith("Execution")), events[0])
    status = ended["type"].removeprefix("Execution").upper().replace("STARTED", "RUNNING")
    error = _error(ended)
    rows = tuple(_row(visit, status) for visit in visits)
    what = f"{status}: {error}" if error else status
    return Execution(name, "states", what, HEAD, rows)


def _take(event: Mapping[str, Any], visits: list[_Visit], of: dict[int, _Visit]) -> None:
    kind, said = event["type"], _details(event)
    visit = of.get(event["previousEventId"])
    if kind.endswith("StateEntered"):
        visit = _Visit(said.get("name", ""), kind.removesuffix("StateEntered"), event["timestamp"])
        visits.append(visit)
    elif kind.endswith("StateExited"):
        visit = next((one for one in reversed(visits)
                      if one.name == said.get("name") and one.end_ms is None), visit)  # fmt: skip
    if visit is None:
        return
    of[event["id"]] = visit
    if kind.endswith("StateExited"):
        visit.end_ms = event["timestamp"]
    elif kind in _BEGUN:
        visit.attempts += 1
    elif kind.endswith(_TROUBLE) and not kind.startswith("Execution"):
        visit.troubles.append(f"attempt {visit.attempts or 1} {_error(event) or kind}")
    if not kind.endswith("StateExited"):
        visit.last = kind


def _details(event: Mapping[str, Any]) -> Mapping[str, Any]:
    found = next((value for key, value in event.items() if key.endswith("EventDetails")), None)
    return found if isinstance(found, Mapping) else {}


def _error(event: Mapping[str, Any]) -> str:
    said = _details(event)
    words = [str(said.get("error") or ""), _cause(said.get("cause"))]
    return ": ".join(word for word in words if word)


def _cause(cause: Any) -> str:
    """The words of a cause: of a function's error its message."""
    try:
        value = json.loads(cause or "")
    except (TypeError, ValueError):
        return str(cause or "")
    return str(value.get("errorMessage", cause)) if isinstance(value, Mapping) else str(cause)


def _row(visit: _Visit, status: str) -> Row:
    failed = visit.last.endswith(_TROUBLE)
    if visit.end_ms is not None:
        stands = "caught" if failed else "succeeded"
    elif failed or visit.type == "Fail":
        stands = "failed"
    else:
        stands = "running" if status == "RUNNING" else "not over"
    cells = (
        visit.name,
        visit.type,
        stands,
        str(visit.attempts or ""),
        "" if visit.end_ms is None else seconds(visit.end_ms),
        "; ".join(visit.troubles),
    )
    return Row(visit.at_ms, cells, bool(visit.troubles) or stands == "failed")
