"""SQLAlchemy's ORM, unmodified, on a store: sessions in an ordinary handler."""

import pytest

pytest.importorskip("sqlalchemy")

from sqlalchemy import ForeignKey, create_engine, func, select
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship
from sqlalchemy.pool import StaticPool

from chaosharness import Crash, FailedCommit, Kafka, Pause, SQLite, System
from tests.stores.shops import final, only, told

SCHEMA = """
CREATE TABLE orders (id TEXT PRIMARY KEY, cents INTEGER NOT NULL);
CREATE TABLE lines (
    id INTEGER PRIMARY KEY, order_id TEXT NOT NULL REFERENCES orders (id), item TEXT NOT NULL
);
"""
COMMIT = "orders.on_placed/db.commit"
FLUSHED = "orders.on_placed/db.insert lines"
PLACED = [{"id": "o1", "cents": 500}, {"id": "o2", "cents": 700}]


class Base(DeclarativeBase): ...


class Line(Base):
    __tablename__ = "lines"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[str] = mapped_column(ForeignKey("orders.id"))
    item: Mapped[str]


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[str] = mapped_column(primary_key=True)
    cents: Mapped[int]
    lines: Mapped[list[Line]] = relationship()


def shop(on_placed, *, replicas=1):
    system = System("shop")
    bus = system.add(Kafka("bus", {"placed": 2}))
    db = system.add(SQLite("db", SCHEMA))

    @system.service("orders", replicas=replicas)
    def orders(env):
        engine = create_engine("sqlite://", creator=lambda: env.connect(db), poolclass=StaticPool)

        def handle(order):
            with Session(engine) as session:
                on_placed(session, order)

        handle.__name__ = "on_placed"
        env.consume(bus, "placed", handle)

    @system.entry(examples=PLACED)
    def place(env, order):
        env.publisher(bus)("placed", order, key=order["id"])

    return system


def save(session, order):
    if session.get(Order, order["id"]) is None:
        lines = [Line(item="tea"), Line(item="cup")]
        session.add(Order(id=order["id"], cents=order["cents"], lines=lines))
        session.commit()


def rows(run, table):
    return [tuple(row.values()) for row in final(run)["tables"][table]]


def both(run):
    return rows(run, "orders") == [("o1", 500), ("o2", 700)] and sorted(
        (order, item) for _, order, item in rows(run, "lines")
    ) == [("o1", "cup"), ("o1", "tea"), ("o2", "cup"), ("o2", "tea")]


def test_a_session_passes_the_ports_of_its_statements():
    run = shop(save).run()
    assert both(run)
    assert list(dict.fromkeys(told(run, "read", "write", "commit"))) == [
        "read db.select orders",
        "write db.insert orders rows=1",
        "write db.insert lines",
        "commit db.commit rows=3",
    ]
    sites = {operation for operation in run.surfaces if "/db." in operation}
    assert sites == {
        "orders.on_placed/db.select orders",
        "orders.on_placed/db.insert orders",
        FLUSHED,
        COMMIT,
    }


def test_it_reads_what_it_wrote():
    seen = []

    def look(session, order):
        save(session, order)
        newest = session.scalars(select(Order).order_by(Order.id.desc())).first()
        seen.append((newest.id, [line.item for line in newest.lines]))
        seen.append(session.scalar(select(func.sum(Order.cents))))

    shop(look).run()
    assert seen == [("o1", ["tea", "cup"]), 500, ("o2", ["tea", "cup"]), 1200]


def test_a_crash_between_flush_and_commit_leaves_nothing_and_the_redelivery_repairs_it():
    run = shop(save).run(schedule=only(Crash, FLUSHED, "after"))
    assert "rollback why=crash" in told(run, "rollback")
    assert [event.actor for event in run.history.of("crash")] == ["orders#1"]
    assert both(run)
    *_, repaired = run.history.of("commit")
    assert repaired.at_ms > 10


@pytest.mark.parametrize("outcome", ["rolled-back", "committed"])
def test_a_commit_that_fails_is_sqlalchemys_operational_error(outcome):
    caught = []

    def careful(session, order):
        try:
            save(session, order)
        except OperationalError as error:
            session.rollback()
            caught.append(error.orig.sqlite_errorname)
            save(session, order)

    run = shop(careful).run(schedule=only(FailedCommit, COMMIT, outcome=outcome))
    assert caught == ["SQLITE_FULL" if outcome == "rolled-back" else "SQLITE_IOERR"]
    assert both(run)


def test_a_handler_that_lets_it_fall_gets_the_message_again():
    run = shop(save).run(schedule=only(FailedCommit, COMMIT))
    (raised,) = run.history.of("raised")
    words = "OperationalError: (sqlite3.OperationalError) database or disk is full"
    assert raised.data["error"].splitlines()[0] == words
    assert both(run)


def test_two_replicas_take_turns_at_the_database():
    run = shop(save, replicas=2).run(schedule=only(Pause, FLUSHED, "after", lasting=2_000))
    commits = [(event.actor, event.at_ms) for event in run.history.of("commit")]
    assert sorted(actor for actor, _ in commits) == ["orders#1", "orders#2"]
    assert commits[1][1] >= 2_000, "the second waited for the first"
    assert both(run)


def test_who_waits_too_long_is_told_by_sqlalchemy():
    run = shop(save, replicas=2).run(schedule=only(Pause, FLUSHED, "after", lasting=8_000))
    raised = [event.data["error"] for event in run.history.of("raised")]
    assert len(raised) == 1
    assert "database is locked" in raised[0]
    assert both(run), "and the broker brings the message again"


def test_sessions_nest_with_savepoints():
    def nested(session, order):
        session.add(Order(id=order["id"], cents=order["cents"]))
        session.flush()
        try:
            with session.begin_nested():
                session.add(Order(id=order["id"], cents=0))
                session.flush()
        except IntegrityError:
            session.add(Line(order_id=order["id"], item="once"))
        session.commit()

    run = shop(nested).run()
    assert rows(run, "orders") == [("o1", 500), ("o2", 700)]
    assert [item for _, _, item in rows(run, "lines")] == ["once", "once"]


def test_a_hundred_runs_are_the_same():
    system = shop(save, replicas=2)
    for schedule in (None, only(Crash, FLUSHED, "after")):
        assert len({system.run(schedule=schedule).digest() for _ in range(50)}) == 1
