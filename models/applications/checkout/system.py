"""The world around the checkout: a bank, its webhooks, a database, and customers who ask again.

chaosharness run models.applications.checkout.system:checkout
"""

from __future__ import annotations

import time
from typing import Any

import httpx
from fastapi import APIRouter
from sqlalchemy import create_engine

from chaosharness import Env, Gateway, SQLite, System, Web, Webhooks
from models.applications.checkout import orders, slips, webhooks
from models.applications.checkout.app import create_app

ORDERS = [
    {"id": "o1", "customer": "ann", "cents": 500},
    {"id": "o2", "customer": "bob", "cents": 900},
]

SCHEMA = """
CREATE TABLE orders (id TEXT PRIMARY KEY, customer TEXT, cents INTEGER, status TEXT);
CREATE TABLE customers (name TEXT PRIMARY KEY, points INTEGER NOT NULL);
CREATE TABLE receipts (event TEXT PRIMARY KEY, "order" TEXT NOT NULL);
INSERT INTO customers VALUES ('ann', 0), ('bob', 0);
"""


def checkout() -> System:
    """The right one."""
    return _system("checkout", orders.router, webhooks.router)


def no_key() -> System:
    """Charges without an idempotency key."""
    return _system("no-key", slips.no_key, webhooks.router)


def status_unchecked() -> System:
    """Takes a 503 for a yes."""
    return _system("status-unchecked", slips.status_unchecked, webhooks.router)


def order_after_charge() -> System:
    """Stores an order when it is charged, and ignores events of orders that it does not know."""
    return _system("order-after-charge", slips.order_after_charge)


def points_each_time() -> System:
    """Gives points each time an event comes."""
    return _system("points-each-time", orders.router, slips.points_each_time)


def marked_first() -> System:
    """Writes the receipt before it gives the points, in a transaction of its own."""
    return _system("marked-first", orders.router, slips.marked_first)


def _system(name: str, *routers: APIRouter) -> System:
    system = System(name)
    db = system.add(SQLite("db", SCHEMA))
    bank = system.add(Gateway("bank"))
    system.add(Web("api.bank.example", bank, routes={"POST /charges": "charge"}))
    site = system.add(Web("checkout.example"))
    system.add(
        Webhooks("bank-events", bank, to="https://checkout.example/webhooks/bank", event=_event)
    )

    @system.service("checkout", replicas=2)
    def checkout(env: Env) -> None:
        engine = create_engine("sqlite:///checkout.db", creator=lambda: env.connect(db))
        env.app(site, create_app(engine, *routers))

    @system.entry(examples=ORDERS)
    def customer(env: Env, order: dict[str, Any]) -> None:
        wait_s = 1
        while True:
            try:
                answer = httpx.post("https://checkout.example/orders", json=order, timeout=30)
                answer.raise_for_status()
                return
            except httpx.HTTPError:
                time.sleep(wait_s)
                wait_s = min(wait_s * 4, 600)

    return system


def _event(entry: dict[str, Any]) -> dict[str, Any]:
    return {"id": f"evt_{entry['id']}", "order": entry["order"]}
