"""A till: a loop of two replicas charges what was ordered, batch by batch.

chaosharness run models.kafka.till:till
"""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec import Struct

from chaosharness import (
    Delivery,
    Env,
    Gateway,
    Kafka,
    System,
    idempotent,
    never_charged_twice,
    nothing_acknowledged_lost,
)

ORDERS = [{"order": f"o{number}", "cents": 100 * number} for number in (1, 2, 3)]


class Charge(Struct, frozen=True):
    """What is to be charged."""

    order: str
    cents: int


def till() -> System:
    """The right one: a charge is named after its order; a batch is committed when it is done."""
    return _system("till")


def rebalance_in_mid_batch() -> System:
    """Whoever has the log partition next charges the batch again: nobody can tell that it was."""
    return _system("till-nameless", named="")


def key_from_the_offset() -> System:
    """A charge is named after the record, and an order that was sent twice has two of them."""
    return _system("till-by-offset", named="by offset")


def commits_past_a_failed_record() -> System:
    """A charge that failed is left for later, and the batch is committed with it."""
    return _system("till-hasty", skips=True)


def tasks() -> System:
    """Another right one: the records of a batch at once, committed when all of them are done."""
    return _system("till-tasks", together=True)


def commits_past_a_running_record() -> System:
    """Each task commits behind its own record, and with it what others are still doing."""
    return _system("till-tasks-hasty", together=True, commits_each=True)


def _name(delivery: Delivery, named: str) -> str | None:
    if named == "by offset":
        return f"{delivery.topic}/{delivery.partition}/{delivery.offset}"
    return str(delivery.value.order) if named else None


def _system(
    name: str,
    *,
    commits_each: bool = False,
    named: str = "by order",
    skips: bool = False,
    together: bool = False,
) -> System:
    system = System(name, arrival_ms=1)
    bus = system.add(Kafka("bus", {"orders": 1}))
    bank = system.add(Gateway("bank", timeout_ms=5_000))

    @system.service("billing", replicas=1 if together else 2)
    def billing(env: Env) -> None:
        client = env.client(bank)
        consumer = env.consumer(bus, "orders", read_as=Charge, on_unreadable="skip")

        def charge(delivery: Delivery) -> Any:
            one = delivery.value
            return client.charge(one.order, one.cents, key=_name(delivery, named))

        def run() -> None:
            while True:
                batch = consumer.poll(records_max=10, timeout_s=5)
                for delivery in batch:
                    try:
                        charge(delivery)
                    except (ConnectionError, TimeoutError):
                        if not skips:
                            raise
                if batch:
                    consumer.commit()

        async def work(delivery: Delivery) -> None:
            await charge(delivery)
            if commits_each:
                await consumer.commit(delivery)

        async def run_together() -> None:
            while True:
                batch = await consumer.poll(records_max=10, timeout_s=5)
                await asyncio.gather(*[work(delivery) for delivery in batch])
                if batch and not commits_each:
                    await consumer.commit()

        env.main(run_together if together else run)

    @system.entry(examples=ORDERS)
    def place(env: Env, order: dict[str, Any]) -> None:
        env.publisher(bus)("orders", order, key="desk")

    system.claim(never_charged_twice(bank), nothing_acknowledged_lost(), idempotent())
    return system
