"""SQL that SQLAlchemy has compiled is kept for the process, where dialects are alike."""

import json

import pytest
from sqlalchemy import JSON, Column, Integer, MetaData, String, Table, create_engine, select
from sqlalchemy.sql.compiler import SQLCompiler

from chaosharness import SQLite, System

ORDERS = Table(
    "orders",
    MetaData(),
    Column("id", String, primary_key=True),
    Column("what", JSON),
    Column("n", Integer),
)


def shop(seen, **options):
    """A service that makes its engine when it starts, by a creator."""
    system = System("shop")
    db = system.add(SQLite("db", "CREATE TABLE orders (id TEXT PRIMARY KEY, what JSON, n INTEGER)"))

    @system.service("till")
    def till(env):
        engine = create_engine("sqlite://", creator=lambda: env.connect(db), **options)

        def on_order(order):
            with engine.begin() as connection:
                connection.execute(ORDERS.insert().values(id=order, what={"a": 1}, n=len(order)))
                for number in (1, 2):
                    asked = select(ORDERS).where(ORDERS.c.n == number)
                    seen.append([tuple(row) for row in connection.execute(asked)])

        env.serve("on_order", on_order)

    @system.entry(examples=["o1"])
    def place(env, order):
        env.call("till", "on_order", order)

    return system


@pytest.fixture
def compiled(monkeypatch):
    """Count what is compiled."""
    made, real = [], SQLCompiler.__init__

    def init(self, dialect, statement, *rest, **options):
        made.append(str(type(statement).__name__))
        real(self, dialect, statement, *rest, **options)

    monkeypatch.setattr(SQLCompiler, "__init__", init)
    return made


def test_a_run_has_what_runs_before_it_have_compiled(compiled):
    seen = []
    system = shop(seen)
    assert system.run().ending.verdict == "quiet"
    compiled.clear()
    assert system.run().ending.verdict == "quiet"
    assert compiled == []
    assert seen == [[], [("o1", {"a": 1}, 2)]] * 2


def test_what_is_logged_is_the_same_in_each_run(caplog):
    with caplog.at_level("INFO", "sqlalchemy.engine"):
        system = shop([])
        told = []
        for _ in range(2):
            caplog.clear()
            system.run()
            told.append([record.getMessage() for record in caplog.records])
    assert told[0] == told[1]
    assert any(line.startswith("[kept]") for line in told[0])


def test_what_the_user_gives_a_dialect_is_its_own():
    """Two serializers: each engine writes by its own, run after run."""
    for mark in ("one", "two", "one"):
        seen = []
        system = shop(
            seen, json_serializer=lambda value, mark=mark: json.dumps({**value, "by": mark})
        )
        for _ in range(2):
            assert system.run().ending.verdict == "quiet"
        assert seen[1::2] == [[("o1", {"a": 1, "by": mark}, 2)]] * 2


def test_engines_that_differ_share_nothing(compiled):
    for label_length in (11, 12):
        system = shop([], label_length=label_length)
        compiled.clear()
        system.run()
        assert len(compiled) == 2, label_length
        system.run()
        assert len(compiled) == 2, label_length


def test_outside_of_runs_each_engine_has_its_own(compiled):
    shop([]).run()
    for _ in range(2):
        engine = create_engine("sqlite://")
        compiled.clear()
        with engine.begin() as connection:
            ORDERS.metadata.create_all(connection)
            connection.execute(select(ORDERS))
        assert "Select" in compiled
