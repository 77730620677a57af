"""The world around the invoices: a broker that its clients fill, a bank and a database.

chaosharness run models.applications.invoices.system:invoices
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chaosharness import AMQP, Env, Gateway, RabbitMQ, SQLite, System, Web
from models.applications.invoices import charging, shop, slips
from models.applications.invoices.booking import Books

ORDERS = [{"id": "o1", "cents": 500}, {"id": "o2", "cents": 900}]

SCHEMA = 'CREATE TABLE invoices ("order" TEXT PRIMARY KEY, cents INTEGER NOT NULL)'


def invoices() -> System:
    """The right one."""
    return _system("invoices", charging.main)


def no_key() -> System:
    """Charges without an idempotency key."""
    return _system("no-key", slips.no_key)


def auto_ack() -> System:
    """Takes an order as done once it is sent."""
    return _system("auto-ack", slips.auto_ack)


def unconfirmed() -> System:
    """Publishes without confirms."""
    return _system("unconfirmed", slips.unconfirmed)


def slow() -> System:
    """Takes longer than its heartbeats allow."""
    return _system("slow", slips.slow)


def requeued() -> System:
    """Gives back what nobody can read."""
    return _system("requeued", slips.requeued)


def _system(name: str, main: Callable[[], None]) -> System:
    system = System(name)
    bus = system.add(RabbitMQ("bus"))
    system.add(AMQP("rabbit", bus))
    bank = system.add(Gateway("bank"))
    system.add(Web("api.bank.example", bank, routes={"POST /charges": "charge"}))
    db = system.add(SQLite("db", SCHEMA))

    @system.service("charging", replicas=2)
    def charges(env: Env) -> None:
        env.main(main)

    @system.service("booking")
    def books(env: Env) -> None:
        env.main(Books(lambda: env.connect(db)).main)

    @system.entry(examples=ORDERS)
    def customer(env: Env, order: dict[str, Any]) -> None:
        shop.place(order)

    return system
