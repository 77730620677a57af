"""What goes wrong with pika: each worker has one slip."""

from __future__ import annotations

import json
import time
from typing import Any

import pika
import requests
from pika.adapters.blocking_connection import BlockingChannel

from models.applications.invoices import rabbit
from models.applications.invoices.charging import BANK, read


def no_key() -> None:
    """Charge again whenever the order comes again."""

    def on_order(channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        if (order := read(body)) is None:
            channel.basic_reject(method.delivery_tag, requeue=False)
            return
        request = {"order": order["id"], "cents": order["cents"]}
        requests.post(BANK, json=request, timeout=10).raise_for_status()
        rabbit.publish(channel, "order.charged", body)
        channel.basic_ack(method.delivery_tag)

    rabbit.work("charge", on_order)


def auto_ack() -> None:
    """Have the broker acknowledge an order once it is sent: a crash loses it."""

    def on_order(channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        if (order := read(body)) is not None:
            charge(order)
            rabbit.publish(channel, "order.charged", body)

    rabbit.work("charge", on_order, auto_ack=True)


def unconfirmed() -> None:
    """Publish on a channel without confirms: what is lost is lost silently."""
    told: list[BlockingChannel] = []

    def on_order(channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        if (order := read(body)) is None:
            channel.basic_reject(method.delivery_tag, requeue=False)
            return
        charge(order)
        if not told or told[0].is_closed:
            told[:] = [pika.BlockingConnection(rabbit.PARAMETERS).channel()]
        rabbit.publish(told[0], "order.charged", body)
        channel.basic_ack(method.delivery_tag)

    rabbit.work("charge", on_order)


def slow() -> None:
    """Print for longer than two heartbeats, in the one thread that could answer them."""

    def on_order(channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        if (order := read(body)) is None:
            channel.basic_reject(method.delivery_tag, requeue=False)
            return
        charge(order)
        time.sleep(150)
        rabbit.publish(channel, "order.charged", body)
        channel.basic_ack(method.delivery_tag)

    rabbit.work("charge", on_order)


def requeued() -> None:
    """Give back what nobody can read: it comes again, for ever, ahead of all others."""

    def on_order(channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        try:
            order = json.loads(body)
            charge(order)
            rabbit.publish(channel, "order.charged", body)
        except (ValueError, KeyError):
            channel.basic_nack(method.delivery_tag)
        else:
            channel.basic_ack(method.delivery_tag)

    rabbit.work("charge", on_order)


def charge(order: dict[str, Any]) -> None:
    request = {"order": order["id"], "cents": order["cents"]}
    key = {"Idempotency-Key": order["id"]}
    requests.post(BANK, json=request, headers=key, timeout=10).raise_for_status()
