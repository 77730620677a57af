"""The task instances of a DAG run, as Airflow's grid and its list of tries show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.reporting.story.executions.execution import Execution, Row
from chaosharness.reporting.story.legible import seconds

HEAD: Final = ("task", "state", "try", "process", "until", "why")
_WELL: Final = frozenset({"success", "running", "queued", "scheduled", "skipped", "no state"})


def read(name: str, value: Mapping[str, Any]) -> Execution | None:
    """Return a DAG run's tries as a table; None where it is none."""
    if "task_instances" not in value:
        return None
    rows = tuple(row for task in value["task_instances"] for row in _rows(task))
    began = sorted((row for row in rows if row.at_ms is not None), key=lambda row: row.at_ms or 0)
    never = [row for row in rows if row.at_ms is None]
    what = f"{value['dag_id']} {value['state']}"
    return Execution(name, "task instances", what, HEAD, (*began, *never))


def _rows(task: Mapping[str, Any]) -> Iterator[Row]:
    index = task.get("map_index", -1)
    name = task["task_id"] if index < 0 else f"{task['task_id']}[{index}]"
    for one in task["tries"]:
        yield _row(name, one, one["state"], one["why"])
    yield _row(name, task, task["state"] or "no state", "")


def _row(name: str, one: Mapping[str, Any], state: str, why: str) -> Row:
    begun, ended = _ms(one["start_date"]), _ms(one["end_date"])
    cells = (
        name,
        state,
        str(one["try_number"] or ""),
        one["hostname"],
        "" if ended is None or begun is None else seconds(ended),
        why,
    )
    return Row(begun, cells, state not in _WELL)


def _ms(date: str | None) -> int | None:
    return (
        None if date is None else round(datetime.fromisoformat(date).timestamp() * 1000) - EPOCH_MS
    )
