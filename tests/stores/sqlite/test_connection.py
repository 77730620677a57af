"""`env.connect(db)` is a sqlite3 connection: whatever works on one works here, at a site."""

import gc
import re
import sqlite3
import sys

import pytest

from chaosharness import SQLite
from chaosharness.errors import InvalidDefinition
from tests.stores.shops import INSERT, final, ids, insert, shop, told

ONE = [{"id": "o1", "cents": 500}]


def run_one(handle, **options):
    """Run one order through a handler; what the handler raises reaches the test."""
    caught = []

    def guarded(connection, order):
        try:
            handle(connection, order)
        except BaseException as error:
            caught.append(error)
            raise

    run = shop(guarded, items=ONE, **options).run()
    if caught:
        raise caught[0]
    return run


def test_insert_and_commit_are_sites_with_words_a_user_knows():
    run = run_one(insert)
    sites = [one for one, _ in run.reached if "/db." in one]
    assert sites == ["payments.on_order/db.insert charges", "payments.on_order/db.commit"]
    assert final(run) == {"tables": {"charges": [{"id": "o1", "cents": 500}], "notes": []}}
    write, commit = run.history.of("write", "commit")
    assert dict(write.data) == {
        "store": "db",
        "verb": "insert",
        "table": "charges",
        "rows": 1,
        "params": ("o1", 500),
    }
    assert dict(commit.data) == {"store": "db", "rows": 1}
    assert write.index < commit.index
    assert commit.cause == write.index


def test_it_is_a_sqlite3_connection_in_every_way():
    seen = []

    def handle(connection, order):
        seen.append(isinstance(connection, sqlite3.Connection))
        connection.row_factory = sqlite3.Row
        cursor = connection.cursor()
        assert cursor.connection is connection
        cursor.executemany(INSERT, ((f"o{number}", number) for number in range(3)))
        seen.append(cursor.rowcount)
        connection.commit()
        rows = cursor.execute("SELECT * FROM charges ORDER BY id").fetchall()
        seen.append([dict(row) for row in rows])
        seen.append([row["cents"] for row in connection.execute("SELECT cents FROM charges")])
        connection.create_function("double", 1, lambda value: value * 2)
        seen.append(connection.execute("SELECT double(21)").fetchone()[0])
        cursor.close()

    run_one(handle)
    assert seen == [
        True,
        3,
        [{"id": "o0", "cents": 0}, {"id": "o1", "cents": 1}, {"id": "o2", "cents": 2}],
        [0, 1, 2],
        42,
    ]


def test_an_exception_in_a_with_block_undoes_it():
    def handle(connection, order):
        with pytest.raises(ZeroDivisionError), connection:
            connection.execute(INSERT, (order["id"], 1))
            1 / 0  # noqa: B018

    run = run_one(handle)
    assert ids(run) == []
    assert told(run, "write", "rollback", "commit") == [
        "write db.insert charges rows=1",
        "rollback db.rollback",
    ]


def test_without_an_isolation_level_each_statement_is_its_own_commit():
    def handle(connection, order):
        connection.isolation_level = None
        connection.execute(INSERT, ("a", 1))
        connection.execute("UPDATE charges SET cents = 2 WHERE id = 'nobody'")
        connection.commit()  # nothing to do, and no site

    run = run_one(handle)
    assert told(run, "write", "commit") == [
        "write db.insert charges rows=1",
        "commit db.insert charges rows=1",
        "write db.update charges rows=0",
    ]
    assert "payments.on_order/db.commit" not in run.surfaces


