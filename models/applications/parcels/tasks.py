"""The tasks: a charge, then a mail. What fails stays the broker's, and comes again."""

from __future__ import annotations

import time
from typing import Any

import requests
from celery import Celery
from celery.exceptions import Reject
from kombu.exceptions import OperationalError

app = Celery("parcels", broker="amqp://guest:guest@rabbit//")
app.conf.task_acks_late = True
app.conf.task_reject_on_worker_lost = True
app.conf.broker_transport_options = {"confirm_publish": True}

BANK = "https://api.bank.example/charges"
MAIL = "https://mail.example/mails"
TROUBLE = (requests.RequestException, OperationalError)


def post(url: str, body: dict[str, Any], key: str) -> None:
    headers = {"Idempotency-Key": key}
    requests.post(url, json=body, headers=headers, timeout=10).raise_for_status()


@app.task
def charge(parcel: str, cents: int) -> None:
    try:
        post(BANK, {"order": parcel, "cents": cents}, parcel)
        notify.apply_async((parcel,), countdown=30)
    except TROUBLE as error:
        time.sleep(5)
        raise Reject(error, requeue=True) from error


@app.task
def notify(parcel: str) -> None:
    try:
        post(MAIL, {"parcel": parcel}, parcel)
    except TROUBLE as error:
        time.sleep(5)
        raise Reject(error, requeue=True) from error
