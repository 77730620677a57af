"""The world around the wallet: a database, a ledger, and a client that asks until it is answered.

chaosharness run models.applications.wallet.system:wallet
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import httpx
from fastapi import APIRouter

from chaosharness import Env, External, PostgreSQL, SQLite, System, Web
from models.applications.wallet import app, relay, slips

TRANSFERS: Final = [
    {"id": "t1", "payer": "ann", "payee": "bob", "cents": 500},
    {"id": "t2", "payer": "cid", "payee": "ann", "cents": 300},
]

SCHEMA: Final = """
CREATE TABLE accounts (name VARCHAR PRIMARY KEY, cents INTEGER NOT NULL);
CREATE TABLE transfers (
    id VARCHAR PRIMARY KEY, payer VARCHAR NOT NULL, payee VARCHAR NOT NULL, cents INTEGER NOT NULL
);
CREATE TABLE outbox (id VARCHAR PRIMARY KEY, cents INTEGER NOT NULL, told BOOLEAN NOT NULL);
INSERT INTO accounts VALUES ('ann', 1000), ('bob', 1000), ('cid', 1000);
"""


class Ledger:
    """Books an entry once for each key."""

    def __init__(self) -> None:
        self.entries: dict[str, int] = {}

    def book(self, transfer: str, cents: int, idempotency_key: str = "") -> dict[str, int]:
        key = idempotency_key or f"{transfer}/{len(self.entries)}"
        return {"cents": self.entries.setdefault(key, cents)}


def on_sqlite() -> SQLite:
    """The database of the tests that need no server: SQLite in PostgreSQL's place."""
    return SQLite("db", SCHEMA, url="postgresql://db.internal/wallet")


def on_postgresql(server: str = "") -> PostgreSQL:
    """The real thing."""
    return PostgreSQL("db", SCHEMA, server=server)


def wallet(db: Any = None) -> System:
    """The right one."""
    return _system("wallet", app.router, relay.main, db)


def each_time(db: Any = None) -> System:
    """Makes a transfer each time it is asked for."""
    return _system("each-time", slips.each_time, relay.main, db)


def unlocked(db: Any = None) -> System:
    """Reads balances without a lock."""
    return _system("unlocked", slips.unlocked, relay.main, db)


def told_later(db: Any = None) -> System:
    """Writes the outbox in a second transaction."""
    return _system("told-later", slips.told_later, relay.main, db)


def marked_first(db: Any = None) -> System:
    """Marks a row before the ledger is told."""
    return _system("marked-first", app.router, slips.tell_marked_first, db)


def without_key(db: Any = None) -> System:
    """Tells the ledger without a key."""
    return _system("without-key", app.router, slips.tell_without_key, db)


def _system(name: str, router: APIRouter, tell: Callable[[], None], db: Any) -> System:
    system = System(name)
    system.add(on_sqlite() if db is None else db)
    ledger = system.add(External("ledger", Ledger))
    system.add(Web("ledger.example", ledger, routes={"POST /entries": "book"}))
    site = system.add(Web("wallet.example"))

    @system.service("wallet", replicas=2)
    def service(env: Env) -> None:
        env.app(site, app.create_app(router))

    @system.service("relay")
    def telling(env: Env) -> None:
        env.main(tell)

    @system.entry(examples=TRANSFERS)
    def client(env: Env, transfer: dict[str, Any]) -> None:
        wait_s = 1
        while True:
            try:
                answer = httpx.post("https://wallet.example/transfers", json=transfer, timeout=30)
                answer.raise_for_status()
                return
            except httpx.HTTPError:
                time.sleep(wait_s)
                wait_s = min(wait_s * 4, 600)

    return system
