"""Charge, ship; what fails after the charge is undone. Activities know their keys."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from chaosharness import Env, External, Order, System, Temporal
from models.third_parties import (
    VASE,
    Bank,
    Courier,
    Insurer,
    money_is_kept_for_parcels,
    parcels_are_stopped_before_money_goes_back,
)

QUEUE = "orders"


async def _step(name: str, *arguments: Any) -> None:
    """Have an activity done, with patience."""
    await workflow.execute_activity(
        name,
        args=arguments,
        start_to_close_timeout=timedelta(seconds=30),
        retry_policy=RetryPolicy(non_retryable_error_types=["CannotDeliver", "NotInsurable"]),
    )


@workflow.defn
class OrderSaga:
    """Charge, then ship; refund where shipping fails for good."""

    @workflow.run
    async def run(self, id: str, item: str, cents: int) -> str:
        await _step("charge", id, cents)
        try:
            await _step("ship", id, item)
        except ActivityError:
            await _step("refund", id, cents)
            return "cancelled"
        return "shipped"


@workflow.defn(name="OrderSaga")
class Insured:
    """Charge, ship, insure; what is not insured is undone, the last step first."""

    undoes: tuple[str, ...] = ("recall", "refund")

    @workflow.run
    async def run(self, id: str, item: str, cents: int) -> str:
        await _step("charge", id, cents)
        await _step("ship", id, item)
        try:
            await _step("insure", id, item)
        except ActivityError:
            for name in self.undoes:
                await _step(name, id, *([cents] if name == "refund" else []))
            return "cancelled"
        return "shipped"


@workflow.defn(name="OrderSaga")
class SideBySide:
    """Charge and ship at once; knows how both came out before it undoes anything."""

    @workflow.run
    async def run(self, id: str, item: str, cents: int) -> str:
        both = await asyncio.gather(
            _step("charge", id, cents), _step("ship", id, item), return_exceptions=True
        )
        if any(both):  # charging is tried until it works
            await _step("refund", id, cents)
            return "cancelled"
        return "shipped"


@workflow.defn(name="OrderSaga")
class ThinksFirst(OrderSaga):
    """The next version of `OrderSaga`, which leaves alone what has begun before it."""

    @workflow.run
    async def run(self, id: str, item: str, cents: int) -> str:
        if workflow.patched("thinks first"):
            await asyncio.sleep(1)
        return await super().run(id, item, cents)


class Activities:
    """What the workflow has done, with the clients that it needs."""

    def __init__(self, bank: Any, courier: Any, insurer: Any, key_of: Callable[[str], str]) -> None:
        self.bank = bank
        self.courier = courier
        self.insurer = insurer
        self.key_of = key_of

    @activity.defn
    async def charge(self, id: str, cents: int) -> None:
        await self.bank.charge(self.key_of(id), cents)

    @activity.defn
    async def charge_unless_there(self, id: str, cents: int) -> None:
        """Look first, and beat: who looks while an earlier attempt still works sees nothing."""
        activity.heartbeat()
        if not await self.bank.is_charged(id):
            await self.bank.charge(self.key_of(id), cents)

    @activity.defn
    async def ship(self, id: str, item: str) -> None:
        await self.courier.ship(id, item)

    @activity.defn
    async def recall(self, id: str) -> None:
        await self.courier.recall(id)

    @activity.defn
    async def insure(self, id: str, item: str) -> None:
        await self.insurer.cover(id, item)

    @activity.defn
    async def refund(self, id: str, cents: int) -> None:
        await self.bank.refund(self.key_of(id), cents)


def build(
    *,
    name: str = "temporal",
    saga: type = OrderSaga,
    key_of: Callable[[str], str] = str,
    bank: type[Bank] = Bank,
    previous: type | None = None,
    max_cached_workflows: int = 1_000,
    insured: bool = False,
) -> System:
    """Build the shop; `previous` is the workflow of the version before this one."""
    shop = System(name)
    temporal = shop.add(Temporal("temporal"))
    house = shop.add(External("bank", bank))
    courier = shop.add(External("courier", Courier))

    insurer = shop.add(External("insurer", Insurer, reads=("cover",))) if insured else None

    def worker(env: Env, runs: type) -> None:
        cover = env.client(insurer) if insured else None
        steps = Activities(env.client(house), env.client(courier), cover, key_of)
        more: list[Callable[..., Any]] = [steps.recall, steps.insure] if insured else []
        env.worker(
            temporal,
            task_queue=QUEUE,
            workflows=[runs],
            activities=[steps.charge, steps.charge_unless_there, steps.ship, steps.refund, *more],
            max_cached_workflows=max_cached_workflows,
        )

    def before(env: Env) -> None:
        worker(env, previous or saga)

    @shop.service("orders", previous=before if previous else None)
    def orders(env: Env) -> None:
        worker(env, saga)

    some = [Order("o1", "ann", "book", 500), Order("o2", "bob", "lamp", 700)]

    @shop.entry(examples=[VASE] if insured else some)
    async def place(env: Env, order: Order) -> None:
        await env.client(temporal).start_workflow(
            "OrderSaga", args=[order.id, order.item, order.cents], id=order.id, task_queue=QUEUE
        )

    shop.claim(money_is_kept_for_parcels())
    if insured:
        shop.claim(parcels_are_stopped_before_money_goes_back())
    return shop


shop = build()
insured = build(name="insured", saga=Insured, insured=True)
