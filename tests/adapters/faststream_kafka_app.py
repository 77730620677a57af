"""FastStream applications on Kafka as teams write them: nothing of chaosharness."""

import json
from typing import Any

import httpx
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage

broker = KafkaBroker("kafka:9092", enable_idempotence=True)
app = FastStream(broker)

careless = KafkaBroker("kafka:9092", enable_idempotence=True)
careless_app = FastStream(careless)

strict = KafkaBroker("kafka:9092", enable_idempotence=True)
strict_app = FastStream(strict)


async def charge(order: str) -> None:
    async with httpx.AsyncClient(timeout=5) as bank:
        body = {"order": order, "cents": 5}
        headers = {"Idempotency-Key": order}
        url = "https://bank.example/charges"
        (await bank.post(url, json=body, headers=headers)).raise_for_status()


def order_of(body: bytes) -> dict[str, Any]:
    try:
        order: dict[str, Any] = json.loads(body)
    except ValueError:
        return {}
    return order


@broker.subscriber("orders", group_id="billing", ack_policy=AckPolicy.NACK_ON_ERROR)
async def on_order(message: KafkaMessage) -> None:
    order = order_of(message.body)
    if "id" in order:
        await charge(order["id"])
        await broker.publish(order, "paid", key=order["id"].encode())


@strict.subscriber("orders", group_id="billing", ack_policy=AckPolicy.NACK_ON_ERROR)
@strict.publisher("paid")
async def on_order_strictly(order: dict[str, Any]) -> dict[str, Any]:
    """Have FastStream read the order: what it cannot read, it gives back for ever."""
    await charge(order["id"])
    return order


@broker.subscriber("returns", group_id="billing-returns", ack_policy=AckPolicy.NACK_ON_ERROR)
async def on_return(order: dict[str, Any]) -> None:
    await broker.publish(order, "paid", key=order["id"].encode())


@careless.subscriber("orders", group_id="billing")
@careless.publisher("paid")
async def on_order_carelessly(order: dict[str, Any]) -> dict[str, Any]:
    """Leave it to the client to commit, which does so whatever becomes of the order."""
    await charge(order["id"])
    return order
