"""Right systems in which a disturbed run rightly differs from the calm one: no alarm here."""

import json
import sqlite3
import uuid
from contextlib import suppress
from datetime import datetime

from chaosharness import External, Gateway, Kafka, KeyValue, SQLite, System
from tests.checkers.charging_twins import DEAD, ORDERS, Already, Mailer, Order, start

BOOK = """
CREATE TABLE bookings (
    id INTEGER PRIMARY KEY AUTOINCREMENT, receipt TEXT, order_id TEXT UNIQUE, cents INTEGER,
    booked_at TEXT, invoice TEXT
);
CREATE TABLE inbox (message TEXT PRIMARY KEY, tries INTEGER);
CREATE TABLE outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT, key TEXT, body TEXT);
"""


def keeps_books() -> System:
    """Ids counted up, receipts made of UUIDs, timestamps, tries, invoices in order of arrival."""
    system, bus = start("keeps-books", "booked")
    store = system.add(SQLite("db", schema=BOOK))
    seen = system.add(KeyValue("shelf"))

    @system.service("books", replicas=2)
    def books(env):
        db, publish = env.connect(store), env.publisher(bus)

        def on_order(order: Order):
            with db:
                tried = (
                    "INSERT INTO inbox VALUES (?, 1) ON CONFLICT DO UPDATE SET tries = tries + 1"
                )
                db.execute(tried, (order.id,))
            with db:
                if db.execute("SELECT 1 FROM bookings WHERE order_id = ?", (order.id,)).fetchone():
                    return
                (count,) = db.execute("SELECT count(*) FROM bookings").fetchone()
                row = (str(uuid.uuid4()), order.id, order.cents, datetime.now().isoformat())
                db.execute(
                    "INSERT INTO bookings (receipt, order_id, cents, booked_at, invoice) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (*row, f"INV-{count + 1:04}"),
                )
                add = "INSERT INTO outbox (topic, key, body) VALUES ('booked', ?, ?)"
                db.execute(add, (order.id, f'{{"order": "{order.id}", "receipt": "{row[0]}"}}'))

        env.consume(bus, "orders", on_order, **DEAD)

        def relay():
            while True:
                with suppress(ConnectionError, TimeoutError, sqlite3.OperationalError):
                    query = "SELECT seq, topic, key, body FROM outbox ORDER BY seq"
                    for seq, topic, key, body in db2.execute(query).fetchall():
                        publish(topic, body.encode(), key=key)
                        with db2:
                            db2.execute("DELETE FROM outbox WHERE seq = ?", (seq,))
                env.sleep(5)

        db2 = env.connect(store)
        env.main(relay)

    @system.service("archive")
    def archive(env):
        kv = env.connect(seen)

        def on_booked(event):
            kv.put(event["order"], {"receipt": event["receipt"], "state": "archived"})

        env.consume(bus, "booked", on_booked, **DEAD)

    return system


SAGAS = """
CREATE TABLE orders (id TEXT PRIMARY KEY, cents INTEGER, status TEXT, since_ms INTEGER);
"""


