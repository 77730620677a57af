"""A broker of FastStream that a module holds, and the lifespan of a web application starts."""

import time

import httpx
import pytest

from chaosharness import AMQP, Crash, Gateway, Kafka, KafkaServers, RabbitMQ, Schedule, Site, System, Web, smallest, check
from tests.adapters import faststream_web_apps as apps


def shop(application, bus, speaks, *, replicas=2):
    system = System("shop")
    system.add(bus)
    system.add(speaks(bus))
    bank = system.add(Gateway("bank"))
    system.add(Web("bank.example", bank, routes={"POST /charges": "charge"}))
    site = system.add(Web("shop.example"))
    system.service("billing", replicas=replicas)(lambda env: env.app(site, application))

    @system.entry(examples=[{"id": "o1"}, {"id": "o2"}])
    def place(env, order):
        while True:
            try:
                url = "https://shop.example/orders"
                httpx.post(url, json=order, timeout=10).raise_for_status()
                return
            except httpx.HTTPError:
                time.sleep(1)

    return system


def on_rabbit(application):
    bus = RabbitMQ("bus", queues=["orders", "paid"])
    return shop(application, bus, lambda bus: AMQP("rabbit:5672", bus))


def on_kafka(application):
    options = {"assignment": "round-robin", "session_timeout_ms": 10_000}
    bus = Kafka("bus", {"orders": 2, "paid": 2}, **options)
    return shop(application, bus, lambda bus: KafkaServers("kafka:9092", bus))

