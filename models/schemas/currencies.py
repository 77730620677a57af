"""Orders get a currency: what a new consumer does with an old event, which has none.

chaosharness run models.schemas.currencies:euro_before
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from chaosharness import Env, Gateway, Queue, RabbitMQ, Registry, System

RATES = {"EUR": 100, "USD": 92}
"""Cents of a euro for one hundred."""


class Order(BaseModel):
    """An order of before, in euros."""

    order: str
    cents: int


class OrderInCurrency(BaseModel):
    """An order as it is now; orders of before have no currency."""

    order: str
    cents: int
    currency: str | None = None


ORDERS = [{"order": "o1", "cents": 500, "currency": "USD"}]


def euro_before() -> System:
    """The right one: what has no currency is from before there were others, and is in euros."""
    return _shop("euro-before", "EUR")


def none_is_no_currency() -> System:
    """A currency that may be missing is taken for one that never is: old orders raise for ever."""
    return _shop("none-is-none", None)


def _shop(name: str, before: str | None) -> System:
    system = System(name)
    queues = {"orders": Queue("quorum", dead_letter="parked", delivery_limit=10), "parked": Queue()}
    bus = system.add(RabbitMQ("bus", queues))
    bank = system.add(Gateway("bank"))
    versions = {"orders": [Order, OrderInCurrency]}
    schemas = system.add(Registry("schemas", versions, compatibility="BACKWARD"))

    @system.service("payments")
    def payments(env: Env) -> None:
        client = env.client(bank)

        def on_order(order: OrderInCurrency) -> None:
            rate = RATES[order.currency or before or ""]
            client.charge(order.order, order.cents * rate // 100, key=order.order)

        policy: dict[str, Any] = {"on_error": "requeue", "on_unreadable": "dead-letter"}
        env.consume(bus, "orders", on_order, schemas=schemas, **policy)

    @system.entry(examples=ORDERS)
    def place(env: Env, order: dict[str, Any]) -> None:
        env.publisher(bus, schemas=schemas)("orders", OrderInCurrency(**order))

    return system
