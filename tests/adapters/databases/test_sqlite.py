"""Engines and connections that modules make themselves, on the harness's SQLite."""

import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("aiosqlite")

from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from chaosharness import (
    Crash,
    FailedCommit,
    Pause,
    Schedule,
    Site,
    SQLite,
    System,
    check,
    idempotent,
)
from chaosharness.errors import InvalidDefinition
from tests.adapters.databases import shops
from tests.adapters.databases.shops import SCHEMA, rows, shop
from tests.adapters.digests import printed_everywhere

FILE = f"sqlite:///{shops.FILE}"
SERVER = "postgresql://db.shop.example/orders"
HANDLERS = {
    "SQLAlchemy": (shops.merge(shops.file_engine), FILE, "sqlalchemy"),
    "SQLAlchemy, asyncio": (shops.merge_async(shops.file_engine_async), FILE, "sqlalchemy"),
    "for PostgreSQL": (shops.merge(shops.server_engine), SERVER, "sqlalchemy"),
    "for PostgreSQL, asyncio": (shops.merge_async(shops.asyncpg_engine), SERVER, "sqlalchemy"),
    "sqlite3": (shops.on_order_raw, FILE, "sqlite3"),
    "aiosqlite": (shops.on_order_aiosqlite, "orders.db", "aiosqlite"),
}


