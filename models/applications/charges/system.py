"""The world around the charges: a broker, a bank, and a reader of what is charged.

chaosharness run models.applications.charges.system:charges
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chaosharness import AMQP, Env, Gateway, KeyValue, RabbitMQ, System, Web
from models.applications.charges import app, slips
from models.applications.charges.messages import Order

ORDERS = [{"id": "o1", "cents": 500}, {"id": "o2", "cents": 900}]


def charges() -> System:
    """The right one: its application as the module holds it."""
    return _system("charges", lambda: app.app)


def rejected() -> System:
    """Puts an order away as soon as its handler raises."""
    return _system("rejected", slips.rejected)


def no_key() -> System:
    """Charges without an idempotency key."""
    return _system("no-key", slips.no_key)


def acknowledged_first() -> System:
    """Acknowledges first."""
    return _system("acknowledged-first", slips.acknowledged_first)


def _system(name: str, make: Callable[[], Any]) -> System:
    system = System(name)
    bus = system.add(RabbitMQ("bus", queues=["placed", "charged"]))
    system.add(AMQP("rabbit", bus))
    bank = system.add(Gateway("bank"))
    system.add(Web("api.bank.example", bank, routes={"POST /charges": "charge"}))
    books = system.add(KeyValue("books"))

    @system.service("charging")
    def charging(env: Env) -> None:
        env.main(make().run)

    @system.service("booking")
    def booking(env: Env) -> None:
        store = env.connect(books)

        def on_charged(order: Order) -> None:
            store.put(order.id, order.cents)

        env.consume(bus, "charged", on_charged, on_unreadable="skip")

    @system.entry(examples=ORDERS)
    def place(env: Env, order: dict[str, Any]) -> None:
        env.publisher(bus)("placed", order, key=order["id"])

    return system
