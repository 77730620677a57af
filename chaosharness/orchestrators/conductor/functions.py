"""How a worker calls a function, and what it makes of what comes back.

*Source*: conductor-python 2.0, `worker/worker.py` (`Worker.execute`), `automator/task_runner.py`;
`tests/orchestrators/conductor` compares both.
*Not modelled*: schemas, logs; data classes are read where conductor-python is installed.
"""

import contextlib
import dataclasses
import inspect
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs

from chaosharness.errors import RefusedValue
from chaosharness.orchestrators.conductor.records import COMPLETED, FAILED, FATAL, IN_PROGRESS, Task
from chaosharness.orchestrators.conductor.server import Result

__all__ = [
    "Registered",
    "bind",
    "given_task",
    "in_context",
    "registered",
    "result_of",
    "takes_library_s",
]

_SIMPLE: Final = (int, float, str, bool, dict, list, object, inspect.Parameter.empty, None)


@attrs.frozen
class Registered:
    """What `@worker_task` says of a function."""

    name: str
    threads: int = 1
    extends_lease: bool = False
    domain: str | None = None


def registered(function: Callable[..., Any]) -> Registered | None:
    """Return what a decorated function says of itself; None for a function that is not."""
    handler = sys.modules.get("conductor.client.automator.task_handler")
    if handler is None:
        return None
    bare = inspect.unwrap(function)
    for (name, domain), record in reversed(handler._decorated_functions.items()):
        if record["func"] is bare:
            return Registered(
                name, record.get("thread_count", 1), record.get("lease_extend_enabled", False),
                domain,
            )  # fmt: skip
    return None


def _library() -> Any:
    """Conductor-python, where the user's code has imported it."""
    return sys.modules.get("conductor.client.http.models")


def takes_library_s(function: Callable[..., Any]) -> bool:
    """Say whether a function is written with conductor-python, and given its `Task`.

    It is decorated, or says that it takes one. Another one is given the task's JSON, whatever
    else this process has imported.
    """
    models = _library()
    if models is None:
        return False
    parameters = inspect.signature(function).parameters.values()
    wants = any(one.annotation is models.Task for one in parameters)
    return wants or registered(function) is not None


def given_task(task: Task, *, library: bool) -> Any:
    """Return the task as conductor-python has it; else as its JSON."""
    models = _library()
    shown = json.loads(json.dumps(task.as_json()))
    if models is None or not library:
        return shown
    return models.Task(
        task_id=task.id, task_def_name=task.step.name, task_type=task.kind, status=task.status,
        reference_task_name=task.ref, retry_count=task.retry_count, poll_count=task.poll_count,
        workflow_instance_id=task.workflow, input_data=shown["inputData"], seq=task.seq,
        iteration=task.iteration, worker_id=task.worker, scheduled_time=task.scheduled_ms,
        start_time=task.started_ms, response_timeout_seconds=_response_s(task),
    )  # fmt: skip


def _response_s(task: Task) -> int:
    definition = task.step.task_def
    return definition.response_timeout_s if definition is not None else 0


def bind(function: Callable[..., Any], task: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what a function is called with: the task, or its input by the names of parameters.

    One parameter alone that is a `Task`, or has no annotation, is the whole task.
    """
    given = task["inputData"] if isinstance(task, dict) else task.input_data
    parameters = inspect.signature(function).parameters
    if len(parameters) == 1:
        [only] = parameters.values()
        if _is_task(only.annotation):
            return (task,), {}
    found: dict[str, Any] = {}
    for name, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if name in given:
            found[name] = _read(parameter.annotation, given[name])
        elif parameter.default is not inspect.Parameter.empty:
            found[name] = parameter.default
        else:
            found[name] = None
    return (), found


def _is_task(annotation: Any) -> bool:
    if annotation is inspect.Parameter.empty or annotation is object:
        return True
    models = _library()
    return models is not None and annotation is models.Task


def _read(annotation: Any, value: Any) -> Any:
    if annotation in _SIMPLE or isinstance(annotation, str):
        return value
    try:
        from conductor.client.automator.utils import convert_from_dict_or_list
    except ImportError:
        return value
    return convert_from_dict_or_list(annotation, value)


@contextlib.contextmanager
def in_context(task: Any) -> Iterator[None]:
    """Let `get_task_context` of conductor-python find the task, where it is installed."""
    context = sys.modules.get("conductor.client.context.task_context")
    models = _library()
    if context is None or models is None or isinstance(task, dict):
        yield
        return
    begun = models.TaskResult(task_id=task.task_id, workflow_instance_id=task.workflow_instance_id)
    context._set_task_context(task, begun)
    try:
        yield
    finally:
        context._clear_task_context()


def result_of(task: Task, value: Any, error: BaseException | None, where: str) -> Result:
    """Return what a worker reports: of what a function has returned, or raised.

    Raises:
        RefusedValue: What it returns has no JSON form.
    """
    if error is not None:
        fatal = any(kind.__name__ == "NonRetryableException" for kind in type(error).__mro__)
        reason = str(error.args[0]) if error.args else None
        return Result(task_id=task.id, status=FATAL if fatal else FAILED, reason=reason,
                      worker=task.worker)  # fmt: skip
    kind = type(value).__name__
    if kind == "TaskInProgress":
        return Result(task_id=task.id, status=IN_PROGRESS, worker=task.worker,
                      callback_after_s=int(value.callback_after_seconds),
                      output=_output(value.output, where))  # fmt: skip
    if kind == "TaskResult":
        return Result(
            task_id=task.id,
            status=str(getattr(value.status, "name", value.status)),
            output=_output(value.output_data or {}, where),
            reason=value.reason_for_incompletion,
            callback_after_s=int(value.callback_after_seconds or 0),
            worker=task.worker,
        )
    return Result(task_id=task.id, status=COMPLETED, output=_output(value, where),
                  worker=task.worker)  # fmt: skip


def _output(value: Any, where: str) -> dict[str, Any]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    try:
        found = json.loads(json.dumps(value))
    except (TypeError, ValueError) as error:
        raise RefusedValue(f"{where} returns what has no JSON form: {error}") from None
    return found if isinstance(found, dict) else {"result": found}
