"""What a run costs through each client library of Kafka, and the same run through ports.

python -m benchmarks kafka_clients

One loop takes each of two orders, publishes that it is paid and waits for it, and commits. The
clients are those of the library; the ports beside them are polled in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from benchmarks.amqp import ORDERS, ms_per_run
from chaosharness import Env, Kafka, KafkaServers, System

SERVERS = "kafka:9092"

Service = Callable[[Env, Any], None]


def system(service: Service) -> System:
    """Return a system with one service that takes orders."""
    made = System("bench")
    bus = made.add(Kafka("bus", {"orders": 1, "paid": 1}))
    made.add(KafkaServers(SERVERS, bus))
    made.service("payments")(lambda env: service(env, bus))

    @made.entry(examples=ORDERS)
    def place(env: Env, order: dict[str, Any]) -> None:
        env.publisher(bus)("orders", order, key=order["id"])

    return made


def with_ports(env: Env, bus: Any) -> None:
    publish, consumer = env.publisher(bus), env.consumer(bus, "orders")

    def main() -> None:
        while True:
            for message in consumer.poll():
                publish("paid", message.value, key=message.key)
                consumer.commit(message)

    env.main(main)


def with_confluent_kafka(env: Env, bus: Any) -> None:
    from confluent_kafka import Consumer, Producer  # met when the system runs

    def main() -> None:
        group = {"group.id": "payments", "enable.auto.commit": False}
        consumer = Consumer({"bootstrap.servers": SERVERS, **group})
        producer = Producer({"bootstrap.servers": SERVERS})
        consumer.subscribe(["orders"])
        while True:
            message = consumer.poll()
            paid = json.dumps(json.loads(message.value() or b""))
            producer.produce("paid", paid, key=message.key())
            producer.flush()
            consumer.commit(message=message, asynchronous=False)

    env.main(main)


def with_kafka_python(env: Env, bus: Any) -> None:
    from kafka import KafkaConsumer, KafkaProducer

    def main() -> None:
        group = {"group_id": "payments", "enable_auto_commit": False}
        consumer: Any = KafkaConsumer("orders", bootstrap_servers=SERVERS, **group)
        producer: Any = KafkaProducer(bootstrap_servers=SERVERS)
        for message in consumer:
            paid = json.dumps(json.loads(message.value)).encode()
            producer.send("paid", paid, key=message.key).get()
            consumer.commit()

    env.main(main)


def with_aiokafka(env: Env, bus: Any) -> None:
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

    async def main() -> None:
        group = {"group_id": "payments", "enable_auto_commit": False}
        async with (
            AIOKafkaConsumer("orders", bootstrap_servers=SERVERS, **group) as consumer,
            AIOKafkaProducer(bootstrap_servers=SERVERS) as producer,
        ):
            async for message in consumer:
                paid = json.dumps(json.loads(message.value)).encode()
                await producer.send_and_wait("paid", paid, key=message.key)
                await consumer.commit()

    env.main(main)


def rows() -> list[tuple[str, float, float]]:
    """Return each way's name, milliseconds a run, and how many times those of ports."""
    services: dict[str, Service] = {
        "ports": with_ports,
        "confluent-kafka": with_confluent_kafka,
        "kafka-python": with_kafka_python,
        "aiokafka": with_aiokafka,
    }
    found = {name: ms_per_run(system(service)) for name, service in services.items()}
    return [(name, ms, ms / found["ports"]) for name, ms in found.items()]


def main() -> None:
    """Print the table."""
    print(f"{'through':16} {'ms a run':>8} {'ratio':>6}")
    for name, ms, ratio in rows():
        print(f"{name:16} {ms:8.2f} {ratio:5.1f}x")


if __name__ == "__main__":
    main()
