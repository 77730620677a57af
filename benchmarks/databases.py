"""What a run costs through each database library, and the same run through ports.

python -m benchmarks databases

One handler merges each of two orders: a read, a write and a commit. PostgreSQL needs a server:
where there is none, its rows say so. It works in processes of its own, so both are shown: processor
time of this process, and real time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import aiosqlite
import asyncpg
import psycopg
import redis
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from chaosharness import (
    Env,
    Kafka,
    KeyValue,
    PostgreSQL,
    RedisStore,
    Schedule,
    SQLite,
    System,
    idempotent,
    smallest,
)
from chaosharness.errors import InvalidDefinition

ORDERS = [{"id": "o1", "cents": 500}, {"id": "o2", "cents": 900}]
SCHEMA = "CREATE TABLE orders (id VARCHAR PRIMARY KEY, cents INTEGER NOT NULL)"
SERVER = os.environ.get("CHAOSHARNESS_POSTGRESQL", "host=127.0.0.1 connect_timeout=2")
FILE = "/var/lib/shop/orders.db"
DSN = "postgresql://app@db.internal/orders"
RUNS = 30

Handler = Callable[[dict[str, Any]], Any]


class Base(DeclarativeBase):
    """Tables."""


class Order(Base):
    """An order."""

    __tablename__ = "orders"
    id: Mapped[str] = mapped_column(primary_key=True)
    cents: Mapped[int]


on_file = create_engine(f"sqlite:///{FILE}")
on_file_async = create_async_engine(f"sqlite+aiosqlite:///{FILE}")
on_psycopg = create_engine("postgresql+psycopg://app@db.internal/orders")
on_asyncpg = create_async_engine("postgresql+asyncpg://app@db.internal/orders")
cache = redis.Redis("cache.internal", socket_timeout=5)


def merge(engine: Any) -> Handler:
    def handle(order: dict[str, Any]) -> None:
        with Session(engine) as session, session.begin():
            session.merge(Order(**order))

    return handle


def merge_async(engine: Any) -> Handler:
    async def handle(order: dict[str, Any]) -> None:
        async with AsyncSession(engine) as session, session.begin():
            await session.merge(Order(**order))

    return handle


async def with_aiosqlite(order: dict[str, Any]) -> None:
    async with aiosqlite.connect(FILE) as db:
        await db.execute("SELECT * FROM orders WHERE id = ?", (order["id"],))
        await db.execute("INSERT OR REPLACE INTO orders VALUES (:id, :cents)", order)
        await db.commit()


def with_psycopg(order: dict[str, Any]) -> None:
    with psycopg.connect(DSN) as db:
        db.execute("SELECT * FROM orders WHERE id = %(id)s", order)
        db.execute("INSERT INTO orders VALUES (%(id)s, %(cents)s) ON CONFLICT DO NOTHING", order)


async def with_asyncpg(order: dict[str, Any]) -> None:
    db = await asyncpg.connect(DSN)
    async with db.transaction():
        await db.fetch("SELECT * FROM orders WHERE id = $1", order["id"])
        query = "INSERT INTO orders VALUES ($1, $2) ON CONFLICT DO NOTHING"
        await db.execute(query, order["id"], order["cents"])
    await db.close()


def with_redis(order: dict[str, Any]) -> None:
    cache.get(order["id"])
    cache.set(order["id"], order["cents"])


def careless(order: dict[str, Any]) -> None:
    with psycopg.connect(DSN) as db:
        row = db.execute("SELECT cents FROM orders WHERE id = 'sum'").fetchone()
        query = "INSERT INTO orders VALUES ('sum', %s) ON CONFLICT (id) DO UPDATE SET cents = %s"
        cents = (row[0] if row else 0) + order["cents"]
        db.execute(query, (cents, cents))


def system(handler: Handler | None, store: Any) -> System:
    """Return a system whose handler takes orders; without one it goes through ports."""
    made = System("bench")
    bus = made.add(Kafka("bus", topics={"orders": 1}))
    db = made.add(store)

    @made.service("orders", replicas=2)
    def orders(env: Env) -> None:
        if handler is not None:
            env.consume(bus, "orders", handler)
            return
        values = env.connect(db)

        def put(order: dict[str, Any]) -> None:
            values.get(order["id"])
            values.put(order["id"], order["cents"])

        env.consume(bus, "orders", put)

    @made.entry(examples=ORDERS)
    def place(env: Env, order: dict[str, Any]) -> None:
        env.publisher(bus)("orders", order, key=order["id"])

    made.claim(idempotent())
    return made


def cost_ms(made: System) -> tuple[float, float]:
    """Return what one run takes of this process, and in real time, in ms: the least of three."""
    for _ in range(8):
        made.run()
    spent, passed = [], []
    for _ in range(3):
        began, began_real = time.process_time(), time.perf_counter()
        for _ in range(RUNS // 3):
            made.run(None, Schedule())
        spent.append((time.process_time() - began) / (RUNS // 3) * 1000)
        passed.append((time.perf_counter() - began_real) / (RUNS // 3) * 1000)
    return min(spent), min(passed)


def reset_ms(store: PostgreSQL) -> tuple[float, float]:
    """Return how long a database takes to be put back after a run has written to it, in real time:
    at least, and in the median."""
    database: Any = store._shelf[0]
    found = []
    for number in range(RUNS):
        database.monitor.ask(f"INSERT INTO orders VALUES ('o{number}', 1), ('p{number}', 2)")
        began = time.perf_counter()
        database.reset(anew=False)
        found.append((time.perf_counter() - began) * 1000)
    return min(found), sorted(found)[len(found) // 2]


def main() -> None:
    """Print what a run costs, and how many times that of ports."""
    ports, real = cost_ms(system(None, KeyValue("db")))
    print(f"{'ports, key-value store':36}{ports:8.2f} ms a run, {real:.2f} real")
    file = SQLite("db", SCHEMA, url=f"sqlite:///{FILE}")
    server = PostgreSQL("db", SCHEMA, server=SERVER)
    rows: list[tuple[str, Handler, Any]] = [
        ("SQLAlchemy, SQLite", merge(on_file), file),
        ("SQLAlchemy, asyncio, aiosqlite", merge_async(on_file_async), file),
        ("aiosqlite", with_aiosqlite, file),
        ("SQLAlchemy for PostgreSQL, on SQLite", merge(on_psycopg), SQLite("db", SCHEMA, url=DSN)),
        ("redis-py", with_redis, RedisStore("db")),
        ("psycopg, PostgreSQL", with_psycopg, server),
        ("asyncpg, PostgreSQL", with_asyncpg, server),
        ("SQLAlchemy, psycopg, PostgreSQL", merge(on_psycopg), server),
        ("SQLAlchemy, asyncpg, PostgreSQL", merge_async(on_asyncpg), server),
    ]
    for name, handler, store in rows:
        try:
            cost, real = cost_ms(system(handler, store))
        except InvalidDefinition as error:
            print(f"{name:36}  {str(error)[:60]}")
            continue
        print(f"{name:36}{cost:8.2f} ms a run, {real:.2f} real, {cost / ports:.0f} times ports")
    if server._shelf:
        least, median = reset_ms(server)
        print(f"a PostgreSQL database is put back in {least:.2f} ms, {median:.2f} in the median")
        began = time.perf_counter()
        found = smallest(system(careless, server), faults_max=1)
        took_s = time.perf_counter() - began
        print(f"first finding in careless code on psycopg: {took_s:.1f} s: {found is not None}")
