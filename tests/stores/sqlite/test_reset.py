"""Each run begins with what the schema made: nothing of an earlier run is left anywhere."""

import os
import sqlite3
import subprocess
import sys
from textwrap import dedent

from chaosharness import Crash, FailedCommit, Pause, Schedule, SQLite, StoreOutage
from tests.stores.shops import INSERT, ORDERS, SCHEMA, final, ids, insert, only, shop

WRITE = "payments.on_order/db.insert charges"
COMMIT = "payments.on_order/db.commit"
TWO = ("payments", "shipping")
SEEDED = f"""
{SCHEMA}
CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT);
CREATE TRIGGER told AFTER INSERT ON charges BEGIN INSERT INTO outbox (body) VALUES (new.id); END;
INSERT INTO outbox (body) VALUES ('from the beginning');
PRAGMA user_version = 7;
"""


def sloppy(connection, order):
    """Leave behind whatever a connection can hold."""
    connection.row_factory = sqlite3.Row
    connection.text_factory = bytes
    connection.isolation_level = "IMMEDIATE"
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA user_version = 99")
    if order["id"] == "o2":
        connection.execute("PRAGMA case_sensitive_like = ON")
        connection.execute("CREATE TEMP TABLE own (id)")
        connection.execute("ATTACH ':memory:' AS other")
        connection.create_function("own", 0, lambda: 1)
    connection.execute("INSERT INTO charges VALUES (?, ?)", (order["id"], 1))
    connection.commit()
    connection.execute("UPDATE charges SET cents = 2")  # and never commit


def look(connection, order):
    """Say everything that an earlier run might have left."""
    seen.append(
        (
            connection.row_factory,
            connection.text_factory,
            connection.isolation_level,
            connection.in_transaction,
            connection.total_changes,
            [
                connection.execute(f"PRAGMA {pragma}").fetchone()
                for pragma in ("foreign_keys", "synchronous", "user_version", "page_count")
            ],
            connection.execute("SELECT 'A' LIKE 'a'").fetchone(),
            connection.execute("SELECT name FROM pragma_database_list").fetchall(),
            connection.execute(
                "SELECT name FROM pragma_function_list WHERE name = 'own'"
            ).fetchall(),
            connection.execute("SELECT * FROM charges").fetchall(),
            connection.execute("SELECT * FROM outbox").fetchall(),
            connection.execute("SELECT * FROM sqlite_sequence").fetchall(),
        )
    )


seen = []


def test_a_connection_of_the_next_run_is_as_new():
    def handle(connection, order):
        look(connection, order)
        sloppy(connection, order)

    seen.clear()
    system = shop(handle, services=TWO, store=SQLite("db", SEEDED))
    runs = [system.run() for _ in range(6)]
    assert len({run.digest() for run in runs}) == 1
    assert seen[0::2] == [seen[0]] * 6
    assert seen[1::2] == [seen[1]] * 6
    assert seen[0][-2:] == ([(1, "from the beginning")], [("outbox", 1)])


