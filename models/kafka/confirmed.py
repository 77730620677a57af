"""An outbox whose relay marks as sent what the cluster has confirmed: all replicas, one, or none.

chaosharness run models.kafka.confirmed:confirmed
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from chaosharness import (
    Env,
    Gateway,
    Kafka,
    SQLite,
    System,
    idempotent,
    never_charged_twice,
    nothing_acknowledged_lost,
)

SCHEMA = """
CREATE TABLE outbox (id TEXT PRIMARY KEY, cents INTEGER, sent INTEGER DEFAULT 0);
"""


class Order(Struct, frozen=True):
    """What is to be paid."""

    id: str
    cents: int


ORDERS = [Order("o1", 500), Order("o2", 700)]


def confirmed() -> System:
    """The right one: what is confirmed is on every replica in sync."""
    return _system("confirmed", acks="all")


def confirmed_by_its_leader() -> System:
    """The leader confirms, fails before a follower has the record, and the row is marked sent."""
    return _system("confirmed-by-its-leader", acks=1)


def confirmed_by_nobody() -> System:
    """Nobody is asked: a record is lost on its way, and the row is marked sent."""
    return _system("confirmed-by-nobody", acks=0)


def _system(name: str, *, acks: Literal["all", 1, 0]) -> System:
    system = System(name, arrival_ms=1)
    bus = system.add(Kafka("bus", {"orders": 1}))
    store = system.add(SQLite("shop-db", schema=SCHEMA))
    bank = system.add(Gateway("bank", timeout_ms=1_000))

    @system.service("shop")
    def shop(env: Env) -> None:
        db = env.connect(store)

        def order(order: Order) -> None:
            db.execute(
                "INSERT OR IGNORE INTO outbox (id, cents) VALUES (?, ?)", (order.id, order.cents)
            )
            db.commit()

        env.serve("order", order)

    @system.service("relay")
    def relay(env: Env) -> None:
        db = env.connect(store)
        publish = env.publisher(bus, acks=acks)

        def send() -> None:
            while True:
                rows = db.execute("SELECT id, cents FROM outbox WHERE sent = 0").fetchall()
                for id, cents in rows:
                    publish("orders", Order(id, cents), key=id)
                    db.execute("UPDATE outbox SET sent = 1 WHERE id = ?", (id,))
                    db.commit()
                env.sleep(1)

        env.main(send)

    @system.service("billing")
    def billing(env: Env) -> None:
        client = env.client(bank)

        def on_order(order: Order) -> None:
            client.charge(order.id, order.cents, key=order.id)

        env.consume(bus, "orders", on_order, on_unreadable="dead-letter")

    @system.entry(examples=ORDERS)
    def place(env: Env, order: Order) -> None:
        env.call("shop", "order", order)

    system.claim(nothing_acknowledged_lost(), never_charged_twice(bank), idempotent())
    return system
