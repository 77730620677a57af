"""A relay from orders to charges that are due: what it read and what it wrote is one transaction.

chaosharness run models.kafka.relay:relay
"""

from __future__ import annotations

from typing import Any

from chaosharness import (
    Env,
    Gateway,
    Kafka,
    System,
    idempotent,
    never_charged_twice,
    nothing_acknowledged_lost,
)

ORDERS = [{"id": f"o{number}", "cents": 100 * number} for number in (1, 2)]


def relay() -> System:
    """The right one: the bank is asked by who reads what is committed, with a key."""
    return _system("relay", outside=False)


def effect_outside_the_transaction() -> System:
    """The bank is asked inside the transaction: a charge stays when that is aborted."""
    return _system("relay-hasty", outside=True)


def _system(name: str, *, outside: bool) -> System:
    system = System(name, arrival_ms=1)
    bus = system.add(Kafka("bus", {"orders": 1, "due": 1}, idempotent_producer=True))
    bank = system.add(Gateway("bank", timeout_ms=1_000))

    @system.service("relay", replicas=2)
    def relay(env: Env) -> None:
        consumer = env.consumer(bus, "orders", read_as=dict, on_unreadable="skip")
        own = f"relay-{env.incarnation.replica}"
        produce = env.publisher(bus, transactional_id=own)
        client = env.client(bank)

        def run() -> None:
            while True:
                for delivery in consumer.poll(timeout_s=5):
                    order = delivery.value
                    produce.begin()
                    if outside and "id" in order:
                        client.charge(order["id"], order["cents"])
                    produce("due", order, key=delivery.key)
                    produce.send_offsets(consumer)
                    produce.commit()

        env.main(run)

    @system.service("billing")
    def billing(env: Env) -> None:
        client = env.client(bank)
        consumer = env.consumer(
            bus, "due", read_as=dict, on_unreadable="skip", isolation="read_committed"
        )

        def run() -> None:
            while True:
                for delivery in consumer.poll(timeout_s=5):
                    order = delivery.value
                    if not outside and "id" in order:
                        client.charge(order["id"], order["cents"], key=order["id"])
                    consumer.commit(delivery)

        env.main(run)

    @system.entry(examples=ORDERS)
    def place(env: Env, order: dict[str, Any]) -> None:
        env.publisher(bus)("orders", order, key=order["id"])

    system.claim(never_charged_twice(bank), nothing_acknowledged_lost(), idempotent())
    return system
