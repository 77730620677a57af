"""What goes wrong with such a worker: each function is one with one slip."""

from __future__ import annotations

import json
import time
from typing import Any

import requests
from confluent_kafka import Consumer, Message

from models.applications.billing.worker import BANK, CONSUMER, charge, handle, order_of, producer


def commits_by_itself() -> None:
    """Leave commits to the client, which commits what is not done yet."""
    consumer = Consumer(CONSUMER)
    consumer.subscribe(["orders"])
    while True:
        message = consumer.poll(1.0)
        if message is not None:
            time.sleep(6)  # a look at the risk of it
            handle(message)


def never_flushed() -> None:
    """Commit an order whose event is still in the client's queue."""
    consumer = Consumer({**CONSUMER, "enable.auto.commit": False})
    consumer.subscribe(["orders"])
    while True:
        message = consumer.poll(1.0)
        if message is None:
            continue
        order = order_of(message)
        if order is not None:
            charge(order)
            producer.produce("paid", message.value(), key=order["id"])
        producer.poll(0)
        consumer.commit(message=message, asynchronous=False)


def keyless() -> None:
    """Charge without a key: an order that comes again is charged again."""
    _loop(_charge_again)


def skips_what_fails() -> None:
    """Log an error and go on: the next commit passes the order that was not charged."""
    _loop(_logged)


def _loop(take: Any) -> None:
    consumer = Consumer({**CONSUMER, "enable.auto.commit": False})
    consumer.subscribe(["orders"])
    while True:
        message = consumer.poll(1.0)
        if message is not None:
            take(message)
            consumer.commit(message=message, asynchronous=False)


def _charge_again(message: Message) -> None:
    order = order_of(message)
    if order is None:
        return
    body = {"order": order["id"], "cents": order["cents"]}
    requests.post(BANK, json=body, timeout=5).raise_for_status()
    producer.produce("paid", json.dumps(order), key=order["id"])
    producer.flush()


def _logged(message: Message) -> None:
    try:
        handle(message)
    except requests.RequestException as error:
        print("not charged:", error)
