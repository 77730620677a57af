"""Services in which something is taken back, given up, or late."""

import asyncio
import sqlite3
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import trio

from chaosharness import External, Kafka, RemoteError, SQLite, System
from tests.checkers.outcomes.field.numbers import LOG
from tests.checkers.outcomes.field.parties import NO_ANSWER


class Provider:
    """Takes money and gives it back, once for each key."""

    def __init__(self):
        self.charges = {}
        self.refunds = {}

    def charge(self, cents, who, key=None):
        if key in self.charges:
            return External.unchanged(self.charges[key])
        self.charges[key or object()] = f"ch-{len(self.charges) + 1}"
        return self.charges[key] if key else f"ch-{len(self.charges)}"

    def refund(self, charge, key=None):
        if key in self.refunds:
            return External.unchanged()
        self.refunds[key or object()] = charge
        return None


def checkout(right):
    """What cannot be sent is refunded, and noted after that; or noted first."""
    system = System("checkout")
    bus = system.add(Kafka("bus", topics={"checkout": 2, "outcome": 2}))
    provider = system.add(External("provider", Provider))
    tables = "CREATE TABLE saga(id TEXT PRIMARY KEY, step TEXT, charge TEXT);"
    store = system.add(SQLite("db", tables))

    @system.service("checkout", replicas=2, runtime="asyncio")
    def serve(env):
        db, client, publish = env.connect(store), env.client(provider), env.publisher(bus)

        def note(order, step, charge=None):
            with db:
                db.execute(
                    "INSERT INTO saga VALUES (?, ?, ?) ON CONFLICT(id) DO UPDATE SET "
                    "step = excluded.step, charge = coalesce(excluded.charge, charge)",
                    (order, step, charge),
                )

        async def on_checkout(order: dict):
            name = order["id"]
            row = db.execute("SELECT step, charge FROM saga WHERE id = ?", (name,)).fetchone()
            step, charge = row or ("new", None)
            if step == "new":
                charge = await client.charge(order["cents"], order["who"], key=name)
                step = "back" if order["to"] == "moon" else "sent"
                note(name, step, charge)
            if step == "back":
                if right:
                    await client.refund(charge, key=name)
                    note(name, "refunded")
                else:
                    note(name, "refunded")
                    await client.refund(charge, key=name)
                step = "refunded"
            await publish("outcome", {"id": name, "state": step}, key=name)

        env.consume(bus, "checkout", on_checkout, **LOG)

    @system.entry(
        examples=[
            {"id": "o-1", "who": "ann", "cents": 500, "to": "rome"},
            {"id": "o-2", "who": "bob", "cents": 700, "to": "moon"},
        ]
    )
    def buy(env, order):
        env.publisher(bus)("checkout", order, key=order["id"])

    return system


