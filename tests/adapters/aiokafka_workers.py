"""One worker on aiokafka as teams write it, and the same on ports."""

from __future__ import annotations

from contextlib import suppress

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import CommitFailedError, IllegalStateError

from chaosharness import CommitFailed, Gateway, Kafka, KafkaServers, System, Web

SERVERS = {"bootstrap_servers": "kafka:9092"}


async def charge_all():
    options = {**SERVERS, "group_id": "billing", "enable_auto_commit": False}
    async with (
        AIOKafkaConsumer("orders", **options) as consumer,
        AIOKafkaProducer(**SERVERS) as producer,
        httpx.AsyncClient(timeout=5) as bank,
    ):
        async for message in consumer:
            order = message.value.decode()
            body = {"order": order, "cents": 5}
            key = {"Idempotency-Key": order}
            url = "https://bank.example/charges"
            (await bank.post(url, json=body, headers=key)).raise_for_status()
            await producer.send_and_wait("paid", message.value, key=message.key)
            with suppress(CommitFailedError, IllegalStateError):
                await consumer.commit()


def charged(env, bus, bank):
    return charge_all


def ported(env, bus, bank):
    consumer = env.consumer(bus, "orders", read_as=bytes)
    publish, charge = env.publisher(bus), env.client(bank).charge

    async def run():
        while True:
            for message in await consumer.poll():
                order = message.value.decode()
                await charge(order, 5, key=order)
                await publish("paid", message.value, key=message.key)
                with suppress(CommitFailed):
                    await consumer.commit()

    return run


def shop(main, *, replicas=2):
    system = System("shop")
    bus = system.add(Kafka("bus", {"orders": 2, "paid": 1}, assignment="round-robin"))
    system.add(KafkaServers("kafka:9092", bus))
    bank = system.add(Gateway("bank"))
    system.add(Web("bank.example", bank, routes={"POST /charges": "charge"}))

    @system.service("billing", replicas=replicas)
    def billing(env):
        loop = main(env, bus, bank)

        async def run():
            await loop()

        env.main(run)

    @system.entry(examples=["o1", "o2", "o3"])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order)

    return system
