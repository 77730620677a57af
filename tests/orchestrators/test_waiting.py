"""Workflows that wait at the end of the calm run: told in every door, but no entity is accused."""

import asyncio
import json
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

from temporalio import activity, workflow

from chaosharness import (
    Conductor,
    Env,
    Gateway,
    Queue,
    RabbitMQ,
    SagaStore,
    StepFunctions,
    System,
    Temporal,
    chaos_test,
    check,
    explore,
)
from chaosharness.orchestrators.saga import Approval, Orchestrator, Saga, Step


async def charge(id: str) -> None:
    """Have it charged."""
    await workflow.execute_activity("charge", id, start_to_close_timeout=timedelta(seconds=20))


@workflow.defn
class Forgets:
    """Waits for what nothing here ever sets."""

    def __init__(self) -> None:
        self.ready = False

    @workflow.run
    async def run(self, id: str) -> None:
        await charge(id)
        await workflow.wait_condition(lambda: self.ready)


@workflow.defn
class Approved(Forgets):
    """Waits for a signal."""

    @workflow.signal
    def approve(self) -> None:
        self.ready = True

    @workflow.run
    async def run(self, id: str) -> None:
        await super().run(id)


@workflow.defn
class Entity:
    """Lives for ever, and adds what it is told; is another run after each."""

    def __init__(self) -> None:
        self.told = 0

    @workflow.signal
    def add(self) -> None:
        self.told += 1

    @workflow.run
    async def run(self, id: str) -> None:
        await workflow.wait_condition(lambda: self.told > 0)
        await charge(f"{id} {workflow.info().run_id}")
        workflow.continue_as_new(id)


@workflow.defn
class Parent:
    """Lives an hour, and so does its child, which waits for nothing else."""

    @workflow.run
    async def run(self, id: str) -> None:
        await workflow.start_child_workflow(Forgets.run, id, id=f"{id} child")
        await asyncio.sleep(3_600)


@workflow.defn
class Sets:
    """Sets its handler itself."""

    @workflow.run
    async def run(self, id: str) -> None:
        heard = asyncio.Event()
        workflow.set_signal_handler("go", heard.set)
        await charge(id)
        await heard.wait()


def temporal(workflow_class: Any, *signals: str) -> System:
    system = System("waits")
    server = system.add(Temporal("temporal"))
    bank = system.add(Gateway("bank"))

    @system.service("workers")
    def workers(env: Env) -> None:
        money = env.client(bank)

        @activity.defn(name="charge")
        async def take(id: str) -> None:
            await money.charge(id, 500, key=id)

        known = [Forgets, Approved, Entity, Parent, Sets]
        env.worker(server, task_queue="q", workflows=known, activities=[take])

    @system.entry(examples=["o1"])
    async def place(env: Env, id: str) -> None:
        client = env.client(server)
        handle = await client.start_workflow(workflow_class.run, id, id=id, task_queue="q")
        for name in signals:
            await handle.signal(name)
            await env.sleep(30)

    return system


def step_functions(**more: Any) -> System:
    state = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
             "Parameters": {"FunctionName": "ask", "Payload": {"token.$": "$$.Task.Token"}},
             "End": True, **more}  # fmt: skip
    system = System("waits")
    machine = {"StartAt": "Ask", "States": {"Ask": state}}
    server = system.add(StepFunctions("sfn", machines={"m": machine}))
    bank = system.add(Gateway("bank"))

    @system.service("workers")
    def workers(env: Env) -> None:
        money = env.client(bank)

        def ask(event: Any, context: Any) -> None:
            money.charge("o1", 500, key="o1")

        env.function(server, "ask", ask)

    @system.entry(examples=["o1"])
    def place(env: Env, id: str) -> None:
        env.client(server).start_execution(stateMachineArn="m", name=id, input=json.dumps({}))

    return system


def conductor(kind: str, **given: Any) -> System:
    system = System("waits")
    flow = {"name": "w", "tasks": [
        {"name": "charge", "taskReferenceName": "charge", "type": "SIMPLE"},
        {"name": "yes", "taskReferenceName": "yes", "type": kind, "inputParameters": given},
    ]}  # fmt: skip
    server = system.add(Conductor("conductor", workflows=[flow], tasks=[{"name": "charge"}]))
    bank = system.add(Gateway("bank"))

    @system.service("workers")
    def workers(env: Env) -> None:
        money = env.client(bank)

        def charge() -> None:
            money.charge("o1", 500, key="o1")

        env.task_worker(server, charge)

    @system.entry(examples=["o1"])
    def place(env: Env, id: str) -> None:
        env.client(server).start_workflow_by_name("w", {})

    return system


