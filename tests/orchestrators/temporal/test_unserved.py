"""Names that no worker knows: one sentence, and none where a worker is only down, or late."""

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

from temporalio import activity, workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import ActivityError
from temporalio.worker import Worker

from chaosharness import Crash, Env, Schedule, Site, System, Temporal, never_stuck
from chaosharness.checkers.property import Evidence
from chaosharness.errors import InvalidDefinition
from chaosharness.system.run import Run

SOON = timedelta(seconds=5)
ONCE = RetryPolicy(maximum_attempts=1)
# Dynamic handlers must be annotated with the very `Sequence` that the library names: that of
# `typing` in 1.18, that of `collections.abc` in later releases.
RAW_VALUES: Any = sys.modules[workflow._Definition.__module__].Sequence[RawValue]


@activity.defn
async def charge(order: str) -> str:
    return order


@workflow.defn
class Order:
    """Is charged once it is approved, or not within an hour."""

    def __init__(self) -> None:
        self.approved = False

    @workflow.run
    async def run(self, order: str) -> str:
        try:
            await workflow.wait_condition(lambda: self.approved, timeout=timedelta(hours=1))
        except TimeoutError:
            return "not approved"
        return await workflow.execute_activity(charge, order, start_to_close_timeout=SOON)

    @workflow.signal
    def approve(self) -> None:
        self.approved = True

    @workflow.update
    def change(self) -> None:
        self.approved = True


@workflow.defn
class Waits(Order):
    """Is charged once it is approved."""

    @workflow.run
    async def run(self, order: str) -> str:
        await workflow.wait_condition(lambda: self.approved)
        return order


@workflow.defn
class Alone:
    """Is idle for half a day, and nothing else happens."""

    @workflow.run
    async def run(self, order: str) -> str:
        await asyncio.sleep(43_200)
        return order


@workflow.defn
class Opens:
    """Answers an update when it is open, which is after half a day."""

    def __init__(self) -> None:
        self.is_open = False

    @workflow.update
    async def enter(self) -> str:
        await workflow.wait_condition(lambda: self.is_open)
        return "in"

    @workflow.run
    async def run(self, order: str) -> None:
        await asyncio.sleep(43_200)
        self.is_open = True
        await workflow.wait_condition(workflow.all_handlers_finished)


@workflow.defn
class Does:
    """Has something done, or not."""

    @workflow.run
    async def run(self, what: str) -> str:
        try:
            match what.split():
                case ["child", name]:
                    return str(await workflow.execute_child_workflow(name, "o", id="c"))
                case ["local", name]:
                    await workflow.execute_local_activity(name, "o", start_to_close_timeout=SOON)
                case [name]:
                    await workflow.execute_activity(
                        name, "o", start_to_close_timeout=SOON, retry_policy=ONCE
                    )
        except ActivityError:
            return "not done"
        return "done"


@workflow.defn
class SetsHandlers:
    """Takes signals that it has no handler for yet."""

    @workflow.run
    async def run(self, order: str) -> None:
        await asyncio.sleep(1)
        workflow.set_signal_handler("approve", lambda: None)

    @workflow.signal
    def approved(self) -> None:
        """Nothing."""


@workflow.defn(dynamic=True)
class AnyName:
    """Runs whatever it is called."""

    @workflow.run
    async def run(self, arguments: RAW_VALUES) -> None:
        await asyncio.sleep(5)

    @workflow.signal(dynamic=True)
    def anything(self, name: str, arguments: RAW_VALUES) -> None:
        """Nothing."""


def shop(client: Callable[[Client], Awaitable[Any]], *more: type) -> System:
    system = System("shop")
    temporal = system.add(Temporal("temporal"))

    @system.service("orders")
    def orders(env: Env) -> None:
        workflows = [Order, Waits, Does, SetsHandlers, *more]
        env.worker(temporal, task_queue="orders", workflows=workflows, activities=[charge])

    @system.service("payments")
    def payments(env: Env) -> None:
        env.worker(temporal, task_queue="payments", activities=[refund])

    @system.entry(examples=["o"])
    async def place(env: Env, item: str) -> None:
        await client(env.client(temporal))

    return system


