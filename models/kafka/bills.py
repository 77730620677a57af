"""Bills for orders: a topic keeps records as long as its configuration says, read or not.

chaosharness run models.kafka.bills:bills
"""

from __future__ import annotations

from msgspec import Struct

from chaosharness import (
    Env,
    Gateway,
    Kafka,
    KafkaTopic,
    System,
    idempotent,
    never_charged_twice,
    nothing_acknowledged_lost,
)

MINUTE_MS = 60_000


class Order(Struct, frozen=True):
    """What is to be paid."""

    id: str
    cents: int


ORDERS = [Order(f"o{number}", 100 * number) for number in (1, 2, 3)]


def bills() -> System:
    """The right one: nothing is gone before it was read."""
    return _system("bills", KafkaTopic())


def kept_for_a_minute() -> System:
    """Who is away for longer than records are kept never sees them, and nobody is told."""
    return _system("bills-kept-for-a-minute", KafkaTopic(retention_ms=MINUTE_MS))


def _system(name: str, topic: KafkaTopic) -> System:
    system = System(name, arrival_ms=10_000)
    bus = system.add(Kafka("bus", {"orders": topic}, idempotent_producer=True))
    bank = system.add(Gateway("bank", timeout_ms=1_000))

    @system.service("billing")
    def billing(env: Env) -> None:
        client = env.client(bank)

        def on_order(order: Order) -> None:
            client.charge(order.id, order.cents, key=order.id)

        env.consume(bus, "orders", on_order, reset="earliest", on_unreadable="dead-letter")

    @system.entry(examples=ORDERS)
    def place(env: Env, order: Order) -> None:
        env.publisher(bus)("orders", order, key=order.id)

    system.claim(nothing_acknowledged_lost(), never_charged_twice(bank), idempotent())
    return system
