"""What the server does, by the rules of docs/explanation/orchestrators.md and their numbers."""

from typing import Any

import pytest

from chaosharness.orchestrators.conductor.records import Task
from chaosharness.orchestrators.conductor.refusals import Conflict, NotFound
from chaosharness.orchestrators.conductor.server import Result, Server
from chaosharness.orchestrators.conductor.steps import run
from tests.orchestrators.conductor.driven import finish, server_of


def simple(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "taskReferenceName": name, "type": "SIMPLE", **more}


def flow(*tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "flow", "tasks": list(tasks), **more}


def begun(*tasks: dict[str, Any], defs: list[dict[str, Any]] | None = None, **more: Any) -> Server:
    server = server_of([flow(*tasks, **more)], defs or [])
    run(server.start("flow", {"n": 1}))
    return server


def polled(server: Server, name: str) -> Task:
    task = run(server.poll(name, "w1"))
    assert task is not None
    return task


def later(server: Server, ms: int) -> None:
    """Let time pass, with what the server does by itself on the way."""
    until = server.now + ms
    while (due := server.due()) is not None and due <= until:
        server.tick(due)
    server.tick(until)


def standing(server: Server, name: str = "flow-1") -> list[tuple[str, str, int]]:
    return [(t.ref, t.status, t.retry_count) for t in server.store.load(name).tasks]


def status(server: Server, name: str = "flow-1") -> str:
    return server.store.workflows[name].status


def test_c1_a_workflow_keeps_the_definition_that_it_began_with() -> None:
    server = begun(simple("a"), simple("b"))
    server.blueprints["flow"] = server_of([flow(simple("a"))]).blueprints["flow"]
    finish(server, polled(server, "a"))
    assert standing(server)[-1] == ("b", "SCHEDULED", 0)


def test_c2_a_task_without_a_definition_is_tried_again_three_times_after_a_minute_each() -> None:
    server = begun(simple("a"))
    for number in range(4):
        task = polled(server, "a")
        assert task.retry_count == number
        assert status(server) == "RUNNING"
        finish(server, task, "FAILED")
        assert run(server.poll("a", "w1")) is None
        later(server, 60_000)
    assert status(server) == "FAILED"


def test_c2_what_a_dynamic_fork_makes_of_an_unregistered_task_is_not_tried_again() -> None:
    server = begun(
        {"name": "f", "taskReferenceName": "f", "type": "FORK_JOIN_DYNAMIC",
         "inputParameters": {"forkTaskName": "a", "forkTaskInputs": [1, 2]}},
        {"name": "j", "taskReferenceName": "j", "type": "JOIN"},
    )  # fmt: skip
    finish(server, polled(server, "a"), "FAILED")
    assert status(server) == "FAILED"


def test_c2_a_step_s_own_retry_count_counts_first() -> None:
    server = begun(simple("a", retryCount=0), defs=[{"name": "a", "retryCount": 5}])
    finish(server, polled(server, "a"), "FAILED")
    assert status(server) == "FAILED"


def test_c3_a_task_that_was_handed_out_is_in_no_queue_until_its_response_is_due() -> None:
    server = begun(simple("a"), defs=[{"name": "a", "responseTimeoutSeconds": 100}])
    first = polled(server, "a")
    later(server, 99_000)
    assert run(server.poll("a", "w2")) is None
    later(server, 62_000)
    assert polled(server, "a").retried_task == first.id


def test_c3_a_message_comes_back_that_a_server_has_taken_and_not_acknowledged() -> None:
    server = begun(simple("a"))
    steps = server.poll("a", "w1")
    next(steps)  # written as IN_PROGRESS, and then it dies
    steps.close()
    server.now += 59_999
    assert run(server.poll("a", "w2")) is None
    server.now += 1
    assert polled(server, "a").poll_count == 2


