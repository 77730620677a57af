"""Orders come in, and are charged."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel
from sqlalchemy.orm import Session

from models.applications.checkout import bank
from models.applications.checkout.database import Order, database

router = APIRouter()


class NewOrder(BaseModel):
    id: str
    customer: str
    cents: int


@router.post("/orders")
def create_order(order: NewOrder, db: Annotated[Session, Depends(database)]) -> dict[str, str]:
    stored = db.get(Order, order.id)
    if stored is None:
        stored = Order(**order.model_dump())
        db.add(stored)
    db.commit()
    bank.charge(order.id, order.cents)
    stored.status = "confirmed"
    db.commit()
    return {"id": order.id, "status": "confirmed"}
