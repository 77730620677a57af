"""Put aside, refused, parked: what the words mean, and that all properties agree."""

import pytest

from chaosharness import (
    Kafka,
    Queue,
    RabbitMQ,
    System,
    announced,
    compensation_complete,
    conserved,
    every_saga_settles,
    joins_complete,
)
from chaosharness.checkers.excused import parked, put_aside, refused
from tests.checkers.tales import Tale, judge


def worker(bus, on_order, **options):
    system = System("worker", arrival_ms=1)
    system.add(bus)

    @system.service("worker")
    def worker(env):
        env.consume(bus, "orders", on_order(env), **options)

    @system.entry(examples=[{"id": "o1"}, {"id": "o2"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def failing(times):
    def build(env):
        failed = []

        def on_order(order: dict):
            if order["id"] == "o1" and len(failed) < times:
                failed.append(order)
                raise ValueError(order)

        return on_order

    return build


# ---- put aside

WITH_LETTERS = {"orders": Queue(dead_letter="aside"), "aside": Queue()}


@pytest.mark.parametrize(
    "bus",
    [Kafka("bus", topics={"orders": 1}), RabbitMQ("bus", queues=WITH_LETTERS)],
    ids=["kafka", "rabbitmq"],
)
def test_a_dead_letter_is_put_aside(bus):
    aside = put_aside(worker(bus, failing(9), on_error="dead-letter").run().history)
    assert aside.items == {1}
    assert aside.names == {"o1", "of item 1"}
    assert len(aside.messages) == 1


def test_what_comes_back_by_way_of_another_queue_is_not():
    round_trip = {
        "orders": Queue(dead_letter="later"),
        "later": Queue(dead_letter="orders", ttl_ms=1_000),
    }
    bus = RabbitMQ("bus", queues=round_trip)
    run = worker(bus, failing(1), on_error="reject").run()
    assert len([*run.history.of("dead")]) == 2
    assert not put_aside(run.history)


def test_what_waits_its_time_in_a_queue_is_not():
    system = System("delayed")
    queues = {"delay": Queue(dead_letter="orders", ttl_ms=1_000), "orders": Queue()}
    bus = system.add(RabbitMQ("bus", queues=queues))

    @system.service("worker")
    def worker(env):
        env.consume(bus, "orders", lambda order: None)

    @system.entry(examples=["o1"])
    def place(env, order):
        env.publisher(bus)("delay", order)

    run = system.run()
    assert any(run.history.of("dead"))
    assert any(run.history.of("handled"))
    assert not put_aside(run.history)


def test_what_somebody_else_reads_is_still_put_aside():
    bus = RabbitMQ("bus", queues=WITH_LETTERS)
    system = worker(bus, failing(9), on_error="reject")

    @system.service("clerk")
    def clerk(env):
        env.consume(bus, "aside", lambda order: env.note("looked at", order=order["id"]))

    assert put_aside(system.run().history).names == {"o1", "of item 1"}


def test_what_is_dropped_is_not_put_aside():
    bus = RabbitMQ("bus", queues=["orders"])
    assert not put_aside(worker(bus, failing(9), on_error="reject").run().history)


# ---- refused


def asking(*, catches):
    system = System("asking")
    system.add(Kafka("bus", topics={"orders": 1}))

    @system.service("desk")
    def desk(env):
        def ask(order: str):
            if order == "bad":
                raise ValueError(order)

        env.serve("ask", ask)

    @system.entry(examples=["good", "bad", "again"])
    def place(env, order):
        try:
            env.call("desk", "ask", "bad" if order == "again" else order)
        except Exception:
            if order == "again":
                env.call("desk", "ask", "good")
            elif not catches:
                raise

    return system


@pytest.mark.parametrize("catches", [True, False])
def test_a_client_that_was_told_no_is_refused_and_one_that_asked_again_is_not(catches):
    assert refused(asking(catches=catches).run().history) == {2}


# ---- parked


def bury(tale, message):
    tale.then("dead", tale.deliver(message, "shop"), message=message, to="orders.DLT")


def test_a_saga_is_parked_by_a_note_or_by_what_was_put_aside():
    tale = Tale()
    tale.note("saga parked", saga="o1")
    bury(tale, tale.publish("orders", "o2"))
    assert parked(tale.history, ("saga",)) >= {"o1", "o2"}


# ---- all properties agree


def unfinished(*, aside):
    """A run in which nothing of o1 came to its end; `aside`: a message of it was put aside."""
    tale = Tale()
    tale.add("arrive", "client", item={"id": "o1"})
    tale.note("saga started", saga="o1")
    tale.publish("texts", "o1")
    last = tale.publish("images", "o1")
    if aside:
        bury(tale, last)
    tale.effect("stock", "reserve", order="o1")
    tale.charge("o1", 500)
    tale.refund("o1", 500)
    tale.holds("db", orders=[{"id": "o1", "status": "pending", "cents": 0}])
    tale.end()
    return tale


AGREEING = [
    every_saga_settles(),
    every_saga_settles(
        states=lambda books: books.column("db", "orders", by="id", of="status"), settled="paid"
    ),
    compensation_complete({"reserve": "release", "charge": "refund"}),
    joins_complete(["texts", "images"], "complete"),
    joins_complete(["texts", "images", "sounds"], "complete", or_else="gave up"),
    announced("db", "orders", "created"),
    conserved("money", paid={"o1": 500}, booked={"o1": 0}),
    conserved("parcels", sent=1, booked=0),
]


@pytest.mark.parametrize("one", AGREEING, ids=lambda one: one.name)
def test_what_was_put_aside_is_missed_by_none(one):
    assert judge(one, unfinished(aside=False)) != []
    assert judge(one, unfinished(aside=True)) == []


def test_a_dead_letter_excuses_no_other_key():
    tale = unfinished(aside=True)
    tale.publish("texts", "o2", entity=2)
    tale.publish("images", "o2", entity=2)
    [found] = judge(joins_complete(["texts", "images"], "complete"), tale)
    assert found.data["key"] == "o2"


def test_nor_a_whole_that_came_too_early():
    tale = unfinished(aside=True)
    tale.publish("complete", "o1")
    [found] = judge(joins_complete(["texts", "images", "sounds"], "complete"), tale)
    assert "without 'sounds'" in found.summary


def test_a_saga_that_its_client_was_refused_is_not_missed():
    def refused_or_not(*more):
        tale = Tale()
        tale.add("arrive", "client", item={"id": "o1"})
        for kind in more:
            if kind == "raised":
                tale.add("raised", "client", "client.place", error="TimeoutError")
            else:
                tale.note(kind, saga="o1")
        return tale

    calm = refused_or_not("saga started", "saga completed")
    [found] = judge(every_saga_settles(), refused_or_not(), calm)
    assert "never began" in found.summary
    assert judge(every_saga_settles(), refused_or_not("raised"), calm) == []
    half = refused_or_not("raised", "saga started")
    assert len(judge(every_saga_settles(), half, calm)) == 1


def test_a_saga_parked_by_a_note_is_parked_for_states_as_well():
    tale = unfinished(aside=False)
    tale.note("saga parked", saga="o1")
    for one in AGREEING[1:3]:
        assert judge(one, tale) == []