@pytest.mark.parametrize("name", HANDLERS)
def test_code_runs_as_it_is(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    handler, url, speaker = HANDLERS[name]
    system = shop(handler, SQLite("db", SCHEMA, url=url))
    run = system.run()
    assert run.ending.verdict == "quiet"
    assert [one["id"] for one in rows(run)] == ["o1", "o2"]
    assert {"orders.on_order/db.insert orders", "orders.on_order/db.commit"} <= {
        one.operation for one in run.history
    }
    assert speaker in run.spoken
    assert run.digest() == system.run().digest() == system.run().digest()
    insert = Site("orders.on_order/db.commit", "after")
    crashed = system.run(None, Schedule([Crash(insert)]))
    assert rows(crashed) == rows(run)
    assert system.run(None, Schedule([Crash(insert)])).digest() == crashed.digest()
    lost = Schedule([FailedCommit(Site("orders.on_order/db.commit"), outcome="rolled-back")])
    assert rows(system.run(None, lost)) == rows(run)  # delivered again
    assert not list(tmp_path.iterdir())  # no file of that name was made


def on_port(db):
    """Return the raw handler's twin, whose service is given its connection."""

    def bound(env):
        connection = env.connect(db)

        def on_order(order: dict):
            with connection:
                connection.execute("INSERT OR IGNORE INTO orders VALUES (?, ?)", (order["id"], 5))

        return on_order

    return bound


def merging_on_port(db):
    """Return SQLAlchemy's twin: an engine whose connections are those of the service."""
    return lambda env: shops.merge(create_engine("sqlite://", creator=lambda: env.connect(db)))


def ported(made):
    """The same shop, whose service is given its connection."""
    db = SQLite("db", SCHEMA)
    system = shop(lambda order: None, db)
    bus = system.resources["bus"]
    system.services["orders"].factory = lambda env: env.consume(bus, "placed", made(db)(env))
    return system


@pytest.mark.parametrize("faults", [[], [Crash(Site("orders.on_order/db.commit", "after"))]])
def test_it_does_what_its_ported_twin_does(faults):
    as_it_is = shop(shops.merge(shops.file_engine), SQLite("db", SCHEMA, url=FILE))
    runs = [one.run(None, Schedule(faults)) for one in (as_it_is, ported(merging_on_port))]
    assert runs[0].digest() == runs[1].digest()


def happened(run):
    """Return what was written and handled, by item; code on asyncio has other pauses between."""
    kinds = ("deliver", "ack", "nack", "write", "commit", "rollback", "fault", "crash")
    kept = [one for one in run.history if one.kind in kinds]
    return sorted((one.entity, one.kind, one.operation, one.attempt) for one in kept)


TWINS = {
    "SQLAlchemy, asyncio": merging_on_port,
    "for PostgreSQL": merging_on_port,
    "for PostgreSQL, asyncio": merging_on_port,
    "sqlite3": on_port,
    "aiosqlite": on_port,
}
STRUCK = {
    "nothing": [],
    "crash": [Crash(Site("orders.on_order/db.commit", "after"))],
    "undone": [FailedCommit(Site("orders.on_order/db.commit"), outcome="rolled-back")],
    "paused": [Pause(Site("orders.on_order/db.insert orders", "after"), lasting=3)],
}


@pytest.mark.parametrize("struck", STRUCK)
@pytest.mark.parametrize("name", TWINS)
def test_so_does_each_of_the_others(name, struck):
    handler, url, _ = HANDLERS[name]
    as_it_is = shop(handler, SQLite("db", SCHEMA, url=url))
    schedule = Schedule(STRUCK[struck])
    runs = [one.run(None, schedule) for one in (as_it_is, ported(TWINS[name]))]
    assert not any(run.unused for run in runs)
    assert rows(runs[0]) == rows(runs[1])
    mine, theirs = map(happened, runs)
    assert mine == theirs


@pytest.mark.slow
@pytest.mark.parametrize("name", HANDLERS)
def test_right_code_is_silent_over_all_single_faults(name):
    handler, url, _ = HANDLERS[name]
    check(shop(handler, SQLite("db", SCHEMA, url=url)), properties=[idempotent()], faults_max=1)


def test_a_pool_belongs_to_an_incarnation():
    """A stalled replica holds its own connection only, and a lost update is seen."""
    system = shop(shops.count_up(shops.file_engine), SQLite("db", SCHEMA, url=FILE))
    assert rows(system.run())[-1]["cents"] == 1200
    stall = Pause(Site("orders.on_order/db.select orders", "after"), lasting=50)
    run = system.run(None, Schedule([stall]))
    assert rows(run)[-1]["cents"] == 500


def test_outside_of_a_run_everything_is_real(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/orders.db")
    system = shop(shops.merge(engine), SQLite("db", SCHEMA, url="orders.db"))
    system.run()
    shops.Base.metadata.create_all(engine)
    shops.merge(engine)({"id": "real", "cents": 1})
    assert (tmp_path / "orders.db").stat().st_size
    engine.dispose()
    assert len(rows(system.run())) == 2


def test_two_stores_for_one_file_are_told_apart_or_refused():
    handler = shops.merge(shops.file_engine)
    system = shop(handler, SQLite("db", SCHEMA, url=FILE))
    system.add(SQLite("other", SCHEMA, url="orders.db"))
    with pytest.raises(InvalidDefinition, match=r"may mean 'db' and 'other'.*: say with url="):
        system.run()
    with pytest.raises(InvalidDefinition, match=r"url must be what the code under test connects"):
        SQLite("db", SCHEMA, url="")


DJANGO = """
import django
from django.conf import settings
settings.configure(
    USE_TZ=True,
    INSTALLED_APPS=[],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "/srv/db.sqlite3"}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
)
django.setup()
from django.db import IntegrityError, connection, models, transaction
from chaosharness import *
from chaosharness.errors import PropertyViolated

class Order(models.Model):
    id = models.CharField(primary_key=True, max_length=20)
    cents = models.IntegerField()
    class Meta:
        app_label = "shop"
        db_table = "orders"

def on_order(order: dict):
    with transaction.atomic():
        made, created = Order.objects.get_or_create(
            id=order["id"], defaults={"cents": order["cents"]}
        )
        transaction.on_commit(lambda: None)

def careless(order: dict):
    made, _ = Order.objects.get_or_create(id="sum", defaults={"cents": 0})
    made.cents += order["cents"]
    made.save()

def shop(handler):
    system = System("shop")
    bus = system.add(Kafka("bus", topics={"orders": 2}))
    schema = "CREATE TABLE orders (id TEXT PRIMARY KEY, cents INTEGER NOT NULL)"
    system.add(SQLite("db", schema, url="sqlite:///db.sqlite3"))
    @system.service("orders", replicas=2)
    def orders(env): env.consume(bus, "orders", handler)
    @system.entry(examples=[{"id": "o1", "cents": 5}, {"id": "o2", "cents": 7}])
    def place(env, order): env.publisher(bus)("orders", order, key=order["id"])
    system.claim(idempotent())
    return system

system = shop(on_order)
for _ in range(2):
    run = system.run()
    print(run.digest(), run.ending.verdict, sorted(run.spoken))
crash = Schedule([Crash(Site("orders.on_order/db.insert orders", "after"))])
run = system.run(None, crash)
[state] = [one.data["tables"]["orders"] for one in run.history if one.kind == "state"]
print([row["id"] for row in state], run.ending.verdict)
found = smallest(shop(careless), faults_max=1)
print(found.findings[0].summary[:60])
"""


def test_djangos_orm_with_its_settings_untouched():
    lines = printed_everywhere(DJANGO)
    first, second, crashed, found = lines
    assert first == second
    assert first.endswith("quiet ['django']")
    assert crashed == "['o1', 'o2'] quiet"
    assert "orders" in found


def test_who_connects_first_in_a_process_comes_no_later_than_in_other_runs():
    engine = create_async_engine("sqlite+aiosqlite:///first.db")
    system = System("firsts")
    system.add(SQLite("db", "CREATE TABLE seen (who TEXT)", url="sqlite:///first.db"))

    @system.service("reader", replicas=2)
    def reader(env):
        async def main():
            async with engine.connect() as connection:
                await connection.execute(text("SELECT who FROM seen"))

        env.main(main)

    system.entry(examples=[{"id": "o1"}])(lambda env, order: None)
    first, second = system.run(), system.run()
    assert [one.actor for one in first.history.of("read")] == ["reader#1", "reader#2"]
    assert first.digest() == second.digest()
