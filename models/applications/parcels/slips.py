"""What goes wrong with such tasks: each has one slip, and the right one for what comes after it."""

from __future__ import annotations

import time
import uuid

import requests
from celery.exceptions import Reject

from models.applications.parcels.tasks import BANK, TROUBLE, app, notify, post


@app.task
def keyless(parcel: str, cents: int) -> None:
    """Charge without a key: a task that comes again charges again."""
    try:
        body = {"order": parcel, "cents": cents}
        requests.post(BANK, json=body, timeout=10).raise_for_status()
        notify.apply_async((parcel,), countdown=30)
    except TROUBLE as error:
        time.sleep(5)
        raise Reject(error, requeue=True) from error


@app.task(
    autoretry_for=(requests.RequestException,),
    retry_backoff=5,
    retry_jitter=False,
    max_retries=None,
)
def new_key(parcel: str, cents: int) -> None:
    """Make the key in the task: each retry has one of its own."""
    post(BANK, {"order": parcel, "cents": cents}, str(uuid.uuid4()))
    notify.apply_async((parcel,), countdown=30)


@app.task(acks_late=False)
def acknowledged_first(parcel: str, cents: int) -> None:
    """Acknowledge early, as is the default: a task whose process dies is gone."""
    charge_and_tell(parcel, cents)


@app.task(reject_on_worker_lost=False)
def lost_with_its_process(parcel: str, cents: int) -> None:
    """Acknowledge late, and yet acknowledge where the pool's process was killed: the default."""
    charge_and_tell(parcel, cents)


@app.task(autoretry_for=TROUBLE, default_retry_delay=1, max_retries=1)
def gives_up(parcel: str, cents: int) -> None:
    """Try twice in all: the last error is acknowledged, late or not, and nobody hears of it."""
    post(BANK, {"order": parcel, "cents": cents}, parcel)
    notify.apply_async((parcel,), countdown=30)


def charge_and_tell(parcel: str, cents: int) -> None:
    try:
        post(BANK, {"order": parcel, "cents": cents}, parcel)
        notify.apply_async((parcel,), countdown=30)
    except TROUBLE as error:
        time.sleep(5)
        raise Reject(error, requeue=True) from error
