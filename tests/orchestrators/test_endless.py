"""A workflow that never ends ends its run with a verdict that names it, on every engine."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow

from chaosharness import (
    Airflow,
    AirflowDAG,
    AirflowTask,
    Budget,
    Conductor,
    Orchestrator,
    Retry,
    Saga,
    SagaStore,
    Step,
    StepFunctions,
    System,
    Temporal,
)
from chaosharness.system.run import Run

FEW = Budget(decisions_max=30)


def conductor(*tasks: dict[str, Any], **words: Any) -> System:
    shop = System("shop")
    definition = {"name": "w", "tasks": list(tasks), **words}
    server = shop.add(Conductor("conductor", workflows=[definition]))

    @shop.service("workers")
    def workers(env: Any) -> None:
        if any("loopOver" in task for task in tasks):

            def work() -> dict[str, Any]:
                return {"done": 1}

            env.task_worker(server, work)

    @shop.entry(examples=[{}])
    def begin(env: Any, item: Any) -> None:
        env.client(server).start_workflow_by_name("w", {})

    return shop


def task(kind: str, **words: Any) -> dict[str, Any]:
    return {"name": "t", "taskReferenceName": "t", "type": kind, **words}


LOOPS = {
    "loop": conductor(
        task(
            "DO_WHILE",
            loopCondition="true",
            loopOver=[{"name": "work", "taskReferenceName": "work", "type": "SIMPLE"}],
        )
    ),
    "child": conductor(task("SUB_WORKFLOW", subWorkflowParam={"name": "w"})),
    "other": conductor(task("START_WORKFLOW", inputParameters={"startWorkflow": {"name": "w"}})),
    "failure": conductor(
        task("TERMINATE", inputParameters={"terminationStatus": "FAILED"}), failureWorkflow="w"
    ),
}


@pytest.mark.parametrize("name", LOOPS)
def test_conductor(name: str) -> None:
    ended(LOOPS[name].run(budget=FEW), "conductor.w")


def ended(run: Run, what: str) -> None:
    assert run.ending.verdict == "budget"
    assert what in run.ending.reason
    assert "decisions" in run.ending.reason or "cycle of workflows" in run.ending.reason


# ---- Temporal


@activity.defn
async def look() -> None: ...


@workflow.defn
class ForEver:
    @workflow.run
    async def run(self, how: str) -> None:
        if how == "again":
            workflow.continue_as_new(how)
        if how == "child":
            await workflow.execute_child_workflow(ForEver.run, how)
        patience = timedelta(seconds=9)
        while how == "activity":
            await workflow.execute_activity(look, start_to_close_timeout=patience)
        while how == "local":
            await workflow.execute_local_activity(look, start_to_close_timeout=patience)


@pytest.mark.parametrize("how", ["again", "child", "activity", "local"])
def test_temporal(how: str) -> None:
    shop = System("shop")
    temporal = shop.add(Temporal("temporal"))

    @shop.service("worker")
    def worker(env: Any) -> None:
        env.worker(temporal, task_queue="q", workflows=[ForEver], activities=[look])

    @shop.entry(examples=[{}])
    async def begin(env: Any, item: Any) -> None:
        client = env.client(temporal)
        await client.start_workflow(ForEver.run, how, id="w1", task_queue="q")

    ended(shop.run(budget=FEW), "ForEver")


@workflow.defn
class Patient:
    """Asks each minute, as often as it is told, and ends."""

    @workflow.run
    async def run(self, times: int) -> None:
        for _ in range(times):
            await workflow.sleep(60)


def test_who_asks_each_minute_for_a_day_has_an_end() -> None:
    shop = System("shop")
    temporal = shop.add(Temporal("temporal"))

    @shop.service("worker")
    def worker(env: Any) -> None:
        env.worker(temporal, task_queue="q", workflows=[Patient])

    @shop.entry(examples=[{}])
    async def begin(env: Any, item: Any) -> None:
        client = env.client(temporal)
        await client.start_workflow(Patient.run, 23 * 60, id="w1", task_queue="q")

    assert shop.run().ending.verdict == "quiet"


def test_a_saga_that_is_tried_again_to_the_end_of_the_calm_is_not_quiet() -> None:
    # its last try lies one period before the end, so that a loop has just looked in vain
    shop = System("shop")
    store = shop.add(SagaStore("sagas"))
    saga = Saga("order", Step("a", retry=Retry(times=10**9)))

    def fails(_: Any) -> None:
        raise ConnectionError("no")

    @shop.service("orders")
    def orders(env: Any) -> None:
        def driver() -> Orchestrator:
            return Orchestrator(
                saga,
                env.connect(store),
                now_ms=env.now_ms,
                sleep=env.sleep,
                calls={"a": fails},
                not_happened=(ConnectionError,),
            )

        other = driver()
        env.main(driver().run)
        env.main(lambda: other.start("x", {}))

    shop.entry(examples=[{}])(lambda env, item: None)
    short = Budget(chaos_ms=600_000, calm_ms=7_200_000)
    assert shop.run(budget=short).ending.verdict == "budget"


# ---- the others


@pytest.mark.parametrize("delay_s", [0, 60])
def test_airflow(delay_s: int) -> None:
    shop = System("shop")
    tries = AirflowTask("fails", retries=10**9, retry_delay_s=delay_s)
    airflow = shop.add(Airflow("airflow", dags=[AirflowDAG("d", tasks=[tries])]))

    @shop.service("workers")
    def workers(env: Any) -> None:
        def fails() -> None:
            raise KeyError("no")

        env.tasks(airflow, {"fails": fails})

    @shop.entry(examples=[{}])
    def begin(env: Any, item: Any) -> None:
        env.client(airflow).trigger_dag_run("d", dag_run_id="r1")

    ended(shop.run(budget=FEW), "'r1'")


def test_a_saga_as_code() -> None:
    async def for_ever(saga: Any, given: Any) -> None:
        while True:
            await saga.do("look")

    shop = System("shop")
    store = shop.add(SagaStore("sagas"))

    @shop.service("orders")
    def orders(env: Any) -> None:
        sagas = Orchestrator(
            Saga("order", for_ever),
            env.connect(store),
            now_ms=env.now_ms,
            sleep=env.sleep,
            calls={"look": lambda command: None},
        )
        env.main(lambda: sagas.start("o1"))

    @shop.entry(examples=[{}])
    def begin(env: Any, item: Any) -> None: ...

    ended(shop.run(budget=FEW), "'o1'")


def test_what_does_end_is_let_through() -> None:
    loop = task(
        "DO_WHILE",
        loopCondition="if ($.t['iteration'] < 12) { true; } else { false; }",
        loopOver=[{"name": "work", "taskReferenceName": "work", "type": "SIMPLE"}],
    )
    assert conductor(loop).run(budget=FEW).ending.verdict == "quiet"


# ---- Step Functions ends them itself


@pytest.mark.parametrize(
    "state", [{"Type": "Task", "Resource": "echo"}, {"Type": "Pass"}], ids=["task", "pass"]
)
def test_an_execution_fails_when_its_history_is_full(state: dict[str, Any]) -> None:
    definition = {"StartAt": "A", "States": {"A": {**state, "Next": "A"}}}
    shop = System("shop")
    sfn = shop.add(StepFunctions("sfn", machines={"m": definition}))

    @shop.service("functions")
    def functions(env: Any) -> None:
        if state["Type"] == "Task":
            env.function(sfn, "echo", lambda event, context: event)

    @shop.entry(examples=[{}])
    def begin(env: Any, item: Any) -> None:
        env.client(sfn).start_execution(stateMachineArn="m", name="e1")

    run = shop.run()
    assert run.ending.verdict == "quiet"
    events = json.loads(run.event_histories["m:e1"])["events"]
    assert len(events) == 25_000
    assert events[-1]["type"] == "ExecutionFailed"
    assert events[-1]["executionFailedEventDetails"]["error"] == "States.Runtime"
