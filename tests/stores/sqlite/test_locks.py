"""Two connections at one database: who waits for whom, in virtual time, and for how long.

Reality is asked too: the same steps run against SQLite on a disk, in two connections.
"""

import sqlite3
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosharness import Crash, Pause, Schedule, Site, SQLite, StoreOutage, System
from tests.stores.shops import INSERT, ORDERS, SCHEMA, ids, insert, only, shop, told

TWO = ("payments", "shipping")
WRITE = "payments.on_order/db.insert charges"
THREE = [*ORDERS, {"id": "o3", "cents": 900}]


def at_ms(run, kind, actor):
    return [event.at_ms for event in run.history.of(kind) if event.actor == actor]


def test_a_writer_waits_for_the_writer_who_is_paused_and_then_goes_on():
    run = shop(insert, services=TWO).run(schedule=only(Pause, WRITE, "after", lasting=500))
    assert at_ms(run, "commit", "payments#1") == [501]
    assert at_ms(run, "write", "shipping#1") == [501], "woken by the commit, not by a poll"
    assert ids(run) == ["o1", "o2"]


def test_who_waits_longer_than_the_timeout_is_told_what_sqlite_tells():
    seen = []

    def handle(connection, order):
        try:
            insert(connection, order)
        except sqlite3.OperationalError as error:
            seen.append((str(error), error.sqlite_errorname))
            raise

    store = SQLite("db", SCHEMA, timeout_ms=2_000)
    system = shop(handle, services=TWO, store=store)
    run = system.run(schedule=only(Pause, WRITE, "after", lasting=10_000))
    assert seen == [("database is locked", "SQLITE_BUSY")]
    assert at_ms(run, "write", "shipping#1") == [2_011]
    assert ids(run) == ["o1"]


def test_the_code_may_set_the_timeout_itself():
    def handle(connection, order):
        connection.execute("PRAGMA busy_timeout = 7000")
        insert(connection, order)

    run = shop(handle, services=TWO).run(schedule=only(Pause, WRITE, "after", lasting=6_000))
    assert ids(run) == ["o1", "o2"]

    def impatient(connection, order):
        connection.execute("PRAGMA busy_timeout = 0")
        insert(connection, order)

    run = shop(impatient, services=TWO).run(schedule=only(Pause, WRITE, "after", lasting=6_000))
    assert at_ms(run, "write", "shipping#1") == [11]
    assert ids(run) == ["o1"]


def test_those_who_wait_go_on_in_the_order_in_which_they_came():
    run = shop(insert, items=THREE, services=("payments", "shipping", "billing")).run(
        schedule=only(Pause, WRITE, "after", lasting=500)
    )
    commits = [event.actor for event in run.history.of("commit")]
    assert commits == ["payments#1", "shipping#1", "billing#1"]


def test_a_crash_of_the_holder_lets_the_next_one_in():
    schedule = Schedule(
        [
            Pause(Site(WRITE, "after"), lasting=300),
            Crash(Site("payments.on_order/db.commit", "before")),
        ]
    )
    run = shop(insert, services=TWO).run(schedule=schedule)
    assert at_ms(run, "commit", "shipping#1") == [301]
    assert ids(run) == ["o2"]


def test_whoever_dies_while_waiting_waits_no_more():
    def handle(connection, order, env):
        if order["id"] == "o3":
            env.sleep(0.1)
        insert(connection, order)

    schedule = Schedule([Pause(Site(WRITE, "after"), lasting=4_000)])
    run = shop(handle, items=THREE, services=TWO).run(schedule=schedule)
    # o3 is handled by payments while its connection is inside the transaction of o1
    assert ids(run) == ["o1", "o2", "o3"]


def test_a_reader_sees_what_was_committed_while_another_writes():
    seen = []

    def handle(connection, order):
        if order["id"] == "o1":
            insert(connection, order)
        else:
            cursor = connection.cursor()
            cursor.row_factory = sqlite3.Row
            rows = cursor.execute("SELECT id FROM charges").fetchall()
            seen.append([row["id"] for row in rows])
            assert cursor.connection is connection

    items = [{"id": "o1", "cents": 1}, {"id": "r1"}, {"id": "r2"}]
    system = shop(handle, items=items, services=("payments", "shipping", "billing"))
    run = system.run(schedule=only(Pause, WRITE, "after", lasting=15))
    assert seen == [[], ["o1"]]  # while it was being written; after
    assert at_ms(run, "read", "shipping#1") == [11], "a reader does not wait"


def test_an_event_published_before_the_commit_outruns_it():
    """The classic: tell first, commit later, and whoever is told finds nothing."""
    seen = []

    def handle(connection, order, env):
        if "cents" in order:
            with connection:
                connection.execute(INSERT, (order["id"], 1))
                env.call("shipping", "order", {"id": "look"})
        else:
            seen.append(connection.execute("SELECT count(*) FROM charges").fetchone()[0])

    shop(handle, items=ORDERS[:1], services=TWO).run()
    assert seen == [0]