def voided(right):
    """An order that nobody has paid for 30 s is void, says a task that keeps that in memory.

    Payments look at it first; or they charge whatever it is.
    """
    system = System("voided")
    bus = system.add(Kafka("bus", topics={"orders": 1, "payments": 1}))
    store = system.add(SQLite("db", "CREATE TABLE orders(id TEXT PRIMARY KEY, state TEXT);"))
    provider = system.add(External("provider", Provider))

    @system.service("orders", runtime="asyncio")
    def orders(env):
        db, publish = env.connect(store), env.publisher(bus)
        waiting = {}

        async def on_order(order: dict):
            with db:
                row = (order["id"],)
                db.execute("INSERT OR IGNORE INTO orders VALUES (?, 'open')", row)
            waiting[order["id"]] = time.monotonic() + 30
            await publish("payments", order, key=order["id"])

        async def watch():
            while True:
                await asyncio.sleep(1)
                for name, at in list(waiting.items()):
                    words = "SELECT state FROM orders WHERE id = ?"
                    (state,) = db.execute(words, (name,)).fetchone()
                    if state == "open" and at >= time.monotonic():
                        continue
                    if state == "open":
                        words = "UPDATE orders SET state = 'void' WHERE id = ? AND state = 'open'"
                        with db:
                            db.execute(words, (name,))
                    del waiting[name]

        env.consume(bus, "orders", on_order, **LOG)
        env.main(watch)

    @system.service("pay")
    def pay(env):
        db, client = env.connect(store), env.client(provider)

        def on_payment(order: dict):
            if right:
                words = "UPDATE orders SET state = 'paying' WHERE id = ? AND state != 'void'"
                with db:
                    if not db.execute(words, (order["id"],)).rowcount:
                        return
            client.charge(order["cents"], order["id"], key=order["id"])
            words = "UPDATE orders SET state = 'paid' WHERE id = ? AND state != 'void'"
            with db:
                db.execute(words, (order["id"],))

        env.consume(bus, "payments", on_payment, **LOG)

    @system.entry(examples=[{"id": "o-1", "cents": 5}, {"id": "o-2", "cents": 7}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def daily(right):
    """Who subscribes is charged today and tomorrow, each day marked when it was, or before."""
    system = System("daily")
    tables = "CREATE TABLE plan(who TEXT PRIMARY KEY, due TEXT, left INT);"
    store = system.add(SQLite("db", tables))
    provider = system.add(External("provider", Provider))

    @system.service("billing")
    def billing(env):
        db, client = env.connect(store), env.client(provider)

        def mark(who, due):
            after = (due + timedelta(days=1)).isoformat()
            with db:
                words = "UPDATE plan SET due = ?, left = left - 1 WHERE who = ? AND due = ?"
                db.execute(words, (after, who, due.isoformat()))

        def tick():
            now = datetime.now(UTC)
            words = "SELECT who, due FROM plan WHERE left > 0"
            for who, text in db.execute(words).fetchall():
                due = datetime.fromisoformat(text)
                if due > now:
                    continue
                if not right:
                    mark(who, due)
                with suppress(*NO_ANSWER):
                    client.charge(990, who, key=f"{who}/{text}")
                    if right:
                        mark(who, due)

        env.every(900, tick)

    @system.service("api")
    def api(env):
        db = env.connect(store)

        def subscribe(one: dict):
            with db:
                row = (one["who"], datetime.now(UTC).isoformat())
                db.execute("INSERT OR IGNORE INTO plan VALUES (?, ?, 2)", row)

        env.serve("subscribe", subscribe)

    @system.entry(examples=[{"who": "cust-ann"}, {"who": "cust-bob"}])
    def subscribe(env, one):
        for _ in range(30):
            try:
                return env.call("api", "subscribe", one, timeout_s=3)
            except (*NO_ANSWER, RemoteError):
                env.sleep(20)

    return system


def payouts(right):
    """A payout is claimed for 45 s, and made under its own name, or under none.

    Whoever orders it tries for 200 s, and says nothing if that was in vain.
    """
    system = System("payouts")
    tables = "CREATE TABLE payout(id TEXT PRIMARY KEY, cents INT, state TEXT, since REAL);"
    store = system.add(SQLite("db", tables))
    provider = system.add(External("provider", Provider, latency_ms=800))

    @system.service("worker", replicas=2, runtime="trio")
    def worker(env):
        db, client = env.connect(store), env.client(provider)

        async def main():
            while True:
                now = time.time()
                with db:
                    row = db.execute(
                        "UPDATE payout SET state = 'busy', since = ? WHERE id = (SELECT id FROM "
                        "payout WHERE state = 'new' OR (state = 'busy' AND since < ?) LIMIT 1) "
                        "RETURNING id, cents",
                        (now, now - 45),
                    ).fetchone()
                if row is None:
                    await trio.sleep(3)
                    continue
                with suppress(*NO_ANSWER):
                    await client.charge(row[1], row[0], key=row[0] if right else None)
                    with db:
                        db.execute("UPDATE payout SET state = 'paid' WHERE id = ?", row[:1])

        env.main(main)

    @system.entry(examples=[{"id": "po-1", "cents": 100}, {"id": "po-2", "cents": 250}])
    def order(env, one):
        db = env.connect(store)
        for _ in range(100):
            try:
                with db:
                    row = (one["id"], one["cents"])
                    db.execute("INSERT OR IGNORE INTO payout VALUES (?, ?, 'new', 0)", row)
                return
            except sqlite3.OperationalError:
                env.sleep(2)

    return system
