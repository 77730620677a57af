"""A message that a handler puts off, by a retry topic of its own, is nothing new."""

import sqlite3

import pytest

from chaosharness import (
    Gateway,
    Kafka,
    LostRequest,
    NetworkPartition,
    Queue,
    RabbitMQ,
    Schedule,
    Site,
    SQLite,
    System,
    assumed,
    explore,
)
from models.kafka.retries import retries, retry_topic_breaks_order

TABLE = "CREATE TABLE paid (id TEXT PRIMARY KEY, cents INTEGER)"


def shop(*, passes_on=lambda order, tries: order, topic="later", heard=True):
    """Return a system that writes payments, and puts one off that cannot be written now."""
    system = System("shop")
    bus = system.add(Kafka("bus", {"orders": 1, "later": 1, "failed": 1}, idempotent_producer=True))
    store = system.add(SQLite("db", TABLE))

    @system.service("desk")
    def desk(env):
        db, publish = env.connect(store), env.publisher(bus)

        def put(order):
            with db:
                db.execute(
                    "INSERT INTO paid VALUES (?, ?) ON CONFLICT DO NOTHING",
                    (order["id"], order["cents"]),
                )

        def on_order(order: dict):
            try:
                put(order)
            except sqlite3.Error:
                publish(topic, passes_on(order, 1), key=order["id"])

        def on_later(order: dict):
            env.sleep(10)
            put(order)

        options = {"on_error": "dead-letter", "retries_max": 30, "on_unreadable": "skip"}
        env.consume(bus, "orders", on_order, **options)
        if heard:
            env.consume(bus, topic, on_later, group="desk-later", **options)

    @system.entry(examples=[{"id": "o1", "cents": 500}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def told(system):
    found = explore(system, properties=assumed(system), faults_max=1)
    return found.result, [one.findings[0].summary for one in found.counterexamples]


@pytest.mark.parametrize(
    "passes_on",
    [
        lambda order, tries: order,
        lambda order, tries: {**order, "attempts": tries},
        lambda order, tries: {**order, "lastError": "locked", "firstFailedAt": "today"},
    ],
    ids=["as it is", "with a counter", "with the last error"],
)
def test_what_is_tried_again_later_is_nothing_new(passes_on):
    assert told(shop(passes_on=passes_on)) == ("holds", [])


def test_nor_is_it_where_prices_are_written_by_their_version():
    assert told(retries())[0] == "holds"


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: shop(heard=False), "later"),
        (lambda: shop(passes_on=lambda order, tries: {**order, "cents": 0}), "cents"),
        (lambda: shop(passes_on=lambda order, tries: {"failed": order["id"]}), ""),
    ],
    ids=["nobody hears it", "another amount", "another word"],
)
def test_what_is_not_done_later_or_something_else_is_told(build, words):
    result, found = told(build())
    assert result == "violated"
    assert any(words in one for one in found), found


def test_a_price_that_waits_and_is_written_over_a_newer_one_is_told():
    result, found = told(retry_topic_breaks_order())
    assert result == "violated"
    assert any("cents=500" in one for one in found)


def till(*, passes_on=lambda order: order, back="orders", key=True):
    """Return a system that charges, and has a queue give back later what it cannot charge now."""
    system = System("till")
    queues = {"orders": Queue(), "retry": Queue(ttl_ms=5_000, dead_letter=back)}
    bus = system.add(RabbitMQ("bus", queues=queues))
    bank = system.add(Gateway("bank"))

    @system.service("till")
    def serve(env):
        charge, publish = env.client(bank).charge, env.publisher(bus)

        def on_order(order: dict):
            if "id" not in order:
                return
            try:
                charge(order["id"], order["cents"], key=order["id"] if key else None)
            except (ConnectionError, TimeoutError):
                publish("retry", passes_on(order), key=order["id"])

        env.consume(bus, "orders", on_order, on_unreadable="skip")

    @system.entry(examples=[{"id": "o1", "cents": 500}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def test_what_a_queue_gives_back_later_is_nothing_new():
    assert told(till()) == ("holds", [])


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: till(back=None), "nothing came of item 1"),
        (lambda: till(passes_on=lambda order: {**order, "cents": 0}), "cents=0"),
        (lambda: till(key=False), "twice"),
    ],
    ids=["it lets it expire", "another amount", "charged without a key"],
)
def test_what_a_queue_gives_back_and_is_not_done_then_is_told(build, words):
    result, found = told(build())
    assert result == "violated"
    assert any(words in one for one in found), found