@pytest.mark.parametrize(
    ("words", "delays"),
    [
        ({"retryLogic": "FIXED", "retryDelaySeconds": 5}, [5, 5, 5]),
        ({"retryLogic": "LINEAR_BACKOFF", "retryDelaySeconds": 5, "backoffScaleFactor": 2},
         [10, 20, 30]),
        ({"retryLogic": "EXPONENTIAL_BACKOFF", "retryDelaySeconds": 5}, [5, 10, 20]),
        ({"retryLogic": "EXPONENTIAL_BACKOFF", "retryDelaySeconds": 5, "maxRetryDelaySeconds": 8},
         [5, 8, 8]),
    ],
)  # fmt: skip
def test_c4_retries_wait_as_their_logic_says(words: dict[str, Any], delays: list[int]) -> None:
    server = begun(simple("a"), defs=[{"name": "a", **words}])
    for seconds in delays:
        finish(server, polled(server, "a"), "FAILED")
        later(server, seconds * 1000 - 1)
        assert run(server.poll("a", "w1")) is None
        later(server, 1)
    assert polled(server, "a").retry_count == 3


def test_c4_the_response_timeout_counts_from_the_last_write() -> None:
    server = begun(simple("a"), defs=[{"name": "a", "responseTimeoutSeconds": 10,
                                       "retryDelaySeconds": 0}])  # fmt: skip
    task = polled(server, "a")
    later(server, 9_000)
    run(server.update(Result(task_id=task.id, status="IN_PROGRESS", extend_lease=True)))
    later(server, 9_000)
    assert standing(server) == [("a", "IN_PROGRESS", 0)]
    later(server, 9_000)
    assert standing(server) == [("a", "TIMED_OUT", 0), ("a", "SCHEDULED", 1)]


def test_c5_a_late_result_changes_nothing_and_is_no_error() -> None:
    server = begun(simple("a"), simple("b"), defs=[{"name": "a", "responseTimeoutSeconds": 10,
                                                    "retryDelaySeconds": 0}])  # fmt: skip
    slow = polled(server, "a")
    later(server, 12_000)
    second = polled(server, "a")
    finish(server, slow, by="slow")
    assert standing(server) == [("a", "TIMED_OUT", 0), ("a", "IN_PROGRESS", 1)]
    finish(server, second, by="second")
    assert server.store.tasks[second.id].output == {"by": "second"}
    assert standing(server)[-1] == ("b", "SCHEDULED", 0)


def test_c6_the_first_result_counts_and_a_task_can_ask_to_be_called_back() -> None:
    server = begun(simple("a"))
    task = polled(server, "a")
    run(server.update(Result(task_id=task.id, status="IN_PROGRESS", callback_after_s=30)))
    later(server, 29_999)
    assert run(server.poll("a", "w1")) is None
    later(server, 1)
    again = polled(server, "a")
    assert again.id == task.id
    finish(server, again, by="first")
    finish(server, again, "FAILED")
    assert server.store.tasks[task.id].output == {"by": "first"}
    assert status(server) == "COMPLETED"


def test_c7_a_terminal_error_is_not_tried_again() -> None:
    server = begun(simple("a"))
    finish(server, polled(server, "a"), "FAILED_WITH_TERMINAL_ERROR")
    assert status(server) == "FAILED"


def test_c7_an_optional_task_that_fails_lets_the_workflow_go_on() -> None:
    server = begun(simple("a", optional=True, retryCount=0), simple("b"))
    finish(server, polled(server, "a"), "FAILED")
    assert standing(server) == [("a", "COMPLETED_WITH_ERRORS", 0), ("b", "SCHEDULED", 0)]
    finish(server, polled(server, "b"))
    assert status(server) == "COMPLETED"


def test_c7_a_permissive_task_that_fails_lets_its_siblings_end_and_fails_the_workflow() -> None:
    server = begun(
        {"name": "f", "taskReferenceName": "f", "type": "FORK_JOIN", "forkTasks": [
            [simple("a", permissive=True, retryCount=0)], [simple("b", retryCount=0)]]},
        {"name": "j", "taskReferenceName": "j", "type": "JOIN", "joinOn": ["a", "b"]},
    )  # fmt: skip
    finish(server, polled(server, "a"), "FAILED")
    later(server, 60_000)
    assert status(server) == "RUNNING"
    finish(server, polled(server, "b"))
    later(server, 60_000)
    assert status(server) == "FAILED"


