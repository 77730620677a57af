"""What a run costs through each client library of RabbitMQ, and the same run through ports.

python -m benchmarks amqp

One handler takes each of two orders, publishes that it is paid, and acknowledges. Most of what is
paid for is the library itself: it opens connections and channels, and builds frames and messages.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import aio_pika
import pika
from faststream import FastStream
from faststream.rabbit import RabbitBroker, RabbitQueue

from chaosharness import AMQP, Env, RabbitMQ, Schedule, System

ORDERS = [{"id": "o1", "cents": 500}, {"id": "o2", "cents": 900}]
RUNS = 100

Service = Callable[[Env, Any], None]


def system(service: Service) -> System:
    """Return a system with one service that takes orders."""
    made = System("bench")
    bus = made.add(RabbitMQ("bus", queues=["orders", "paid"]))
    made.add(AMQP("rabbit", bus))
    made.service("payments")(lambda env: service(env, bus))

    @made.entry(examples=ORDERS)
    def place(env: Env, order: dict[str, Any]) -> None:
        env.publisher(bus)("orders", order, key=order["id"])

    return made


def with_ports(env: Env, bus: Any) -> None:
    publish = env.publisher(bus)

    def on_order(order: dict[str, Any]) -> None:
        publish("paid", order)

    env.consume(bus, "orders", on_order, prefetch=1)


def with_pika(env: Env, bus: Any) -> None:
    def on_order(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        channel.basic_publish("", "paid", json.dumps(json.loads(body)).encode())
        channel.basic_ack(method.delivery_tag)

    def main() -> None:
        channel = pika.BlockingConnection(pika.ConnectionParameters("rabbit")).channel()
        channel.confirm_delivery()
        channel.basic_qos(prefetch_count=1)
        channel.basic_consume("orders", on_order)
        channel.start_consuming()

    env.main(main)


def with_aio_pika(env: Env, bus: Any) -> None:
    async def main() -> None:
        connection = await aio_pika.connect_robust("amqp://rabbit/")
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=1)
        queue = await channel.get_queue("orders")

        async def on_order(message: Any) -> None:
            async with message.process():
                paid = aio_pika.Message(json.dumps(json.loads(message.body)).encode())
                await channel.default_exchange.publish(paid, "paid")

        await queue.consume(on_order)
        await asyncio.Future()

    env.main(main)


def with_faststream(env: Env, bus: Any) -> None:
    broker = RabbitBroker("amqp://rabbit/")

    @broker.subscriber(RabbitQueue("orders", durable=True))
    @broker.publisher(RabbitQueue("paid", durable=True))
    async def on_order(order: dict[str, Any]) -> dict[str, Any]:
        return order

    env.main(FastStream(broker).run)


def rows() -> list[tuple[str, float, float]]:
    """Return each way's name, milliseconds a run, and how many times those of ports."""
    services: dict[str, Service] = {
        "ports": with_ports,
        "pika": with_pika,
        "aio-pika": with_aio_pika,
        "FastStream": with_faststream,
    }
    found = {name: ms_per_run(system(service)) for name, service in services.items()}
    return [(name, ms, ms / found["ports"]) for name, ms in found.items()]


def ms_per_run(made: System) -> float:
    """Return the best of three series, in milliseconds a run."""
    made.run()
    series = []
    for _ in range(3):
        began = time.process_time()
        for _ in range(RUNS):
            made.run(None, Schedule())
        series.append((time.process_time() - began) / RUNS * 1000)
    return min(series)


def main() -> None:
    """Print the table."""
    print(f"{'through':12} {'ms a run':>8} {'ratio':>6}")
    for name, ms, ratio in rows():
        print(f"{name:12} {ms:8.2f} {ratio:5.1f}x")


if __name__ == "__main__":
    main()
