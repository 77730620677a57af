"""Web applications that start and stop a broker of FastStream as teams write them: nothing of
chaosharness. The brokers stand in the module, and the lifespans connect them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage
from faststream.rabbit import RabbitBroker, RabbitMessage, RabbitQueue
from faststream.rabbit.fastapi import RabbitMessage as RoutedMessage
from faststream.rabbit.fastapi import RabbitRouter

RABBIT = "amqp://guest:guest@rabbit:5672/"
ORDERS, PAID = (RabbitQueue(name, durable=True) for name in ("orders", "paid"))

rabbit, careless_rabbit = RabbitBroker(RABBIT), RabbitBroker(RABBIT)
kafka = KafkaBroker("kafka:9092", enable_idempotence=True)
careless_kafka = KafkaBroker("kafka:9092", enable_idempotence=True)
router, keyless_router = RabbitRouter(RABBIT), RabbitRouter(RABBIT)


def app_of(broker: Any) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await broker.start()
        yield
        await broker.stop()

    return FastAPI(lifespan=lifespan)


async def charge(order: dict[str, Any], key: str | None) -> None:
    headers = {} if key is None else {"Idempotency-Key": key}
    async with httpx.AsyncClient(timeout=5) as bank:
        body = {"order": order["id"], "cents": 5}
        url = "https://bank.example/charges"
        (await bank.post(url, json=body, headers=headers)).raise_for_status()


def order_of(body: bytes) -> dict[str, Any] | None:
    try:
        order: dict[str, Any] = json.loads(body)
    except ValueError:
        return None
    return order if "id" in order else None


rabbit_app = app_of(rabbit)
careless_rabbit_app = app_of(careless_rabbit)
kafka_app = app_of(kafka)
careless_kafka_app = app_of(careless_kafka)
router_app = FastAPI()
keyless_router_app = FastAPI()


@rabbit_app.post("/orders")
async def order_by_rabbit(order: dict[str, str]) -> dict[str, str]:
    await rabbit.publish(order, ORDERS, persist=True)
    return order


@careless_rabbit_app.post("/orders")
async def order_by_careless_rabbit(order: dict[str, str]) -> dict[str, str]:
    await careless_rabbit.publish(order, ORDERS, persist=True)
    return order


@rabbit.subscriber(ORDERS, ack_policy=AckPolicy.NACK_ON_ERROR)
async def on_order(message: RabbitMessage) -> None:
    if order := order_of(message.body):
        await charge(order, order["id"])
        await rabbit.publish(order, PAID, persist=True)


@careless_rabbit.subscriber(ORDERS)
async def on_order_carelessly(message: RabbitMessage) -> None:
    """By default, what failed is rejected, and gone."""
    if order := order_of(message.body):
        await charge(order, order["id"])
        await careless_rabbit.publish(order, PAID, persist=True)


@kafka_app.post("/orders")
async def order_by_kafka(order: dict[str, str]) -> dict[str, str]:
    await kafka.publish(order, "orders", key=order["id"].encode())
    return order


@careless_kafka_app.post("/orders")
async def order_by_careless_kafka(order: dict[str, str]) -> dict[str, str]:
    await careless_kafka.publish(order, "orders", key=order["id"].encode())
    return order


@kafka.subscriber("orders", group_id="billing", ack_policy=AckPolicy.NACK_ON_ERROR)
async def on_record(message: KafkaMessage) -> None:
    if order := order_of(message.body):
        await charge(order, order["id"])
        await kafka.publish(order, "paid", key=order["id"].encode())


@careless_kafka.subscriber("orders", group_id="billing")
async def on_record_carelessly(message: KafkaMessage) -> None:
    """By default, it is for the client to commit, whatever becomes of the order."""
    if order := order_of(message.body):
        await charge(order, order["id"])
        await careless_kafka.publish(order, "paid", key=order["id"].encode())


@router.post("/orders")
async def order_by_router(order: dict[str, str]) -> dict[str, str]:
    await router.broker.publish(order, ORDERS, persist=True)
    return order


@router.subscriber(ORDERS, ack_policy=AckPolicy.NACK_ON_ERROR)
async def on_routed(message: RoutedMessage) -> None:
    if order := order_of(message.body):
        await charge(order, order["id"])
        await router.broker.publish(order, PAID, persist=True)


@keyless_router.post("/orders")
async def order_by_keyless_router(order: dict[str, str]) -> dict[str, str]:
    await keyless_router.broker.publish(order, ORDERS, persist=True)
    return order


@keyless_router.subscriber(ORDERS, ack_policy=AckPolicy.NACK_ON_ERROR)
async def on_routed_keyless(message: RoutedMessage) -> None:
    """It comes again where its acknowledgement is lost, and charges twice."""
    if order := order_of(message.body):
        await charge(order, None)
        await keyless_router.broker.publish(order, PAID, persist=True)


router_app.include_router(router)
keyless_router_app.include_router(keyless_router)
