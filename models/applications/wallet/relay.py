"""The relay tells the ledger of what lies in the outbox: at least once."""

from __future__ import annotations

import time
from contextlib import suppress

import httpx
from sqlalchemy import select
from sqlalchemy.orm import Session

from models.applications.wallet.database import Outbox, engine

ledger = httpx.Client(base_url="https://ledger.example", timeout=5.0)


def main() -> None:
    """Run until the process is stopped."""
    while True:
        with suppress(httpx.HTTPError):  # it is told in the next round
            tell()
        time.sleep(1)


def tell() -> None:
    with Session(engine) as session:
        waiting = session.scalars(select(Outbox).where(Outbox.told.is_(False)).order_by(Outbox.id))
        for one in waiting.all():
            body = {"transfer": one.id, "cents": one.cents}
            answer = ledger.post("/entries", json=body, headers={"Idempotency-Key": one.id})
            answer.raise_for_status()
            one.told = True
            session.commit()