@pytest.mark.parametrize(
    ("policy", "ended"),
    [("TIME_OUT_WF", "TIMED_OUT"), ("RETRY", "RUNNING"), ("ALERT_ONLY", "RUNNING")],
)
def test_c8_a_task_s_timeout_does_as_its_policy_says(policy: str, ended: str) -> None:
    server = begun(
        simple("a"),
        defs=[{"name": "a", "timeoutSeconds": 60, "responseTimeoutSeconds": 60,
               "timeoutPolicy": policy}],
    )  # fmt: skip
    task = polled(server, "a")
    for _ in range(3):  # it is alive, and takes too long
        later(server, 30_000)
        run(server.update(Result(task_id=task.id, status="IN_PROGRESS", extend_lease=True)))
    assert status(server) == ended
    tried = 1 + (policy == "RETRY")
    assert len(standing(server)) == tried


def test_c8_all_attempts_together_have_a_total() -> None:
    server = begun(simple("a"), defs=[{"name": "a", "retryDelaySeconds": 40, "retryCount": 9,
                                       "totalTimeoutSeconds": 100}])  # fmt: skip
    for _ in range(2):
        finish(server, polled(server, "a"), "FAILED")
        later(server, 40_000)
    later(server, 60_000)
    assert status(server) == "TIMED_OUT"


def test_c8_a_task_that_nobody_polls_runs_into_its_poll_timeout() -> None:
    server = begun(simple("a"), defs=[{"name": "a", "pollTimeoutSeconds": 20}])
    later(server, 19_000)
    assert status(server) == "RUNNING"
    later(server, 3_000)
    assert status(server) == "TIMED_OUT"


def test_c8_a_workflow_has_a_timeout_of_its_own() -> None:
    server = begun(simple("a"), timeoutSeconds=50, timeoutPolicy="TIME_OUT_WF")
    later(server, 49_000)
    assert status(server) == "RUNNING"
    later(server, 33_000)
    assert status(server) == "TIMED_OUT"
    assert standing(server) == [("a", "CANCELED", 0)]


def test_c9_a_failure_workflow_is_given_what_has_failed() -> None:
    undo = {"name": "undo", "tasks": [simple("u", inputParameters={
        "first": "${workflow.input.failedWorkflow.tasks[0].outputData.paid}",
        "why": "${workflow.input.reason}", "status": "${workflow.input.failureStatus}",
        "n": "${workflow.input.n}", "task": "${workflow.input.failureTaskId}"})]}  # fmt: skip
    server = server_of([flow(simple("a"), simple("b", retryCount=0), failureWorkflow="undo"), undo])
    run(server.start("flow", {"n": 1}))
    finish(server, polled(server, "a"), paid=5)
    finish(server, polled(server, "b"), "FAILED")
    found = polled(server, "u").input
    assert (found["first"], found["status"], found["n"]) == (5, "FAILED", 1)
    assert found["task"] == "flow-1/b"
    assert found["why"].startswith("Task flow-1/b failed with status: FAILED")
    assert server.store.workflows["flow-1"].output["conductor.failure_workflow"] == "undo-1"


def test_c9_nobody_s_failure_workflow_is_started_when_a_person_ends_a_workflow() -> None:
    undo = {"name": "undo", "tasks": [simple("u")]}
    server = server_of([flow(simple("a"), failureWorkflow="undo"), undo])
    run(server.start("flow", {}))
    run(server.end("flow-1", "enough"))
    assert status(server) == "TERMINATED"
    assert list(server.store.workflows) == ["flow-1"]
    with pytest.raises(NotFound):
        run(server.end("flow-2", "enough"))


