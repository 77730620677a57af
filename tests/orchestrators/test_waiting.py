"""Workflows that wait at the end of the calm run: told in every door, but no entity is accused."""

import asyncio
import itertools
import json
import warnings
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

from temporalio import activity, workflow

from chaosharness import (
    Conductor,
    Crash,
    Delay,
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
    never_stuck,
)
from chaosharness.errors import InvalidDefinition, InvalidValue
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
class Holds:
    """Holds what it has charged for until it is cancelled, and gives it back."""

    @workflow.run
    async def run(self, id: str) -> None:
        await charge(id)
        try:
            await workflow.wait_condition(lambda: False)
        except asyncio.CancelledError:
            await asyncio.shield(charge(f"{id} back"))
            raise


@workflow.defn
class HoldsOn:
    """Waits in vain where its charge was not taken at once; nothing ends it then."""

    @workflow.run
    async def run(self, id: str) -> None:
        begun = workflow.now()
        try:
            await charge(id)
            late = workflow.now() - begun > timedelta(seconds=5)
            await workflow.wait_condition(lambda: not late)
        except asyncio.CancelledError:
            await asyncio.shield(charge(f"{id} back"))
            raise


@workflow.defn
class Subscribes:
    """Charges each month, or each minute, until it is cancelled."""

    @workflow.run
    async def run(self, id: str, pause_s: int = 30 * 86_400) -> None:
        for month in itertools.count():
            await charge(f"{id} {month}")
            await asyncio.sleep(pause_s)


@workflow.defn
class Redraws(Subscribes):
    """Has another key at each attempt."""

    @workflow.run
    async def run(self, id: str, pause_s: int = 30 * 86_400) -> None:
        for month in itertools.count():
            name = f"{id} {month}"
            await workflow.execute_activity(
                "charge anew", name, start_to_close_timeout=timedelta(seconds=20)
            )
            await asyncio.sleep(pause_s)


@workflow.defn
class Minutely(Subscribes):
    """Each minute."""

    @workflow.run
    async def run(self, id: str, pause_s: int = 60) -> None:
        await super().run(id, pause_s)


@workflow.defn
class Anew:
    """The same, as another run each month."""

    @workflow.run
    async def run(self, id: str) -> None:
        await charge(f"{id} {workflow.info().run_id}")
        await asyncio.sleep(30 * 86_400)
        workflow.continue_as_new(id)


@workflow.defn
class Sets:
    """Sets its handler itself."""

    @workflow.run
    async def run(self, id: str) -> None:
        heard = asyncio.Event()
        workflow.set_signal_handler("go", heard.set)
        await charge(id)
        await heard.wait()


def temporal(workflow_class: Any, *signals: str, cancels: bool = False, **given: Any) -> System:
    system = System("waits", **given)
    server = system.add(Temporal("temporal"))
    bank = system.add(Gateway("bank"))

    @system.service("workers")
    def workers(env: Env) -> None:
        money = env.client(bank)

        @activity.defn(name="charge")
        async def take(id: str) -> None:
            await money.charge(id, 500, key=id)

        @activity.defn(name="charge anew")
        async def take_anew(id: str) -> None:
            await money.charge(id, 500, key=f"{id} {activity.info().attempt}")

        known = [Forgets, Approved, Entity, Parent, Sets, Holds, HoldsOn, Subscribes, Redraws,
                 Minutely, Anew]  # fmt: skip
        env.worker(server, task_queue="q", workflows=known, activities=[take, take_anew])

    @system.entry(examples=["o1"])
    async def place(env: Env, id: str) -> None:
        client = env.client(server)
        handle = await client.start_workflow(workflow_class.run, id, id=id, task_queue="q")
        for name in signals:
            await handle.signal(name)
            await env.sleep(30)
        if cancels:
            await env.sleep(30)
            await handle.cancel()

    return system


def step_functions(may_wait: Any = (), **more: Any) -> System:
    state = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
             "Parameters": {"FunctionName": "ask", "Payload": {"token.$": "$$.Task.Token"}},
             "End": True, **more}  # fmt: skip
    system = System("waits", may_wait=may_wait)
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


def conductor(kind: str, may_wait: Any = (), **given: Any) -> System:
    system = System("waits", may_wait=may_wait)
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


