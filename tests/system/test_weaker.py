"""The same system on brokers that promise less: each row of the products bites."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from chaosharness import (
    AMQP,
    AWS,
    NATS,
    SNS,
    SQS,
    Duplicate,
    FailedCommit,
    Gateway,
    Kafka,
    KafkaServers,
    KeyValue,
    LostReply,
    LostRequest,
    LostWrites,
    NATSConsumer,
    NATSStream,
    Poison,
    Queue,
    RabbitMQ,
    Redeliver,
    Redis,
    Schedule,
    Site,
    SNSSubscription,
    SQLite,
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


SCHEMA = "CREATE TABLE outbox (id TEXT PRIMARY KEY, sent INTEGER DEFAULT 0)"


def outbox(bus, *, until="sent", **options):
    """An outbox whose relay sends once, or until the other side has answered."""
    system = System("outbox", arrival_ms=1)
    system.add(bus)
    store, bank = system.add(SQLite("db", schema=SCHEMA)), system.add(Gateway("bank"))

    @system.service("desk")
    def desk(env):
        db = env.connect(store)

        def mark(order: dict, word="paid"):
            db.execute(
                "UPDATE outbox SET sent = 1 WHERE id = ? AND ? = ?", (order["id"], until, word)
            )
            db.commit()

        def accept(order: dict):
            db.execute("INSERT OR IGNORE INTO outbox (id) VALUES (?)", (order["id"],))
            db.commit()

        def send():
            publish = env.publisher(bus, **options)
            while True:
                for [order] in db.execute("SELECT id FROM outbox WHERE sent = 0").fetchall():
                    publish("orders", {"id": order}, key=order)
                    mark({"id": order}, "sent")
                env.sleep(60)

        env.serve("accept", accept)
        env.consume(bus, "paid", mark, on_unreadable="skip", **claims(bus))
        env.main(send)

    @system.service("till")
    def till(env):
        client, publish = env.client(bank), env.publisher(bus)

        def on_order(order: dict):
            client.charge(order["id"], 500, key=order["id"])
            publish("paid", order, key=order["id"])

        env.consume(bus, "orders", on_order, on_unreadable="skip", **claims(bus))

    system.entry(examples=[{"id": "o1"}])(lambda env, order: env.call("desk", "accept", order))
    return system


def claims(bus):
    """Somebody looks for what was handed out and never acknowledged, where that is asked for."""
    return {"claim_ms": 60_000} if isinstance(bus, Redis) else {}


LOSSY = [
    (Kafka("bus", {"orders": 1, "paid": 1}, client="java"), "leader_only", {}),
    (Kafka("bus", {"orders": 1, "paid": 1}, client="java"), "leader_only", {"acks": "all"}),
    (Redis("bus", ["orders", "paid"]), "replicated", {}),
]


@pytest.mark.parametrize(("bus", "name", "options"), LOSSY)
def test_what_is_confirmed_and_lost_is_told_of_whoever_sends_once(bus, name, options):
    def found(until):
        weaker = getattr(outbox(bus, until=until, **options).weaker, name)
        return explore(weaker, faults_max=1, runs_max=500, kinds=[LostWrites], stop_at_first=True)

    [told] = found("sent").counterexamples
    assert (told.property, len(told.schedule)) == ("idempotent", 1)
    assert "bank did charge(cents=500, order=o1) never" in told.findings[0].summary
    right = found("paid")
    assert right.result == "holds"
    assert any(
        kind == "lost writes" and times for (_, _, kind), times in right.coverage.cells.items()
    )


def test_what_a_declared_broker_loses_is_judged_by_nobody_who_did_not_ask():
    system = outbox(Kafka("bus", {"orders": 1, "paid": 1}, acks=1))
    found = explore(system, faults_max=1, runs_max=500, kinds=[LostWrites])
    assert found.result != "violated"


def test_what_a_store_loses_is_not_told_of_the_broker():
    """The weaker one is a broker: what else loses writes does so as declared, too."""
    system = System("till")
    bus = system.add(Kafka("bus", {"orders": 1}, client="java"))
    store = system.add(SQLite("db", schema=SCHEMA, synced=False))

    @system.service("till")
    def till(env):
        db = env.connect(store)

        def on_order(order: str):
            db.execute("INSERT OR IGNORE INTO outbox (id) VALUES (?)", (order,))
            db.commit()

        env.consume(bus, "orders", on_order, acknowledge="before")

    system.entry(examples=["o1"])(place_on(bus))
    gone = Schedule([LostWrites(Site("till.on_order/db.commit", "after"))])
    for one in (system, system.weaker.leader_only):
        run = one.run(None, gone)
        assert not run.unused
        run.check()


def test_what_asks_for_no_more_is_said_to_be_the_same():
    system = System("till")
    bus, store = system.add(Kafka("bus", {"orders": 1})), system.add(KeyValue("store"))

    @system.service("till")
    def till(env):
        db = env.connect(store)
        env.consume(bus, "orders", lambda order: db.put("o1", 1), on_unreadable="skip")

    system.entry(examples=["o1"])(place_on(bus))
    declared, plain, *_ = guarantees(system, runs_max=600)
    assert sentence(plain, declared) == (
        "is the same on Kafka plain_producer: nothing in it asks for an idempotent producer"
    )


def test_a_classic_queue_counts_nothing_and_a_quorum_queue_does():
    def gave_up(system):
        run = system.run(None, Schedule([Poison(Site("client.place/bus.publish orders"))]))
        return run.ending.verdict, len([*run.history.of("dead")])

    system = System("till")
    queues = {"orders": Queue("quorum", dead_letter="aside"), "aside": Queue()}
    bus = system.add(RabbitMQ("bus", queues))
    system.service("till")(lambda env: env.consume(bus, "orders", lambda order: None))
    system.entry(examples=["o1"])(place_on(bus))
    assert gave_up(system)[1] == 1
    assert gave_up(system.weaker.classic)[1] == 0
    assert not shop(RabbitMQ("bus", {"orders": Queue()})).weaker.ways.get("classic")


def place_on(bus):
    def place(env, order):
        env.publisher(bus)("orders", order)

    return place


@pytest.mark.parametrize("wrap", [AMQP, KafkaServers])
def test_what_speaks_for_a_broker_speaks_for_the_weaker_one(wrap):
    kinds = {AMQP: RabbitMQ("bus", queues=["orders"]), KafkaServers: Kafka("bus", {"orders": 1})}
    bus = kinds[wrap]
    system = shop(bus, parts=())
    system.add(wrap("kafka:9092" if wrap is KafkaServers else "rabbit", bus))
    for name in system.weaker:
        assert getattr(system.weaker, name).run().ending.verdict == "quiet"


def test_aws_speaks_for_the_weaker_queue():
    bus = SQS("bus", ["orders.fifo"])
    system = shop(bus, to="orders.fifo", deduplication="d")
    system.add(AWS(bus))
    assert system.weaker.standard.run().ending.verdict == "quiet"


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