def loses_patience() -> System:
    """An order that is not paid within 20 s is cancelled; money that comes later goes back."""
    system, bus = start("loses-patience", "charge", "paid", "refund")
    store = system.add(SQLite("db", schema=SAGAS))
    bank = system.add(Gateway("bank"))

    @system.service("orders")
    def orders(env):
        db, db2, publish = env.connect(store), env.connect(store), env.publisher(bus)

        def on_order(order: Order):
            with db:
                row = (order.id, order.cents, "pending", env.now_ms())
                db.execute("INSERT OR IGNORE INTO orders VALUES (?, ?, ?, ?)", row)
            publish("charge", order, key=order.id)

        def on_paid(order: Order):
            with db:
                db.execute(
                    "UPDATE orders SET status = 'confirmed' WHERE id = ? AND status = 'pending'",
                    (order.id,),
                )
                query = "SELECT status FROM orders WHERE id = ?"
                (status,) = db.execute(query, (order.id,)).fetchone()
            if status == "cancelled":
                publish("refund", order, key=order.id)

        def reap():
            while True:
                with suppress(sqlite3.OperationalError), db2:
                    command = "UPDATE orders SET status = 'cancelled' WHERE status = 'pending'"
                    db2.execute(f"{command} AND since_ms < ?", (env.now_ms() - 20_000,))
                env.sleep(10)

        env.consume(bus, "orders", on_order, **DEAD)
        env.consume(bus, "paid", on_paid, **DEAD)
        env.main(reap)

    @system.service("payments")
    def payments(env):
        client, publish = env.client(bank), env.publisher(bus)

        def on_charge(order: Order):
            client.charge(order.id, order.cents, key=order.id)
            publish("paid", order, key=order.id)

        def on_refund(order: Order):
            client.refund(order.id, order.cents, key=f"refund-{order.id}")

        env.consume(bus, "charge", on_charge, **DEAD)
        env.consume(bus, "refund", on_refund, **DEAD)

    return system


STOCK = """
CREATE TABLE stock (sku TEXT PRIMARY KEY, pieces INTEGER);
INSERT INTO stock VALUES ('tea', 1);
CREATE TABLE answers (order_id TEXT PRIMARY KEY, answer TEXT);
"""


def last_piece() -> System:
    """Two orders want the last piece: whoever comes first gets it."""
    system, bus = start("last-piece", "reserved", "rejected")
    store = system.add(SQLite("db", schema=STOCK))
    bank = system.add(Gateway("bank"))

    @system.service("stock", replicas=2)
    def stock(env):
        db, publish = env.connect(store), env.publisher(bus)

        def on_order(order: Order):
            with db:
                query = "SELECT answer FROM answers WHERE order_id = ?"
                found = db.execute(query, (order.id,)).fetchone()
                if found is None:
                    take = "UPDATE stock SET pieces = pieces - 1 WHERE sku = 'tea' AND pieces > 0"
                    answer = "reserved" if db.execute(take).rowcount else "rejected"
                    db.execute("INSERT INTO answers VALUES (?, ?)", (order.id, answer))
                else:
                    (answer,) = found
            publish(answer, order, key=order.id)

        env.consume(bus, "orders", on_order, **DEAD)

    @system.service("payments")
    def payments(env):
        client = env.client(bank)

        def on_reserved(order: Order):
            client.charge(order.id, order.cents, key=order.id)

        env.consume(bus, "reserved", on_reserved, **DEAD)

    return system


def tells_if_it_can() -> System:
    """A mail is nice to have: where the mailer refuses, the order goes on without."""
    system, bus = start("tells-if-it-can")
    mailer = system.add(External("mailer", Mailer))
    bank = system.add(Gateway("bank"))

    @system.service("orders")
    def orders(env):
        client, mail = env.client(bank), env.client(mailer)

        def on_order(order: Order):
            client.charge(order.id, order.cents, key=order.id)
            with suppress(Already, ConnectionError, TimeoutError):
                mail.send(order.id, "thanks")

        env.consume(bus, "orders", on_order, **DEAD)

    return system


def own_loop() -> System:
    """A main loop that polls several messages, and commits when all are done."""
    system = System("own-loop")
    bus = system.add(Kafka("bus", {"orders": 2}))
    bank = system.add(Gateway("bank"))

    @system.service("payments", replicas=2)
    def payments(env):
        client = env.client(bank)
        consumer = env.consumer(bus, "orders", read_as=bytes)

        def main():
            while True:
                for delivery in consumer.poll(records_max=5):
                    with suppress(ValueError):
                        pay(delivery)
                with suppress(Exception):
                    consumer.commit()

        def pay(delivery):
            order = json.loads(delivery.value)
            with suppress(KeyError):
                client.charge(order["id"], order["cents"], key=order["id"])

        env.main(main)

    @system.entry(examples=[*ORDERS, Order("o3", 900)])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order.id)

    return system


RIGHTS = (keeps_books, loses_patience, last_piece, tells_if_it_can, own_loop)
