"""Crashes, commits that fail, outages and power failures: what a database does then."""

import sqlite3

import pytest

from chaosharness import Crash, FailedCommit, LostWrites, Pause, SQLite, StoreOutage
from chaosharness.errors import IllegalFault
from chaosharness.kernel.history import encode
from chaosharness.stores.sqlite.locks import cursors_of
from tests.stores.shops import INSERT, ORDERS, SCHEMA, ids, insert, only, shop, told

WRITE = "payments.on_order/db.insert charges"
COMMIT = "payments.on_order/db.commit"


def test_the_sites_of_a_transaction_offer_what_could_happen_there():
    surfaces = shop(insert).run().surfaces
    assert surfaces[WRITE].searched_before == ()
    assert surfaces[WRITE].searched_after == (Pause,)
    assert surfaces[COMMIT].searched_before == (FailedCommit, StoreOutage)
    assert surfaces[COMMIT].searched_after == (Pause, Crash)


# ---- crash


@pytest.mark.parametrize(
    ("operation", "phase", "kept"),
    [
        (WRITE, "before", []),
        (WRITE, "after", []),
        (COMMIT, "before", []),
        (COMMIT, "after", ["o1"]),
    ],
)
def test_a_crash_undoes_what_was_not_committed_and_nothing_else(operation, phase, kept):
    run = shop(insert).run(ORDERS[:1], only(Crash, operation, phase))
    assert ids(run) == kept
    assert run.unused == ()
    undone = told(run, "rollback")
    assert undone == (["rollback why=crash"] if (operation, phase) in UNFINISHED else [])


UNFINISHED = [(WRITE, "after"), (COMMIT, "before")]


def test_the_rollback_of_a_crash_points_at_the_crash_and_the_item():
    run = shop(insert).run(ORDERS, only(Crash, WRITE, "after", entity=2))
    rollback = next(run.history.of("rollback"))
    assert run.history[rollback.cause].kind == "crash"
    assert (rollback.actor, rollback.entity) == ("payments#1", 2)


def test_a_crash_frees_its_locks_even_in_the_middle_of_reading():
    def handle(connection, order):
        for number in range(3):
            connection.execute(INSERT, (f"{order['id']}-{number}", 1))
        connection.commit()
        cursor = connection.execute("SELECT id FROM charges")
        cursor.fetchone()  # the rest is never read: a lock on the whole database
        connection.execute("INSERT INTO notes VALUES ('half')")
        connection.commit()

    schedule = only(Crash, "payments.on_order/db.insert notes", "after", down="next")
    run = shop(handle, services=("payments", "shipping")).run(ORDERS, schedule)
    assert "shipping.on_order/db.commit" in run.surfaces
    assert len(ids(run)) == 6
    *_, last = run.history.of("commit")
    assert last.at_ms < 100, "nobody had to wait for a lock"


def test_the_cursors_of_a_connection_are_found_where_sqlite3_keeps_them():
    store = SQLite("db", SCHEMA)

    def handle(connection, order):
        kept = [connection.cursor(), connection.execute("SELECT 1"), sqlite3.Cursor(connection)]
        connection.execute("SELECT 2")
        assert cursors_of(connection) == kept

    run = shop(handle, store=store).run(ORDERS[:1])
    assert told(run, "raised") == []


def test_code_that_crashed_cannot_touch_the_database_any_more():
    tried = []

    def handle(connection, order):
        try:
            connection.execute(INSERT, (order["id"], 1))
        finally:
            tried.append(order["id"])
            connection.rollback()
            connection.execute("DELETE FROM charges")
            connection.commit()
            tried.append("got through")

    run = shop(handle).run(ORDERS[:1], only(Crash, WRITE, "after"))
    assert tried == ["o1"]
    assert told(run, "write", "commit", "rollback") == [
        "write db.insert charges rows=1",
        "rollback why=crash",
    ]


# ---- commits that fail


def test_a_failed_commit_is_undone_and_told_as_sqlite_would():
    told_to_user = []

    def handle(connection, order):
        try:
            insert(connection, order)
        except sqlite3.OperationalError as error:
            told_to_user.append((str(error), error.sqlite_errorname, connection.in_transaction))
            insert(connection, order)

    run = shop(handle).run(ORDERS[:1], only(FailedCommit, COMMIT))
    assert told_to_user == [("database or disk is full", "SQLITE_FULL", False)]
    assert told(run, "write", "commit", "rollback") == [
        "write db.insert charges rows=1",
        "rollback db.commit why=commit failed",
        "commit db.commit error=OperationalError: database or disk is full",
        "write db.insert charges rows=1",
        "commit db.commit rows=1",
    ]


def test_an_ambiguous_commit_raises_and_has_happened():
    told_to_user = []

    def handle(connection, order):
        try:
            insert(connection, order)
        except sqlite3.OperationalError as error:
            told_to_user.append((str(error), error.sqlite_errorname))
            with pytest.raises(sqlite3.IntegrityError):
                insert(connection, order)

    run = shop(handle).run(ORDERS[:1], only(FailedCommit, COMMIT, outcome="committed"))
    assert told_to_user == [("disk I/O error: outcome of the commit unknown", "SQLITE_IOERR")]
    assert ids(run) == ["o1"]
    assert told(run, "commit") == ["commit db.commit rows=1 outcome=unknown"]