def test_nothing_leaks_over_a_thousand_runs_also_after_crashes_in_a_transaction():
    def handle(connection, order):
        assert connection.execute("SELECT count(*) FROM outbox").fetchone()[0] < 4
        connection.execute(INSERT, (order["id"], order["cents"]))
        connection.execute("INSERT INTO notes VALUES (?)", (order["id"],))
        connection.commit()

    system = shop(handle, services=TWO, store=SQLite("db", SEEDED))
    schedules = [
        Schedule(),
        only(Crash, WRITE, "after"),
        only(Crash, COMMIT, "after"),
        only(FailedCommit, COMMIT),
        only(StoreOutage, COMMIT, lasting="long"),
        only(Pause, WRITE, "after", lasting="long"),
    ]
    expected = [system.run(schedule=schedule).digest() for schedule in schedules]
    assert len(set(expected)) == len(expected)
    for _ in range(1_000 // len(schedules)):
        assert [system.run(schedule=schedule).digest() for schedule in schedules] == expected


def test_a_run_that_is_broken_off_in_a_transaction_leaves_nothing():
    def handle(connection, order, env):
        connection.execute(INSERT, (order["id"], 1))
        env.sleep(10**6 if order["id"] == "o1" and stuck else 0)
        connection.commit()

    system = shop(handle, services=TWO)
    stuck = False
    calm = system.run().digest()
    stuck = True
    for _ in range(5):
        assert ids(system.run()) == []
    stuck = False
    assert system.run().digest() == calm


def test_a_half_read_cursor_of_the_last_run_is_in_nobodys_way():
    kept = []

    def handle(connection, order):
        cursor = connection.execute("SELECT * FROM outbox")
        connection.execute(INSERT, (order["id"], 1))
        cursor.fetchone()
        kept.append(cursor)
        connection.commit()

    store = SQLite("db", SEEDED + "INSERT INTO outbox (body) VALUES ('two'), ('three');")
    system = shop(handle, store=store)
    assert len({system.run().digest() for _ in range(5)}) == 1


def test_a_half_read_cursor_of_a_run_that_wrote_nothing_is_in_nobodys_way():
    kept = []

    def handle(connection, order):
        if not kept:
            kept.append(connection.execute("SELECT * FROM outbox"))
        else:
            insert(connection, order)

    system = shop(handle, store=SQLite("db", SEEDED + "INSERT INTO outbox (body) VALUES ('two');"))
    assert ids(system.run(ORDERS[:1])) == []
    assert ids(system.run(ORDERS[:1])) == ["o1"]


def test_a_lock_that_nobody_can_free_costs_a_database_and_no_waiting():
    kept = []

    def handle(connection, order):
        insert(connection, order)
        cursor = sqlite3.Cursor(connection)  # past the ports: nobody knows of it
        kept.append(cursor.execute("SELECT * FROM outbox"))

    store = SQLite("db", SEEDED + "INSERT INTO outbox (body) VALUES ('two'), ('three');")
    system = shop(handle, store=store)
    assert [ids(system.run(ORDERS[:1])) for _ in range(3)] == [["o1"]] * 3
    assert len(kept) == 3


def test_a_schema_that_a_run_changed_is_as_before_in_the_next():
    def handle(connection, order):
        if order["id"] == "o1":
            connection.execute("ALTER TABLE charges ADD COLUMN note TEXT DEFAULT 'x'")
            connection.execute("CREATE TABLE extra (id)")
            connection.execute("DROP TABLE notes")
        connection.execute("INSERT INTO charges (id, cents) VALUES (?, 1)", (order["id"],))
        connection.commit()

    system = shop(handle, services=TWO)
    runs = [system.run(ORDERS), system.run(ORDERS[1:] * 2), system.run(ORDERS)]
    assert final(runs[0])["tables"] == {
        "charges": [{"id": name, "cents": 1, "note": "x"} for name in ("o1", "o2")],
        "extra": [],
    }
    assert runs[0].digest() == runs[2].digest()
    assert list(final(runs[1])["tables"]) == ["charges", "notes"]


def test_tables_that_the_service_makes_itself_are_new_in_each_run():
    def handle(connection, order):
        connection.execute("CREATE TABLE IF NOT EXISTS made (id)")
        connection.execute("INSERT INTO made VALUES (?)", (order["id"],))
        connection.commit()

    system = shop(handle, services=TWO, store=SQLite("db"))
    for _ in range(3):
        assert final(system.run())["tables"] == {"made": [{"id": "o1"}, {"id": "o2"}]}


def test_counters_of_a_connection_start_at_nothing():
    def handle(connection, order):
        seen.append(connection.execute("SELECT total_changes(), last_insert_rowid()").fetchone())
        seen.append(connection.total_changes)
        insert(connection, order)

    seen.clear()
    system = shop(handle)
    for _ in range(3):
        system.run(ORDERS[:1])
    assert seen == [(0, 0), 0] * 3


def test_a_run_inside_of_a_run_has_a_database_of_its_own():
    inner = []

    def handle(connection, order):
        if not inner:
            inner.append(None)
            inner[0] = ids(system.run())
        insert(connection, order)

    system = shop(handle, services=TWO)
    assert ids(system.run()) == ["o1", "o2"]
    assert inner == [["o1", "o2"]]


CLOCKS = """
CREATE TABLE t (
    at TEXT DEFAULT CURRENT_TIMESTAMP, day TEXT DEFAULT (date('now', '+1 day')), n INTEGER
);
CREATE INDEX by_day ON t (date(at));
INSERT INTO t (n) VALUES (random());
"""


def test_the_clock_and_the_chance_of_sql_are_those_of_the_run():
    seen = []

    def handle(connection, order, env):
        env.sleep(90_061.25)
        connection.execute("INSERT INTO t (n) VALUES (random())")
        connection.commit()
        asked = "SELECT datetime('NOW'), date(), time(), strftime('%s', 'now'), strftime('%Y')"
        seen.append(connection.execute(asked).fetchone())
        rest = "SELECT date(at), current_time, julianday('2030-01-01'), date(NULL) FROM t"
        seen.append(connection.execute(f"{rest} ORDER BY n").fetchall()[0])
        seen.append(connection.execute("SELECT randomblob(4), length(randomblob(0))").fetchone())

    runs = [shop(handle, store=SQLite("db", CLOCKS)).run(ORDERS[:1]) for _ in range(2)]
    assert seen[0] == ("2030-01-02 01:01:01", "2030-01-02", "01:01:01", "1893546061", "2030")
    assert seen[1][1:] == ("01:01:01", 2462502.5, None)
    assert seen[2][1] == 1
    assert seen[:3] == seen[3:]
    first, second = final(runs[0])["tables"]["t"]
    assert (first["at"], first["day"]) == ("2030-01-01 00:00:00", "2030-01-02")
    assert (second["at"], second["day"]) == ("2030-01-02 01:01:01", "2030-01-03")
    assert first["n"] != second["n"]
    assert runs[0].digest() == runs[1].digest()


def test_a_history_is_the_same_in_another_process_under_another_hash_seed():
    program = dedent(
        """
        from chaosharness import *
        from tests.stores.shops import *
        system = shop(insert, services=("payments", "shipping"), store=SQLite("db", SCHEMA))
        kinds = [Schedule(), only(Crash, "payments.on_order/db.insert charges", "after"),
                 only(FailedCommit, "payments.on_order/db.commit", outcome="committed"),
                 only(Pause, "payments.on_order/db.insert charges", "after", lasting="long")]
        print([system.run(schedule=schedule).digest() for schedule in kinds])
        """
    )
    seen = set()
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        seen.add(
            subprocess.check_output([sys.executable, "-c", program], env=environment, text=True)
        )
    assert len(seen) == 1


def test_a_process_ends_without_a_word():
    program = """
        from tests.stores.shops import ORDERS, insert, shop
        shop(insert).run(ORDERS).check()
    """
    result = subprocess.run(
        [sys.executable, "-W", "always::ResourceWarning", "-c", dedent(program)],
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (result.stdout, result.stderr) == ("", "")
