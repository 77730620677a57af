"""The same system on brokers that promise less: each row of the products bites."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from chaosharness import (
    NATS,
    SNS,
    SQS,
    Duplicate,
    FailedCommit,
    Gateway,
    Kafka,
    LostReply,
    LostRequest,
    LostWrites,
    NATSConsumer,
    NATSStream,
    RabbitMQ,
    Redeliver,
    Redis,
    Schedule,
    Site,
    SNSSubscription,
    SQSQueue,
    System,
    explore,
)
from chaosharness.brokers import BROKERS, GUARANTEES
from chaosharness.brokers.guarantees import table
from chaosharness.brokers.sns.guarantees import GUARANTEES as OF_SNS
from chaosharness.errors import IllegalFault
from chaosharness.search.guarantees import guarantees, needed, sentence
from chaosharness.search.target import load_target, target_of
from models.aws.board import board, last_word_wins

RETRY_S = 10.0


def shop(bus, *, to="orders", read=None, parts=(), **words):
    """A desk that publishes until it hears that it is done, and somebody who notes what comes."""
    system = System("shop")
    for part in (*parts, bus):
        system.add(part)

    @system.service("desk")
    def desk(env):
        publish = env.publisher(bus)

        def send():
            while True:
                try:
                    publish(to, {"n": 1}, key="k", **words)
                    return
                except OSError:
                    env.sleep(RETRY_S)

        env.main(send)

    @system.service("reader")
    def reader(env):
        def on_order(order: dict):
            env.note("read", n=order["n"])

        source = bus if read is None else read[0]
        env.consume(source, to if read is None else read[1], on_order)

    @system.entry(examples=[{}])
    def nothing(env, item): ...

    return system


def stored(run):
    return len([*run.history.of("publish")])


def delivered(run):
    return len([*run.history.of("deliver")])


def publish(fault, to="orders", phase="after"):
    return Schedule([fault(Site(f"desk.send/bus.publish {to}", phase, entity=0))])


QUEUES = SQS("queues", ["orders.fifo"])
TWICE = [
    (Kafka("bus", {"orders": 1}, idempotent_producer=True), "plain_producer", "orders", {}),
    (RabbitMQ("bus", queues=["orders"]), "resent", "orders", {}),
    (SQS("bus", ["orders.fifo"]), "standard", "orders.fifo", {"deduplication": "d"}),
]


@pytest.mark.parametrize(("bus", "name", "to", "words"), TWICE)
def test_a_message_is_there_twice_on_the_weaker_one_only(bus, name, to, words):
    system = shop(bus, to=to, **words)
    twice = publish(Duplicate, to, "before")
    with pytest.raises(IllegalFault):
        system.run(None, twice)
    weaker = getattr(system.weaker, name)
    assert stored(weaker.run(None, twice)) == 2
    assert stored(weaker.run()) == 1


@pytest.mark.parametrize(
    ("bus", "name", "to", "words"),
    [
        (SQS("bus", ["orders.fifo"]), "standard", "orders.fifo", {"deduplication": "d"}),
        (NATS("bus", ["orders"]), "short_window", "orders", {"message_id": "d"}),
    ],
)
def test_what_is_sent_again_is_recognised_by_the_stronger_one_only(bus, name, to, words):
    system = shop(bus, to=to, **words)
    lost = publish(LostReply, to)
    assert delivered(system.run(None, lost)) == 1
    assert delivered(getattr(system.weaker, name).run(None, lost)) == 2


def test_a_queue_of_fifo_hands_nothing_out_twice_and_a_standard_one_does():
    system = shop(SQS("bus", ["orders.fifo"]), to="orders.fifo", deduplication="d")
    again = Schedule([Redeliver(Site("bus.orders.fifo/deliver to reader", "after", entity=0))])
    with pytest.raises(IllegalFault):
        system.run(None, again)
    assert delivered(system.weaker.standard.run(None, again)) == 2


def test_without_confirms_a_message_that_is_lost_is_lost():
    system = shop(RabbitMQ("bus", queues=["orders"]))
    lost = publish(LostRequest, phase="before")
    assert stored(system.run(None, lost)) == 1
    assert stored(system.weaker.unconfirmed.run(None, lost)) == 0


def test_a_failover_of_a_replicated_redis_loses_what_it_acknowledged():
    system = shop(Redis("bus", ["orders"]))
    gone = publish(LostWrites)
    with pytest.raises(IllegalFault):
        system.run(None, gone)
    assert not system.weaker.replicated.run(None, gone).unused


def test_a_failover_loses_what_the_leader_alone_had():
    system = shop(Kafka("bus", {"orders": 1}, idempotent_producer=True))
    gone = publish(LostWrites)
    with pytest.raises(IllegalFault):
        system.run(None, gone)
    run = system.weaker.leader_only.run(None, gone)
    assert (stored(run), delivered(run)) == (1, 0)


def test_with_several_pending_what_comes_back_comes_later():
    def read(system):
        run = system.run([{"n": 1}, {"n": 2}], None)
        return [event.data["n"] for event in run.history.of("note")]

    system = System("shop")
    consumer = NATSConsumer(ack_pending_max=1, ack_wait_ms=1_000)
    bus = system.add(NATS("bus", {"orders": NATSStream(consumers={"reader": consumer})}))

    @system.service("reader")
    def reader(env):
        failed = []

        def on_order(order: dict):
            if order["n"] == 1 and not failed:
                failed.append(order)
                raise OSError("not now")
            env.note("read", n=order["n"])

        env.consume(bus, "reader", on_order)

    @system.entry(examples=[{"n": 1}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=str(order["n"]))

    assert read(system) == [1, 2]
    assert read(system.weaker.many_pending) == [2, 1]


def test_a_topic_is_weakened_with_its_queues():
    raw = SNSSubscription("orders.fifo", raw=True)
    topics = SNS("bus", QUEUES, {"orders.fifo": [raw]})
    system = shop(
        topics, to="orders.fifo", read=(QUEUES, "orders.fifo"), parts=(QUEUES,), deduplication="d"
    )
    fans = "bus.orders.fifo/deliver to orders.fifo"
    twice = Schedule([Duplicate(Site(fans, "after", entity=0))])
    with pytest.raises(IllegalFault):
        system.run(None, twice)
    weaker = system.weaker.standard
    assert weaker.name == "shop on SQS standard and SNS standard"
    assert delivered(weaker.run(None, twice)) == 2
    assert delivered(weaker.run(None, publish(LostReply, "orders.fifo"))) == 2
    assert delivered(system.run(None, publish(LostReply, "orders.fifo"))) == 1


def test_every_product_says_what_less_it_may_promise():
    assert {*BROKERS, SNS} <= GUARANTEES.keys()
    rows = [row for rows in GUARANTEES.values() for row in rows]
    assert all(row.name.isidentifier() and row.source and row.means for row in rows)
    assert "| SNS `standard` | FIFO | at least once |" in table(OF_SNS)


def test_what_promises_as_little_as_it_can_has_nothing_weaker():
    system = shop(SQS("bus", ["orders"]))
    assert [*system.weaker] == []
    with pytest.raises(AttributeError, match="'shop' has no weaker 'standard'; it has nothing"):
        _ = system.weaker.standard
    assert [*shop(RabbitMQ("bus", queues=["orders"], confirms=False)).weaker] == []


def test_the_declared_system_stays_as_it_is():
    system = shop(SQS("bus", ["orders.fifo"]), to="orders.fifo", deduplication="d")
    before = system.run().digest()
    system.weaker.standard.run()
    assert system.run().digest() == before
    assert system.instead == {}
    assert [*system.weaker.standard.instead] == ["bus"]
    assert target_of(system.weaker.standard.settled) == ""


def test_queues_declared_as_weak_are_weak_without_a_switch():
    bus = SQS("bus", {"orders.fifo": SQSQueue()}, fifo=False)
    assert attrs.evolve(bus, fifo=True).settings["orders.fifo"].keeps_order
    assert not bus.settings["orders.fifo"].keeps_order
    assert [*shop(bus, to="orders.fifo", deduplication="d").weaker] == []


# ---- the question that it answers


def test_a_board_that_takes_the_last_word_needs_fifo_and_one_with_numbers_does_not():
    naive, weak = guarantees(last_word_wins())
    assert needed(weak, naive) == "needed"
    assert sentence(weak, naive) == "fails on SQS standard, holds on FIFO"
    [found] = weak.campaign.counterexamples
    assert [type(one) for one in found.schedule] == [FailedCommit]
    right, weak = guarantees(board())
    assert needed(weak, right) == "not needed"


def test_what_fails_with_it_too_is_said_so():
    """A handler that charges without a key: no order and no recognition of repeats helps there."""
    system = System("till")
    bus = system.add(SQS("bus", {"orders.fifo": SQSQueue(by_content=True)}))
    bank = system.add(Gateway("bank"))

    @system.service("till")
    def till(env):
        client = env.client(bank)
        env.consume(bus, "orders.fifo", lambda order: client.charge("o1", 500))

    system.entry(examples=["o1"])(lambda env, o: env.publisher(bus)("orders.fifo", o, key=o))
    declared, weak = guarantees(system)
    assert needed(weak, declared) == "unknown"
    assert sentence(weak, declared) == "fails on SQS standard, and with FIFO too"


def test_what_was_not_searched_to_its_end_is_not_known():
    declared, weak = guarantees(board(), runs_max=5)
    assert needed(weak, declared) == "unknown"
    assert sentence(weak, declared) == "is not known to hold on SQS standard"


def test_a_weaker_system_has_a_name_by_which_files_find_it():
    weaker = load_target("models.aws.board:board.weaker.standard")
    assert weaker.name == "board on SQS standard"
    module_level = load_target("tests.system.test_weaker:KEPT.weaker.standard")
    assert target_of(module_level).endswith("test_weaker:KEPT.weaker.standard")
    assert explore(module_level, faults_max=1, runs_max=3).system == "kept on SQS standard"


KEPT = System("kept")
KEPT.add(SQS("bus", ["orders.fifo"]))


@KEPT.entry(examples=[{}])
def nothing(env, item): ...


def test_the_page_has_each_row():
    rows = [row for rows in GUARANTEES.values() for row in rows]
    page = Path(__file__).parents[2] / "docs" / "how-to" / "guarantees.md"
    assert table(rows) in page.read_text("utf-8")
