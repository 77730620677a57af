"""A worker with a loop of its own, as most are written: read, work, acknowledge.

chaosharness run models.redis_streams.loop:loop
"""

from __future__ import annotations

import uuid
from typing import Any

from msgspec import Struct

from chaosharness import (
    Env,
    Gateway,
    Redis,
    System,
    idempotent,
    never_charged_twice,
    nothing_acknowledged_lost,
)

IDLE_S = 60.0
ORDERS = [{"order": "o1", "cents": 500}, {"order": "o2", "cents": 900}]


class Charge(Struct, frozen=True):
    """What is to be charged."""

    order: str
    cents: int


def loop() -> System:
    """The right one: it claims whatever is pending for too long, whoever it was handed to."""
    return _system("loop", claims=True)


def name_of_each_start() -> System:
    """It reads again what is pending for its name, and its name is another one at each start."""
    return _system("loop-renamed", name_of_start=True)


def dead_consumers_deleted() -> System:
    """At its start it deletes the other consumers, and with them what was pending for them."""
    return _system("loop-tidy", name_of_start=True, claims=True, tidies=True)


def _system(
    name: str, *, claims: bool = False, name_of_start: bool = False, tidies: bool = False
) -> System:
    system = System(name, arrival_ms=1)
    bus = system.add(Redis("bus", ["orders"]))
    bank = system.add(Gateway("bank", timeout_ms=5_000))

    @system.service("billing")
    def billing(env: Env) -> None:
        client = env.client(bank)
        own = f"billing-{uuid.uuid4()}" if name_of_start else "billing"
        consumer = env.consumer(bus, "orders", name=own, read_as=Charge, on_unreadable="skip")

        def work(batch: Any) -> None:
            for delivery in batch:
                order = delivery.value
                client.charge(order.order, order.cents, key=order.order)
                consumer.ack(delivery)

        def tidy() -> tuple[()]:
            for name in sorted({one.consumer for one in consumer.pending()} - {own}):
                consumer.delete_consumer(name)
            return ()

        def attempt(take: Any) -> None:
            try:
                work(take())
            except (OSError, ValueError):
                env.sleep(1)

        def main() -> None:
            if tidies:
                attempt(tidy)
            while True:
                attempt(lambda: consumer.read(10, start="0"))
                if claims:
                    attempt(lambda: consumer.autoclaim(IDLE_S))
                attempt(lambda: consumer.read(10, block_s=5))

        env.main(main)

    @system.entry(examples=ORDERS)
    def place(env: Env, order: dict[str, Any]) -> None:
        env.publisher(bus)("orders", order, key=order["order"])

    system.claim(idempotent(), never_charged_twice(bank), nothing_acknowledged_lost())
    return system