def test_transactions_in_sql_have_the_same_sites():
    def handle(connection, order):
        connection.isolation_level = None
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(INSERT, ("a", 1))
        connection.execute("SAVEPOINT inner")
        connection.execute(INSERT, ("b", 1))
        connection.execute("ROLLBACK TO inner")
        connection.execute("RELEASE inner")
        connection.execute("COMMIT")
        connection.execute("BEGIN")
        connection.execute(INSERT, ("c", 1))
        connection.execute("ROLLBACK")
        connection.execute("SAVEPOINT outer")
        connection.execute("SAVEPOINT Outer")
        connection.execute(INSERT, ("d", 1))
        connection.execute("RELEASE outer")
        assert connection.in_transaction
        connection.execute("RELEASE OUTER")

    run = run_one(handle)
    assert ids(run) == ["a", "d"]
    assert told(run, "commit", "rollback") == [
        "commit db.commit rows=2",  # what a savepoint undid was counted, as by SQLite
        "rollback db.rollback",
        "commit db.release rows=1",
    ]


def test_a_script_commits_first_and_then_statement_by_statement():
    def handle(connection, order):
        connection.execute(INSERT, ("a", 1))
        connection.executescript(
            "INSERT INTO charges VALUES ('b;', 2); -- it's\n"
            "SELECT * FROM charges; CREATE TABLE later (id);"
        )
        assert connection.isolation_level == ""
        with pytest.raises(sqlite3.OperationalError, match="near"):
            connection.executescript("INSERT INTO charges VALUES ('c', 3); NONSENSE")

    run = run_one(handle)
    assert ids(run) == ["a", "b;", "c"]
    assert final(run)["tables"]["later"] == []
    assert told(run, "write", "commit")[:5] == [
        "write db.insert charges rows=1",
        "commit db.commit rows=1",
        "write db.insert charges rows=1",
        "commit db.insert charges rows=1",
        "write db.create later",
    ]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sqlite3 has no autocommit attribute yet")
def test_transactions_as_pep_249_has_them():
    def handle(connection, order):
        connection.autocommit = False
        connection.execute("SELECT 1")
        connection.execute(INSERT, ("a", 1))
        connection.commit()
        connection.execute(INSERT, ("b", 1))
        connection.autocommit = True  # commits
        connection.execute(INSERT, ("c", 1))
        connection.commit()  # nothing to do

    run = run_one(handle)
    assert ids(run) == ["a", "b", "c"]
    assert told(run, "commit") == [
        "commit db.commit rows=1",
        "commit db.commit rows=1",
        "commit db.insert charges rows=1",
    ]


def test_setting_no_isolation_level_commits_as_sqlite3_does():
    def handle(connection, order):
        connection.execute(INSERT, ("a", 1))
        connection.isolation_level = None

    run = run_one(handle)
    assert told(run, "commit") == ["commit db.commit rows=1"]


def test_returning_is_read_later_and_still_a_change():
    def handle(connection, order):
        cursor = connection.execute(f"{INSERT} RETURNING id", ("a", 1))
        assert cursor.fetchone() == ("a",)
        connection.commit()

    run = run_one(handle)
    assert told(run, "write", "commit") == ["write db.insert charges", "commit db.commit rows=1"]


def test_errors_of_sqlite_reach_the_code_unchanged_and_the_history():
    def handle(connection, order):
        insert(connection, order)
        with pytest.raises(sqlite3.IntegrityError) as caught:
            connection.execute(INSERT, ("o1", 1))
        assert str(caught.value) == "UNIQUE constraint failed: charges.id"
        assert caught.value.sqlite_errorname == "SQLITE_CONSTRAINT_PRIMARYKEY"
        assert caught.value.__context__ is None
        connection.rollback()
        with pytest.raises(sqlite3.OperationalError, match="no such table: nobody"):
            connection.execute("SELECT * FROM nobody")
        with pytest.raises(sqlite3.ProgrammingError):
            connection.execute("SELECT ?", (1, 2))
        with pytest.raises(TypeError):
            connection.execute(None)

    run = run_one(handle)
    assert [line for line in told(run, "write", "read") if "error" in line] == [
        "write db.insert charges error=IntegrityError: UNIQUE constraint failed: charges.id",
        "read db.select nobody error=OperationalError: no such table: nobody",
        "read db.select error=ProgrammingError: Incorrect number of bindings supplied. The "
        "current statement uses 1, and there are 2 supplied.",
        "read db.execute error=TypeError: execute() argument 1 must be str, not None",
    ]