def test_a_transaction_that_reads_keeps_seeing_the_same_and_holds_up_the_commit():
    seen = []

    def handle(connection, order, env):
        if order["id"] == "o1":
            return insert(connection, order)
        connection.isolation_level = None
        connection.execute("BEGIN")
        for _ in range(2):
            seen.append(connection.execute("SELECT count(*) FROM charges").fetchone()[0])
            env.sleep(0.3)
        connection.execute("COMMIT")
        seen.append(connection.execute("SELECT count(*) FROM charges").fetchone()[0])

    run = shop(handle, services=TWO).run(schedule=only(Pause, WRITE, "after", lasting=100))
    assert seen[:2] == [0, 0]
    assert at_ms(run, "commit", "payments#1") == [611], "as soon as the reader was through"
    assert ids(run) == ["o1"]


def test_a_reader_that_turns_writer_too_late_is_told_at_once():
    seen = []

    def handle(connection, order, env):
        if order["id"] == "o1":
            return insert(connection, order)
        connection.isolation_level = None
        connection.execute("BEGIN")
        connection.execute("SELECT * FROM charges").fetchall()
        try:
            connection.execute(INSERT, ("o2", 1))
        except sqlite3.OperationalError as error:
            seen.append(str(error))
        connection.execute("ROLLBACK")

    run = shop(handle, services=TWO).run(schedule=only(Pause, WRITE, "after", lasting=100))
    assert seen == ["database is locked"]
    assert at_ms(run, "write", "shipping#1") == [11]
    assert at_ms(run, "commit", "payments#1") == [101]
    assert run.ending.verdict == "quiet"


def test_a_snapshot_may_be_written_on_when_the_other_writer_gave_up():
    def handle(connection, order, env):
        if order["id"] == "o1":
            connection.execute(INSERT, ("never", 1))
            env.sleep(0.1)
            return connection.rollback()
        connection.isolation_level = None
        connection.execute("BEGIN")
        assert connection.execute("SELECT * FROM charges").fetchall() == []
        env.sleep(0.2)
        connection.execute(INSERT, ("o2", 1))
        assert connection.execute("SELECT id FROM charges").fetchall() == [("o2",)]
        connection.execute("COMMIT")

    assert ids(shop(handle, services=TWO).run()) == ["o2"]


def test_a_half_read_cursor_holds_up_a_commit_until_it_is_read():
    def handle(connection, order, env):
        if order["id"] == "o1":
            connection.executemany(INSERT, [("a", 1), ("b", 1)])
            connection.commit()
            cursor = connection.execute("SELECT id FROM charges")
            cursor.fetchone()
            env.sleep(0.25)
            cursor.fetchall()
        else:
            insert(connection, order)

    run = shop(handle, services=TWO).run()
    assert ids(run) == ["a", "b", "o2"]
    assert at_ms(run, "commit", "shipping#1") == [311]  # it looks every 100 ms


def test_begin_immediate_waits_for_its_turn():
    def handle(connection, order):
        connection.isolation_level = None
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(INSERT, (order["id"], 1))
        connection.execute("COMMIT")

    run = shop(handle, services=TWO).run(schedule=only(Pause, WRITE, "after", lasting=100))
    assert at_ms(run, "write", "shipping#1") == [101]
    assert ids(run) == ["o1", "o2"]


def test_functions_of_the_user_work_while_another_writes():
    seen = []

    def handle(connection, order):
        if order["id"] == "o1":
            return insert(connection, order)
        connection.create_function("shout", 1, str.upper)
        connection.create_collation("backwards", lambda one, two: (one < two) - (one > two))
        seen.append(connection.execute("SELECT shout('hey')").fetchone()[0])
        connection.execute("SELECT id FROM charges ORDER BY id COLLATE backwards").fetchall()
        connection.execute("CREATE TEMP TABLE own (id)")

    run = shop(handle, services=TWO).run(schedule=only(Pause, WRITE, "after", lasting=100))
    assert seen == ["HEY"]
    assert at_ms(run, "read", "shipping#1") == [11, 11]


def test_an_outage_ends_waiting():
    def handle(connection, order):
        insert(connection, order)

    schedule = Schedule(
        [
            Pause(Site(WRITE, "after"), lasting=100),
            StoreOutage(Site("payments.on_order/db.commit"), lasting=50),
        ]
    )
    run = shop(handle, services=TWO).run(schedule=schedule)
    assert told(run, "write", "commit")[1:] == [
        "commit db.commit error=OperationalError: disk I/O error: db is out of order",
        "write db.insert charges error=OperationalError: disk I/O error: db is out of order",
    ]


