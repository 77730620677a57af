"""Faults that strike a replica as a whole: its clock, its version; and power failures."""

import time

import pytest

from chaosharness import (
    ClockSkew,
    Crash,
    FailedCommit,
    Kafka,
    LostWrites,
    Redeploy,
    Schedule,
    Site,
    SQLite,
    StoreOutage,
    System,
)
from chaosharness.errors import IllegalFault


def clocks():
    """Return a system whose two replicas note the time of each message."""
    system = System("clocks", arrival_ms=1_000)
    bus = system.add(Kafka("bus", {"orders": 2}))

    @system.service("reader", replicas=2)
    def reader(env):
        def on_order(order):
            env.note("read", ms=round(time.time() * 1000), now_ms=env.now_ms())

        env.consume(bus, "orders", on_order)

    @system.entry(examples=[{"n": 1}, {"n": 2}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    return system


def test_a_skewed_clock_shows_in_its_own_replica_only():
    calm = {note.actor: note.data for note in clocks().run().history.of("note")}
    skew = ClockSkew(Site("reader/start", entity=0, attempt=2), skew_ms=3_600_000)
    run = clocks().run(schedule=Schedule([skew]))
    skewed = {note.actor: note.data for note in run.history.of("note")}
    assert set(calm) == set(skewed) == {"reader#1", "reader#2"}
    assert skewed["reader#1"] == calm["reader#1"]
    assert skewed["reader#2"]["ms"] - calm["reader#2"]["ms"] == 3_600_000
    assert skewed["reader#2"]["now_ms"] - calm["reader#2"]["now_ms"] == 3_600_000
    assert run.unused == ()


def versions(*, previous=True):
    """Return a system with a new version and, on demand, one before it."""
    system = System("versions")
    bus = system.add(Kafka("bus", {"orders": 2}))

    def old(env):
        def on_order(order):
            env.note("handled by", version=1)

        env.consume(bus, "orders", on_order)

    @system.service("shop", replicas=2, previous=old if previous else None)
    def new(env):
        def on_order(order):
            env.note("handled by", version=2)

        env.consume(bus, "orders", on_order)

    @system.entry(examples=[{"n": 1}, {"n": 2}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    return system


def test_old_and_new_version_run_side_by_side_until_the_calm():
    redeploy = Redeploy(Site("shop/start", entity=0, attempt=1))
    run = versions().run(schedule=Schedule([redeploy]))
    assert sorted(note.data["version"] for note in run.history.of("note")) == [1, 2]
    calm = next(run.history.of("phase")).index
    restarted = [event for event in run.history.of("start") if event.index > calm]
    assert [event.actor for event in restarted] == ["shop#1/2"]
    assert run.ending.verdict == "quiet"


def test_there_is_no_redeploy_without_another_version():
    redeploy = Redeploy(Site("shop/start", entity=0, attempt=1))
    with pytest.raises(IllegalFault, match="can never happen"):
        versions(previous=False).run(schedule=Schedule([redeploy]))


def ledger(*, synced=True):
    """Return a system that writes each order into a table."""
    system = System("ledger")
    bus = system.add(Kafka("bus", {"orders": 1}))
    db = system.add(SQLite("db", "CREATE TABLE orders (n INTEGER)", synced=synced))

    @system.service("writer")
    def writer(env):
        connection = env.connect(db)

        def on_order(order):
            with connection:
                connection.execute("INSERT INTO orders VALUES (?)", (order["n"],))

        env.consume(bus, "orders", on_order)

    @system.entry(examples=[{"n": 1}, {"n": 2}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    return system


def rows(run):
    return [row["n"] for row in next(run.history.of("state")).data["tables"]["orders"]]


COMMIT = "writer.on_order/db.commit"


def test_in_calm_each_order_is_written_once():
    assert rows(ledger().run()) == [1, 2]


def test_a_commit_that_failed_is_done_again_and_one_that_only_seemed_to_fail_twice():
    for outcome, expected in (("rolled-back", [1, 2]), ("committed", [1, 1, 2])):
        fault = FailedCommit(Site(COMMIT), outcome=outcome)
        run = ledger().run(schedule=Schedule([fault]))
        assert sorted(rows(run)) == expected, outcome
        assert run.unused == ()


def test_a_store_that_is_down_is_asked_again():
    run = ledger().run(schedule=Schedule([StoreOutage(Site(COMMIT), lasting="long")]))
    assert sorted(rows(run)) == [1, 2]
    assert any("OperationalError" in event.data["error"] for event in run.history.of("raised"))


def test_a_power_failure_takes_what_was_not_synced():
    lost = LostWrites(Site(COMMIT, "after"))
    run = ledger(synced=False).run(schedule=Schedule([lost]))
    assert run.unused == ()
    crashed = [event.actor for event in run.history.of("crash")]
    assert crashed == ["writer#1"]
    # The offset was not committed either: the order comes again, and is written again.
    assert sorted(rows(run)) == [1, 2]
    late = LostWrites(Site(COMMIT, "after", entity=2))
    assert sorted(rows(ledger(synced=False).run(schedule=Schedule([late])))) != [1, 2]


def test_a_synced_store_loses_nothing():
    with pytest.raises(IllegalFault, match="can never happen"):
        ledger().run(schedule=Schedule([LostWrites(Site(COMMIT, "after"))]))


def test_a_crash_before_the_commit_rolls_back():
    run = ledger().run(schedule=Schedule([Crash(Site(COMMIT))]))
    assert sorted(rows(run)) == [1, 2]
    assert len(list(run.history.of("crash"))) == 1
