"""A message that waits in a queue for its time to be over, and comes back as a dead letter."""

import sqlite3

import pytest

from chaosharness import (
    Queue,
    RabbitMQ,
    Schedule,
    Site,
    SQLite,
    StoreOutage,
    System,
    assumed,
    explore,
)
from chaosharness.checkers.outcomes.put_off import _passed_on

TABLE = "CREATE TABLE paid (id TEXT PRIMARY KEY, cents INTEGER)"
QUEUES = {
    "orders": Queue("quorum"),
    "wait": Queue("quorum", ttl_ms=5_000, dead_letter="again"),
    "again": Queue("quorum"),
    "nowhere": Queue("quorum", ttl_ms=5_000),
}


def shop(*, passes_on=lambda order: order, waits="wait", heard=True):
    """Return a system that writes payments, and has one wait that cannot be written now."""
    system = System("shop")
    bus = system.add(RabbitMQ("bus", queues=QUEUES))
    store = system.add(SQLite("db", TABLE))

    @system.service("desk")
    def desk(env):
        db, publish = env.connect(store), env.publisher(bus)

        def on_order(order: dict):
            try:
                with db:
                    db.execute(
                        "INSERT INTO paid VALUES (?, ?) ON CONFLICT DO NOTHING",
                        (order["id"], order["cents"]),
                    )
            except sqlite3.Error:
                publish(waits, passes_on(order))

        env.consume(bus, "orders", on_order, on_unreadable="reject")
        if heard:
            env.consume(bus, "again", on_order, on_unreadable="reject")

    @system.entry(examples=[{"id": "o1", "cents": 500}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    return system


def told(system):
    found = explore(system, properties=assumed(system), faults_max=1)
    return found.result, [one.findings[0].summary for one in found.counterexamples]


@pytest.mark.parametrize(
    "passes_on",
    [lambda order: order, lambda order: {**order, "attempts": 1}],
    ids=["as it is", "with a counter"],
)
def test_what_waits_in_a_queue_and_comes_back_is_nothing_new(passes_on):
    assert told(shop(passes_on=passes_on)) == ("holds", [])


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: shop(heard=False), "wait"),
        (lambda: shop(waits="nowhere"), "nowhere"),
        (lambda: shop(passes_on=lambda order: {**order, "cents": 0}), "cents=0"),
    ],
    ids=["nobody hears it", "it goes nowhere", "another amount"],
)
def test_what_waits_in_vain_or_for_something_else_is_told(build, words):
    result, found = told(build())
    assert result == "violated"
    assert any(words in one for one in found), found


def during_an_outage(lasting, **options):
    """Return a run in which the database is away for so long, and what was sent to wait."""
    outage = StoreOutage(Site("desk.on_order/db.insert paid"), lasting=lasting)
    run = shop(**options).run(None, Schedule([outage]))
    waited = [
        event.index
        for event in run.history.of("publish")
        if event.data["topic"] == "wait" and "instead_of" not in event.data
    ]
    return run, waited


def test_one_that_has_to_wait_twice_was_put_off_twice():
    run, waited = during_an_outage(8_000)
    assert len(waited) == 2
    passed_on = {index for index, *_ in _passed_on(run.history)}
    assert passed_on.issuperset(waited)  # and what the queue gave back in their place


def test_one_that_has_to_wait_for_as_long_as_an_outage_lasts_goes_round_and_comes_to_rest():
    run, waited = during_an_outage(1_620_000)
    assert len(waited) >= 100
    assert run.ending.verdict == "quiet"
    assert any(run.history.of("commit"))


def test_one_that_goes_round_when_all_is_well_again_never_comes_to_rest():
    run, _ = during_an_outage(1_620_000, passes_on=lambda order: {"id": order["id"], "cents": {}})
    assert run.ending.verdict == "budget"
    assert "an event cycle: again → wait → again" in run.ending.reason
