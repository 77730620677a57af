"""What could not be stored is put aside for later, and finished from there."""

import sqlite3

import pytest

from chaosharness import FailedCommit, SQLite, StoreOutage, System, explore, idempotent
from tests.checkers.outcomes.sweep import groups, sweep
from tests.checkers.outcomes.test_refusals import TRIED_AGAIN, shop

TABLES = (
    "CREATE TABLE orders (id TEXT PRIMARY KEY, cents INTEGER);"
    "CREATE TABLE totals (cents INTEGER); INSERT INTO totals VALUES (0);"
)
STORE = (FailedCommit, StoreOutage)


def put(conn, order, *, counts: bool, again: bool) -> None:
    """Store an order once, by its key; and count it, if so: again, if so."""
    with conn:
        row = (order["id"], order["cents"])
        new = conn.execute("INSERT OR IGNORE INTO orders VALUES (?, ?)", row).rowcount
        if counts and (new or again):
            conn.execute("UPDATE totals SET cents = cents + ?", (order["cents"],))


def retrying(*, counts=False, again=False, drops=False) -> System:
    """What cannot be stored goes to a retry topic, and is stored from there."""
    system, bus = shop("orders.retry")
    db = system.add(SQLite("db", TABLES))

    @system.service("orders")
    def orders(env):
        first, second, publish = env.connect(db), env.connect(db), env.publisher(bus)

        def on_order(order: dict):
            try:
                put(first, order, counts=counts, again=False)
            except sqlite3.OperationalError:
                publish("orders.retry", order, key=order["id"])

        def on_retry(order: dict):
            env.sleep(10)
            try:
                put(second, order, counts=counts, again=again)
            except sqlite3.OperationalError:
                if not drops:
                    raise

        env.consume(bus, "orders", on_order, group="first", **TRIED_AGAIN)
        env.consume(bus, "orders.retry", on_retry, group="second", **TRIED_AGAIN)

    return system


def noting(*, marks_first: bool) -> System:
    """What cannot be stored is noted in another store, and a timer finishes it."""
    system, bus = shop()
    db = system.add(SQLite("db", TABLES))
    words = "CREATE TABLE later (id TEXT PRIMARY KEY, cents INTEGER, state TEXT);"
    notes = system.add(SQLite("notes", words))

    @system.service("orders")
    def orders(env):
        first, second = env.connect(db), env.connect(db)
        aside, mine = env.connect(notes), env.connect(notes)

        def on_order(order: dict):
            try:
                put(first, order, counts=False, again=False)
            except sqlite3.OperationalError:
                with aside:
                    row = (order["id"], order["cents"])
                    aside.execute("INSERT OR IGNORE INTO later VALUES (?, ?, 'waiting')", row)

        def mark(name):
            with mine:
                mine.execute("UPDATE later SET state = 'done' WHERE id = ?", (name,))

        def finish():
            due = "SELECT id, cents FROM later WHERE state = 'waiting'"
            for name, cents in mine.execute(due).fetchall():
                if marks_first:
                    mark(name)
                put(second, {"id": name, "cents": cents}, counts=False, again=False)
                mark(name)

        env.consume(bus, "orders", on_order, group="first", **TRIED_AGAIN)
        env.every(30, finish)

    return system


@pytest.mark.parametrize("counts", [False, True], ids=["rows", "totals"])
def test_a_retry_topic_is_a_decision_whatever_became_of_the_commit(counts):
    assert sweep(retrying(counts=counts), kinds=STORE) == []


def test_what_is_counted_at_each_attempt_is_counted_twice():
    found = sweep(retrying(counts=True, again=True), kinds=STORE)
    assert ("row differs", "db.totals.cents+") in groups(found)


def test_a_note_that_is_finished_later_is_a_decision():
    assert sweep(noting(marks_first=False), kinds=STORE) == []


def found_by_two(system: System) -> set[tuple[str, str]]:
    campaign = explore(
        system, properties=[idempotent()], faults_max=2, kinds=[FailedCommit], runs_max=400
    )
    return {one.group for one in (found.findings[0] for found in campaign.counterexamples)}


def test_a_message_for_later_that_is_dropped_is_forgotten():
    assert found_by_two(retrying(drops=True)) == {("forgotten", "")}
    assert found_by_two(retrying()) == set()
