"""psycopg2: engines of SQLAlchemy on it run on a `PostgreSQL` store."""

import pytest

pytest.importorskip("psycopg2")
pytest.importorskip("psycopg")
pytest.importorskip("sqlalchemy")

import psycopg2
from psycopg2 import errors
from sqlalchemy import create_engine, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.orm import Session

from chaosharness import (
    Crash,
    FailedCommit,
    PostgreSQL,
    Schedule,
    Site,
    SQLite,
    StoreOutage,
    explore,
    idempotent,
    smallest,
)
from chaosharness.errors import InvalidDefinition
from tests.adapters.databases.servers import SERVER, needs_postgresql
from tests.adapters.databases.shops import PLACED, Order, count_up, merge, rows, shop
from tests.adapters.digests import printed_everywhere

DSN = "postgresql+psycopg2://app:secret@db.shop.example/orders"
SCHEMA = "CREATE TABLE orders (id text PRIMARY KEY, cents int NOT NULL)"
COMMIT = Site("orders.on_order/db.commit")
engine = create_engine(DSN, pool_size=3, connect_args={"options": "-c lock_timeout=3000"})
strict = create_engine(DSN, isolation_level="SERIALIZABLE")


@pytest.fixture(scope="module")
def db():
    needs_postgresql()
    return PostgreSQL("db", SCHEMA, server=SERVER)


@pytest.mark.real_broker
def test_an_engine_runs_as_it_is_and_faults_strike(db):
    system = shop(merge(engine), db)
    assert [row["id"] for row in rows(system.run())] == ["o1", "o2"]
    kinds = [FailedCommit, Crash]
    found = explore(system, properties=[idempotent()], kinds=kinds, faults_max=1)
    assert found.result == "holds"
    assert found.runs > 10


@pytest.mark.real_broker
def test_its_slips_are_found(db):
    found = smallest(shop(count_up(engine), db), faults_max=1)
    assert "orders" in found.findings[0].summary


@pytest.mark.real_broker
def test_its_options_and_its_parameters_are_its_own(db):
    found = []
    asks = "SELECT :nothing, interval :long, current_setting(:name), current_setting(:other)"
    names = {"name": "transaction_isolation", "other": "lock_timeout"}

    def on_order(order: dict):
        for one in (engine, strict):
            with one.begin() as connection:
                row = connection.execute(text(asks), {"nothing": None, "long": "1 h", **names})
                found.append(tuple(map(str, row.one())))

    shop(on_order, db).run(PLACED[:1])
    assert found == [
        ("None", "1:00:00", "read committed", "3s"),
        ("None", "1:00:00", "serializable", "0"),
    ]


@pytest.mark.real_broker
def test_its_errors_are_those_of_psycopg2(db):
    caught = []

    def on_order(order: dict):
        try:
            with Session(engine) as session, session.begin():
                session.add(Order(**order))
        except DBAPIError as error:
            caught.append(error)
            if isinstance(error, OperationalError):
                raise

    shop(on_order, db).run([PLACED[0], PLACED[0]])
    [error] = caught
    assert isinstance(error, IntegrityError)
    assert type(error.orig) is errors.UniqueViolation
    assert error.orig.pgcode == "23505"
    assert "duplicate key value" in error.orig.pgerror
    assert str(error).startswith("(psycopg2.errors.UniqueViolation) duplicate key")

    caught.clear()
    outage = StoreOutage(Site("orders.on_order/db.insert orders"), lasting=5_000)
    shop(on_order, db).run(PLACED[:1], Schedule([outage]))
    assert {type(one.orig) for one in caught} == {psycopg2.OperationalError}


def test_outside_of_a_run_it_is_the_real_one():
    with pytest.raises(OperationalError) as error, engine.connect():
        pass
    assert isinstance(error.value.orig, psycopg2.OperationalError)


@pytest.mark.parametrize("by_itself", [True, False])
def test_what_no_store_stands_for_is_refused_with_its_line(by_itself):
    def on_order(order: dict):
        if by_itself:
            psycopg2.connect("host=db.shop.example dbname=orders")
        with engine.connect() as connection:
            connection.scalar(select(1))

    with pytest.raises(InvalidDefinition) as refused:
        shop(on_order, SQLite("db", SCHEMA)).run()
    words = str(refused.value)
    assert "connects to db.shop.example/orders by psycopg2 (at tests/adapters/databases/" in words
    assert 'add PostgreSQL("db", schema, url="postgresql://db.shop.example/orders")' in words


def test_in_the_place_of_a_server_sqlite_stands_as_for_any_driver():
    store = SQLite("db", SCHEMA, url="postgresql://db.shop.example/orders")
    assert len(rows(shop(merge(engine), store).run())) == 2


SAME = """
from tests.adapters.databases.test_psycopg2 import *
db = PostgreSQL("db", SCHEMA, server=SERVER)
for handler in (merge(engine), count_up(strict)):
    for faults in ([], [FailedCommit(COMMIT)], [Crash(COMMIT)]):
        print(shop(handler, db).run(None, Schedule(faults)).digest())
"""


@pytest.mark.slow
@pytest.mark.real_broker
def test_a_history_is_the_same_in_every_process(db):
    assert len(set(printed_everywhere(SAME))) == 6
