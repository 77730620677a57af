"""What goes wrong with such tasks: each has one slip, and the right ones for what comes with it."""

from __future__ import annotations

from typing import Any

import requests
from celery import chord

from models.applications.shipments.tasks import (
    BANK,
    MAIL,
    TROUBLE,
    again,
    app,
    charge,
    label,
    notify,
)


def charge_if_nobody_has(shipment: str, cents: int, timeout_s: int | None) -> None:
    """Look before the charge: right as long as one worker at a time has the task."""
    found = requests.get(f"{BANK}/{shipment}", timeout=10)
    found.raise_for_status()
    if not found.json():
        body = {"order": shipment, "cents": cents}
        requests.post(BANK, json=body, timeout=timeout_s).raise_for_status()


@app.task
def patient(shipment: str, cents: int) -> None:
    """Wait for the bank as long as it takes: after ten minutes another worker charges as well."""
    try:
        charge_if_nobody_has(shipment, cents, None)
    except TROUBLE as error:
        raise again(error) from error


@app.task(bind=True, max_retries=None)
def in_an_hour(self: Any, shipment: str, cents: int) -> None:
    """Try again in an hour: by then both workers hold the task, and both charge."""
    try:
        charge_if_nobody_has(shipment, cents, 10)
    except requests.HTTPError as error:
        raise self.retry(countdown=3_600, exc=error) from error
    except TROUBLE as error:
        raise again(error) from error


@app.task(acks_late=False)
def acknowledged_first(shipment: str) -> None:
    """Acknowledge early: the chord waits in vain for what is lost with its worker."""
    label.run(shipment)


@app.task
def told_without_a_key(shipment: str) -> None:
    """Have no key: what comes after a chord is a task as any other, and comes again."""
    try:
        requests.post(f"{MAIL}/new", json={"shipment": shipment}, timeout=10).raise_for_status()
    except TROUBLE as error:
        raise again(error) from error


def ship_patiently(shipment: str, cents: int) -> None:
    patient.delay(shipment, cents)


def ship_in_an_hour(shipment: str, cents: int) -> None:
    in_an_hour.delay(shipment, cents)


def ship_acknowledged_first(shipment: str, cents: int) -> None:
    chord([charge.s(shipment, cents), acknowledged_first.s(shipment)])(notify.si(shipment))


def ship_and_tell_without_a_key(shipment: str, cents: int) -> None:
    chord([charge.s(shipment, cents), label.s(shipment)])(told_without_a_key.si(shipment))
