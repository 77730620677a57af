"""The schema of a store, given as SQLAlchemy's tables."""

import enum
import os
import subprocess
import sys

import pytest
from sqlalchemy import (
    JSON,
    Enum,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    UniqueConstraint,
    create_engine,
    func,
)
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from chaosharness import Kafka, SQLite, System, check, idempotent, smallest
from chaosharness.errors import InvalidDefinition
from chaosharness.stores.tables import sql_of


class Base(DeclarativeBase): ...


class State(enum.Enum):
    OPEN = "open"
    PAID = "paid"


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[str] = mapped_column(primary_key=True)
    cents: Mapped[int] = mapped_column(server_default="0", index=True)
    state: Mapped[State] = mapped_column(Enum(State), default=State.OPEN)
    placed: Mapped[str] = mapped_column(server_default=func.now(), index=True)
    more: Mapped[dict] = mapped_column(JSON, default=dict)


class Line(Base):
    __tablename__ = "lines"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[str] = mapped_column(ForeignKey("orders.id"))
    sku: Mapped[str]
    __table_args__ = (UniqueConstraint("order_id", "sku"), Index("by_sku", "sku", unique=True))


engine = create_engine("sqlite:////var/lib/shop/shop.db")


def shop(schema, *, merges):
    def on_order(order: dict):
        with Session(engine) as session, session.begin():
            if merges:
                session.merge(Order(**order))
            else:
                row = session.get(Order, order["id"]) or Order(id=order["id"], cents=0)
                row.cents += order["cents"]
                session.add(row)

    system = System("shop")
    bus = system.add(Kafka("bus", topics={"orders": 1}))
    system.add(SQLite("db", schema, url="sqlite:///shop.db"))

    @system.service("orders")
    def orders(env):
        env.consume(bus, "orders", on_order)

    @system.entry(examples=[{"id": "o1", "cents": 500}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


@pytest.mark.parametrize("schema", [Base, Base.metadata], ids=["the class", "its metadata"])
def test_the_tables_of_the_code_are_those_of_the_store(schema):
    check(shop(schema, merges=True), properties=[idempotent()], faults_max=1)
    found = smallest(shop(schema, merges=False), idempotent(), faults_max=1)
    assert "cents=1000" in found.findings[0].summary


def test_what_it_says_is_what_create_all_says_on_each_product():
    sqlite, postgresql = (sql_of(Base, one, "a") for one in ("sqlite", "postgresql"))
    for said in (sqlite, postgresql):
        assert said.index("CREATE TABLE orders") < said.index("CREATE TABLE lines")
        assert said.index("CREATE TABLE lines") < said.index("CREATE UNIQUE INDEX by_sku")
        assert "UNIQUE (order_id, sku)" in said
    assert "CREATE TYPE state AS ENUM ('OPEN', 'PAID')" in postgresql
    assert "CREATE TYPE" not in sqlite
    assert "SERIAL" in postgresql


def test_it_is_said_in_one_order_under_every_hash_seed():
    words = "from tests.stores.test_tables import Base, sql_of; print(sql_of(Base, 'sqlite', 'a'))"
    said = {
        subprocess.run(
            [sys.executable, "-c", words],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert said == {sql_of(Base, "sqlite", "a") + "\n"}


@pytest.mark.parametrize("schema", [None, 7, ["CREATE TABLE a (b)"], Order.__mapper__])
def test_what_is_no_schema_is_refused(schema):
    with pytest.raises(InvalidDefinition, match=r"is SQL text, or SQLAlchemy's tables \(`Base"):
        SQLite("db", schema)


def test_tables_that_nobody_has_imported_are_missed():
    with pytest.raises(InvalidDefinition, match=r"has no table \(at .*\): import the modules"):
        SQLite("db", MetaData())


def test_a_type_that_a_product_has_not_is_named():
    class Other(DeclarativeBase): ...

    class Parcel(Other):
        __tablename__ = "parcels"
        id: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
        more: Mapped[str] = mapped_column(INET)

    with pytest.raises(InvalidDefinition, match=r"cannot be made in a SQLite store \(at .*INET"):
        SQLite("db", Other)
    assert "INET" in sql_of(Other, "postgresql", "a")
