"""psycopg, sync and asyncio, on a real server, in virtual time."""

import pytest

pytest.importorskip("psycopg")

import psycopg
from psycopg import errors

from chaosharness import (
    Crash,
    FailedCommit,
    Pause,
    PostgreSQL,
    Schedule,
    Site,
    StoreOutage,
    System,
    check,
    idempotent,
    smallest,
)
from chaosharness.errors import IllegalFault, InvalidDefinition
from chaosharness.stores.postgresql import server
from tests.adapters.databases.servers import SERVER, needs_postgresql
from tests.adapters.databases.shops import rows, shop
from tests.adapters.digests import printed_everywhere

pytestmark = pytest.mark.real_broker

SCHEMA = """
CREATE TABLE orders (
    id text PRIMARY KEY, cents int NOT NULL, nr serial, made timestamptz DEFAULT now(),
    token uuid DEFAULT gen_random_uuid()
);
CREATE TABLE total (id int PRIMARY KEY, cents int NOT NULL);
INSERT INTO total VALUES (1, 0);
"""
DSN = "postgresql://app:secret@db.shop.example/orders"
INSERT = "INSERT INTO orders (id, cents) VALUES (%s, %s) ON CONFLICT DO NOTHING"
LOCKED = "SELECT cents FROM total WHERE id = 1 FOR UPDATE"
SET = "UPDATE total SET cents = %s WHERE id = 1"
COMMIT = Site("orders.on_order/db.commit")
LOCK = Site("orders.on_order/db.select total", "after")


@pytest.fixture(scope="module")
def db():
    needs_postgresql()
    return PostgreSQL("db", SCHEMA, server=SERVER)


def right(order: dict):
    with psycopg.connect(DSN) as db:
        if db.execute(INSERT, (order["id"], order["cents"])).rowcount:
            (cents,) = db.execute(LOCKED).fetchone()
            db.execute(SET, (cents + order["cents"],))


async def right_async(order: dict):
    async with await psycopg.AsyncConnection.connect(DSN) as db:
        if (await db.execute(INSERT, (order["id"], order["cents"]))).rowcount:
            (cents,) = await (await db.execute(LOCKED)).fetchone()
            await db.execute(SET, (cents + order["cents"],))


def unlocked(order: dict):
    with psycopg.connect(DSN) as db:
        if db.execute(INSERT, (order["id"], order["cents"])).rowcount:
            (cents,) = db.execute("SELECT cents FROM total WHERE id = 1").fetchone()
            db.execute(SET, (cents + order["cents"],))


def total(run):
    [row] = rows(run, "total")
    return row["cents"]


BOTH = pytest.mark.parametrize("handler", [right, right_async], ids=["sync", "asyncio"])


@BOTH
def test_the_server_itself_runs_with_the_clock_and_chance_of_the_run(db, handler):
    system = shop(handler, db)
    run = system.run()
    assert run.ending.verdict == "quiet" and run.spoken.keys() == {"psycopg"}
    first, second = rows(run)
    assert (first["nr"], second["nr"]) == (1, 2)
    assert first["made"] == "2030-01-01T00:00:00.001+00:00"
    assert first["token"] != second["token"]
    assert total(run) == 1200
    operations = [one.operation for one in run.history if one.kind in ("read", "write", "commit")]
    assert operations[:4] == [
        "orders.on_order/db.insert orders",
        "orders.on_order/db.select total",
        "orders.on_order/db.update total",
        "orders.on_order/db.commit",
    ]
    [insert] = [one.data for one in run.history if one.kind == "write"][:1]
    assert insert["params"] == ("o1", 500)
    assert len({system.run().digest() for _ in range(5)} | {run.digest()}) == 1


@BOTH
def test_a_statement_waits_for_a_lock_in_virtual_time(db, handler):
    run = shop(handler, db).run(None, Schedule([Pause(LOCK, lasting=5_000)]))
    second = [one for one in run.history if one.operation == LOCK.operation and one.entity == 2]
    assert [one.at_ms for one in second] == [5_001]
    assert total(run) == 1200


