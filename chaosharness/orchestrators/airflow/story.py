"""What Airflow did, in words and as its API shows it."""

from collections.abc import Iterable
from typing import Any

from chaosharness.orchestrators.airflow.moments import at
from chaosharness.orchestrators.airflow.records import (
    FAILED,
    FINISHED,
    SCHEDULED,
    SUCCESS,
    DagRun,
    Moved,
    TaskInstance,
)

__all__ = ["left_behind", "shown_run", "shown_task", "told_of"]


def told_of(fact: Moved, now_ms: int) -> str:
    """Say what the scheduler decided of a task; nothing where a task itself, or time, did."""
    name = fact.task.key
    if fact.by != "scheduler" or (fact.state == SCHEDULED and not fact.why):
        return ""
    because = f": {fact.why}" if fact.why else ""
    match fact.state:
        case "queued":
            number = fact.task.try_number
            return f"queues {name}" + (f", try {number}" if number > 1 else "")
        case "up_for_retry":
            return f"tries {name} again in {(fact.task.due_ms - now_ms) // 1000} s{because}"
        case None | "scheduled":
            return f"schedules {name} anew{because}"
        case state:
            return f"marks {name} {state}{because}"


def shown_run(run: DagRun) -> dict[str, Any]:
    """Return a DAG run as the REST API does."""
    return {
        "dag_id": run.dag_id,
        "dag_run_id": run.run_id,
        "conf": run.conf,
        "logical_date": at(run.logical_ms).isoformat(),
        "run_type": run.run_type,
        "state": run.state,
    }


def shown_task(task: TaskInstance) -> dict[str, Any]:
    """Return a task instance as the REST API does, with its earlier tries."""
    return {
        "dag_id": task.dag_id,
        "dag_run_id": task.run_id,
        "task_id": task.task_id,
        **({} if task.map_index < 0 else {"map_index": task.map_index}),
        "state": task.state,
        "try_number": task.try_number,
        "max_tries": task.max_tries,
        **_when(task.start_ms, task.end_ms, task.host),
        "tries": [_earlier(one) for one in task.tries],
    }


def _earlier(one: dict[str, Any]) -> dict[str, Any]:
    words = {name: one[name] for name in ("try_number", "state", "why")}
    return words | _when(one["start_ms"], one["end_ms"], one["host"])


def _when(start_ms: int | None, end_ms: int | None, host: str) -> dict[str, Any]:
    return {
        "start_date": None if start_ms is None else at(start_ms).isoformat(),
        "end_date": None if end_ms is None else at(end_ms).isoformat(),
        "hostname": host,
    }


def left_behind(runs: Iterable[DagRun]) -> str:
    """Say which task waits for ever in a run that is over; or nothing (rule A14)."""
    for run in runs:
        left = [one for one in run.tasks.values() if one.state not in FINISHED]
        if run.state in (SUCCESS, FAILED) and left:
            return (
                f"task {left[0].key!r} of DAG run {run.run_id!r} ({run.dag_id}) is "
                f"{left[0].state}, and never begins: the run has ended as {run.state}. Airflow "
                "ends a run where all that it had before a round has ended in it, though mapped "
                "instances were made in it. Put a task behind them that waits for all "
                "(trigger_rule='all_done')"
            )
    return ""