@pytest.mark.parametrize("runtime", ["ports", "asyncio", "trio"])
def test_async_code_waits_for_a_lock_too_and_stops_its_whole_loop(runtime):
    async def handle(connection, order):
        insert(connection, order)

    system = shop(handle, services=TWO, runtime=runtime)
    run = system.run(schedule=only(Pause, WRITE, "after", lasting=500))
    assert at_ms(run, "commit", "payments#1") == [501]
    assert at_ms(run, "write", "shipping#1") == [501]
    assert ids(run) == ["o1", "o2"]
    late = system.run(schedule=only(Pause, WRITE, "after", lasting=9_000))
    assert at_ms(late, "write", "shipping#1") == [5_011]
    assert ids(late) == ["o1"]


# ---- the same steps on a disk


def on_a_disk(path, steps):
    """Run `(who, sql)` steps on SQLite itself, without any waiting; return what each gave."""
    connections = {
        who: sqlite3.connect(path, timeout=0, isolation_level=None) for who in ("a", "b")
    }
    connections["a"].execute("CREATE TABLE t (x)")
    results = [attempt(connections[who], sql) for who, sql in steps]
    for connection in connections.values():
        connection.close()
    return results


def attempt(connection, sql):
    try:
        return connection.execute(sql).fetchall()
    except sqlite3.OperationalError as error:
        return str(error)


def in_a_run(steps):
    """Run the same steps through ports, one after another, with no patience either."""
    results = []
    system = System("scene")
    store = system.add(SQLite("db", "CREATE TABLE t (x)", timeout_ms=0))

    def build(env):
        connection = env.connect(store)
        connection.isolation_level = None
        env.serve("run", lambda sql: results.append(attempt(connection, sql)))

    for service in ("a", "b"):
        system.service(service)(build)

    @system.entry(examples=steps)
    def step(env, item):
        who, sql = item
        env.call(who, "run", sql)

    system.run()
    return results


SCENES = {
    "a reader beside a writer": "a BEGIN; a INSERT INTO t VALUES (1); b SELECT * FROM t; "
    "a COMMIT; b SELECT * FROM t",
    "two writers": "a BEGIN; b BEGIN; a INSERT INTO t VALUES (1); b INSERT INTO t VALUES (2); "
    "a COMMIT; b INSERT INTO t VALUES (2); b COMMIT; a SELECT * FROM t",
    "a reading transaction holds up a commit": "b BEGIN; b SELECT * FROM t; a BEGIN; "
    "a INSERT INTO t VALUES (1); a COMMIT; b COMMIT; a COMMIT; b SELECT * FROM t",
    "one that began to read beside the writer does so too": "a BEGIN; "
    "a INSERT INTO t VALUES (1); b BEGIN; b SELECT * FROM t; a COMMIT; b SELECT * FROM t; "
    "b INSERT INTO t VALUES (2); b ROLLBACK; a COMMIT; b SELECT * FROM t",
    "a snapshot that turns writer": "a BEGIN; a INSERT INTO t VALUES (1); b BEGIN; "
    "b SELECT * FROM t; b INSERT INTO t VALUES (2); a ROLLBACK; b INSERT INTO t VALUES (2); "
    "b COMMIT; a SELECT * FROM t",
    "exclusive": "a BEGIN IMMEDIATE; b BEGIN IMMEDIATE; b SELECT * FROM t; a ROLLBACK; "
    "b BEGIN IMMEDIATE; b COMMIT",
    "statements by themselves": "a INSERT INTO t VALUES (1); b INSERT INTO t VALUES (2); "
    "a BEGIN; a SELECT count(*) FROM t; b INSERT INTO t VALUES (3); a COMMIT; "
    "b INSERT INTO t VALUES (3); a SELECT count(*) FROM t",
    "beside a writer by itself": "a BEGIN; a INSERT INTO t VALUES (1); b BEGIN; "
    "b SELECT * FROM t; a ROLLBACK; a INSERT INTO t VALUES (4); b COMMIT; "
    "a INSERT INTO t VALUES (4); b SELECT * FROM t",
}


@pytest.mark.parametrize("scene", SCENES)
def test_locks_are_those_of_sqlite_on_a_disk(scene, tmp_path):
    steps = [tuple(step.strip().split(" ", 1)) for step in SCENES[scene].split(";")]
    assert in_a_run(steps) == on_a_disk(tmp_path / "real.db", steps)


STEPS = [
    "BEGIN",
    "BEGIN IMMEDIATE",
    "INSERT INTO t VALUES (1)",
    "DELETE FROM t",
    "SELECT count(*) FROM t",
    "SAVEPOINT s",
    "RELEASE s",
    "COMMIT",
    "ROLLBACK",
]


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(STEPS)), max_size=14))
def test_any_steps_give_what_they_give_on_a_disk(steps):
    with TemporaryDirectory() as folder:
        assert in_a_run(steps) == on_a_disk(f"{folder}/real.db", steps)