@BOTH
def test_a_crash_rolls_back_and_hands_locks_on(db, handler):
    crash = Crash(Site("orders.on_order/db.update total", "after"), down=60_000)
    run = shop(handler, db).run(None, Schedule([crash]))
    assert "crash" in [one.data["why"] for one in run.history if one.kind == "rollback"]
    waited = [one.at_ms for one in run.history if one.kind == "commit" and one.entity == 2]
    assert waited == [11]
    assert total(run) == 1200


@BOTH
def test_a_commit_that_fails_breaks_the_connection(db, handler):
    lost = FailedCommit(COMMIT, outcome="rolled-back")
    run = shop(handler, db).run(None, Schedule([lost]))
    [raised] = [one.data["error"] for one in run.history if one.kind == "raised"]
    assert raised.startswith("OperationalError: consuming input failed: server closed")
    assert total(run) == 1200
    untold = FailedCommit(COMMIT, outcome="committed")
    run = shop(handler, db).run(None, Schedule([untold]))
    assert [one.kind for one in run.history].count("raised") == 1
    assert total(run) == 1200  # done once, delivered twice


def test_an_outage_breaks_every_connection_and_refuses_new_ones(db):
    outage = StoreOutage(COMMIT, lasting=20_000)
    run = shop(right, db).run(None, Schedule([outage]))
    raised = {one.data["error"].partition("\n")[0] for one in run.history if one.kind == "raised"}
    assert any("server closed the connection" in one for one in raised)
    assert any("Connection refused" in one for one in raised)
    assert total(run) == 1200


def test_right_code_is_silent_and_a_lost_update_is_found(db):
    check(shop(right, db), properties=[idempotent()], faults_max=1)
    system = shop(unlocked, db)
    system.claim(idempotent())
    found = smallest(system, faults_max=1)
    assert "total" in found.findings[0].summary
    assert [type(one) for one in found.schedule] == [Pause]


def test_a_connection_for_life_stays_broken(db):
    held = {}

    def for_life(order: dict):
        if "db" not in held:
            held["db"] = psycopg.connect(DSN)
        db = held["db"]
        with db.transaction():
            db.execute(INSERT, (order["id"], order["cents"]))

    def system():
        return shop(for_life, db, replicas=1)

    held.clear()
    assert system().run().ending.verdict == "quiet"
    held.clear()
    run = system().run(None, Schedule([FailedCommit(COMMIT, outcome="rolled-back")]))
    raised = [one.data["error"] for one in run.history if one.kind == "raised"]
    assert raised[-1] == "OperationalError: the connection is closed"
    assert run.ending.verdict == "budget"


def test_deadlocks_and_lock_timeouts_end_a_wait_in_virtual_time(db):
    heard = []

    def crossed(order: dict):
        first, second = ("a", "b") if order["id"] == "o1" else ("b", "a")
        with psycopg.connect(DSN) as db:
            try:
                db.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (first,))
                db.execute("SELECT count(*) FROM total")
                db.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (second,))
            except errors.DeadlockDetected as error:
                heard.append((order["id"], error.sqlstate))
                raise

    stall = Pause(Site("orders.on_order/db.select total", "after"), lasting=100)
    run = shop(crossed, db).run(None, Schedule([stall]))
    assert heard == [("o2", "40P01")]
    [at_ms] = [one.at_ms for one in run.history if one.kind == "raised"]
    assert at_ms == 11 + 1_000
    assert run.ending.verdict == "quiet"

    def hurried(order: dict):
        with psycopg.connect(DSN, options="-c lock_timeout=2000") as db:
            db.execute(LOCKED)

    run = shop(hurried, db).run(None, Schedule([Pause(LOCK, lasting=5_000)]))
    [raised] = [one for one in run.history if one.kind == "raised"]
    assert "LockNotAvailable: canceling statement due to lock timeout" in raised.data["error"]
    assert raised.at_ms == 11 + 2_000


