"""The bank says what was paid: once at least, late now and then, and in any order."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException
from pydantic import BaseModel
from sqlalchemy import update
from sqlalchemy.orm import Session

from models.applications.checkout.database import Customer, Order, Receipt, database

router = APIRouter()


class Event(BaseModel):
    id: str
    order: str


@router.post("/webhooks/bank")
def on_bank_event(event: Event, db: Annotated[Session, Depends(database)]) -> dict[str, str]:
    with db.begin():
        if db.get(Receipt, event.id) is not None:
            return {"status": "known"}
        db.add(Receipt(event=event.id, order=event.order))
        give_points(db, event)
    return {"status": "taken"}


def give_points(db: Session, event: Event) -> None:
    """Give the points of an order to its customer."""
    order = db.get(Order, event.order)
    if order is None:
        raise HTTPException(404, "no such order yet")
    mine = Customer.name == order.customer
    db.execute(update(Customer).where(mine).values(points=Customer.points + order.cents // 100))
