"""What no engine can carry out: one clear error each, which names what is wrong and where.

Workflows that never end are in `test_endless.py`; Temporal's in `temporal/test_bad_input.py`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from chaosharness import (
    Airflow,
    AirflowDAG,
    AirflowTask,
    Conductor,
    Crash,
    Orchestrator,
    Saga,
    SagaStore,
    Schedule,
    Site,
    Step,
    StepFunctions,
    System,
    explore,
)
from chaosharness.errors import InvalidDefinition
from chaosharness.system.run import Run

ACTIVITY = "arn:aws:states:us-east-1:123456789012:activity:chrage"
STRANGE = {"x": object()}
LARGE = "x" * 300_000


def step_functions(
    definition: Any, given: Any = "{}", returned: Any = None, ask: str = "start_execution"
) -> Run:
    shop = System("shop")
    sfn = shop.add(StepFunctions("sfn", machines={"m": definition}))

    @shop.service("functions")
    def functions(env: Any) -> None:
        env.function(sfn, "f", lambda event, context: returned)

    @shop.entry(examples=[{}])
    def begin(env: Any, item: Any) -> None:
        client = env.client(sfn)
        if ask != "start_execution":
            client.send_task_success(taskToken=ask, output=given)
        client.start_execution(stateMachineArn="m", name="e1", input=given)

    return shop.run()


def state(**fields: Any) -> dict[str, Any]:
    return {"StartAt": "A", "States": {"A": {"End": True, **fields}}}


TASK = state(Type="Task", Resource="f", ResultPath=None)


def conductor(definition: Any, given: Any = None, returned: Any = None, polls: str = "t") -> Run:
    shop = System("shop")
    server = shop.add(Conductor("conductor", workflows=[definition]))

    @shop.service("workers")
    def workers(env: Any) -> None:
        if polls:
            env.task_worker(server, lambda task: returned or {}, name=polls)

    @shop.entry(examples=[{}])
    def begin(env: Any, item: Any) -> None:
        env.client(server).start_workflow_by_name("w", given or {})

    return shop.run()


def flow(*types: str, name: str = "w") -> dict[str, Any]:
    tasks = [{"name": "t", "taskReferenceName": "t", "type": one} for one in types]
    return {"name": name, "tasks": tasks}


def airflow(*tasks: Any, conf: Any = None, returned: Any = None, pushed: Any = None) -> Run:
    shop = System("shop")
    engine = shop.add(Airflow("airflow", dags=[AirflowDAG("d", tasks=tasks)]))

    @shop.service("workers")
    def workers(env: Any) -> None:
        def run(ti: Any) -> Any:
            if pushed is not None:
                ti.xcom_push("key", pushed)
            return returned

        env.tasks(engine, {"a": run})

    @shop.entry(examples=[{}])
    def begin(env: Any, item: Any) -> None:
        env.client(engine).trigger_dag_run("d", dag_run_id="r1", conf=conf)

    return shop.run()


async def wants_b(flow: Any, given: Any) -> None:
    await flow.do("b")


async def sends_strange(flow: Any, given: Any) -> None:
    await flow.do("b", value=STRANGE)


async def lacks_the_input(flow: Any) -> None: ...


def saga(code: Any, given: Any = None, returned: Any = None, **more: Any) -> Run:
    shop = System("shop")
    store = shop.add(SagaStore("sagas"))

    @shop.service("orders")
    def orders(env: Any) -> None:
        sagas = Orchestrator(
            Saga("order", code), env.connect(store), now_ms=env.now_ms, sleep=env.sleep,
            **{"calls": {"a": lambda command: returned}, **more},
        )  # fmt: skip
        env.main(lambda: sagas.start("o1", given))

    @shop.entry(examples=[{}])
    def begin(env: Any, item: Any) -> None: ...

    return shop.run()


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "step functions: no JSON": (lambda: step_functions("{"), "state machine 'm' is no JSON"),
    "step functions: an unknown type": (
        lambda: step_functions(state(Type="Taks")), "/States/A: Type is 'Taks'; there are: Task, "),
    "step functions: an unknown state": (
        lambda: step_functions({"StartAt": "B", **state(Type="Pass")} | {"StartAt": "B"}),
        "StartAt names 'B', which is no state"),
    "step functions: an unknown function": (
        lambda: step_functions(state(Type="Task", Resource="g")),
        "state 'A' of 'm' runs the function 'g', which no service has"),
    "step functions: an activity that nobody asks for": (
        lambda: step_functions(state(Type="Task", Resource=ACTIVITY)),
        "state 'A' of 'm' waits for the activity 'chrage', which no worker asks for with get_act"),
    "step functions: an input that is no text": (
        lambda: step_functions(TASK, {"a": 1}), "it is a JSON text, not {'a': 1}: give json.dumps"),
    "step functions: an input that is no JSON": (
        lambda: step_functions(TASK, "{"), "Invalid State Machine Execution Input: Expecting"),
    "step functions: an input that is too large": (
        lambda: step_functions(TASK, json.dumps(LARGE)),
        "Value at 'input' failed to satisfy constraint: Member must have length less than or eq"),
    "step functions: a result without JSON": (
        lambda: step_functions(TASK, returned=object()),
        "functions.<lambda>/handle returns what has no JSON form"),
    "step functions: an answer that is no JSON": (
        lambda: step_functions(TASK, "{", ask="t"), "(InvalidOutput): Invalid Output: Expecting"),
    "step functions: an answer that is no text": (
        lambda: step_functions(TASK, STRANGE, ask="t"), "Invalid Output: it is a JSON text, not {"),
    "conductor: no JSON": (lambda: conductor("{"), "workflow 1 is no JSON"),
    "conductor: an unknown type": (
        lambda: conductor(flow("SIMPEL")), "workflow 'w' /tasks/0 (t): unknown type 'SIMPEL'"),
    "conductor: two of one name": (
        lambda: conductor(flow("SIMPLE", "SIMPLE")), "/tasks/1: taskReferenceName 't' is used at"),
    "conductor: an unknown workflow": (
        lambda: conductor(flow("SIMPLE", name="v")), "No such workflow found by name: w (there"),
    "conductor: nobody polls": (
        lambda: conductor(flow("SIMPLE"), polls=""), "task 't' of w-1 waits for a worker for 't'"),
    "conductor: an input without JSON": (
        lambda: conductor(flow("SIMPLE"), STRANGE), "the input of workflow 'w' has no JSON form"),
    "conductor: a result without JSON": (
        lambda: conductor(flow("SIMPLE"), returned=STRANGE), "/handle returns what has no JSON fo"),
    "airflow: an unknown rule": (
        lambda: AirflowTask("a", trigger_rule="some"), "AirflowTask('a'): trigger_rule is all_suc"),
    "airflow: an unknown task": (
        lambda: airflow(AirflowTask("a", upstream="b")), "comes after 'b', which is no task of it"),
    "airflow: nothing to run": (
        lambda: airflow(AirflowTask("b"), AirflowTask("a")),
        "task 'b' of DAG 'd' has nothing to run"),
    "airflow: a conf without JSON": (
        lambda: airflow(AirflowTask("a"), conf=STRANGE), "the conf of a run of DAG 'd' has no JSO"),
    "airflow: a result that is no XCom": (
        lambda: airflow(AirflowTask("a"), returned=STRANGE),
        "what task 'a' of DAG 'd' returns is kept as an XCom, and cannot be: cannot serialize obj"),
    "airflow: an XCom that cannot be": (
        lambda: airflow(AirflowTask("a"), pushed=[len]),
        "the XCom 'key' of task 'a' of DAG 'd' cannot be kept"),
    "saga: no step": (lambda: Saga("order", "charge"), "'charge' is none of these"),
    "saga: an unknown action": (lambda: saga(Step("b")), "nobody does 'b' of saga 'order'"),
    "saga: an input without JSON": (
        lambda: saga(Step("a"), STRANGE), "the input of saga o1 is kept as JSON, and cannot be"),
    "saga: a result without JSON": (
        lambda: saga(Step("a"), returned=STRANGE),
        "what 'a' returned (tests/orchestrators/test_bad_input.py:"),
    "saga: an unknown action of code": (
        lambda: saga(wants_b), "nobody does 'b' of saga 'order': give calls={'b': function}"),
    "saga: code without its input": (
        lambda: Saga("order", lacks_the_input), "is run as lacks_the_input(saga, input), and that"),
    "saga: a command without JSON": (
        lambda: saga(sends_strange, send=print), "what is sent for 'b' of saga o1 is kept as JSON"),
    "saga: an action that takes no command": (
        lambda: saga(Step("a"), calls={"a": lambda: 1}), "is called with one command, and that do"),
    "saga: an action that is no function": (
        lambda: saga(Step("a"), calls={"a": "a"}), "the action 'a' of saga 'order' is 'a', and no"),
    "saga: no pause between two looks": (
        lambda: saga(Step("a"), poll_s=0), "poll_s must be more than 0 seconds, not 0"),
    "step functions: a timeout of nothing": (
        lambda: step_functions(state(Type="Task", Resource="f", TimeoutSeconds=0)),
        "/States/A/TimeoutSeconds: a number of seconds from 1 is wanted, not 0"),
    "airflow: a conf that is no dict": (
        lambda: airflow(AirflowTask("a"), conf="x"), "the conf of a run of DAG 'd' is a dict"),
    "airflow: a schedule without an end": (
        lambda: AirflowDAG("d", tasks=[AirflowTask("a")], dag_schedule_s=1, dag_end_s=float("inf")),
        "AirflowDAG('d'): dag_end_s is a number of seconds, not inf"),
    "conductor: a worker where no task is for one": (
        lambda: conductor(flow("WAIT")), "which no workflow has; they have: no task that is"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_and_names_its_place(name: str) -> None:
    play, words = REFUSED[name]
    with pytest.raises(InvalidDefinition) as refused:
        play()
    assert words in str(refused.value)
    assert "Traceback" not in str(refused.value)


def test_step_functions_a_result_that_is_too_large_fails_its_task() -> None:
    run = step_functions(TASK, returned=LARGE)
    [failed] = [
        one for one in json.loads(run.event_histories["m:e1"])["events"]
        if one["type"] == "LambdaFunctionFailed"
    ]  # fmt: skip
    details = failed["lambdaFunctionFailedEventDetails"]
    assert details["error"] == "States.DataLimitExceeded"


def test_code_of_a_saga_that_awaits_what_is_no_step_is_parked() -> None:
    async def code(flow: Any, given: Any) -> None:
        await asyncio.sleep(1)

    records = json.loads(saga(code).event_histories["o1"])["records"]
    assert records[-1]["kind"] == "saga parked"
    assert "its code raised RuntimeError" in records[-1]["why"]


@pytest.mark.parametrize("value", [None, 1, "x", [1, (2, {"a"})], {"a": {"b": 1.5}}])
def test_airflow_plain_values_are_kept(value: Any) -> None:
    run = airflow(AirflowTask("a"), returned=value)
    assert '"state": "success"' in run.event_histories["d:r1"]


def test_airflow_after_a_fault_a_strange_result_fails_its_try() -> None:
    shop = System("shop")
    tasks = [AirflowTask("a", retries=1, retry_delay_s=1)]
    engine = shop.add(Airflow("airflow", dags=[AirflowDAG("d", tasks=tasks)]))

    @shop.service("workers")
    def workers(env: Any) -> None:
        env.tasks(engine, {"a": lambda ti: STRANGE if ti.try_number > 1 else "fine"})

    @shop.entry(examples=[{}])
    def begin(env: Any, item: Any) -> None:
        env.client(engine).trigger_dag_run("d", dag_run_id="r1")

    crash = Crash(Site("workers.a/handle"))
    run = shop.run(None, Schedule([crash]))
    assert run.unused == ()
    assert '"state": "failed"' in run.event_histories["d:r1"]


# ---- mistyped definitions: what the real service refuses, or leaves out, is no silence here


A_TASK = {"Type": "Task", "Resource": "arn:aws:lambda:eu-west-1:1:function:a", "End": True}


@pytest.mark.parametrize(
    ("task", "machine", "words"),
    [
        ({"Retyr": []}, {}, "/States/A: a Task state has no field 'Retyr': is Retry meant?"),
        (
            {"Retry": [{"ErrorEquals": ["E"], "MaxAttemps": 3}]}, {},
            "/States/A/Retry: a retrier has no field 'MaxAttemps': is MaxAttempts meant?",
        ),
        (
            {"Catch": [{"ErrorEquals": ["E"], "Next": "A", "ResultsPath": "$.e"}]}, {},
            "/States/A/Catch: a catcher has no field 'ResultsPath': is ResultPath meant?",
        ),
        (
            {"Retry": [{"ErrorEquals": ["States.TaskFaild"]}]}, {},
            "Step Functions has no error 'States.TaskFaild': is States.TaskFailed meant?",
        ),
        ({}, {"Timeout": 3}, "/: a state machine has no field 'Timeout': is TimeoutSeconds meant?"),
    ],
)  # fmt: skip
def test_mistyped_fields_of_a_state_machine_are_refused(
    task: Any, machine: Any, words: str
) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        StepFunctions(
            "sfn", machines={"m": {"StartAt": "A", "States": {"A": A_TASK | task}} | machine}
        )
    assert words in str(caught.value)


def test_errors_and_comments_of_one_s_own_are_let_through() -> None:
    errors = ["States.Http.StatusCode.429", "States.SomethingNew", "Mine", "Lambda.Unknown"]
    retrier = {"ErrorEquals": errors, "Comment": "patience", "JitterStrategy": "FULL"}
    states = {"A": A_TASK | {"Retry": [retrier]}}
    whole = {"StartAt": "A", "States": states, "Comment": "x", "Version": "1.0"}
    StepFunctions("sfn", machines={"m": whole})


def test_a_branch_to_a_task_that_there_is_not_is_told_where_nothing_is_claimed() -> None:
    system = System("branch")
    tasks = [AirflowTask("a", lambda: "bb", kind="branch"), AirflowTask("b", print, upstream="a")]
    airflow = system.add(Airflow("airflow", dags=[AirflowDAG("d", tasks=tasks)]))

    @system.service("workers")
    def workers(env: Any) -> None:
        env.tasks(airflow)

    @system.entry(examples=["r"])
    def begin(env: Any, name: str) -> None:
        env.client(airflow).trigger_dag_run("d", dag_run_id=name)

    campaign = explore(system, faults_max=1)
    assert campaign.result == "unknown"
    assert "Invalid tasks found: bb" in str(campaign.reasons)


def test_an_activity_that_nobody_asks_for_may_have_a_time() -> None:
    run = step_functions(state(Type="Task", Resource=ACTIVITY, TimeoutSeconds=60))
    assert run.ending.verdict == "quiet"
    assert "States.Timeout" in run.event_histories["m:e1"]