def saga(*, within_ms: int | None = None) -> System:
    system = System("waits")
    queues = {"orders": Queue("quorum", dead_letter="parked"), "parked": Queue("quorum")}
    rabbit = system.add(RabbitMQ("rabbit", queues=queues))
    store = system.add(SagaStore("db"))
    bank = system.add(Gateway("bank"))
    order = Saga("order", Step("charge", undo="refund"), Approval("boss", within_ms=within_ms))

    @system.service("desk")
    def desk(env: Env) -> None:
        money = env.client(bank)
        sagas = Orchestrator(
            order, env.connect(store), now_ms=env.now_ms, sleep=env.sleep,
            calls={"charge": lambda c: str(money.charge(c.saga, 500, key=c.key)),
                   "refund": lambda c: str(money.refund(c.saga, 500, key=c.key))},
            not_happened=(ConnectionError,),
        )  # fmt: skip

        def on_order(order: dict[str, Any]) -> None:
            sagas.start(order["id"], order)

        env.consume(rabbit, "orders", on_order)
        env.main(sagas.run)

    @system.entry(examples=["o1"])
    def place(env: Env, id: str) -> None:
        env.publisher(rabbit)("orders", {"id": id})

    return system


TOLD: list[Any] = [
    pytest.param(lambda: temporal(Approved), "workflow 'Approved' (o1) waits for a signal or an "
                 "update (approve), and nobody has sent it any", id="temporal"),
    pytest.param(lambda: temporal(Sets), "(it sets its handlers itself)", id="temporal, set"),
    pytest.param(step_functions, "state 'Ask' of execution 'o1' (m) waits for its token, and "
                 "nobody has brought it back", id="step functions"),
    pytest.param(lambda: conductor("HUMAN"), "task 'yes' (HUMAN) of workflow 'w-1' waits to be "
                 "completed", id="conductor, a person"),
    pytest.param(lambda: conductor("WAIT"), "task 'yes' (WAIT) of workflow 'w-1' waits to be "
                 "completed", id="conductor, a wait"),
    pytest.param(saga, "saga o1 is parked at 'boss' (a person has to answer), and nobody has "
                 "answered", id="saga"),
]  # fmt: skip


@pytest.mark.parametrize(("build", "words"), TOLD)
def test_who_waits_for_somebody_is_told_in_every_door(
    build: Callable[[], System], words: str
) -> None:
    shop = build()
    campaign = explore(shop, properties=[], faults_max=0)
    assert words in " ".join(campaign.upset)
    assert words in str(campaign)
    with pytest.warns(UserWarning, match="waits for|waits to be|is parked") as caught:
        shop.run().check()
    assert words in str(caught[0].message)


def test_a_search_and_a_chaos_test_warn() -> None:
    shop = temporal(Approved)
    with pytest.warns(UserWarning, match="nobody has sent it any"):
        check(shop, faults_max=1, runs_max=40)

    @chaos_test(shop, faults_max=1, runs=20)
    def test_shop(run: Any) -> None:
        assert run.history

    with pytest.warns(UserWarning, match="nobody has sent it any") as caught:
        test_shop()
    told = [one for one in caught if "nobody has sent it any" in str(one.message)]
    assert [one.filename for one in told] == [__file__]


def test_who_can_be_woken_by_nobody_is_stuck() -> None:
    shop = temporal(Forgets)
    [found] = explore(shop, faults_max=0).counterexamples
    assert found.property == "never stuck"
    assert "workflow 'Forgets' (o1) waits for ever" in found.findings[0].summary
    assert "so that nobody can wake it" in found.findings[0].summary


SILENT: list[Any] = [
    pytest.param(lambda: temporal(Approved, "approve"), id="approved"),
    pytest.param(lambda: temporal(Entity, "add", "add"), id="an entity, in its next run"),
    pytest.param(lambda: temporal(Parent), id="a child that lives as long as its parent"),
    pytest.param(lambda: step_functions(TimeoutSeconds=60), id="a token with a timeout"),
    pytest.param(lambda: conductor("WAIT", duration="5 seconds"), id="a wait that is over"),
    pytest.param(lambda: saga(within_ms=60_000), id="an approval in time"),
]


@pytest.mark.parametrize("build", SILENT)
def test_nothing_is_told_of_those_who_live_on_or_whose_time_is_over(
    build: Callable[[], System],
) -> None:
    shop = build()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shop.run().check()
    assert explore(shop, faults_max=0).upset == ()
