"""Charges orders at the bank, and tells that they are charged."""

from __future__ import annotations

import json
from typing import Any

import requests
from pika.adapters.blocking_connection import BlockingChannel

from models.applications.invoices import rabbit

BANK = "https://api.bank.example/charges"


def main() -> None:
    rabbit.work("charge", on_order)


def read(body: bytes) -> dict[str, Any] | None:
    """Return an order, or None if it is none."""
    try:
        order = json.loads(body)
        return {"id": str(order["id"]), "cents": int(order["cents"])}
    except (ValueError, KeyError, TypeError):
        return None


def on_order(channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
    order = read(body)
    if order is None:
        channel.basic_reject(method.delivery_tag, requeue=False)
        return
    request = {"order": order["id"], "cents": order["cents"]}
    key = {"Idempotency-Key": order["id"]}
    try:
        requests.post(BANK, json=request, headers=key, timeout=10).raise_for_status()
    except requests.RequestException:
        channel.connection.sleep(5)
        channel.basic_nack(method.delivery_tag)
        return
    rabbit.publish(channel, "order.charged", body)
    channel.basic_ack(method.delivery_tag)