def test_an_error_that_undoes_the_transaction_leaves_none_open():
    def handle(connection, order):
        connection.execute(INSERT, ("a", 1))
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute("INSERT OR ROLLBACK INTO charges VALUES ('a', 2)")
        assert not connection.in_transaction
        connection.commit()

    run = run_one(handle)
    assert ids(run) == []
    assert told(run, "commit") == []


def test_a_closed_connection_says_so():
    def handle(connection, order):
        connection.execute(INSERT, ("a", 1))
        connection.close()
        connection.close()
        with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
            connection.execute("SELECT 1")

    run = run_one(handle)
    assert ids(run) == []
    assert told(run, "rollback") == ["rollback why=connection closed"]


def test_a_connection_that_is_dropped_keeps_its_locks_as_long_as_no_collector_comes_by():
    store = SQLite("db", "CREATE TABLE charges (id TEXT PRIMARY KEY, cents INTEGER)")

    def handle(connection, order, env):
        env.connect(store).execute(INSERT, ("a", 1))  # neither committed nor closed
        gc.collect()
        insert(connection, order)

    run = shop(handle, items=ONE, store=store).run()
    assert told(run, "write")[1:] == [
        "write db.insert charges error=OperationalError: database is locked"
    ]
    assert ids(run) == []


def test_a_cursor_class_of_the_users_own_passes_ports_too():
    class Loud(sqlite3.Cursor):
        def execute(self, sql, parameters=()):
            return super().execute(sql.upper(), parameters)

    def handle(connection, order):
        cursor = connection.cursor(Loud)
        assert isinstance(cursor, Loud)
        cursor.execute("select 1 from charges")
        with pytest.raises(InvalidDefinition, match=r"no subclass of sqlite3\.Cursor"):
            connection.cursor(dict)

    assert told(run_one(handle), "read") == ["read db.select CHARGES"]


def test_types_are_detected_where_the_store_says_so():
    store = SQLite("db", "CREATE TABLE t (at DATE)", detect_types=sqlite3.PARSE_DECLTYPES)
    sqlite3.register_converter("DATE", lambda raw: ("date", raw.decode()))
    seen = []

    def handle(connection, order):
        connection.execute("INSERT INTO t VALUES ('2030-01-01')")
        seen.append(connection.execute("SELECT at FROM t").fetchone())
        connection.commit()

    try:
        run_one(handle, store=store)
    finally:
        sqlite3.converters.pop("DATE")
    assert seen == [(("date", "2030-01-01"),)]


def test_foreign_keys_hold_where_the_connection_asks_for_them():
    store = SQLite("db", "CREATE TABLE a (id PRIMARY KEY); CREATE TABLE b (a REFERENCES a (id));")

    def handle(connection, order):
        connection.execute("INSERT INTO b VALUES (1)")  # off by default, in each run anew
        connection.rollback()
        connection.execute("PRAGMA foreign_keys = ON")
        with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
            connection.execute("INSERT INTO b VALUES (1)")
        connection.rollback()

    for _ in range(3):
        run_one(handle, store=store)


def test_long_parameters_are_cut_in_the_history():
    def handle(connection, order):
        connection.execute(INSERT, ("x" * 200, 1))
        connection.execute(
            "INSERT INTO charges VALUES (:id, :cents)", {"id": b"y" * 200, "cents": 2}
        )
        connection.executemany(INSERT, [(str(number), number) for number in range(50)])
        connection.commit()

    run = run_one(handle)
    first, second, third = (event.data["params"] for event in run.history.of("write"))
    assert first == ["x" * 80 + "…", 1]
    assert second == {"id": "y" * 80 + "…", "cents": 2}
    assert third[0] == ["0", 0]
    assert third[5] == "and 45 more"