def test_c10_a_worker_that_was_given_up_reports_after_its_work_was_undone() -> None:
    undo = {"name": "undo", "tasks": [simple("u")]}
    server = server_of(
        [flow(simple("a"), failureWorkflow="undo"), undo],
        [{"name": "a", "timeoutSeconds": 10, "responseTimeoutSeconds": 10}],
    )
    run(server.start("flow", {}))
    slow = polled(server, "a")
    later(server, 12_000)
    finish(server, polled(server, "u"))
    assert status(server, "undo-1") == "COMPLETED"
    finish(server, slow, charged=True)  # accepted: nobody tells the worker
    assert standing(server) == [("a", "TIMED_OUT", 0)]


def test_c11_what_was_written_and_not_queued_is_queued_by_the_sweeper() -> None:
    server = server_of([flow(simple("a"))])
    steps = server.start("flow", {})
    assert [next(steps).what for _ in range(2)] == ["create workflow", "create tasks"]
    steps.close()
    assert run(server.poll("a", "w1")) is None
    later(server, 29_999)
    assert run(server.poll("a", "w1")) is None
    later(server, 1)
    assert polled(server, "a").ref == "a"


def test_c13_a_timeout_is_noticed_a_second_after_it_has_passed() -> None:
    server = begun(simple("a"), defs=[{"name": "a", "responseTimeoutSeconds": 100,
                                       "retryDelaySeconds": 0}])  # fmt: skip
    later(server, 20_000)  # its look in 30 s stands already
    polled(server, "a")
    later(server, 100_000)
    assert standing(server) == [("a", "IN_PROGRESS", 0)]
    later(server, 2_000)
    assert standing(server)[-1] == ("a", "SCHEDULED", 1)


def test_c14_a_join_fails_with_the_first_failure_and_other_branches_run_on_until_then() -> None:
    server = begun(
        {"name": "f", "taskReferenceName": "f", "type": "FORK_JOIN", "forkTasks": [
            [simple("a", retryCount=0)], [simple("b")]]},
        {"name": "j", "taskReferenceName": "j", "type": "JOIN", "joinOn": ["a", "b"]},
        simple("c"),
    )  # fmt: skip
    b = polled(server, "b")
    finish(server, polled(server, "a"), "FAILED")
    assert status(server) == "FAILED"
    finish(server, b)  # it never heard
    assert ("b", "CANCELED", 0) in standing(server)


def test_c14_a_join_of_a_long_branch_is_noticed_late() -> None:
    server = begun(
        {"name": "f", "taskReferenceName": "f", "type": "FORK_JOIN",
         "forkTasks": [[simple("a")], [simple("b")]]},
        {"name": "j", "taskReferenceName": "j", "type": "JOIN", "joinOn": ["a", "b"]},
    )  # fmt: skip
    finish(server, polled(server, "a"))
    later(server, 3_000)
    slow = polled(server, "b")
    later(server, 500_000)
    finish(server, slow)
    assert status(server) == "RUNNING"
    later(server, 30_000)
    assert status(server) == "COMPLETED"
    output = server.store.workflows["flow-1"].output
    assert output == {}


def test_c15_a_child_s_end_is_its_task_s_and_a_parent_s_end_cancels_its_child() -> None:
    parent = flow({"name": "s", "taskReferenceName": "s", "type": "SUB_WORKFLOW",
                   "subWorkflowParam": {"name": "child"}, "inputParameters": {"x": 7}})  # fmt: skip
    child = {"name": "child", "tasks": [simple("a", inputParameters={"x": "${workflow.input.x}"})]}
    for ends in (True, False):
        server = server_of([parent, child])
        run(server.start("flow", {}))
        later(server, 0)
        task = polled(server, "a")
        assert task.input == {"x": 7}
        if ends:
            finish(server, task, y=8)
            later(server, 0)
            assert status(server) == "COMPLETED"
            assert server.store.workflows["flow-1"].output["y"] == 8
        else:
            run(server.end("flow-1", "enough"))
            assert {one.status for one in server.store.workflows.values()} == {"TERMINATED"}


