"""An orchestrator that gives up waiting tells its workflow no: what then undoes all is right."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

from temporalio import activity, workflow
from temporalio.exceptions import ActivityError

from chaosharness import (
    Conductor,
    Crash,
    Delay,
    Env,
    External,
    Pause,
    StepFunctions,
    System,
    Temporal,
    assumed,
    explore,
)

SOON = timedelta(seconds=20)


class Party:
    """Does something for an order, once, unless it was undone before."""

    def __init__(self) -> None:
        self.did: set[str] = set()
        self.undone: set[str] = set()

    def do(self, order: str, cents: int) -> Any:
        if order in self.did | self.undone:
            return External.unchanged("known")
        self.did.add(order)
        return None

    def undo(self, order: str) -> Any:
        was = order in self.did
        self.did.discard(order)
        self.undone.add(order)
        return None if was else External.unchanged("nothing to undo")


class Steps:
    """What the workflows have done; one that forgets recalls nothing."""

    def __init__(self, bank: Any, courier: Any, *, forgets: bool) -> None:
        self.bank, self.courier, self.forgets = bank, courier, forgets

    def charge(self, order: str) -> Any:
        return self.bank.do(order, 500)

    def refund(self, order: str) -> Any:
        return self.bank.undo(order)

    def ship(self, order: str) -> Any:
        return self.courier.do(order, 1)

    def recall(self, order: str) -> Any:
        return None if self.forgets else self.courier.undo(order)


@workflow.defn
class Ordering:
    """Ships within a minute and a half, or undoes all."""

    @workflow.run
    async def run(self, order: str) -> str:
        await _do("charge", order)
        try:
            await _do("ship", order, schedule_to_close_timeout=timedelta(seconds=90))
        except ActivityError:
            await _do("recall", order)
            await _do("refund", order)
            return "cancelled"
        return "shipped"


async def _do(name: str, order: str, **limits: timedelta) -> None:
    await workflow.execute_activity(name, order, start_to_close_timeout=SOON, **limits)


def on_temporal(env: Env, server: Any, steps: Steps) -> None:
    def made(name: str) -> Callable[[str], None]:
        @activity.defn(name=name)
        def does(order: str) -> None:
            getattr(steps, name)(order)

        return does

    activities = [made(name) for name in NAMES]
    env.worker(server, task_queue="q", workflows=[Ordering], activities=activities)


NAMES = ("charge", "ship", "recall", "refund")
PATIENCE = [{"ErrorEquals": ["States.ALL"], "MaxAttempts": 20, "IntervalSeconds": 60}]


def _state(name: str, **more: Any) -> dict[str, Any]:
    return {"Type": "Task", "Resource": name, "ResultPath": None, "TimeoutSeconds": 20, **more}


GIVEN_UP = [{"ErrorEquals": ["States.ALL"], "Next": "recall", "ResultPath": None}]
MACHINE = {
    "StartAt": "charge",
    "States": {
        "charge": _state("charge", Retry=PATIENCE, Next="ship"),
        "ship": _state("ship", Catch=GIVEN_UP, End=True),
        "recall": _state("recall", Retry=PATIENCE, Next="refund"),
        "refund": _state("refund", Retry=PATIENCE, Next="cancelled"),
        "cancelled": {"Type": "Fail", "Error": "Cancelled"},
    },
}


def on_step_functions(env: Env, server: Any, steps: Steps) -> None:
    def function(name: str) -> Callable[[Any, Any], Any]:
        return lambda event, context: getattr(steps, name)(event)

    for name in NAMES:
        env.function(server, name, function(name))


def _task(name: str, **more: Any) -> dict[str, Any]:
    given = {"order": "${workflow.input.order}"}
    return {"name": name, "taskReferenceName": name, "inputParameters": given, **more}


FLOW = {
    "name": "ordering",
    "tasks": [
        _task("charge"),
        _task("ship", optional=True),
        {
            "name": "ended",
            "taskReferenceName": "ended",
            "type": "SWITCH",
            "evaluatorType": "value-param",
            "expression": "status",
            "inputParameters": {"status": "${ship.status}"},
            "decisionCases": {"COMPLETED": []},
            "defaultCase": [_task("recall"), _task("refund")],
        },
    ],
}


def _definition(name: str) -> dict[str, Any]:
    tries = 0 if name == "ship" else 50
    return {"name": name, "retryCount": tries, "retryDelaySeconds": 60,
            "responseTimeoutSeconds": 20, "timeoutPolicy": "RETRY"}  # fmt: skip


def on_conductor(env: Env, server: Any, steps: Steps) -> None:
    for name in NAMES:
        env.task_worker(server, getattr(steps, name), name=name)


def _begin_workflow(client: Any, order: str) -> Any:
    return client.start_workflow(Ordering.run, order, id=order, task_queue="q")


def _begin_execution(client: Any, order: str) -> Any:
    return client.start_execution(stateMachineArn="m", name=order, input=json.dumps(order))


def _begin_flow(client: Any, order: str) -> Any:
    return client.start_workflow_by_name("ordering", {"order": order}, idempotency_key=order)


ENGINES: dict[str, tuple[Callable[[], Any], Any, Any]] = {
    "temporal": (lambda: Temporal("temporal"), on_temporal, _begin_workflow),
    "step functions": (
        lambda: StepFunctions("sfn", machines={"m": MACHINE}), on_step_functions, _begin_execution),
    "conductor": (
        lambda: Conductor("conductor", workflows=[FLOW], tasks=[_definition(n) for n in NAMES]),
        on_conductor, _begin_flow),
}  # fmt: skip


def shop(engine: str, *, forgets: bool = False) -> System:
    made, serve, begin = ENGINES[engine]
    system = System(engine)
    server = system.add(made())
    bank, courier = system.add(External("bank", Party)), system.add(External("courier", Party))

    @system.service("work")
    def work(env: Env) -> None:
        serve(env, server, Steps(env.client(bank), env.client(courier), forgets=forgets))

    if engine == "temporal":

        @system.entry(examples=["o1"])
        async def place(env: Env, order: str) -> None:
            await begin(env.client(server), order)

    else:

        @system.entry(examples=["o1"])
        def place_plainly(env: Env, order: str) -> None:
            begin(env.client(server), order)

    return system


@pytest.mark.parametrize("engine", ENGINES)
def test_what_gives_up_and_undoes_all_is_right(engine: str) -> None:
    system = shop(engine)
    found = explore(system, properties=assumed(system), faults_max=1, kinds=[Crash, Pause])
    assert found.counterexamples == ()
    assert found.coverage.levels[1].tried > 20


@pytest.mark.parametrize("engine", ENGINES)
def test_what_gives_up_and_undoes_half_is_found(engine: str) -> None:
    system = shop(engine, forgets=True)
    found = explore(system, properties=assumed(system), faults_max=1, kinds=[Crash, Pause])
    assert {one.property for one in found.counterexamples} == {"idempotent"}


# ---- clients whose requests come late


@workflow.defn
class Cart:
    """Reminds its customer by mail after an hour, once; is paid when it is checked out."""

    def __init__(self) -> None:
        self.out = False

    @workflow.run
    async def run(self, customer: str) -> str:
        try:
            await workflow.wait_condition(lambda: self.out, timeout=timedelta(hours=1))
        except TimeoutError:
            await _do("remind", customer)
            return "abandoned"
        await _do("charge", customer)
        return "paid"

    @workflow.signal
    def check_out(self) -> None:
        self.out = True


class Mailer:
    """Sends a mail, once."""

    def __init__(self) -> None:
        self.sent: set[str] = set()

    def send(self, to: str) -> Any:
        if to in self.sent:
            return External.unchanged("sent")
        self.sent.add(to)
        return None


def carts(*, asks_again: bool = False) -> System:
    system = System("carts")
    server = system.add(Temporal("temporal"))
    mail, bank = system.add(External("mail", Mailer)), system.add(External("bank", Party))

    @system.service("work")
    def work(env: Env) -> None:
        to, money = env.client(mail), env.client(bank)

        @activity.defn
        def remind(customer: str) -> None:
            to.send(customer)

        @activity.defn
        def charge(customer: str) -> None:
            money.do(f"{customer} {activity.info().workflow_id}", 500)

        env.worker(server, task_queue="q", workflows=[Cart], activities=[remind, charge])

    @system.entry(examples=["ann"])
    async def buy(env: Env, customer: str) -> None:
        client = env.client(server)
        given: dict[str, Any] = {"task_queue": "q"}
        try:
            cart = await client.start_workflow(Cart.run, customer, id="cart 1 of ann", **given)
        except Exception:
            if not asks_again:
                raise
            first = client.get_workflow_handle("cart 1 of ann")
            cart = await client.start_workflow(Cart.run, customer, id="cart 2 of ann", **given)
            await env.sleep(60)
            await first.signal(Cart.check_out)
        await cart.signal(Cart.check_out)

    return system


def test_a_client_that_does_not_come_back_is_no_finding() -> None:
    system = carts()
    found = explore(system, properties=assumed(system), faults_max=1, kinds=[Delay])
    assert found.counterexamples == ()


def test_a_client_that_asks_again_under_another_id_is_one() -> None:
    system = carts(asks_again=True)
    found = explore(system, properties=assumed(system), faults_max=1, kinds=[Delay])
    assert found.counterexamples[0].findings[0].kind == "effect twice"
