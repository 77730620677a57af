"""What goes wrong with FastStream: each function makes an application with one slip."""

from __future__ import annotations

import httpx
from faststream import AckPolicy, FastStream
from faststream.rabbit import RabbitBroker, RabbitMessage

from models.applications.charges.app import BANK
from models.applications.charges.messages import CHARGED, PLACED, URL, Order, read


def rejected() -> FastStream:
    """Leave the policy at its default: a handler that raises once has its order put away."""
    broker = RabbitBroker(URL)

    @broker.subscriber(PLACED)
    @broker.publisher(CHARGED, persist=True)
    async def on_order(order: Order) -> Order:
        await charge(order, {"Idempotency-Key": order.id})
        return order

    return FastStream(broker)


def no_key() -> FastStream:
    """Charge again whenever the order comes again."""
    broker = RabbitBroker(URL)
    charged = broker.publisher(CHARGED, persist=True)

    @broker.subscriber(PLACED, ack_policy=AckPolicy.NACK_ON_ERROR)
    async def on_order(message: RabbitMessage) -> None:
        order = read(message)
        await charge(order, {})
        await charged.publish(order)

    return FastStream(broker)


def acknowledged_first() -> FastStream:
    """Acknowledge before the work is done: a crash loses it."""
    broker = RabbitBroker(URL)
    charged = broker.publisher(CHARGED, persist=True)

    @broker.subscriber(PLACED, ack_policy=AckPolicy.ACK_FIRST)
    async def on_order(message: RabbitMessage) -> None:
        order = read(message)
        await charge(order, {"Idempotency-Key": order.id})
        await charged.publish(order)

    return FastStream(broker)


async def charge(order: Order, headers: dict[str, str]) -> None:
    body = {"order": order.id, "cents": order.cents}
    async with httpx.AsyncClient(timeout=10) as bank:
        (await bank.post(BANK, json=body, headers=headers)).raise_for_status()
