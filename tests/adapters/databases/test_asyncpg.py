"""asyncpg, and SQLAlchemy on every driver, on a real server, in virtual time."""

import pytest

pytest.importorskip("asyncpg")
pytest.importorskip("psycopg")
pytest.importorskip("sqlalchemy")

import asyncio

import asyncpg
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from chaosharness import (
    Crash,
    FailedCommit,
    Pause,
    PostgreSQL,
    Schedule,
    Site,
    StoreOutage,
    check,
    idempotent,
)
from tests.adapters.databases import shops
from tests.adapters.databases.servers import SERVER, needs_postgresql
from tests.adapters.databases.shops import Order, rows, shop
from tests.adapters.digests import printed_everywhere

pytestmark = pytest.mark.real_broker

SCHEMA = "CREATE TABLE orders (id text PRIMARY KEY, cents int NOT NULL)"
DSN = "postgresql://app:secret@db.shop.example/orders"
INSERT = "INSERT INTO orders VALUES ($1, $2) ON CONFLICT DO NOTHING"
COMMIT = Site("orders.on_order/db.commit")
INSERTED = Site("orders.on_order/db.insert orders", "after")
LOCK = Site("orders.on_order/db.select orders", "after")


@pytest.fixture(scope="module")
def db():
    needs_postgresql()
    return PostgreSQL("db", SCHEMA, server=SERVER)


async def plain(order: dict):
    connection = await asyncpg.connect(DSN)
    try:
        async with connection.transaction():
            await connection.execute(INSERT, order["id"], order["cents"])
            await connection.fetch("SELECT * FROM orders WHERE id = $1 FOR UPDATE", order["id"])
    finally:
        await connection.close()


async def pooled(order: dict):
    pool = await asyncpg.create_pool(DSN, min_size=1, max_size=2)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(INSERT, order["id"], order["cents"])
        await connection.fetch("SELECT * FROM orders FOR UPDATE")
    await pool.close()


def orm(order: dict):
    with Session(shops.server_engine) as session, session.begin():
        session.merge(Order(**order))
        session.flush()
        session.scalars(select(Order).with_for_update()).all()


def orm_async(engine):
    async def on_order(order: dict):
        async with AsyncSession(engine) as session, session.begin():
            await session.merge(Order(**order))
            await session.flush()
            (await session.scalars(select(Order).with_for_update())).all()

    return on_order


HANDLERS = {
    "asyncpg": plain,
    "asyncpg, pool": pooled,
    "SQLAlchemy, psycopg": orm,
    "SQLAlchemy, psycopg, asyncio": orm_async(shops.server_engine_async),
    "SQLAlchemy, asyncpg": orm_async(shops.asyncpg_engine),
}
FAULTS = (
    (),
    (Pause(LOCK, lasting=5_000),),
    (Crash(INSERTED),),
    (FailedCommit(COMMIT, outcome="rolled-back"),),
    (FailedCommit(COMMIT, outcome="committed"),),
    (StoreOutage(COMMIT, lasting=3_000),),
)


@pytest.mark.parametrize("name", HANDLERS)
def test_each_driver_suffers_and_recovers(db, name):
    system = shop(HANDLERS[name], db)
    for faults in FAULTS:
        run = system.run(None, Schedule(faults))
        assert run.ending.verdict == "quiet", (faults, run.ending)
        assert not run.unused
        assert [one["id"] for one in rows(run)] == ["o1", "o2"]
        assert run.digest() == system.run(None, Schedule(faults)).digest()
        raised = [one for one in run.history if one.kind == "raised"]
        assert bool(raised) is (type(faults[0]) in (FailedCommit, StoreOutage) if faults else False)


@pytest.mark.slow
@pytest.mark.parametrize("name", HANDLERS)
def test_right_code_is_silent(db, name):
    check(shop(HANDLERS[name], db), properties=[idempotent()], faults_max=1)


def test_a_lock_is_waited_for_and_only_that_task_waits(db):
    beats = []

    async def locked(order: dict):
        connection = await asyncpg.connect(DSN)
        async with connection.transaction():
            await connection.execute("LOCK TABLE orders")
        await connection.close()

    system = shop(locked, db, replicas=1)

    @system.service("other")
    def other(env):
        async def hold():
            connection = await asyncpg.connect(DSN)
            async with connection.transaction():
                await connection.execute("LOCK TABLE orders")
                for _ in range(3):
                    await env.sleep(1)
                    beats.append(env.now_ms())
            await connection.close()

        env.main(hold)

    run = system.run()
    assert beats == [1_000, 2_000, 3_000]
    taken = [one.at_ms for one in run.history if one.operation == "orders.on_order/db.lock orders"]
    assert taken == [3_000, 3_001]


def test_listeners_hear_in_virtual_time(db):
    heard = []

    async def notify(order: dict):
        connection = await asyncpg.connect(DSN)
        await connection.execute("SELECT pg_notify('orders', $1)", order["id"])
        await connection.close()

    system = shop(notify, db)

    @system.service("listener")
    def listener(env):
        kept = []

        async def listen():
            connection = await asyncpg.connect(DSN)
            kept.append(connection)

            def on_notify(_, pid, channel, payload):
                heard.append((channel, payload, env.now_ms()))

            await connection.add_listener("orders", on_notify)

        env.main(listen)

    assert system.run().ending.verdict == "quiet"
    assert heard == [("orders", "o1", 1), ("orders", "o2", 11)]


TRIGGER = """
CREATE FUNCTION tell() RETURNS trigger AS $$
BEGIN PERFORM pg_notify('orders', NEW.id); RETURN NEW; END;
$$ LANGUAGE plpgsql;
CREATE TRIGGER told AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION tell();
"""


def test_listeners_hear_of_rows_that_a_trigger_tells_of():
    needs_postgresql()
    heard = []

    async def write(order: dict):
        connection = await asyncpg.connect(DSN)
        await connection.execute(INSERT, order["id"], order["cents"])
        await connection.close()

    system = shop(write, PostgreSQL("db", f"{SCHEMA}; {TRIGGER}", server=SERVER))

    @system.service("listener")
    def listener(env):
        async def listen():
            connection = await asyncpg.connect(DSN)
            told = asyncio.Event()
            await connection.add_listener("orders", lambda *_: told.set())
            while True:
                await told.wait()
                told.clear()
                heard.append(env.now_ms())

        env.main(listen)

    assert system.run().ending.verdict == "quiet"
    assert heard == [1, 11]


SAME = """
from tests.adapters.databases.test_asyncpg import *
db = PostgreSQL("db", SCHEMA, server=SERVER)
for name, handler in HANDLERS.items():
    system = shop(handler, db)
    for faults in FAULTS:
        for _ in range(2):
            print(name, system.run(None, Schedule(faults)).digest())
"""


@pytest.mark.slow
def test_a_history_is_the_same_in_every_process(db):
    lines = printed_everywhere(SAME)
    assert len(set(lines)) == len(HANDLERS) * len(FAULTS)
