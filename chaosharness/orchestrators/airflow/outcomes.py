"""How a try has ended: what its code returned or raised, as the state that is reported.

*Source*: apache-airflow-task-sdk 1.3.2, `execution_time/task_runner.py`
(`_run_task_and_map_outcome`), `bases/sensor.py`; providers-standard 1.21.0, `utils/skipmixin.py`,
`operators/python.py` (rule A7).
*Not modelled*: `TriggerDagRunOperator`, tasks that wait for a person, retry policies.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, NoReturn

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.colours import is_async
from chaosharness.handlers.port import sleep
from chaosharness.orchestrators.airflow.context import arguments_for
from chaosharness.orchestrators.airflow.deferral import FAIL, TRIGGER_TIMED_OUT, Resumption
from chaosharness.orchestrators.airflow.definition import AirflowDAG, AirflowTask
from chaosharness.orchestrators.airflow.exceptions import (
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferralError,
    TaskDeferralTimeout,
    named,
)
from chaosharness.orchestrators.airflow.mapping import arguments_of
from chaosharness.orchestrators.airflow.moments import at, ms_of
from chaosharness.orchestrators.airflow.reader import is_operator, run_operator
from chaosharness.orchestrators.airflow.records import (
    DEFERRED,
    FAILED,
    RESCHEDULE,
    SKIPPED,
    SUCCESS,
)

__all__ = ["Outcome", "outcome_of", "runner_of"]


@attrs.frozen
class Outcome:
    """What is reported of a try.

    Attributes:
        state: success, skipped, failed, up_for_reschedule or deferred.
        skips: The tasks that it skips before it reports.
        returned: What it returned: an XCom.
        deferred: What it waits for, and goes on with (`TaskDeferred`).
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
    deferred: Any = None


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
    if named(error, "TaskDeferred"):
        return Outcome(DEFERRED, deferred=error)
    for name in ("TaskAwaitingInput", "DagRunTriggerException"):
        if named(error, name):
            raise InvalidDefinition(
                f"task {task.task_id!r} of DAG {dag.dag_id!r} ends in {name}, which is not "
                "modelled: let it do its work in the worker, or in another task"
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
    task: AirflowTask, code: Any, context: dict[str, Any], now_ms: Callable[[], int],
    resumption: Resumption | None = None,
) -> Callable[[], Any]:  # fmt: skip
    """Return what runs the code of a task, plain or async as it is.

    Args:
        task: The task.
        code: Its function or operator; of a deferred task what it goes on with.
        context: What it is told.
        now_ms: Virtual time.
        resumption: Of a deferred task, whose trigger has fired, or has failed.
    """
    if is_operator(code):
        return lambda: run_operator(code, context, resumption)
    if resumption is not None and resumption.method == FAIL:
        return lambda: _failed_trigger(task, resumption)
    more = {} if resumption is None else dict(resumption.kwargs)

    def words() -> dict[str, Any]:
        return arguments_for(code, {**context, **more}) | _mapped(task, code, context)

    if task.kind == "sensor" and resumption is None:
        return _sensor(task, code, words, context, now_ms)
    if is_async(code):

        async def run_async() -> Any:
            return await code(**words())

        return run_async
    return lambda: code(**words())


def _mapped(task: AirflowTask, code: Any, context: Mapping[str, Any]) -> dict[str, Any]:
    """The item of a mapped instance, as arguments; of its group, what its function asks for."""
    ti = context["ti"]
    if task.group is not None:
        of = task.group
        found = arguments_of(of.expand, of.expand_kwargs, of.partial, ti.map_index, ti.all_of)
        return arguments_for(code, found)
    if not task.is_mapped:
        return {}
    return arguments_of(task.expand, task.expand_kwargs, task.partial, ti.map_index, ti.all_of)


def _failed_trigger(task: AirflowTask, resumption: Resumption) -> NoReturn:
    """End a try whose trigger has failed, or has not fired in time."""
    reason = resumption.kwargs["error"]
    words = "\n".join([reason, *resumption.kwargs.get("traceback", ())])
    if task.kind == "sensor" and task.soft_fail:
        raise AirflowSkipException("Skipping due to soft_fail is set to True.")
    if reason != TRIGGER_TIMED_OUT:
        raise TaskDeferralError(words)
    raise (AirflowSensorTimeout if task.kind == "sensor" else TaskDeferralTimeout)(words)


def _sensor(
    task: AirflowTask, code: Any, words: Callable[[], dict[str, Any]], context: dict[str, Any],
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

    def given_up(error: BaseException) -> None:
        """Where its time is over, or it will never be: a soft sensor is skipped."""
        if task.soft_fail and named(error, "AirflowSensorTimeout", "AirflowFailException"):
            raise AirflowSkipException("Skipping due to soft_fail is set to True.") from error

    if is_async(code):

        async def look_async() -> None:
            given = words()
            while not await _looked_at_async(code, given, given_up):
                wait()
                await sleep(task.poke_interval_s)

        return look_async

    def look() -> None:
        given = words()
        while not _looked_at(code, given, given_up):
            wait()
            sleep(task.poke_interval_s)

    return look


def _looked_at(code: Any, words: dict[str, Any], given_up: Callable[[BaseException], None]) -> Any:
    try:
        return code(**words)
    except Exception as error:
        given_up(error)
        raise


async def _looked_at_async(
    code: Any, words: dict[str, Any], given_up: Callable[[BaseException], None]
) -> Any:
    try:
        return await code(**words)
    except Exception as error:
        given_up(error)
        raise