def test_c15_a_loop_numbers_its_tasks_and_asks_its_condition_after_each_iteration() -> None:
    server = begun(
        {"name": "loop", "taskReferenceName": "loop", "type": "DO_WHILE",
         "inputParameters": {"value": 2},
         "loopCondition": "if ($.loop['iteration'] < $.value) { true; } else { false; }",
         "loopOver": [simple("a"), simple("b", inputParameters={"of": "${a.output.x}"})]},
    )  # fmt: skip
    for number in (1, 2):
        a = polled(server, "a")
        assert a.ref == f"a__{number}"
        finish(server, a, x=number)
        b = polled(server, "b")
        assert b.input == {"of": number}
        finish(server, b)
    assert status(server) == "COMPLETED"
    assert server.store.tasks["flow-1/loop"].output["2"] == {"a": {"x": 2}, "b": {}}


def test_c15_a_loop_ends_with_a_task_of_it_that_fails() -> None:
    server = begun(
        {"name": "loop", "taskReferenceName": "loop", "type": "DO_WHILE", "loopCondition": "true",
         "loopOver": [simple("a", retryCount=0)]},
    )  # fmt: skip
    finish(server, polled(server, "a"))
    finish(server, polled(server, "a"), "FAILED")
    assert status(server) == "FAILED"


def test_c15_a_switch_chooses_when_it_is_scheduled() -> None:
    server = begun(
        simple("a"),
        {"name": "s", "taskReferenceName": "s", "type": "SWITCH", "evaluatorType": "javascript",
         "expression": "$.cents > 100 ? 'dear' : 'cheap'",
         "inputParameters": {"cents": "${a.output.cents}"},
         "decisionCases": {"dear": [simple("ask")], "cheap": []}, "defaultCase": [simple("no")]},
        simple("z"),
    )  # fmt: skip
    finish(server, polled(server, "a"), cents=500)
    assert standing(server)[-2:] == [("s", "COMPLETED", 0), ("ask", "SCHEDULED", 0)]
    finish(server, polled(server, "ask"))
    finish(server, polled(server, "z"))
    assert status(server) == "COMPLETED"


def test_c15_an_event_is_published_again_by_a_server_that_died_while_it_decided() -> None:
    tell = {"name": "e", "taskReferenceName": "e", "type": "EVENT", "sink": "sqs:q",
            "inputParameters": {"n": "${workflow.input.n}"}}  # fmt: skip
    server = server_of([flow(tell)])
    steps = server.start("flow", {"n": 3})
    while next(steps).what != "publish event":
        pass
    steps.close()
    later(server, 60_000)
    published = [one.payload for one in server.take() if type(one).__name__ == "Published"]
    assert published == [{"n": 3}, {"n": 3}]
    assert status(server) == "COMPLETED"


def test_c15_a_terminate_task_ends_the_workflow_as_it_says() -> None:
    end = {
        "name": "t",
        "taskReferenceName": "t",
        "type": "TERMINATE",
        "inputParameters": {
            "terminationStatus": "FAILED",
            "terminationReason": "no stock",
            "workflowOutput": {"a": 1},
        },
    }
    undo = {"name": "undo", "tasks": [simple("u")]}
    server = server_of([flow(end, simple("z"), failureWorkflow="undo"), undo])
    run(server.start("flow", {}))
    found = server.store.workflows["flow-1"]
    assert (found.status, found.reason, found.output["a"]) == ("FAILED", "no stock", 1)
    assert polled(server, "u").workflow == "undo-1"


def test_c15_waits_end_in_time_or_when_somebody_says_so() -> None:
    server = begun(
        {"name": "w", "taskReferenceName": "w", "type": "WAIT",
         "inputParameters": {"duration": "2 minutes 5 seconds"}},
        {"name": "h", "taskReferenceName": "h", "type": "HUMAN"},
    )  # fmt: skip
    later(server, 124_999)
    assert standing(server) == [("w", "IN_PROGRESS", 0)]
    later(server, 1)
    assert standing(server)[-1] == ("h", "IN_PROGRESS", 0)
    assert server.due() is None  # a person is waited for, for ever
    run(server.update(Result(task_id="flow-1/h", status="COMPLETED")))
    assert status(server) == "COMPLETED"


