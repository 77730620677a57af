"""The tasks: a charge and a label side by side, and once both are done a mail.

Redis hands a task out again when it is not acknowledged within `visibility_timeout`, whether its
worker is dead, slow, or keeps it for later. So none waits for that long, and each has a key.
"""

from __future__ import annotations

import time
from typing import Any

import requests
from celery import Celery, chord
from celery.exceptions import Reject
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

app = Celery("shipments", broker="redis://redis/0", backend="redis://redis/1")
app.conf.task_acks_late = True
app.conf.task_reject_on_worker_lost = True
app.conf.broker_transport_options = {"visibility_timeout": 600}
app.conf.redis_retry_on_timeout = True  # or a chord whose count is lost never ends

BANK = "https://api.bank.example/charges"
PRINTER = "https://printer.example/labels"
MAIL = "https://mail.example/mails"
TROUBLE = (requests.RequestException, OperationalError, RedisError)


def post(url: str, body: dict[str, Any], key: str) -> None:
    headers = {"Idempotency-Key": key}
    requests.post(url, json=body, headers=headers, timeout=10).raise_for_status()


def ship(shipment: str, cents: int) -> None:
    """What the shop's counter does: it sends both, and says what comes after them."""
    chord([charge.s(shipment, cents), label.s(shipment)])(notify.si(shipment))


def again(error: Exception) -> Reject:
    """Wait a little, and leave the task to whoever takes it next."""
    time.sleep(5)
    return Reject(error, requeue=True)


@app.task
def charge(shipment: str, cents: int) -> None:
    try:
        post(BANK, {"order": shipment, "cents": cents}, shipment)
    except TROUBLE as error:
        raise again(error) from error


@app.task
def label(shipment: str) -> None:
    try:
        post(PRINTER, {"shipment": shipment}, shipment)
    except TROUBLE as error:
        raise again(error) from error


@app.task
def notify(shipment: str) -> None:
    try:
        post(MAIL, {"shipment": shipment}, shipment)
    except TROUBLE as error:
        raise again(error) from error
