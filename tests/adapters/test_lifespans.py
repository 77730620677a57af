"""A consumer that a web application begins in the background: what is said where it dies."""

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from fastapi import FastAPI

from chaosharness import (
    ErrorReply,
    Gateway,
    Kafka,
    KafkaServers,
    Schedule,
    Site,
    System,
    Web,
)

REFUSED = Schedule([ErrorReply(Site("orders.lifespan/bank.charge"))])


def shop(*, survives):
    """An API that publishes orders, and charges them in a task of its own."""

    async def charge(client, message):
        headers = {"Idempotency-Key": message.key.decode()}
        answer = await client.post("/charges", json=json.loads(message.value), headers=headers)
        answer.raise_for_status()

    async def consume():
        options = {"bootstrap_servers": "kafka:9092", "group_id": "g"}
        options |= {"enable_auto_commit": False, "auto_offset_reset": "earliest"}
        async with (
            AIOKafkaConsumer("orders", **options) as consumer,
            httpx.AsyncClient(base_url="https://bank.example", timeout=5) as client,
        ):
            async for message in consumer:
                while True:
                    try:
                        await charge(client, message)
                        break
                    except httpx.HTTPError:
                        if not survives:
                            raise
                        await asyncio.sleep(1)
                await consumer.commit()

    @asynccontextmanager
    async def lifespan(app):
        app.producer = AIOKafkaProducer(bootstrap_servers="kafka:9092")
        await app.producer.start()
        app.task = asyncio.create_task(consume())
        yield
        app.task.cancel()
        await app.producer.stop()

    def made():
        app = FastAPI(lifespan=lifespan)

        @app.post("/orders")
        async def create(order: dict):
            key = order["order"].encode()
            await app.producer.send_and_wait("orders", json.dumps(order).encode(), key=key)

        return app

    system = System("shop")
    bus = system.add(Kafka("bus", topics={"orders": 1}))
    system.add(KafkaServers("kafka:9092", bus))
    bank = system.add(Gateway("bank"))
    system.add(Web("bank.example", bank, routes={"POST /charges": "charge"}))
    site = system.add(Web("shop.example"))
    system.service("orders")(lambda env: env.app(site, made()))

    @system.entry(examples=[{"order": "o1", "cents": 500}])
    def place(env, order):
        httpx.post("https://shop.example/orders", json=order, timeout=30).raise_for_status()

    return system


def test_a_task_that_died_is_named_with_its_line_and_not_one_of_the_library():
    ending = shop(survives=False).run(None, REFUSED).ending
    lines = Path(__file__).read_text(encoding="utf-8").split("\n")
    line = 1 + lines.index("        answer.raise_for_status()")
    assert ending.verdict == "stuck"
    assert ending.reason == (
        "orders.lifespan (a task of it has ended: HTTPStatusError at "
        f"tests/adapters/test_lifespans.py:{line}) waits for something that can never come"
    )


def test_one_that_tries_again_goes_on():
    assert shop(survives=True).run(None, REFUSED).ending.verdict == "quiet"
