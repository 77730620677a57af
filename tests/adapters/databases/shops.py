"""Code as teams write it: engines and addresses at module level, nothing of chaosharness."""

import sqlite3

import aiosqlite
from sqlalchemy import create_engine, func, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from chaosharness import Kafka, System

SCHEMA = "CREATE TABLE orders (id TEXT PRIMARY KEY, cents INTEGER NOT NULL)"
PLACED = [{"id": "o1", "cents": 500}, {"id": "o2", "cents": 700}]


class Base(DeclarativeBase): ...


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[str] = mapped_column(primary_key=True)
    cents: Mapped[int]


FILE = "shop/orders.db"
file_engine = create_engine(f"sqlite:///{FILE}")
file_engine_async = create_async_engine(f"sqlite+aiosqlite:///{FILE}")
SERVER = "postgresql+psycopg://app:secret@db.shop.example:5432/orders"
server_engine = create_engine(SERVER, pool_size=2)
server_engine_async = create_async_engine(SERVER)
asyncpg_engine = create_async_engine("postgresql+asyncpg://app@db.shop.example/orders")


def merge(engine):
    def on_order(order: dict):
        with Session(engine) as session, session.begin():
            session.merge(Order(**order))

    return on_order


def merge_async(engine):
    async def on_order(order: dict):
        async with AsyncSession(engine) as session, session.begin():
            await session.merge(Order(**order))

    return on_order


def count_up(engine):
    """A read and a write in two transactions: two replicas lose an update."""

    def on_order(order: dict):
        with Session(engine) as session:
            cents = session.scalar(select(func.sum(Order.cents))) or 0
            session.commit()
            session.merge(Order(id="sum", cents=cents + order["cents"]))
            session.commit()

    return on_order


def on_order_raw(order: dict):
    connection = sqlite3.connect(FILE, timeout=2)
    with connection:
        connection.execute("INSERT OR IGNORE INTO orders VALUES (?, ?)", (order["id"], 5))
    connection.close()


async def on_order_aiosqlite(order: dict):
    async with aiosqlite.connect(FILE) as connection:
        await connection.execute("INSERT OR IGNORE INTO orders VALUES (?, ?)", (order["id"], 5))
        await connection.commit()


def shop(handler, store, *, replicas=2, examples=PLACED):
    system = System("shop")
    bus = system.add(Kafka("bus", {"placed": 2}))
    system.add(store)
    handler.__name__ = "on_order"

    @system.service("orders", replicas=replicas)
    def orders(env):
        env.consume(bus, "placed", handler)

    @system.entry(examples=examples)
    def place(env, order):
        env.publisher(bus)("placed", order, key=order["id"])

    return system


def rows(run, table="orders"):
    [state] = [one.data for one in run.history if one.kind == "state"]
    return state["tables"][table]
