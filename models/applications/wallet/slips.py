"""What goes wrong in such an application: each of these has one slip."""

from __future__ import annotations

import time
from contextlib import suppress

import httpx
from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.orm import Session

from models.applications.wallet.app import NewTransfer
from models.applications.wallet.database import Account, Outbox, Transfer, engine
from models.applications.wallet.relay import ledger

each_time = APIRouter()
"""A transfer that is asked for again is made again."""

unlocked = APIRouter()
"""Balances are read without a lock: of two transfers at a time, one is lost."""

told_later = APIRouter()
"""The outbox is written in a second transaction, which may never begin."""


@each_time.post("/transfers")
def transfer_each_time(new: NewTransfer) -> dict[str, str]:
    with Session(engine) as session, session.begin():
        names = sorted((new.payer, new.payee))
        query = select(Account).where(Account.name.in_(names)).order_by(Account.name)
        accounts = {one.name: one for one in session.scalars(query.with_for_update())}
        accounts[new.payer].cents -= new.cents
        accounts[new.payee].cents += new.cents
        session.merge(Transfer(**new.model_dump()))
        session.merge(Outbox(id=new.id, cents=new.cents))
    return {"id": new.id}


@unlocked.post("/transfers")
def transfer_unlocked(new: NewTransfer) -> dict[str, str]:
    with Session(engine) as session, session.begin():
        if session.get(Transfer, new.id) is None:
            payer = session.get_one(Account, new.payer)
            payee = session.get_one(Account, new.payee)
            payer.cents -= new.cents
            payee.cents += new.cents
            session.add(Transfer(**new.model_dump()))
            session.add(Outbox(id=new.id, cents=new.cents))
    return {"id": new.id}


@told_later.post("/transfers")
def transfer_told_later(new: NewTransfer) -> dict[str, str]:
    with Session(engine) as session:
        names = sorted((new.payer, new.payee))
        query = select(Account).where(Account.name.in_(names)).order_by(Account.name)
        accounts = {one.name: one for one in session.scalars(query.with_for_update())}
        if session.get(Transfer, new.id) is None:
            accounts[new.payer].cents -= new.cents
            accounts[new.payee].cents += new.cents
            session.add(Transfer(**new.model_dump()))
            session.commit()
            session.add(Outbox(id=new.id, cents=new.cents))
            session.commit()
    return {"id": new.id}


def tell_marked_first() -> None:
    """The row is marked before the ledger is told: a crash in between, and it never is."""
    while True:
        mark_and_tell()
        time.sleep(1)


def mark_and_tell() -> None:
    with Session(engine) as session:
        for one in session.scalars(select(Outbox).where(Outbox.told.is_(False))).all():
            one.told = True
            body, key = {"transfer": one.id, "cents": one.cents}, one.id
            session.commit()
            with suppress(httpx.HTTPError):
                ledger.post("/entries", json=body, headers={"Idempotency-Key": key})


def tell_without_key() -> None:
    """The ledger cannot tell a second telling from a second transfer."""
    while True:
        with suppress(httpx.HTTPError):
            tell_keyless()
        time.sleep(1)


def tell_keyless() -> None:
    with Session(engine) as session:
        for one in session.scalars(select(Outbox).where(Outbox.told.is_(False))).all():
            body = {"transfer": one.id, "cents": one.cents}
            ledger.post("/entries", json=body).raise_for_status()
            one.told = True
            session.commit()