def test_serializable_transactions_are_refused_as_they_may_always_be(db):
    def serializable(order: dict):
        with psycopg.connect(DSN) as db:
            db.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
            (cents,) = db.execute("SELECT cents FROM total").fetchone()
            db.execute(SET, (cents + order["cents"],))

    stall = Pause(Site("orders.on_order/db.select total", "after"), lasting=5_000)
    for fault in (stall, FailedCommit(COMMIT, outcome="rolled-back")):
        run = shop(serializable, db).run(None, Schedule([fault]))
        [raised] = [one.data["error"] for one in run.history if one.kind == "raised"]
        assert raised.startswith("SerializationFailure: could not serialize access")
        assert total(run) == 1200


def test_rows_are_skipped_where_locked_and_savepoints_undone(db):
    taken = []

    def worker(order: dict):
        with psycopg.connect(DSN) as db:
            with db.transaction():
                db.execute(INSERT, (order["id"], 1))
            with db.transaction():
                query = "SELECT id FROM orders ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1"
                found = db.execute(query).fetchone()
                taken.append((order["id"], found and found[0]))
                db.execute("SELECT count(*) FROM total")
                try:
                    with db.transaction():
                        db.execute("INSERT INTO total VALUES (1, 1)")
                except errors.UniqueViolation:
                    db.execute("DELETE FROM orders WHERE id = %s", found)

    stall = Pause(Site("orders.on_order/db.select total", "after"), lasting=5_000)
    run = shop(worker, db).run(None, Schedule([stall]))
    assert taken == [("o1", "o1"), ("o2", "o2")]
    assert rows(run) == []


def test_notifications_reach_who_listens(db):
    heard = []

    def notify(order: dict):
        with psycopg.connect(DSN, autocommit=True) as db:
            db.execute("SELECT pg_notify('orders', %s)", (order["id"],))

    system = shop(notify, db)

    @system.service("listener")
    def listener(env):
        def listen():
            with psycopg.connect(DSN, autocommit=True) as db:
                db.execute("LISTEN orders")
                for one in db.notifies():
                    heard.append((one.payload, env.now_ms()))

        env.main(listen)

    run = system.run()
    assert heard == [("o1", 1), ("o2", 11)]
    assert run.ending.verdict == "quiet"


def test_code_may_define_tables_itself(db):
    def define(order: dict):
        with psycopg.connect(DSN) as db:
            db.execute("CREATE TABLE IF NOT EXISTS made (id text, at timestamptz DEFAULT now())")
            db.execute("INSERT INTO made (id) VALUES (%s)", (order["id"],))

    system = shop(define, db)
    runs = [system.run() for _ in range(2)]
    assert runs[0].digest() == runs[1].digest()
    assert [one["at"][-14:] for one in rows(runs[0], "made")] == [
        "00:00.001+00:00"[1:],
        "00:00.011+00:00"[1:],
    ]


def test_what_is_not_modelled_and_what_is_wrong_is_said(db):
    def streams(order: dict):
        with psycopg.connect(DSN) as db:
            list(db.cursor().stream("SELECT 1"))

    def sleeps(order: dict):
        with psycopg.connect(DSN) as db:
            db.execute("SELECT pg_sleep(5)")

    with pytest.raises(InvalidDefinition, match=r"psycopg: Cursor.stream is not modelled .*psyc"):
        shop(streams, db).run()
    with pytest.raises(InvalidDefinition, match=r"orders.on_order runs pg_sleep \(.*not modelled"):
        shop(sleeps, db).run()
    other = PostgreSQL("db", "", server=SERVER, url="postgresql://other.example/stock")
    with pytest.raises(InvalidDefinition, match=r"connects to db.shop.example/orders by psycopg"):
        shop(right, other).run()
    with pytest.raises(InvalidDefinition, match=r"the schema of store 'db' does not run.*relation"):
        shop(right, PostgreSQL("db", "INSERT INTO nothing VALUES (1)", server=SERVER)).run()
    with pytest.raises(InvalidDefinition, match=r"PostgreSQL\('db'\) finds no server: .*docker"):
        shop(right, PostgreSQL("db", "", server="host=127.0.0.1 port=1")).run()
    read = Schedule([FailedCommit(Site(LOCK.operation))])
    with pytest.raises(IllegalFault, match=r"can never happen"):
        shop(right, db).run(None, read)


