"""What one transaction gives one number is a batch; what it gives one word may be one too many."""

import pytest

from chaosharness import Crash, ErrorReply, Gateway, Kafka, Pause, SQLite, System, idempotent
from chaosharness.checkers.outcomes.batches import in_one_batch
from tests.checkers.outcomes.sweep import groups, sweep
from tests.checkers.outcomes.test_refusals import TRIED_AGAIN

SALES = [
    {"id": "s1", "shop": "x", "cents": 5},
    {"id": "s2", "shop": "y", "cents": 7},
    {"id": "s3", "shop": "x", "cents": 9},
]
OPEN = "SELECT shop, SUM(cents) FROM lines WHERE payout IS NULL GROUP BY shop ORDER BY shop"
DUE = "SELECT no, shop, cents FROM payouts WHERE state = 'due' ORDER BY no"
DONE = "UPDATE payouts SET state = 'done' WHERE no = ?"


def nightly(work, tables, *, seconds=60):
    """Sales are stored, and now and then a timer works on what is there."""
    system = System("nightly")
    bus = system.add(Kafka("bus", topics={"sales": 1}))
    db, bank = system.add(SQLite("db", tables)), system.add(Gateway("bank"))

    @system.service("sales")
    def sales(env):
        conn = env.connect(db)

        def on_sale(sale: dict):
            with conn:
                row = (sale["id"], sale["shop"], sale["cents"])
                conn.execute("INSERT OR IGNORE INTO lines VALUES (?, ?, ?, NULL)", row)

        env.consume(bus, "sales", on_sale, **TRIED_AGAIN)

    @system.service("timer")
    def timer(env):
        conn, client = env.connect(db), env.client(bank)
        env.every(seconds, lambda: work(conn, client))

    @system.entry(examples=SALES)
    def sell(env, sale):
        env.publisher(bus)("sales", sale, key=sale["id"])

    return system


def payouts(*, column, done_first):
    """Each shop is paid what it has sold: one payout for all lines that are open."""

    def pay(conn, client):
        with conn:
            conn.execute("BEGIN IMMEDIATE")
            for shop, cents in conn.execute(OPEN).fetchall():
                add = "INSERT INTO payouts (shop, cents, state) VALUES (?, ?, 'due')"
                no = conn.execute(add, (shop, cents)).lastrowid
                close = "UPDATE lines SET payout = ? WHERE shop = ? AND payout IS NULL"
                conn.execute(close, (no, shop))
        for no, shop, cents in conn.execute(DUE).fetchall():
            if done_first:
                with conn:
                    conn.execute(DONE, (no,))
            try:
                client.charge(shop, cents, key=f"payout {no}")
            except OSError:
                return
            with conn:
                conn.execute(DONE, (no,))

    tables = (
        f"CREATE TABLE lines (id TEXT PRIMARY KEY, shop TEXT, cents INT, payout {column});"
        "CREATE TABLE payouts (no INTEGER PRIMARY KEY, shop TEXT, cents INT, state TEXT);"
    )
    return nightly(pay, tables)


@pytest.mark.parametrize("column", ["INTEGER", "TEXT"])
def test_lines_that_are_paid_together_have_one_number(column):
    right = payouts(column=column, done_first=False)
    assert sweep(right, kinds=(Crash, Pause, ErrorReply)) == []
    found = sweep(payouts(column=column, done_first=True), kinds=(ErrorReply,))
    assert ("effect lost", "bank.charge") in groups(found)


def raffle(most):
    """One sale wins, the first that is there when it is looked for; or all that are there do."""

    def draw(conn, client):
        with conn:
            conn.execute("BEGIN IMMEDIATE")
            if not conn.execute("SELECT 1 FROM lines WHERE prize = 'won'").fetchone():
                of_them = "SELECT id FROM lines ORDER BY id LIMIT ?"
                draws = f"UPDATE lines SET prize = ? WHERE id IN ({of_them})"
                conn.execute(draws, ("won", most))
            conn.execute("UPDATE lines SET prize = 'lost' WHERE prize IS NULL")

    tables = "CREATE TABLE lines (id TEXT PRIMARY KEY, shop TEXT, cents INT, prize TEXT);"
    return nightly(draw, tables)


def test_a_word_that_one_transaction_says_too_often_is_told():
    assert idempotent().findings(raffle(1).run().evidence()) == []
    found = idempotent().findings(raffle(9).run().evidence())
    assert groups(found) == {("row too many", "db.lines")}


@pytest.mark.parametrize(("undone", "is_batch"), [(True, False), (False, True)])
def test_what_was_rolled_back_is_in_no_batch(undone, is_batch):
    system = System("twice")
    bus = system.add(Kafka("bus", topics={"lines": 1}))
    db = system.add(SQLite("db", "CREATE TABLE lines (id TEXT PRIMARY KEY, no INTEGER)"))

    @system.service("numbers")
    def numbers(env):
        conn = env.connect(db)

        def on_line(line):
            for name in ("a", "b"):
                conn.execute("INSERT INTO lines VALUES (?, ?)", (name, 7))
                if undone and name == "a":
                    conn.rollback()
            conn.commit()

        env.consume(bus, "lines", on_line)

    @system.entry(examples=["l1"])
    def enter(env, line):
        env.publisher(bus)("lines", line)

    assert in_one_batch(system.run().history, ("row", "db", "lines"), 7, 2) is is_batch
