"""The journal of a saga: each transition, its step, its attempt, the lease it was written under."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from chaosharness.reporting.story.executions.execution import Execution, Row
from chaosharness.reporting.story.legible import seconds

HEAD: Final = ("what", "step", "action", "attempt", "lease", "until", "why")
_TROUBLE: Final = frozenset({"refused", "failed", "unknown", "given up", "saga parked"})


def read(name: str, value: Mapping[str, Any]) -> Execution | None:
    """Return a saga's journal as a table; None where it is none."""
    if "records" not in value:
        return None
    rows, last = [], 0
    for record in value["records"]:
        lease = record.get("lease", 0)
        rows.append(_row(record, last if lease < last else 0))
        last = max(last, lease)
    said = [record["kind"] for record in value["records"] if record["kind"].startswith("saga ")]
    how = said[-1].removeprefix("saga ") if said else ""
    return Execution(name, "journal", how, HEAD, tuple(rows))


def _row(record: Mapping[str, Any], newer: int) -> Row:
    """Return a line; `newer` is a later lease under which somebody has written before, if any."""
    kind, step, until = record["kind"], record.get("step", ""), record.get("until_ms")
    if record.get("phase") == "undo":
        step = f"undo {step}"
    action = record.get("action", "")
    cells = (
        kind,
        step,
        "" if action == record.get("step") else action,
        str(record.get("attempt", "")),
        str(record.get("lease", "")),
        "" if until is None else seconds(until),
        record.get("why") or (f"lease {newer} was there before" if newer else ""),
    )
    return Row(record["at_ms"], cells, kind in _TROUBLE or bool(newer))