@pytest.mark.parametrize(("outcome", "kept"), [("rolled-back", []), ("committed", ["o1"])])
def test_a_statement_that_is_its_own_commit_fails_as_one(outcome, kept):
    def handle(connection, order):
        connection.isolation_level = None
        with pytest.raises(sqlite3.OperationalError):
            connection.execute(INSERT, (order["id"], 1))

    run = shop(handle).run(ORDERS[:1], only(FailedCommit, WRITE, outcome=outcome))
    assert ids(run) == kept
    assert run.unused == ()


def test_a_commit_cannot_fail_where_nothing_is_committed():
    with pytest.raises(IllegalFault, match=r"can never happen.*Legal before .*insert charges"):
        shop(insert).run(ORDERS, only(FailedCommit, WRITE))


# ---- outage


def test_an_outage_refuses_everybody_until_it_is_over():
    def handle(connection, order):
        connection.execute("SELECT 1")
        insert(connection, order)

    system = shop(
        handle, services=("payments", "shipping"), items=[*ORDERS, {"id": "o3", "cents": 1}]
    )
    run = system.run(schedule=only(StoreOutage, COMMIT, lasting=15))
    assert told(run, "read", "write", "commit", "rollback") == [
        "read db.select",
        "write db.insert charges rows=1",
        "rollback db.commit why=outage",
        "commit db.commit error=OperationalError: disk I/O error: db is out of order",
        "read db.select error=OperationalError: disk I/O error: db is out of order",  # o2
        "read db.select",
        "write db.insert charges rows=1",
        "commit db.commit rows=1",
    ]
    assert ids(run) == ["o3"]


def test_an_outage_ends_with_the_chaos():
    def patient(connection, order, env):
        while True:
            try:
                return insert(connection, order)
            except sqlite3.OperationalError:
                env.sleep(1_000)

    run = shop(patient).run(ORDERS[:1], only(StoreOutage, COMMIT, lasting=100_000_000))
    assert ids(run) == ["o1"]
    assert run.ending.verdict == "quiet"


def test_a_transaction_that_outlasts_an_outage_may_be_undone_meanwhile_or_go_on_after():
    def handle(connection, order, env):
        connection.execute(INSERT, (order["id"], 1))
        env.sleep(0.02 if order["id"] == "o1" else 0.2)
        (connection.rollback if order["id"] == "o1" else connection.commit)()

    def strike(connection, order, env):
        if order["id"] == "o3":
            return connection.executescript("INSERT INTO notes VALUES ('now')")
        return handle(connection, order, env)

    items = [{"id": "o1", "cents": 1}, {"id": "o3", "cents": 1}]
    system = shop(strike, items=items, services=("payments", "shipping"))
    outage = only(StoreOutage, "shipping.on_order/db.insert notes", entity=2, lasting=50)
    assert told(system.run(schedule=outage), "rollback", "commit", "write") == [
        "write db.insert charges rows=1",
        "write db.insert notes error=OperationalError: disk I/O error: db is out of order",
        "rollback db.rollback",
    ]
    items[0]["id"] = "o2"
    assert ids(system.run(items, outage)) == ["o2"]


# ---- power failures


def unsynced(**options):
    return SQLite("db", SCHEMA, synced=False, **options)


def three():
    return [{"id": f"o{number}", "cents": number} for number in (1, 2, 3)]


def test_only_a_store_that_says_so_can_lose_writes():
    assert LostWrites in shop(insert, store=unsynced()).run().surfaces[COMMIT].searched_after
    with pytest.raises(IllegalFault, match="lost writes after"):
        shop(insert).run(ORDERS, only(LostWrites, COMMIT, "after"))


def test_a_power_failure_takes_the_last_commits_and_keeps_the_older_ones():
    system = shop(insert, items=three(), store=unsynced(unsynced_ms=1_000), arrival_ms=700)
    run = system.run(schedule=only(LostWrites, COMMIT, "after", entity=3))
    assert ids(run) == ["o1"]
    assert told(run, "rollback") == ["rollback why=power failure commits=2"]
    assert [event.actor for event in run.history.of("crash")] == ["payments#1"]


def test_a_power_failure_kills_whoever_has_the_file_open():
    system = shop(insert, services=("payments", "shipping"), store=unsynced())
    run = system.run(schedule=only(LostWrites, COMMIT, "after"))
    assert [event.actor for event in run.history.of("crash")] == ["shipping#1", "payments#1"]
    assert ids(run) == ["o2"]


def test_a_lost_write_without_its_fault_is_kept():
    system = shop(insert, items=three(), store=unsynced())
    assert ids(system.run()) == ["o1", "o2", "o3"]
    missed = system.run(schedule=only(LostWrites, COMMIT, "after", attempt=9))
    assert ids(missed) == ["o1", "o2", "o3"]
    assert len(missed.unused) == 1


def test_after_a_power_failure_the_next_run_begins_as_ever():
    system = shop(insert, items=three(), store=unsynced())
    calm = system.run().digest()
    for _ in range(20):
        lost = system.run(schedule=only(LostWrites, COMMIT, "after", entity=2))
        assert ids(lost) == ["o3"]
        assert system.run().digest() == calm


def test_histories_of_failing_databases_can_be_written_down():
    for schedule in (
        only(FailedCommit, COMMIT),
        only(StoreOutage, COMMIT),
        only(Crash, WRITE, "after"),
    ):
        run = shop(insert).run(ORDERS, schedule)
        assert all(encode(raw) for raw in run.history.raw)