def conductor_monthly(may_wait: Any = (), **given: Any) -> System:
    """Charges each month, for ever."""
    system = System("waits", may_wait=may_wait)
    each = {"name": "each", "taskReferenceName": "each", "type": "DO_WHILE",
            "loopCondition": "true", "loopOver": [
        {"name": "charge", "taskReferenceName": "charge", "type": "SIMPLE"},
        {"name": "pause", "taskReferenceName": "pause", "type": "WAIT", "inputParameters": given},
    ]}  # fmt: skip
    flow = {"name": "w", "tasks": [each]}
    server = system.add(Conductor("conductor", workflows=[flow], tasks=[{"name": "charge"}]))
    bank = system.add(Gateway("bank"))

    @system.service("workers")
    def workers(env: Env) -> None:
        money = env.client(bank)

        def charge() -> None:
            money.charge("o1", 500, key=str(env.now_ms() // 86_400_000))

        env.task_worker(server, charge)

    @system.entry(examples=["o1"])
    def place(env: Env, id: str) -> None:
        env.client(server).start_workflow_by_name("w", {})

    return system


def saga(*, within_ms: int | None = None, may_wait: Any = (), order: Saga | None = None) -> System:
    system = System("waits", may_wait=may_wait)
    queues = {"orders": Queue("quorum", dead_letter="parked"), "parked": Queue("quorum")}
    rabbit = system.add(RabbitMQ("rabbit", queues=queues))
    store = system.add(SagaStore("db"))
    bank = system.add(Gateway("bank"))
    if order is None:
        boss = Approval("boss", within_ms=within_ms)
        order = Saga("order", Step("charge", undo="refund"), boss)

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
    pytest.param(lambda: temporal(Holds), "workflow 'Holds' (o1) waits until it is cancelled, and "
                 "nobody has cancelled it", id="temporal, held"),
    pytest.param(lambda: temporal(Subscribes), "workflow 'Subscribes' (o1) goes on for ever by its "
                 "timers, and nobody has ended it", id="temporal, each month"),
    pytest.param(lambda: temporal(Anew), "workflow 'Anew' (o1) goes on for ever", id="temporal, "
                 "another run each month"),
    pytest.param(lambda: temporal(Sets), "(it sets its handlers itself)", id="temporal, set"),
    pytest.param(step_functions, "state 'Ask' of execution 'o1' (m) waits for its token, and "
                 "nobody has brought it back", id="step functions"),
    pytest.param(lambda: conductor("HUMAN"), "task 'yes' (HUMAN) of workflow 'w-1' waits to be "
                 "completed", id="conductor, a person"),
    pytest.param(lambda: conductor("WAIT"), "task 'yes' (WAIT) of workflow 'w-1' waits to be "
                 "completed", id="conductor, a wait"),
    pytest.param(lambda: conductor_monthly(duration="30 days"), "workflow 'w-1' goes on for ever "
                 "by its task 'pause' (WAIT), and nobody has ended it", id="conductor, each month"),
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
    with pytest.warns(UserWarning, match="waits|is parked|goes on for ever") as caught:
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
    pytest.param(lambda: temporal(Holds, cancels=True), id="held, and cancelled"),
    pytest.param(lambda: temporal(Subscribes, cancels=True), id="a subscription, cancelled"),
    *(
        pytest.param(partial(build, may_wait=names), id=f"{names} may wait")
        for build, names in (
            (partial(temporal, Approved), ["Approved"]),
            (partial(temporal, Holds), ["Holds"]),
            (partial(temporal, Forgets), ["Forgets"]),
            (partial(temporal, Minutely), ["Minutely"]),
            (partial(temporal, Anew), "Anew"),
            (step_functions, ["Ask"]),
            (step_functions, ("m",)),
            (partial(conductor, "HUMAN"), ["yes"]),
            (partial(conductor, "WAIT"), ["w"]),
            (partial(conductor_monthly, duration="1 hour"), "w"),
            (saga, ["boss"]),
        )
    ),
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
    claims = [never_stuck(waiting=True)]
    assert explore(shop, properties=claims, faults_max=0).counterexamples == ()


@pytest.mark.parametrize(("build", "words"), TOLD)
def test_who_waits_is_stuck_where_that_is_claimed(build: Callable[[], System], words: str) -> None:
    claims = [never_stuck(waiting=True)]
    [found] = explore(build(), properties=claims, faults_max=0).counterexamples
    assert found.findings[0].summary.startswith("the system is stuck: ")
    assert words in found.findings[0].summary


def test_who_waits_until_it_is_cancelled_only_since_something_was_late_is_stuck() -> None:
    shop = temporal(HoldsOn)
    assert explore(shop, faults_max=0).upset == ()
    claims = [never_stuck()]
    [found] = explore(shop, properties=claims, kinds=[Delay], faults_max=1).counterexamples
    assert "'HoldsOn' (o1) waits until it is cancelled" in found.findings[0].summary


def test_what_goes_on_for_ever_is_judged_as_a_whole() -> None:
    """A key that is drawn anew takes the money twice, in whichever month."""
    for build, broken in ((Subscribes, False), (Redraws, True)):
        shop = temporal(build, may_wait=[build.__name__])
        campaign = explore(shop, kinds=[Delay, Crash], faults_max=1, stop_at_first=True)
        kinds = [one.findings[0].kind for one in campaign.counterexamples]
        assert kinds == (["effect twice"] if broken else [])
        assert all(one.tested for one in campaign.standings if one.name == "idempotent")


def test_one_that_asks_each_minute_for_ever_never_comes_to_rest_unless_it_may() -> None:
    [found] = explore(temporal(Minutely), faults_max=0).counterexamples
    assert "the system never came to rest" in found.findings[0].summary
    assert "if that is meant, System(..., may_wait=['Minutely'])" in found.findings[0].summary


@pytest.mark.parametrize("given", [[1], {"Holds": 1}, [""], None])
def test_names_of_what_may_wait_are_names(given: Any) -> None:
    with pytest.raises(InvalidDefinition, match=r"may_wait.*names of workflows"):
        System("waits", may_wait=given)


MISSPELT: list[Any] = [
    pytest.param(partial(temporal, Approved), "Aproved", "Approved", id="temporal"),
    pytest.param(step_functions, "ask", "Ask", id="step functions"),
    pytest.param(partial(conductor, "HUMAN"), "yess", "yes", id="conductor"),
    pytest.param(saga, "bos", "boss", id="saga"),
]


@pytest.mark.parametrize(("build", "name", "right"), MISSPELT)
def test_a_name_that_nothing_has_is_refused(build: Any, name: str, right: str) -> None:
    with pytest.raises(InvalidDefinition) as told:
        build(may_wait=[name]).run()
    words = f"System('waits'): may_wait has {name!r}, which is no workflow, state, task or step of"
    assert str(told.value).startswith(f"{words} this system; there are: ")
    assert f". Is {right!r} meant? (at tests/orchestrators/test_waiting.py:" in str(told.value)


def test_a_name_that_may_be_one_of_a_saga_in_code_is_not_refused() -> None:
    async def order(flow: Any, input: Any) -> None:
        await flow.do("charge", undo="refund")
        if input.get("large"):
            await flow.approval("boss")

    shop = saga(may_wait=["boss"], order=Saga("order", order))
    assert shop.run().ending.verdict == "quiet"


def monthly_flows(pause: str, may_wait: Any = ()) -> System:
    """A loop that begins another workflow each time round: that one waits."""
    system = System("waits", may_wait=may_wait)
    month = {"name": "month", "tasks": [
        {"name": "charge", "taskReferenceName": "charge", "type": "SIMPLE"},
        {"name": "pause", "taskReferenceName": "pause", "type": "WAIT",
         "inputParameters": {"duration": pause}},
    ]}  # fmt: skip
    inner = {"name": "one", "taskReferenceName": "one", "type": "SUB_WORKFLOW",
             "subWorkflowParam": {"name": "month"}}  # fmt: skip
    each = {"name": "each", "taskReferenceName": "each", "type": "DO_WHILE",
            "loopCondition": "true", "loopOver": [inner]}  # fmt: skip
    flows = [month, {"name": "w", "tasks": [each]}]
    server = system.add(Conductor("conductor", workflows=flows, tasks=[{"name": "charge"}]))
    bank = system.add(Gateway("bank"))

    @system.service("workers")
    def workers(env: Env) -> None:
        money = env.client(bank)

        def charge() -> None:
            money.charge("o1", 500, key=str(env.now_ms()))

        env.task_worker(server, charge)

    @system.entry(examples=["o1"])
    def place(env: Env, id: str) -> None:
        env.client(server).start_workflow_by_name("w", {})

    return system


def test_a_loop_of_workflows_that_wait_is_left_as_one_of_waits_is() -> None:
    campaign = explore(monthly_flows("30 days"), faults_max=0)
    assert campaign.counterexamples == ()
    assert "goes on for ever by its task 'pause' (WAIT)" in str(campaign.upset)


@pytest.mark.parametrize("name", ["w", "month"])
def test_a_loop_of_workflows_that_wait_may_be_named_by_either(name: str) -> None:
    campaign = explore(monthly_flows("1 hour", [name]), faults_max=0)
    assert (campaign.counterexamples, campaign.upset) == ((), ())


def test_a_loop_of_short_waits_says_what_to_do_if_it_is_meant() -> None:
    [found] = explore(monthly_flows("1 hour"), faults_max=0).counterexamples
    words = "Workflow 'w-1' waits again and again: if that is meant, System(..., may_wait=['w'])"
    assert words in found.findings[0].summary


def test_sixty_waits_side_by_side_are_no_row() -> None:
    """Each of them is waited for."""
    system = System("waits")
    forks = [[{"name": f"p{n}", "taskReferenceName": f"p{n}", "type": "WAIT",
               "inputParameters": {"duration": "2 days"}}] for n in range(60)]  # fmt: skip
    tasks = [
        {"name": "f", "taskReferenceName": "f", "type": "FORK_JOIN", "forkTasks": forks},
        {"name": "j", "taskReferenceName": "j", "type": "JOIN",
         "joinOn": [f"p{n}" for n in range(60)]},
    ]  # fmt: skip
    server = system.add(Conductor("conductor", workflows=[{"name": "w", "tasks": tasks}]))

    @system.entry(examples=["o1"])
    def place(env: Env, id: str) -> None:
        env.client(server).start_workflow_by_name("w", {})

    run = system.run()
    assert run.ending.verdict == "quiet"
    assert "COMPLETED" in run.event_histories["w-1"]


@pytest.mark.parametrize("waiting", ["yes", 1, None])
def test_what_is_no_truth_is_refused(waiting: Any) -> None:
    with pytest.raises(InvalidValue, match="never_stuck: waiting must be True or False"):
        never_stuck(waiting=waiting)
