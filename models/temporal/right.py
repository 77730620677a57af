"""Charge, ship; what fails after the charge is undone. Activities know their keys."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from chaosharness import Env, External, Order, System, Temporal
from models.third_parties import Bank, Courier, money_is_kept_for_parcels

QUEUE = "orders"


async def _step(name: str, *arguments: Any) -> None:
    """Have an activity done, with patience."""
    await workflow.execute_activity(
        name,
        args=arguments,
        start_to_close_timeout=timedelta(seconds=30),
        retry_policy=RetryPolicy(non_retryable_error_types=["CannotDeliver"]),
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


class Activities:
    """What the workflow has done, with the clients that it needs."""

    def __init__(self, bank: Any, courier: Any, key_of: Callable[[str], str]) -> None:
        self.bank = bank
        self.courier = courier
        self.key_of = key_of

    @activity.defn
    async def charge(self, id: str, cents: int) -> None:
        await self.bank.charge(self.key_of(id), cents)

    @activity.defn
    async def ship(self, id: str, item: str) -> None:
        await self.courier.ship(id, item)

    @activity.defn
    async def refund(self, id: str, cents: int) -> None:
        await self.bank.refund(self.key_of(id), cents)


def build(
    *,
    name: str = "temporal",
    saga: type = OrderSaga,
    key_of: Callable[[str], str] = str,
) -> System:
    """Build the shop."""
    shop = System(name)
    temporal = shop.add(Temporal("temporal"))
    bank = shop.add(External("bank", Bank))
    courier = shop.add(External("courier", Courier))

    @shop.service("orders")
    def orders(env: Env) -> None:
        steps = Activities(env.client(bank), env.client(courier), key_of)
        env.worker(
            temporal,
            task_queue=QUEUE,
            workflows=[saga],
            activities=[steps.charge, steps.ship, steps.refund],
        )

    @shop.entry(examples=[Order("o1", "ann", "book", 500), Order("o2", "bob", "lamp", 700)])
    async def place(env: Env, order: Order) -> None:
        await env.client(temporal).start_workflow(
            "OrderSaga", args=[order.id, order.item, order.cents], id=order.id, task_queue=QUEUE
        )

    shop.claim(money_is_kept_for_parcels())
    return shop


shop = build()
