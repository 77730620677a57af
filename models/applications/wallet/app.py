"""Transfers come in by HTTP."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from models.applications.wallet.database import Account, Outbox, Transfer, engine

router = APIRouter()


class NewTransfer(BaseModel):
    id: str
    payer: str
    payee: str
    cents: int


@router.post("/transfers")
def transfer(new: NewTransfer) -> dict[str, str]:
    with Session(engine) as session, session.begin():
        move(session, new)
    return {"id": new.id}


def move(session: Session, new: NewTransfer) -> None:
    """Move the money, once for each transfer, and note that the ledger has to be told."""
    names = sorted((new.payer, new.payee))  # in one order, or two transfers lock each other out
    query = select(Account).where(Account.name.in_(names)).order_by(Account.name)
    accounts = {one.name: one for one in session.scalars(query.with_for_update())}
    if session.get(Transfer, new.id) is not None:
        return
    accounts[new.payer].cents -= new.cents
    accounts[new.payee].cents += new.cents
    session.add(Transfer(**new.model_dump()))
    session.add(Outbox(id=new.id, cents=new.cents))


def create_app(*routers: APIRouter) -> FastAPI:
    app = FastAPI(title="wallet")
    for one in routers or (router,):
        app.include_router(one)
    return app
