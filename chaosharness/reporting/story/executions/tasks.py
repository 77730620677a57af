"""The tasks of a Conductor workflow, as its screens show them: each attempt is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from chaosharness.reporting.story.executions.execution import Execution, Row
from chaosharness.reporting.story.legible import seconds

HEAD: Final = ("task", "type", "status", "attempt", "worker", "until", "why")
_WELL: Final = frozenset({"COMPLETED", "IN_PROGRESS", "SCHEDULED"})


def read(name: str, value: Mapping[str, Any]) -> Execution | None:
    """Return a workflow's tasks as a table; None where it is none."""
    if "workflowName" not in value or "tasks" not in value:
        return None
    rows = tuple(_row(task) for task in value["tasks"])
    what = f"{value['workflowName']} {value['status']}"
    if why := value.get("reasonForIncompletion"):
        what += f": {why}"
    return Execution(name, "tasks", what, HEAD, rows)


def _row(task: Mapping[str, Any]) -> Row:
    attempt = task["retryCount"] + 1
    cells = (
        task["referenceTaskName"],
        task["workflowTask"]["type"],
        task["status"],
        str(attempt) if attempt > 1 or task.get("workerId") else "",
        task.get("workerId", ""),
        seconds(task["endTime"]) if task["endTime"] else "",
        task.get("reasonForIncompletion", ""),
    )
    return Row(task["scheduledTime"], cells, task["status"] not in _WELL)