def test_the_final_state_is_in_the_order_of_the_primary_key():
    store = SQLite(
        "db",
        'CREATE TABLE "two words" (b, a, PRIMARY KEY (a, b)) WITHOUT ROWID;'
        "CREATE TABLE doubled (n INTEGER, twice AS (n * 2));"
        "CREATE VIEW seen AS SELECT 1; INSERT INTO doubled VALUES (3), (1);",
    )

    def handle(connection, order):
        connection.execute('INSERT INTO "two words" VALUES (1, 2), (9, 1), (3, 1)')
        connection.execute("INSERT INTO doubled VALUES (CAST(x'ff' AS TEXT))")
        connection.commit()

    run = run_one(handle, store=store)
    tables = final(run)["tables"]
    assert [tuple(row.values()) for row in tables["two words"]] == [(3, 1), (9, 1), (1, 2)]
    assert tables["doubled"][:2] == [{"n": 3, "twice": 6}, {"n": 1, "twice": 2}]
    assert tables["doubled"][2]["n"] == "\\xff"
    assert list(tables) == ["doubled", "two words"]


def test_a_schema_that_does_not_run_is_refused_at_once_with_the_statement():
    with pytest.raises(InvalidDefinition) as caught:
        SQLite("db", "CREATE TABLE a (id); CREATE TABEL b (id);")
    said = re.sub(r"\S*test_connection.py:\d+", "HERE", str(caught.value))
    assert said == (
        "the schema of store 'db' does not run (at HERE): near \"TABEL\": syntax error, in\n"
        "  CREATE TABEL b (id);"
    )
    with pytest.raises(InvalidDefinition, match="opens a transaction and leaves it"):
        SQLite("db", "BEGIN; CREATE TABLE a (id);")
    with pytest.raises(InvalidDefinition, match="is SQL text, or SQLAlchemy's tables"):
        SQLite("db", None)


def test_a_connection_is_for_the_incarnation_it_was_made_for():
    kept = []

    def handle(connection, order):
        kept.append(connection)
        kept[0].execute("SELECT 1")

    with pytest.raises(InvalidDefinition, match=r"shipping#1 uses .* made for payments#1"):
        shop(handle, services=("payments", "shipping")).run()

    alone = shop(handle, items=ONE)
    with pytest.raises(InvalidDefinition, match="made for an earlier run"):
        alone.run()


def test_outside_of_a_run_a_connection_says_so():
    kept = []
    system = shop(lambda connection, order: kept.append(connection), items=ONE)
    system.run()
    with pytest.raises(InvalidDefinition, match="used outside a run"):
        kept[0].execute("SELECT 1")


def test_a_connection_takes_any_number_of_cursors_that_are_gone():
    def handle(connection, order, env):
        for number in range(300):
            connection.execute("SELECT * FROM charges").fetchall()
            env.sleep(1)
            connection.execute(INSERT, (f"c{number}", number))
            connection.commit()

    assert len(ids(shop(handle, items=ONE).run())) == 300


def test_what_abandoned_code_cleans_up_after_its_run_is_nothing_and_says_nothing(monkeypatch):
    held, said = [], []
    monkeypatch.setattr(sys, "unraisablehook", lambda one: said.append(one.exc_value))

    def lent(connection):  # a dependency of FastAPI's
        try:
            yield connection
        finally:
            connection.rollback()

    def handle(connection, order):
        connection.create_function("twice", 1, lambda n: 2 * n)  # so that no other run gets it
        held.append(lent(connection))
        insert(next(held[-1]), order)

    run_one(handle)
    assert held
    held.clear()
    gc.collect()
    assert said == []


def test_a_connection_that_the_user_has_closed_refuses_as_ever():
    def handle(connection, order):
        connection.close()
        connection.rollback()

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        run_one(handle)
