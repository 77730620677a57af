"""The application: `faststream run models.applications.charges.app:app`."""

from __future__ import annotations

import asyncio

import httpx
from faststream import AckPolicy, FastStream
from faststream.rabbit import RabbitBroker, RabbitMessage

from models.applications.charges.messages import CHARGED, PLACED, URL, read

BANK = "https://api.bank.example/charges"

broker = RabbitBroker(URL)
app = FastStream(broker)
charged = broker.publisher(CHARGED, persist=True)


@broker.subscriber(PLACED, ack_policy=AckPolicy.NACK_ON_ERROR)
async def on_order(message: RabbitMessage) -> None:
    order = read(message)
    key = {"Idempotency-Key": order.id}
    body = {"order": order.id, "cents": order.cents}
    try:
        async with httpx.AsyncClient(timeout=10) as bank:
            (await bank.post(BANK, json=body, headers=key)).raise_for_status()
    except httpx.HTTPError:
        await asyncio.sleep(5)
        raise
    await charged.publish(order)
