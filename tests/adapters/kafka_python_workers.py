"""One worker on kafka-python as teams write it, and the same on ports."""

from __future__ import annotations

from contextlib import suppress

import requests
from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import CommitFailedError

from chaosharness import CommitFailed, Gateway, Kafka, KafkaServers, System, Web

SERVERS = {"bootstrap_servers": ["kafka:9092"]}
producer = KafkaProducer(**SERVERS)


def charge_all():
    consumer = KafkaConsumer("orders", group_id="billing", enable_auto_commit=False, **SERVERS)
    for message in consumer:
        order = message.value.decode()
        body = {"order": order, "cents": 5}
        key = {"Idempotency-Key": order}
        url = "https://bank.example/charges"
        requests.post(url, json=body, headers=key, timeout=5).raise_for_status()
        producer.send("paid", message.value, key=message.key).get()
        with suppress(CommitFailedError):
            consumer.commit()


def charged(env, bus, bank):
    return charge_all


def ported(env, bus, bank):
    consumer = env.consumer(bus, "orders", read_as=bytes)
    publish, charge = env.publisher(bus, idempotent=True), env.client(bank).charge

    def run():
        while True:
            for message in consumer.poll():
                order = message.value.decode()
                charge(order, 5, key=order)
                publish("paid", message.value, key=message.key)
                with suppress(CommitFailed):
                    consumer.commit(message)

    return run


def shop(main, *, replicas=2):
    system = System("shop")
    bus = system.add(Kafka("bus", {"orders": 2, "paid": 1}))
    system.add(KafkaServers("kafka:9092", bus))
    bank = system.add(Gateway("bank"))
    system.add(Web("bank.example", bank, routes={"POST /charges": "charge"}))

    @system.service("billing", replicas=replicas)
    def billing(env):
        loop = main(env, bus, bank)

        def run():
            loop()

        env.main(run)

    @system.entry(examples=["o1", "o2", "o3"])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order)

    return system