@activity.defn
async def refund(order: str) -> str:
    return order


def starting(name: str, argument: str = "o", **options: Any) -> Callable[[Client], Any]:
    given = {"id": "w", "task_queue": "orders", **options}
    return lambda client: client.start_workflow(name, argument, **given)


def telling(name: str, signal: str) -> Callable[[Client], Any]:
    async def client(client: Client) -> None:
        started = await client.start_workflow(name, "o", id="w", task_queue="orders")
        await started.signal(signal)

    return client


async def awaits(client: Client) -> None:
    """Wait for a workflow that nobody has, for a minute."""
    with pytest.raises(WorkflowFailureError):
        await client.execute_workflow(
            "Ordr", "o", id="w", task_queue="orders", run_timeout=timedelta(minutes=1)
        )


HERE = "tests/orchestrators/temporal/test_unserved.py:LINE"
THERE = "Registered there: 'Does', 'Order', 'SetsHandlers', 'Waits' (service 'orders')"


@pytest.mark.parametrize(
    ("client", "words"),
    [
        (
            starting("Ordr"),
            "no worker of the task queue 'orders' has the workflow 'Ordr' ('w', started by "
            f"client.place (at {HERE})). Is 'Order' meant? {THERE}",
        ),
        (awaits, "has the workflow 'Ordr' ('w', started by client.place (at tests"),
        (
            starting("Order", task_queue="order"),
            "workflow 'Order' (w) waits on the task queue 'order', which no worker polls; polled "
            "are: 'orders', 'payments'. Is 'orders' meant?",
        ),
        (
            starting("Order", task_queue="payments"),
            f"the workflow 'Order' ('w', started by client.place (at {HERE})). None is registered "
            "there; 'Order' is registered on the task queue 'orders'",
        ),
        (
            starting("Does", "child Ordr"),
            f"the workflow 'Ordr' ('c', a child of workflow 'Does' (w)). Is 'Order' meant? {THERE}",
        ),
        (
            starting("Does", "chrage"),
            "no worker of the task queue 'orders' has the activity 'chrage', which workflow 'Does' "
            "(w) asks for. Is 'charge' meant? Registered there: 'charge' (service 'orders')",
        ),
        (
            starting("Does", "refund"),
            "(w) asks for. Registered there: 'charge' (service 'orders'); 'refund' is registered "
            "on the task queue 'payments'",
        ),
        (starting("Does", "local chrage"), "has the activity 'chrage', which workflow 'Does' (w)"),
        (
            telling("Order", "aprove"),
            "workflow 'Order' (w) has no handler for the signal 'aprove', which client.place "
            "sends. Is 'approve' meant? It handles: 'approve'",
        ),
        (telling("Waits", "paid"), "(w) has no handler for the signal 'paid', which client.place"),
    ],
)
def test_a_name_that_nobody_knows_is_told(client: Any, words: str) -> None:
    with pytest.raises(InvalidDefinition) as told:
        shop(client).run()
    assert words in re.sub(r"\.py:\d+", ".py:LINE", str(told.value))


def test_an_update_that_nobody_handles_is_told_with_its_cause() -> None:
    async def client(client: Client) -> None:
        started = await client.start_workflow("Order", "o", id="w", task_queue="orders")
        await started.execute_update("chang")

    words = r"Update handler for 'chang' expected but not found.*known updates: \[change\]"
    with pytest.raises(InvalidDefinition, match=words):
        shop(client).run()


@pytest.mark.parametrize(
    "client",
    [
        telling("Order", "approve"),
        telling("SetsHandlers", "approve"),
        telling("Order", "a new price"),  # nothing near, and the workflow comes to its end
    ],
)
def test_what_is_handled_or_may_be_handled_later_is_not_told(client: Any) -> None:
    assert shop(client).run().ending.verdict == "quiet"


@pytest.mark.parametrize("client", [starting("Ordr"), telling("Ordr", "aprove")])
def test_a_workflow_that_takes_any_name_takes_this_one(client: Any) -> None:
    assert shop(client, AnyName).run().ending.verdict == "quiet"


