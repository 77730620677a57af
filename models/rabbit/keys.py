"""A till that is asked with idempotency keys: what a key promises, and for how long.

chaosharness run models.rabbit.keys:keys
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any

import attrs

from chaosharness import (
    Env,
    External,
    Queue,
    RabbitMQ,
    SQLite,
    System,
    eventually,
    idempotent,
)
from chaosharness.kernel.history import History

ORDERS = [{"order": "o1", "cents": 500}, {"order": "o2", "cents": 700}]
TABLES = """
CREATE TABLE payments (order_id TEXT, cents INTEGER);
CREATE TABLE keys (key TEXT PRIMARY KEY, request TEXT, paid INTEGER, at REAL);
"""
LEASE_S = 120
LATER_S = 60
HALF_A_MINUTE_S, WEEK_S = 30, 7 * 86_400


@attrs.frozen
class Request:
    """What the desk asks of the till."""

    key: str
    order: str
    cents: int


class Fraud:
    """Looks at a payment, and changes nothing."""

    def check(self, order: str) -> bool:
        """Say whether a payment may go on."""
        return bool(order)


def _payments(history: History) -> list[str]:
    """Say which orders were not paid once."""
    tables = next(history.of("state")).data["tables"]
    paid = [row["order_id"] for row in tables["payments"]]
    said = [str(event.data["item"]["order"]) for event in history.of("arrive")]
    return [f"{one} was paid {paid.count(one)} times" for one in said if paid.count(one) != 1]


PAID_ONCE = eventually("each order is paid once", _payments, or_put_aside=True)
Pay = Callable[[sqlite3.Connection, Any, Request], None]


def keys() -> System:
    """The right one: a key is taken before the work, and finished in one transaction with it."""
    return _system("keys", taken_first)


def keys_for_a_week() -> System:
    """Another right one: what fails is tried again a minute later, and keys last a week."""
    return _system("keys-for-a-week", taken_first, retry_s=LATER_S)


def first_still_runs() -> System:
    """A key is looked for before the work and written after it: two at once find nothing."""
    return _system("keys-late", written_last)


def with_other_arguments() -> System:
    """The desk numbers its requests, from one again after each crash; the till looks at the key
    alone, and takes the payment of another order for one that it has made."""
    return _system("keys-numbered", by_key_alone, numbered=True)


def after_its_window() -> System:
    """A key is forgotten after half a minute, and what fails is tried again after a whole one."""
    return _system("keys-for-a-moment", for_half_a_minute, retry_s=LATER_S)


def taken_first(db: sqlite3.Connection, fraud: Any, request: Request) -> None:
    """Take the key, do the work, finish both at once: who comes second waits, or is told no."""
    _take(db, request, same=True, kept_s=WEEK_S)
    fraud.check(request.order)
    _finish(db, request)


def by_key_alone(db: sqlite3.Connection, fraud: Any, request: Request) -> None:
    """The same, and a key that is known is answered whatever it is asked for this time."""
    _take(db, request, same=False, kept_s=WEEK_S)
    fraud.check(request.order)
    _finish(db, request)


def for_half_a_minute(db: sqlite3.Connection, fraud: Any, request: Request) -> None:
    """The same as the right one, and keys are kept for half a minute."""
    _take(db, request, same=True, kept_s=HALF_A_MINUTE_S)
    fraud.check(request.order)
    _finish(db, request)


def written_last(db: sqlite3.Connection, fraud: Any, request: Request) -> None:
    """Look for the key, do the work, write both. There lies the mistake: between the two."""
    if db.execute("SELECT 1 FROM keys WHERE key = ?", (request.key,)).fetchone():
        return
    fraud.check(request.order)
    with db:
        db.execute("BEGIN IMMEDIATE")
        row = (request.key, _said(request))
        db.execute("INSERT OR REPLACE INTO keys VALUES (?, ?, 1, 0)", row)
        db.execute("INSERT INTO payments VALUES (?, ?)", (request.order, request.cents))


class InProgress(Exception):
    """The first request with this key still runs: ask again later."""


class AnotherRequest(Exception):
    """This key was another request's."""


class Done(Exception):
    """It was done before."""


def _take(db: sqlite3.Connection, request: Request, *, same: bool, kept_s: float) -> None:
    now = time.time()
    with db:
        db.execute("BEGIN IMMEDIATE")
        db.execute("DELETE FROM keys WHERE paid = 1 AND at < ?", (now - kept_s,))
        query = "SELECT request, paid, at FROM keys WHERE key = ?"
        found = db.execute(query, (request.key,)).fetchone()
        if found is not None and same and found[0] != _said(request):
            raise AnotherRequest(request.key)
        if found is not None and found[1]:
            raise Done(request.key)
        if found is not None and found[2] > now - LEASE_S:
            raise InProgress(request.key)
        row = (request.key, _said(request), now)
        db.execute("INSERT OR REPLACE INTO keys VALUES (?, ?, 0, ?)", row)


def _finish(db: sqlite3.Connection, request: Request) -> None:
    with db:
        db.execute("BEGIN IMMEDIATE")
        update = "UPDATE keys SET paid = 1 WHERE key = ? AND paid = 0"
        if db.execute(update, (request.key,)).rowcount:
            db.execute("INSERT INTO payments VALUES (?, ?)", (request.order, request.cents))


def _said(request: Request) -> str:
    return f"{request.order} {request.cents}"


def _system(name: str, pay: Pay, *, numbered: bool = False, retry_s: int = 1) -> System:
    system = System(name, arrival_ms=1_000)
    orders = Queue("quorum", dead_letter="parked", delivery_limit=100)
    bus = system.add(RabbitMQ("bus", {"orders": orders, "parked": Queue()}))
    fraud = system.add(External("fraud", Fraud, reads=["check"], latency_ms=3_000))
    store = system.add(SQLite("till-db", TABLES))

    @system.service("desk")
    def desk(env: Env) -> None:
        numbers: dict[str, int] = {}

        def on_order(order: dict[str, Any]) -> None:
            number = numbers.setdefault(order["order"], len(numbers) + 1)
            key = f"request-{number}" if numbered else order["order"]
            request = {"key": key, "order": order["order"], "cents": order["cents"]}
            env.call("till", "pay", request, timeout_s=5)

        policy: dict[str, Any] = {"on_unreadable": "dead-letter", "backoff_ms": 1_000 * retry_s}
        env.consume(bus, "orders", on_order, prefetch=1, **policy)

    @system.service("till")
    def till(env: Env) -> None:
        client = env.client(fraud)

        def on_pay(request: Request) -> str:
            db = env.connect(store)  # each request has its own
            db.isolation_level = None  # transactions begin where it says so
            try:
                pay(db, client, request)
            except Done:
                return "paid before"
            return "paid"

        env.serve("pay", on_pay)

    @system.entry(examples=ORDERS)
    def place(env: Env, order: dict[str, Any]) -> None:
        env.publisher(bus)("orders", order)

    system.claim(PAID_ONCE, idempotent())
    return system