LONG = NetworkPartition(Site("till.on_order/bank.charge"), lasting="long")


def test_what_goes_round_while_an_outage_lasts_comes_to_rest_behind_it():
    run = till().run(None, Schedule([LONG]))
    assert not run.unused
    assert run.ending.verdict == "quiet"
    assert sum(event.data["topic"] == "retry" for event in run.history.of("publish")) >= 100
    assert sum(1 for _ in run.history.of("effect")) == 1


def test_what_goes_round_for_ever_once_a_fault_has_struck_does_not():
    """The handler that passes on what it has done already, and does it for ever."""
    system = System("round")
    bus = system.add(RabbitMQ("bus", queues={"in": Queue()}))
    bank = system.add(Gateway("bank"))

    @system.service("round")
    def serve(env):
        charge, publish, failed = env.client(bank).charge, env.publisher(bus), []

        def on_order(order: dict):
            try:
                charge(order["id"], order["cents"], key=order["id"])
            except (ConnectionError, TimeoutError):
                failed.append(order["id"])
            if order["id"] in failed:
                publish("in", order, key=order["id"])

        env.consume(bus, "in", on_order, on_unreadable="skip")

    @system.entry(examples=[{"id": "o1", "cents": 500}])
    def place(env, order):
        env.publisher(bus)("in", order, key=order["id"])

    assert system.run().ending.verdict == "quiet"
    run = system.run(None, Schedule([LostRequest(Site("round.on_order/bank.charge"))]))
    assert run.ending.verdict == "budget"
    assert "an event cycle: in → in" in run.ending.reason


def tries(*, limit, key=True):
    """Return a system that puts an order off so many times by a topic, and then aside."""
    system = System("tries")
    topics = {"orders": 1, "again": 1, "orders.dlq": 1}
    bus = system.add(Kafka("bus", topics, idempotent_producer=True))
    bank = system.add(Gateway("bank"))

    @system.service("tries")
    def serve(env):
        charge, publish = env.client(bank).charge, env.publisher(bus)

        def take(order, delivery):
            if "id" not in order:
                return
            try:
                charge(order["id"], order["cents"], key=order["id"] if key else None)
            except (ConnectionError, TimeoutError):
                count = int(delivery.headers.get("tries", "0")) + 1
                if count <= limit:
                    publish("again", order, key=order["id"], headers={"tries": str(count)})
                else:
                    publish("orders.dlq", order, key=order["id"])

        def on_order(order: dict, delivery):
            take(order, delivery)

        def on_again(order: dict, delivery):
            env.sleep(5)
            take(order, delivery)

        env.consume(bus, "orders", on_order, on_unreadable="skip")
        env.consume(bus, "again", on_again, group="again", on_unreadable="skip")

    @system.entry(examples=[{"id": "o1", "cents": 500}, {"id": "o2", "cents": 700}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


@pytest.mark.parametrize("limit", [0, 10_000], ids=["at once", "as long as it takes"])
def test_what_is_put_off_and_aside_in_the_end_is_nothing_new(limit):
    assert told(tries(limit=limit)) == ("holds", [])


def test_nor_does_it_excuse_anything():
    result, found = told(tries(limit=3, key=False))
    assert result == "violated"
    assert any("twice" in one for one in found), found