def raised(run: Run) -> list[str]:
    return [str(event.data["error"]) for event in run.history.of("raised")]


def test_a_worker_that_comes_later_takes_what_another_one_did_not_have() -> None:
    """Until then it is failed and tried again, as by the library."""
    system = System("late")
    temporal = system.add(Temporal("temporal"))

    @system.service("old")
    def old(env: Env) -> None:
        env.worker(temporal, task_queue="orders", workflows=[Waits], activities=[refund])

    async def new_program() -> None:
        await asyncio.sleep(20)
        client = await Client.connect("temporal:7233")
        async with Worker(client, task_queue="orders", workflows=[Does], activities=[charge]):
            await asyncio.sleep(600)

    @system.service("new")
    def new(env: Env) -> None:
        env.main(new_program)

    @system.entry(examples=["o"])
    async def place(env: Env, item: str) -> None:
        await starting("Does", "charge")(env.client(temporal))

    run = system.run()
    assert run.ending.verdict == "quiet"
    assert raised(run)[0] == (
        "ApplicationError: NotFoundError: Workflow class Does is not registered on this worker, "
        "available workflows: Waits"
    )


@pytest.mark.parametrize(("minutes", "findings"), [(30, 1), (90, 0)])
def test_what_waits_for_a_worker_that_has_left_is_stuck(minutes: int, findings: int) -> None:
    system = System("left")
    system.add(Temporal("temporal"))

    async def program() -> None:
        client = await Client.connect("temporal:7233")
        async with Worker(client, task_queue="orders", workflows=[Order], activities=[charge]):
            await asyncio.sleep(60 * minutes)

    @system.service("orders")
    def orders(env: Env) -> None:
        env.main(program)

    @system.entry(examples=["o"])
    async def place(env: Env, item: str) -> None:
        await starting("Order")(await Client.connect("temporal:7233"))

    run = system.run()
    assert run.ending.verdict == "quiet"
    found = never_stuck().judge(Evidence(run.history))
    words = "workflow 'Order' (w) waits on the task queue 'orders', and no worker polls it any more"
    assert [words in one.summary for one in found] == [True] * findings


def test_a_worker_that_is_down_for_long_is_no_mistake() -> None:
    system = shop(telling("Order", "approve"))
    crash = Crash(Site("orders.Order/decide", phase="before", entity=1), down="long")
    run = system.run(None, Schedule([crash]))
    assert run.ending.verdict == "quiet"
    assert [*run.history.of("crash")]


def test_who_waits_for_what_nothing_moves_any_more_asks_less_and_less() -> None:
    """Each poll of 20 s, to the end of the run, were some ten thousand events that say nothing."""
    system = System("left")
    system.add(Temporal("temporal"))

    @system.service("worker")
    def worker(env: Env) -> None:
        async def main() -> None:
            client = await Client.connect("localhost:7233")
            await Worker(client, task_queue="q", workflows=[Alone], activities=[charge]).run()

        env.main(main)

    @system.entry(examples=["o1"])
    async def place(env: Env, item: str) -> None:
        client = await Client.connect("localhost:7233")
        assert await client.execute_workflow(Alone.run, item, id=item, task_queue="q") == item

    run = system.run()
    polls = [
        one
        for one in run.history.of("call")
        if one.data.get("method") == "get_workflow_execution_history"
    ]
    assert run.ending.verdict == "quiet"
    assert 6 < len(polls) < 40


def test_who_waits_for_an_update_that_nothing_moves_asks_less_and_less_too() -> None:
    system = System("opens")
    temporal = system.add(Temporal("temporal"))

    @system.service("worker")
    def worker(env: Env) -> None:
        env.worker(temporal, task_queue="q", workflows=[Opens])

    @system.entry(examples=["o1"])
    async def place(env: Env, item: str) -> None:
        client = env.client(temporal)
        handle = await client.start_workflow(Opens.run, item, id=item, task_queue="q")
        assert await handle.execute_update(Opens.enter) == "in"

    run = system.run()
    asked = [one for one in run.history.of("call") if "update" in one.data.get("method", "")]
    assert run.ending.verdict == "quiet"
    assert 6 < len(asked) < 40
