"""How a function is called, and what is made of it: as the library's own `Worker` does it."""

import dataclasses
from typing import Any

import pytest
from conductor.client.context.task_context import TaskInProgress
from conductor.client.http.models import Task as LibraryTask
from conductor.client.http.models import TaskResult
from conductor.client.http.models.task_result_status import TaskResultStatus
from conductor.client.worker.exception import NonRetryableException
from conductor.client.worker.worker import Worker
from conductor.client.worker.worker_task import worker_task

from chaosharness.errors import InvalidDefinition
from chaosharness.orchestrators.conductor.functions import (
    bind,
    given_task,
    in_context,
    registered,
    result_of,
    takes_library_s,
)
from chaosharness.orchestrators.conductor.steps import run
from tests.orchestrators.conductor.driven import server_of


@dataclasses.dataclass
class Order:
    id: str
    cents: int = 5


@dataclasses.dataclass
class Receipt:
    order: str
    cents: int


def the_task(task: LibraryTask) -> Any:
    return {"retry": task.retry_count, "n": task.input_data["n"], "id": task.task_id}


def bare(task):  # type: ignore[no-untyped-def]
    return {"ref": task.reference_task_name}


def an_object(task: object) -> Any:
    return {"type": type(task).__name__}


def one_word(n: str) -> Any:
    return {"n": n}


def defaults(n: str, missing: int = 7, absent: str | None = None, gone: str = "") -> Any:
    return {"n": n, "missing": missing, "absent": absent, "gone": gone}


def no_default(n: str, missing: str) -> Any:
    return {"missing": missing}


def data_class(order: Order) -> Any:
    return Receipt(order.id, order.cents)


def a_number(n: str) -> Any:
    return 5


def a_list(n: str) -> Any:
    return [n, n]


def nothing(n: str) -> None:
    return None


def raises(n: str) -> Any:
    raise ValueError("broken", n)


def raises_bare(n: str) -> Any:
    raise KeyError


def fatal(n: str) -> Any:
    raise NonRetryableException("declined")


def a_result(n: str) -> Any:
    result = TaskResult()
    result.status = TaskResultStatus.FAILED
    result.reason_for_incompletion = "by hand"
    result.output_data = {"n": n}
    return result


def in_progress(n: str) -> Any:
    return TaskInProgress(callback_after_seconds=30, output={"n": n})


FUNCTIONS = (
    the_task, bare, an_object, one_word, defaults, no_default, data_class, a_number, a_list,
    nothing, raises, raises_bare, fatal, a_result, in_progress,
)  # fmt: skip


def a_task() -> Any:
    step = {"name": "job", "taskReferenceName": "job_ref", "inputParameters": {
        "n": "${workflow.input.n}", "order": {"id": "o1", "cents": 9}}}  # fmt: skip
    server = server_of([{"name": "flow", "tasks": [step]}])
    run(server.start("flow", {"n": "one"}))
    task = run(server.poll("job", "worker"))
    assert task is not None
    return task


def ours(function: Any) -> tuple[Any, ...]:
    task = a_task()
    given = given_task(task, library=True)
    value, error = None, None
    positional, named = bind(function, given)
    try:
        with in_context(given):
            value = function(*positional, **named)
    except Exception as raised:
        error = raised
    result = result_of(task, value, error, "here")
    return result.status, result.output, result.reason, result.callback_after_s


def theirs(function: Any) -> tuple[Any, ...]:
    found = Worker("job", function).execute(given_task(a_task(), library=True))
    if isinstance(found, TaskInProgress):
        return "IN_PROGRESS", found.output, None, found.callback_after_seconds
    status = getattr(found.status, "name", found.status)
    return status, found.output_data, found.reason_for_incompletion, 0


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda one: one.__name__)
def test_a_function_is_called_and_heard_as_the_library_s_worker_does(function: Any) -> None:
    status, output, reason, seconds = ours(function)
    assert (status, reason, seconds) == (theirs(function)[0], *theirs(function)[2:])
    if status not in ("FAILED", "FAILED_WITH_TERMINAL_ERROR") or function is a_result:
        assert output == theirs(function)[1]


def test_what_a_decorator_says_is_known_of_its_function() -> None:
    @worker_task(task_definition_name="of_a_kind", thread_count=4, lease_extend_enabled=True)
    def some(n: str) -> str:
        return n

    said = registered(some)
    assert said is not None
    assert (said.name, said.threads, said.extends_lease) == ("of_a_kind", 4, True)
    assert registered(one_word) is None


def test_a_domain_is_read() -> None:
    @worker_task(task_definition_name="abroad", domain="eu")
    def some(n: str) -> str:
        return n

    said = registered(some)
    assert said is not None
    assert (said.name, said.domain) == ("abroad", "eu")


def test_what_has_no_json_form_is_told() -> None:
    with pytest.raises(InvalidDefinition, match=r"jobs\.job returns what has no JSON form"):
        result_of(a_task(), {"a": {1}}, None, "jobs.job")


def test_a_function_that_knows_nothing_of_the_library_is_given_json() -> None:
    @worker_task(task_definition_name="decorated")
    def decorated(task):  # type: ignore[no-untyped-def]
        return task

    assert [takes_library_s(one) for one in (the_task, decorated, an_object, one_word)] == [
        True, True, False, False,
    ]  # fmt: skip
    task = a_task()
    assert given_task(task, library=False) == task.as_json()