def test_c16_each_start_is_another_workflow_unless_it_has_a_key() -> None:
    server = server_of([flow(simple("a"))])
    assert run(server.start("flow", {})) != run(server.start("flow", {}))
    first = run(server.start("flow", {}, key="k"))
    assert run(server.start("flow", {}, key="k", existing=True)) == first
    with pytest.raises(Conflict, match="k"):
        run(server.start("flow", {}, key="k"))
    with pytest.raises(NotFound, match="other"):
        run(server.start("other", {}))


@pytest.mark.parametrize(
    ("words", "ended"),
    [
        ({"until": "2030-01-01 00:10"}, "COMPLETED"),
        ({"until": "2030-01-01 00:10 UTC"}, "COMPLETED"),
        ({"until": "2030-01-02"}, "RUNNING"),
        ({"until": "tomorrow"}, "FAILED"),
        ({"until": "2030-01-02", "duration": "5s"}, "FAILED"),
        ({"duration": "soon"}, "FAILED"),
    ],
)
def test_c15_a_wait_lasts_until_a_moment_of_the_calendar(words: Any, ended: str) -> None:
    server = begun({"name": "w", "taskReferenceName": "w", "type": "WAIT",
                    "inputParameters": words})  # fmt: skip
    later(server, 599_999)
    assert status(server) == ("RUNNING" if ended == "COMPLETED" else ended)
    later(server, 1)
    assert status(server) == ended


def test_c15_a_dynamic_fork_takes_its_tasks_from_data_and_joins_them() -> None:
    fork = {
        "name": "f",
        "taskReferenceName": "f",
        "type": "FORK_JOIN_DYNAMIC",
        "dynamicForkTasksParam": "tasks",
        "dynamicForkTasksInputParamName": "inputs",
        "inputParameters": {"tasks": "${a.output.tasks}", "inputs": "${a.output.inputs}"},
    }
    server = begun(simple("a"), fork, {"name": "j", "taskReferenceName": "j", "type": "JOIN"},
                   simple("z", inputParameters={"one": "${j.output.x1.got}"}))  # fmt: skip
    finish(
        server, polled(server, "a"),
        tasks=[{"name": "x", "taskReferenceName": "x1"}, {"name": "x", "taskReferenceName": "x2"}],
        inputs={"x1": {"n": 1}, "x2": {"n": 2}},
    )  # fmt: skip
    for _ in range(2):
        task = polled(server, "x")
        finish(server, task, got=task.input["n"])
    later(server, 1_000)
    assert polled(server, "z").input == {"one": 1}


@pytest.mark.parametrize("given", [{"tasks": 5, "inputs": {}}, {"tasks": [], "inputs": 5}])
def test_c15_a_dynamic_fork_of_what_is_no_list_of_tasks_ends_the_workflow(given: Any) -> None:
    fork = {"name": "f", "taskReferenceName": "f", "type": "FORK_JOIN_DYNAMIC",
            "dynamicForkTasksParam": "tasks", "dynamicForkTasksInputParamName": "inputs",
            "inputParameters": given}  # fmt: skip
    server = begun(fork, {"name": "j", "taskReferenceName": "j", "type": "JOIN"})
    assert status(server) == "FAILED"


def test_c15_a_dynamic_task_has_the_name_that_its_input_says() -> None:
    task = {
        "name": "d",
        "taskReferenceName": "d",
        "type": "DYNAMIC",
        "dynamicTaskNameParam": "which",
        "inputParameters": {"which": "ship_by_air"},
    }
    server = begun(task)  # fmt: skip
    finish(server, polled(server, "ship_by_air"))
    assert status(server) == "COMPLETED"
