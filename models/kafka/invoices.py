"""Invoices with confluent-kafka: it commits by hand, or leaves that to its client.

chaosharness run models.kafka.invoices:invoices
"""

from __future__ import annotations

from typing import Any

from confluent_kafka import Consumer

from chaosharness import (
    Env,
    Gateway,
    Kafka,
    KafkaServers,
    System,
    idempotent,
    nothing_acknowledged_lost,
)

ORDERS = ["o1", "o2"]
LAYOUT_S = 8
"""How long it takes to lay out an invoice: longer than a client waits before it commits."""


def invoices() -> System:
    """The right one: an order is charged, and then its record is committed."""
    return _system("invoices", by_hand=True)


def committed_before_the_work_ends() -> System:
    """The client commits every five seconds what it has handed out, done or not."""
    return _system("invoices-automatic", by_hand=False)


def _system(name: str, *, by_hand: bool) -> System:
    system = System(name, arrival_ms=1)
    bus = system.add(Kafka("bus", {"orders": 1}, idempotent_producer=True))
    bank = system.add(Gateway("bank", timeout_ms=5_000))
    system.add(KafkaServers("kafka:9092", bus))

    @system.service("billing")
    def billing(env: Env) -> None:
        client = env.client(bank)

        def run() -> None:
            settings = {"bootstrap.servers": "kafka:9092", "group.id": "billing"}
            consumer = Consumer({**settings, "enable.auto.commit": not by_hand})
            consumer.subscribe(["orders"])
            while True:
                message: Any = consumer.poll(1.0)
                if message is None or message.error():
                    continue
                env.sleep(LAYOUT_S)
                order = message.value().decode(errors="replace")
                if order in ORDERS:  # what nobody can read is in nobody's way
                    client.charge(order, 500, key=order)
                if by_hand:
                    consumer.commit(message=message, asynchronous=False)

        env.main(run)

    @system.entry(examples=ORDERS)
    def order(env: Env, id: str) -> None:
        env.publisher(bus)("orders", id, key=id)

    system.claim(nothing_acknowledged_lost(), idempotent())
    return system
