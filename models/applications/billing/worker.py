"""The worker: each order is charged, told of, and only then done with."""

from __future__ import annotations

import json
from typing import Any

import requests
from confluent_kafka import Consumer, KafkaException, Message, Producer

SERVERS = "kafka:9092"
BANK = "https://api.bank.example/charges"

CONSUMER = {"bootstrap.servers": SERVERS, "group.id": "billing", "auto.offset.reset": "earliest"}

producer = Producer({"bootstrap.servers": SERVERS, "enable.idempotence": True})


def run() -> None:
    consumer = Consumer({**CONSUMER, "enable.auto.commit": False})
    consumer.subscribe(["orders"])
    while True:
        message = consumer.poll(1.0)
        if message is None:
            continue
        handle(message)
        consumer.commit(message=message, asynchronous=False)


def handle(message: Message) -> None:
    order = order_of(message)
    if order is None:
        return
    charge(order)
    producer.produce("paid", message.value(), key=order["id"])
    producer.flush()


def order_of(message: Message) -> dict[str, Any] | None:
    """Return the order of a message; None if it is none, which nobody can mend here."""
    error = message.error()
    if error is not None:
        raise KafkaException(error)
    try:
        order = json.loads(message.value() or b"")
    except ValueError:
        return None
    return order if "id" in order and "cents" in order else None


def charge(order: dict[str, Any]) -> None:
    body = {"order": order["id"], "cents": order["cents"]}
    key = {"Idempotency-Key": order["id"]}
    requests.post(BANK, json=body, headers=key, timeout=5).raise_for_status()
