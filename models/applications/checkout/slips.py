"""What goes wrong in such an application: each endpoint has one slip."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from sqlalchemy.orm import Session

from models.applications.checkout import bank
from models.applications.checkout.database import Order, Receipt, database
from models.applications.checkout.orders import NewOrder
from models.applications.checkout.webhooks import Event, give_points

Database = Annotated[Session, Depends(database)]

no_key = APIRouter()
"""Each request is charged, whether it was charged before or not."""

status_unchecked = APIRouter()
"""The bank's answer is taken for a yes, whatever its status."""

order_after_charge = APIRouter()
"""An order is stored when it is charged: its event may be there before it, or without it."""

points_each_time = APIRouter()
"""Points are given each time an event comes."""

marked_first = APIRouter()
"""The receipt is written, and the points are given in a second transaction."""


def stored_order(db: Session, order: NewOrder) -> Order:
    stored = db.get(Order, order.id)
    if stored is None:
        stored = Order(**order.model_dump())
        db.add(stored)
    return stored


@no_key.post("/orders")
def create_order(order: NewOrder, db: Database) -> dict[str, str]:
    stored = stored_order(db, order)
    db.commit()
    body = {"order": order.id, "cents": order.cents}
    bank.http.post("/charges", json=body).raise_for_status()
    stored.status = "confirmed"
    db.commit()
    return {"id": order.id}


@status_unchecked.post("/orders")
def create_order_unchecked(order: NewOrder, db: Database) -> dict[str, str]:
    stored = stored_order(db, order)
    db.commit()
    body = {"order": order.id, "cents": order.cents}
    bank.http.post("/charges", json=body, headers={"Idempotency-Key": order.id})
    stored.status = "confirmed"
    db.commit()
    return {"id": order.id}


@order_after_charge.post("/orders")
def create_order_late(order: NewOrder, db: Database) -> dict[str, str]:
    bank.charge(order.id, order.cents)
    stored_order(db, order).status = "confirmed"
    db.commit()
    return {"id": order.id}


@order_after_charge.post("/webhooks/bank")
def on_bank_event_of_any_order(event: Event, db: Database) -> dict[str, str]:
    with db.begin():
        if db.get(Order, event.order) is None:
            return {"status": "not ours"}
        if db.get(Receipt, event.id) is None:
            db.add(Receipt(event=event.id, order=event.order))
            give_points(db, event)
    return {"status": "taken"}


@points_each_time.post("/webhooks/bank")
def on_bank_event_again(event: Event, db: Database) -> dict[str, str]:
    with db.begin():
        db.merge(Receipt(event=event.id, order=event.order))
        give_points(db, event)
    return {"status": "taken"}


@marked_first.post("/webhooks/bank")
def on_bank_event_marked(event: Event, db: Database) -> dict[str, str]:
    with db.begin():
        if db.get(Receipt, event.id) is not None:
            return {"status": "known"}
        db.add(Receipt(event=event.id, order=event.order))
    with db.begin():
        give_points(db, event)
    return {"status": "taken"}
