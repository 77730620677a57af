"""How a try has ended: what its code returned or raised, as the state that is reported.

*Source*: apache-airflow-task-sdk 1.3.2, `execution_time/task_runner.py`
(`_run_task_and_map_outcome`), `bases/sensor.py`; providers-standard 1.21.0, `utils/skipmixin.py`,
`operators/python.py` (rule A7).
*Not modelled*: deferral, `TriggerDagRunOperator`, retry policies.
"""

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.colours import is_async
from chaosharness.handlers.port import sleep
from chaosharness.orchestrators.airflow.context import arguments_for
from chaosharness.orchestrators.airflow.definition import AirflowDAG, AirflowTask
from chaosharness.orchestrators.airflow.exceptions import (
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    named,
)
from chaosharness.orchestrators.airflow.moments import at, ms_of
from chaosharness.orchestrators.airflow.reader import is_operator, run_operator
from chaosharness.orchestrators.airflow.records import FAILED, RESCHEDULE, SKIPPED, SUCCESS

__all__ = ["Outcome", "outcome_of", "runner_of"]


@attrs.frozen
class Outcome:
    """What is reported of a try.

    Attributes:
        state: success, skipped, failed or up_for_reschedule.
        skips: The tasks that it skips before it reports.
        returned: What it returned: an XCom.
        due_ms: When it begins anew, where it is rescheduled.
        final: Whether a failure is not tried again.
        why: A failure, in words.
    """

    state: str
    skips: tuple[str, ...] | None = None
    returned: Any = None
    due_ms: int = 0
    final: bool = False
    why: str = ""


def outcome_of(dag: AirflowDAG, task: AirflowTask, result: Any, error: Any) -> Outcome:
    """Say how a try has ended.

    Raises:
        InvalidDefinition: It asked for what is not modelled.
    """
    if error is None:
        return _returned(dag, task, result)
    if named(error, "DownstreamTasksSkipped"):
        skips = [one if isinstance(one, str) else one[0] for one in error.tasks]
        return Outcome(SUCCESS, tuple(skips))
    if named(error, "AirflowSkipException"):
        return Outcome(SKIPPED)
    if named(error, "AirflowRescheduleException"):
        return Outcome(RESCHEDULE, due_ms=ms_of(error.reschedule_date))
    for name in ("TaskDeferred", "TaskAwaitingInput", "DagRunTriggerException"):
        if named(error, name):
            raise InvalidDefinition(
                f"task {task.task_id!r} of DAG {dag.dag_id!r} ends in {name}, which is not "
                "modelled: let it do its work in the worker (deferrable=False), or in another task"
            )
    final = named(error, "AirflowFailException", "AirflowSensorTimeout", "AirflowTaskTerminated")
    return Outcome(FAILED, final=final, why=f"{type(error).__name__}: {error}")


def _returned(dag: AirflowDAG, task: AirflowTask, result: Any) -> Outcome:
    if task.kind == "branch":
        try:
            return Outcome(SUCCESS, _not_followed(dag, task, result), result)
        except ValueError as wrong:
            return Outcome(FAILED, why=str(wrong))
    if task.kind == "short_circuit" and not result:
        after = dag.after(task.task_id)
        if not task.ignore_downstream_trigger_rules:
            after = dag.downstream[task.task_id]
        return Outcome(
            SUCCESS, tuple(one for one in after if not dag.by_id[one].teardown), returned=result
        )
    return Outcome(SUCCESS, returned=result)


def _not_followed(dag: AirflowDAG, task: AirflowTask, choice: Any) -> tuple[str, ...]:
    """What is next and neither chosen nor after what is chosen.

    Raises:
        ValueError: A task is chosen that there is not: the branch fails, as in Airflow.
    """
    if isinstance(choice, str):
        chosen = {choice}
    elif choice is None:
        chosen = set()
    elif isinstance(choice, Iterable):
        chosen = set(choice)
    else:
        raise ValueError(
            "'branch_task_ids' must be either None, a task ID, or an Iterable of IDs, but got "
            f"{type(choice).__name__!r}."
        )
    wrong = sorted(map(str, chosen - set(dag.by_id)))
    if wrong:
        raise ValueError(
            "'branch_task_ids' must contain only valid task_ids. Invalid tasks found: "
            f"{', '.join(wrong)}."
        )
    followed = chosen.union(*(dag.after(one) for one in chosen))
    return tuple(one for one in dag.downstream[task.task_id] if one not in followed)


def runner_of(
    task: AirflowTask, code: Any, context: dict[str, Any], now_ms: Callable[[], int]
) -> Callable[[], Any]:
    """Return what runs the code of a task, plain or async as it is."""
    if is_operator(code):
        return lambda: run_operator(code, context)
    words = arguments_for(code, context)
    if task.kind == "sensor":
        return _sensor(task, code, words, context, now_ms)
    if is_async(code):

        async def run_async() -> Any:
            return await code(**words)

        return run_async
    return lambda: code(**words)


def _sensor(
    task: AirflowTask, code: Any, words: dict[str, Any], context: dict[str, Any],
    now_ms: Callable[[], int],
) -> Callable[[], Any]:  # fmt: skip
    """Look again and again, with sleep in between or in another process each time."""
    first = context["ti"].get_first_reschedule_date(context)
    since_ms = now_ms() if first is None else ms_of(first)

    def wait() -> None:
        if now_ms() - since_ms > task.timeout_s * 1000:
            words_of = f"Sensor has timed out: it waited more than {task.timeout_s} s."
            raise (
                AirflowSkipException(words_of) if task.soft_fail else AirflowSensorTimeout(words_of)
            )
        if task.mode == "reschedule":
            due = at(now_ms()) + timedelta(seconds=task.poke_interval_s)
            raise AirflowRescheduleException(due)

    if is_async(code):

        async def look_async() -> None:
            while not await code(**words):
                wait()
                await sleep(task.poke_interval_s)

        return look_async

    def look() -> None:
        while not code(**words):
            wait()
            sleep(task.poke_interval_s)

    return look
