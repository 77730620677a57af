"""Parcels leave once they are paid for; what comes too early has to wait somewhere.

chaosharness run models.rabbit.dispatch:dispatch
"""

from __future__ import annotations

from typing import Any

import attrs

from chaosharness import (
    Budget,
    Env,
    Exchange,
    KeyValue,
    Queue,
    RabbitMQ,
    System,
    idempotent,
    never_stuck,
)

PACKING_S = 2.0
ORDERS = [{"order": "o1"}]


@attrs.frozen
class Order:
    """What was ordered."""

    order: str


@attrs.frozen
class Task:
    """What has happened to an order."""

    order: str
    what: str


class NotPaid(Exception):
    """The parcel has to wait for its payment."""


def dispatch() -> System:
    """The right one: what comes too early waits in a queue of its own, and others go by."""
    return _system("dispatch", waits_aside=True)


def requeue_beside_others() -> System:
    """Another right one: it is requeued, and the payment is handed out beside it."""
    return _system("dispatch-beside", waits_aside=False, prefetch=10)


def requeue_that_starves() -> System:
    """It is requeued: to the head of its queue, in front of the payment that it waits for.

    With a prefetch of 1 nobody else gets a turn.
    """
    return _system("dispatch-starved", waits_aside=False)


def _system(name: str, *, waits_aside: bool, prefetch: int = 1) -> System:
    system = System(name, budget=Budget(deliveries_max=20))
    tasks = Queue(dead_letter="later") if waits_aside else Queue()
    later = Queue(ttl_ms=5_000, dead_letter="tasks")
    bus = system.add(
        RabbitMQ(
            "bus",
            queues={"till": Queue(), "packing": Queue(), "tasks": tasks, "later": later},
            exchanges={"orders": Exchange("fanout", ["till", "packing"])},
        )
    )
    books = system.add(KeyValue("books"))

    @system.service("till")
    def till(env: Env) -> None:
        publish = env.publisher(bus)

        def on_order(order: Order) -> None:
            publish("tasks", Task(order.order, "paid"))

        env.consume(bus, "till", on_order, on_unreadable="skip")

    @system.service("packing")
    def packing(env: Env) -> None:
        publish = env.publisher(bus)

        def on_order(order: Order) -> None:
            env.sleep(PACKING_S)
            publish("tasks", Task(order.order, "packed"))

        env.consume(bus, "packing", on_order, on_unreadable="skip")

    @system.service("gate")
    def gate(env: Env) -> None:
        store = env.connect(books)

        def on_task(task: Task) -> None:
            if task.what == "paid":
                store.put(f"{task.order}/paid", True)
            elif store.get(f"{task.order}/paid") is None:
                raise NotPaid(task.order)
            else:
                store.put(f"{task.order}/gone", True)

        env.consume(
            bus,
            "tasks",
            on_task,
            prefetch=prefetch,
            on_error="reject" if waits_aside else "requeue",
            backoff_ms=100,
            on_unreadable="skip",
        )

    @system.entry(examples=ORDERS)
    def place(env: Env, order: dict[str, Any]) -> None:
        env.publisher(bus)("", order, exchange="orders", key=order["order"])

    system.claim(idempotent(), never_stuck())
    return system
