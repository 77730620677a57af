"""Tables that hold what was tried and what went wrong: a repeat adds a row, and does no harm."""

import pytest

from chaosharness import (
    Gateway,
    Kafka,
    Pause,
    Schedule,
    Site,
    SQLite,
    System,
    idempotent,
)
from tests.checkers.outcomes.sweep import groups, sweep

SCHEMA = """
CREATE TABLE orders (id TEXT PRIMARY KEY, state TEXT);
CREATE TABLE errors (order_id TEXT, what TEXT, cents INTEGER);
CREATE TABLE order_history (no INTEGER PRIMARY KEY, order_id TEXT, state TEXT);
CREATE TABLE payments_history (no INTEGER PRIMARY KEY, order_id TEXT, cents INTEGER);
CREATE TABLE shipments (no INTEGER PRIMARY KEY, order_id TEXT, way TEXT);
"""
ASIDE = {"on_error": "dead-letter", "retries_max": 20}


def till(handle, *, table="orders"):
    """A till with a bank and a database, and one order."""
    system = System(f"till, {table}")
    bus = system.add(Kafka("bus", topics={"orders": 1}))
    bank, db = system.add(Gateway("bank")), system.add(SQLite("db", SCHEMA))

    @system.service("till")
    def build(env):
        book, gateway = env.connect(db), env.client(bank)
        env.consume(bus, "orders", lambda order: handle(book, gateway, order), **ASIDE)

    @system.entry(examples=[{"id": "o1", "cents": 500}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def notes_errors(*, key):
    def handle(book, bank, order):
        try:
            bank.charge(order["id"], order["cents"], key=order["id"] if key else None)
        except Exception as error:
            with book:
                row = (order["id"], type(error).__name__, order["cents"])
                book.execute("INSERT INTO errors VALUES (?, ?, ?)", row)
            raise
        with book:
            book.execute("INSERT OR IGNORE INTO orders VALUES (?, 'paid')", (order["id"],))

    return till(handle)


def logs_states(*, key, table="order_history", column="state"):
    def say(book, order, state):
        with book:
            what = state if column != "cents" else order["cents"]
            insert = f"INSERT INTO {table} (order_id, {column}) VALUES (?, ?)"
            book.execute(insert, (order["id"], what))
            book.execute("INSERT OR REPLACE INTO orders VALUES (?, ?)", (order["id"], state))

    def handle(book, bank, order):
        known = book.execute("SELECT state FROM orders WHERE id = ?", (order["id"],)).fetchone()
        if known == ("paid",):
            return
        say(book, order, "paying")
        bank.charge(order["id"], order["cents"], key=order["id"] if key else None)
        say(book, order, "paid")

    return till(handle, table=table)


def test_whoever_writes_each_error_down_is_not_accused():
    assert sweep(notes_errors(key=True)) == []
    assert groups(sweep(notes_errors(key=False))) == {("effect twice", "bank.charge")}


def test_of_a_log_in_which_each_try_has_a_row_it_is_asked():
    found = sweep(logs_states(key=True))
    assert groups(found) == {("logged twice", "db.order_history")}
    assert all(one.question for one in found)
    assert "ignore=['db.order_history']" in found[0].summary
    assert sweep(logs_states(key=True), ignore=["order_history"]) == []
    assert ("effect twice", "bank.charge") in groups(sweep(logs_states(key=False)))


@pytest.mark.parametrize(("table", "column"), [("shipments", "way"), ("payments_history", "cents")])
def test_a_row_twice_is_told_where_it_may_be_what_counts(table, column):
    found = sweep(logs_states(key=True, table=table, column=column))
    assert ("row too many", f"db.{table}") in groups(found)


def test_a_log_in_which_a_state_is_missing_is_told():
    def handle(book, bank, order):
        with book:
            book.execute("INSERT OR IGNORE INTO orders VALUES (?, 'paid')", (order["id"],))
            new = book.execute("SELECT changes()").fetchone()[0]
        if new:
            with book:
                insert = "INSERT INTO order_history (order_id, state) VALUES (?, 'paid')"
                book.execute(insert, (order["id"],))

    assert groups(sweep(till(handle))) == {("row missing", "db.order_history")}


PARKED = """
CREATE TABLE orders (id TEXT PRIMARY KEY, paid INTEGER);
CREATE TABLE early (id TEXT PRIMARY KEY);
"""


def meets(*, looks, forgets):
    """An order and its payment, in whatever order; one transaction decides who came first.

    Args:
        looks: Whether the order looks for a payment that came early.
        forgets: Whether the order takes away what it has found there.
    """
    system = System("meets")
    bus = system.add(Kafka("bus", topics={"orders": 1, "payments": 1}))
    db = system.add(SQLite("db", PARKED))

    @system.service("orders")
    def build(env):
        book = env.connect(db)

        def on_order(order):
            with book:
                book.execute("BEGIN IMMEDIATE")
                asked = "SELECT 1 FROM early WHERE id = ?"
                early = looks and book.execute(asked, (order["id"],)).fetchone()
                book.execute(
                    "INSERT OR IGNORE INTO orders VALUES (?, ?)", (order["id"], bool(early))
                )
                if forgets:
                    book.execute("DELETE FROM early WHERE id = ?", (order["id"],))

        def on_payment(payment):
            with book:
                book.execute("BEGIN IMMEDIATE")
                paid = "UPDATE orders SET paid = 1 WHERE id = ?"
                if not book.execute(paid, (payment["id"],)).rowcount:
                    book.execute("INSERT OR IGNORE INTO early VALUES (?)", (payment["id"],))

        env.consume(bus, "orders", on_order, **ASIDE)
        env.consume(bus, "payments", on_payment, **ASIDE)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        publish = env.publisher(bus)
        publish("orders", order, key=order["id"])
        publish("payments", order, key=order["id"])

    return system


def test_of_a_mark_that_stays_where_all_else_is_as_usual_it_is_asked():
    found = sweep(meets(looks=True, forgets=False))
    assert groups(found) == {("mark", "db.early")}
    assert all(one.question for one in found)
    assert sweep(meets(looks=True, forgets=True)) == []
    assert sweep(meets(looks=True, forgets=False), ignore=["early"]) == []


def test_where_nobody_comes_back_to_a_mark_that_is_told():
    found = sweep(meets(looks=False, forgets=False))
    assert found and not any(one.question for one in found)


def test_the_name_of_a_column_is_no_word_of_a_decision():
    system = System("race")
    bus = system.add(Kafka("bus", topics={"orders": 1, "payments": 1}))
    table = "CREATE TABLE orders (id TEXT PRIMARY KEY, paid INT);"
    db = system.add(SQLite("db", f"{table} CREATE TABLE pending (id TEXT PRIMARY KEY, cents INT);"))

    @system.service("orders")
    def build(env):
        book = env.connect(db)

        def on_order(order):
            with book:  # reads before it writes: the payment may come in between, and stay there
                asked = "SELECT cents FROM pending WHERE id = ?"
                early = book.execute(asked, (order["id"],)).fetchone()
                row = (order["id"], early[0] if early else 0)
                book.execute("INSERT OR IGNORE INTO orders VALUES (?, ?)", row)
                if early:
                    book.execute("DELETE FROM pending WHERE id = ?", (order["id"],))

        def on_payment(payment):
            row = (payment["cents"], payment["id"])
            with book:
                if not book.execute("UPDATE orders SET paid = ? WHERE id = ?", row).rowcount:
                    book.execute("INSERT OR IGNORE INTO pending VALUES (?, ?)", row[::-1])

        env.consume(bus, "orders", on_order, **ASIDE)
        env.consume(bus, "payments", on_payment, **ASIDE)

    @system.entry(examples=[{"id": "o1", "cents": 500}])
    def place(env, order):
        publish = env.publisher(bus)
        publish("orders", order, key=order["id"])
        publish("payments", order, key=order["id"])

    pause = Pause(Site("orders.on_order/db.select pending", "after"), lasting=4_500)
    found = idempotent().findings(system.run(None, Schedule([pause])).evidence())
    assert not found[0].question
    assert "db.pending has the row (cents=500, id=o1)" in found[0].summary