SAME = """
from tests.adapters.databases.test_psycopg import *
from chaosharness import PostgreSQL
db = PostgreSQL("db", SCHEMA, server=SERVER)
faults = [[], [Pause(LOCK, lasting=5000)],
          [Crash(Site("orders.on_order/db.update total", "after"))],
          [StoreOutage(COMMIT, lasting=2000)], [FailedCommit(COMMIT, outcome="committed")]]
for handler in (right, right_async):
    system = shop(handler, db)
    for one in faults:
        for _ in range(2):
            run = system.run(None, Schedule(one))
            assert run.ending.verdict == "quiet" and not run.unused
            print(run.digest())
"""


def test_a_history_is_the_same_in_every_process(db):
    lines = printed_everywhere(SAME)
    assert len(set(lines)) > 4  # each schedule its own


def test_who_waits_for_notifications_so_long_gets_none(db):
    """Before psycopg 3.3.7 the wait is one of many short ones, up to a deadline."""
    heard = []

    def listen(order: dict, at_ms) -> None:
        with psycopg.connect(DSN, autocommit=True) as db:
            db.execute("LISTEN orders")
            began_ms = at_ms()
            heard.append(([*db.notifies(timeout=30)], round(at_ms() - began_ms, -2)))

    system = System("shop", arrival_ms=0)
    system.add(db)
    system.entry(examples=[{"id": "o1"}])(lambda env, order: listen(order, env.now_ms))
    system.run()
    assert heard == [([], 30_000)]


def leaves_open(order: dict):
    connection = psycopg.connect(DSN)
    connection.execute(INSERT, (order["id"], order["cents"]))
    connection.commit()


async def leaves_open_async(order: dict):
    connection = await psycopg.AsyncConnection.connect(DSN)
    await connection.execute(INSERT, (order["id"], order["cents"]))
    await connection.commit()


MANY = [{"id": f"o{number}", "cents": 1} for number in range(40)]


@pytest.fixture
def full(monkeypatch):
    """A server that has 30 connections, and no more."""
    made = []

    class Few(server.Backend):
        def __init__(self, conninfo):
            made.append(conninfo)
            if len(made) > 30:
                raise server.NoneLeft("sorry, too many clients already")
            super().__init__(conninfo)

    monkeypatch.setattr(server, "Backend", Few)
    return made


@pytest.mark.parametrize("handler", [leaves_open, leaves_open_async], ids=["sync", "asyncio"])
def test_a_connection_that_nobody_holds_any_more_is_closed(db, full, handler):
    run = shop(handler, db).run(MANY)
    assert run.ending.verdict == "quiet"
    assert len(rows(run)) == 40
    assert len(full) < 10


def test_connections_that_are_never_closed_are_named_with_their_place(db, full):
    held = []

    def holds(order):
        held.append(psycopg.connect(DSN))

    words = (
        r"store 'db' says 'sorry, too many clients already' \(at .*test_psycopg.py:\d+\): this run "
        r"has [23]\d connections open, most by orders#\d \(at .*test_psycopg.py:\d+\), and does not"
    )
    with pytest.raises(InvalidDefinition, match=words):
        shop(holds, db).run(MANY)


def test_a_server_that_others_have_to_themselves_is_said_to_be_full(db, full):
    full.extend([""] * 30)
    db_of_its_own = PostgreSQL("db", SCHEMA, server=SERVER)
    with pytest.raises(
        InvalidDefinition, match=r"PostgreSQL\('db'\) finds its server full: sorry, too"
    ):
        shop(right, db_of_its_own).run()
