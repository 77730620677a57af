"""A relay publishes without waiting and reads the confirms; a till charges what it is told.

chaosharness run models.rabbit.outbox:outbox
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs

from chaosharness import (
    ChannelClosed,
    Delivery,
    Env,
    Gateway,
    KeyValue,
    Queue,
    RabbitMQ,
    System,
    idempotent,
    never_charged_twice,
)

BATCHES = [{"batch": "b1", "orders": ["o1", "o2"]}]


@attrs.frozen
class Batch:
    """Orders that are sent together."""

    batch: str
    orders: list[str]


Confirmed = Callable[[set[int], Iterable[Any]], None]
"""Takes the numbers out that a frame confirms."""


def outbox() -> System:
    """The right one: what is open is sent again, and the till knows an order by its id."""
    return _system("outbox", ranges, by_id=True)


def lost_confirm_and_double_publish() -> System:
    """What is open is sent again, and the till takes each message for a new order.

    Where the confirm was lost the message was there: there are two.
    """
    return _system("outbox-twice", ranges, by_id=False)


def range_read_as_one() -> System:
    """A confirm with `multiple` is read as one of a single message: the rest is sent again."""
    return _system("outbox-ranges", one_by_one, by_id=False)


def ranges(still_open: set[int], frames: Iterable[Any]) -> None:
    """A frame with `multiple` confirms all that are open up to its number."""
    for frame in frames:
        if frame.acked and frame.multiple:
            still_open -= {tag for tag in still_open if tag <= frame.tag}
        elif frame.acked:
            still_open.discard(frame.tag)


def one_by_one(still_open: set[int], frames: Iterable[Any]) -> None:
    """A frame confirms the message that it names. There lies the mistake."""
    for frame in frames:
        if frame.acked:
            still_open.discard(frame.tag)


def _system(name: str, confirmed: Confirmed, *, by_id: bool) -> System:
    system = System(name, arrival_ms=1)
    queues = {"batches": Queue(), "orders": Queue()}
    bus = system.add(RabbitMQ("bus", queues=queues))
    bank = system.add(Gateway("bank"))
    sent_store = system.add(KeyValue("sent"))

    @system.service("relay")
    def relay(env: Env) -> None:
        publish, store = env.publisher(bus), env.connect(sent_store)

        def send_all(orders: list[str]) -> list[str]:
            """Send orders; return those that nobody has confirmed."""
            sent: dict[int, str] = {}
            try:
                for order in orders:
                    tag = publish.send("orders", order, key=order, message_id=order)
                    sent[tag] = order
                still_open = set(sent)
                while still_open and (frames := publish.confirms(timeout_s=5)):
                    confirmed(still_open, frames)
            except ChannelClosed:
                return orders
            return [sent[tag] for tag in sorted(still_open)]

        def on_batch(batch: Batch) -> None:
            if store.get(batch.batch) is not None:
                return
            orders = batch.orders
            while orders := send_all(orders):
                env.sleep(1)
            store.put(batch.batch, "sent")

        env.consume(bus, "batches", on_batch, prefetch=1, on_unreadable="skip")

    @system.service("till")
    def till(env: Env) -> None:
        client = env.client(bank)

        def on_order(order: str, delivery: Delivery) -> None:
            known = delivery.properties.get("message_id") or order
            message = f"{delivery.message.published}"
            client.charge(order, 500, key=known if by_id else message)

        env.consume(bus, "orders", on_order, prefetch=1, on_unreadable="skip")

    @system.entry(examples=BATCHES)
    def place(env: Env, batch: dict[str, Any]) -> None:
        env.publisher(bus)("batches", batch, key=batch["batch"])

    system.claim(idempotent(), never_charged_twice(bank))
    return system
