"""What every broker promises, written once; where one keeps less, it is listed, and shown."""

import asyncio
from contextlib import suppress
from itertools import pairwise
from random import Random

import pytest
import trio

from chaosharness import (
    NATS,
    SQS,
    Crash,
    Delay,
    Duplicate,
    Kafka,
    PartitionDelay,
    RabbitMQ,
    Rebalance,
    Redeliver,
    Redis,
    Schedule,
    Site,
    System,
)
from chaosharness.brokers import BROKERS, lane
from chaosharness.brokers.at_work import AtWork
from chaosharness.brokers.facts import Journal
from chaosharness.brokers.kafka.consumers import CommitFailed, Subscription
from chaosharness.brokers.kafka.coordination import Coordination
from chaosharness.brokers.kafka.kafka import OpenKafka
from chaosharness.brokers.kafka.loop import Consumer
from chaosharness.brokers.lines import Lines
from chaosharness.brokers.nats.desk import Desk as NatsDesk
from chaosharness.brokers.rabbitmq.link import Link
from chaosharness.brokers.rabbitmq.rabbitmq import OpenRabbitMQ
from chaosharness.brokers.redis import subscription as redis_subscription
from chaosharness.brokers.redis.desk import Desk as RedisDesk
from chaosharness.brokers.sqs import consumers as sqs_consumers
from chaosharness.brokers.sqs.desk import Desk
from chaosharness.errors import IllegalFault
from chaosharness.machines.nats import NatsMachine
from chaosharness.machines.rabbitmq.node import Node
from chaosharness.machines.rabbitmq.orders import ClassicOrder
from chaosharness.machines.rabbitmq.takers import Taker
from chaosharness.machines.redis import RedisMachine
from chaosharness.machines.sqs.queue import Queue as SQSOpenQueue
from chaosharness.search.sites import candidates

MESSAGES = 4
PREFETCH = 2

MAKE = {
    Kafka: lambda: Kafka("bus", topics={"orders": 1}, idempotent_producer=True),
    RabbitMQ: lambda: RabbitMQ("bus", queues=["orders"]),
    SQS: lambda: SQS("bus", queues=["orders"]),
    NATS: lambda: NATS("bus", streams=["orders"]),
    Redis: lambda: Redis("bus", streams=["orders"]),
}
OPTIONS = {
    Kafka: {"on_error": "skip"},
    RabbitMQ: {"on_error": "reject", "prefetch": PREFETCH},
    SQS: {"on_error": "skip"},
    NATS: {"on_error": "skip"},
    Redis: {"on_error": "skip", "count": 1, "claim_ms": 30_000},
}
SETTLE = {
    Kafka: "worker.on_order/bus.commit",
    RabbitMQ: "worker.on_order/bus.ack",
    SQS: "worker.on_order/bus.delete",
    NATS: "worker.on_order/bus.ack",
    Redis: "worker.on_order/bus.ack",
}
DELIVER = "bus.orders/deliver to worker"
PUBLISH = "client.place/bus.publish orders"

ILLEGAL = {
    Kafka: [Redeliver(Site(DELIVER)), Duplicate(Site(PUBLISH))],
    RabbitMQ: [
        Rebalance(Site(DELIVER)),
        PartitionDelay(Site(DELIVER)),
        Duplicate(Site(PUBLISH)),
        Redeliver(Site(PUBLISH)),
    ],
    SQS: [
        Rebalance(Site(DELIVER)),
        PartitionDelay(Site(DELIVER)),
        Redeliver(Site(PUBLISH)),
    ],
    NATS: [
        Rebalance(Site(DELIVER)),
        PartitionDelay(Site(DELIVER)),
        Redeliver(Site(DELIVER)),
        Duplicate(Site(PUBLISH)),
    ],
    Redis: [
        Rebalance(Site(DELIVER)),
        PartitionDelay(Site(DELIVER)),
        Redeliver(Site(DELIVER)),
        Delay(Site(DELIVER)),
    ],
}
AT_A_TIME = {Kafka: 1, RabbitMQ: PREFETCH, SQS: 1, NATS: 1, Redis: 1}


def shop(broker, *, replicas=1):
    """One service that consumes what a client publishes, and takes a while for each."""
    system = System("shop", arrival_ms=1)
    bus = system.add(MAKE[broker]())

    @system.service("worker", replicas=replicas)
    def worker(env):
        def on_order(order):
            env.sleep(0.015)
            env.note("handled", order=order["id"])

        env.consume(bus, "orders", on_order, **OPTIONS[broker])

    @system.entry(examples=[{"id": number} for number in range(1, MESSAGES + 1)])
    def place(env, order):
        env.publisher(bus)("orders", order, key=f"order-{order['id']}")

    return system


def single_faults(system):
    """Every single legal fault at every site of the calm run."""
    found = candidates(system.run())
    assert len(found) > 30
    return found


def runs_with_one_fault(system):
    for fault in single_faults(system):
        run = system.run(None, Schedule([fault]))
        assert run.ending.verdict == "quiet", (fault, run.ending)
        yield fault, run


def deliveries(run):
    """Workload items in the order of their deliveries."""
    return [event.entity for event in run.history.of("deliver") if event.entity]


def handled(run):
    return [event.data["order"] for event in run.history.of("note")]


# ---- several at once, with one producer

TOGETHER = 3
PAIRS = 60


def all_at_once(env, publish):
    async def gathered(order):
        await asyncio.gather(*[publish("out", [order["id"], n]) for n in range(TOGETHER)])

    async def in_tasks(order):
        tasks = []
        for n in range(TOGETHER):
            tasks.append(asyncio.create_task(publish("out", [order["id"], n])))
        for task in reversed(tasks):
            await task

    async def in_a_nursery(order):
        async def one(n):
            await publish("out", [order["id"], n])

        async with trio.open_nursery() as nursery:
            for n in range(TOGETHER):
                nursery.start_soon(one, n)

    async def one_after_the_other(order):
        for n in range(TOGETHER):
            await publish("out", [order["id"], n])

    def plainly(order):
        for n in range(TOGETHER):
            publish("out", [order["id"], n])

    return {
        "asyncio.gather": (gathered, "asyncio"),
        "tasks": (in_tasks, "asyncio"),
        "a nursery": (in_a_nursery, "trio"),
        "ports": (one_after_the_other, "ports"),
        "plain": (plainly, None),
    }


def senders(broker, way):
    """A service whose handler publishes several messages at a time, with one producer."""
    system = System("senders", arrival_ms=1)
    if broker is Kafka:
        bus = system.add(Kafka("bus", topics={"orders": 1, "out": 1}))
    elif broker is NATS:
        bus = system.add(NATS("bus", streams=["orders", "out"]))
    else:
        places = "streams" if broker is Redis else "queues"
        bus = system.add(broker("bus", **{places: ["orders", "out"]}))
    _, runtime = all_at_once(None, None)[way]

    @system.service("sender", runtime=runtime)
    def sender(env):
        handler, _ = all_at_once(env, env.publisher(bus))[way]
        env.consume(bus, "orders", handler)

    @system.service("reader")
    def reader(env):
        env.consume(bus, "out", lambda pair: None)

    @system.entry(examples=[{"id": 1}, {"id": 2}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    return system


WAYS = tuple(all_at_once(None, None))


def sent_in_one_go(run):
    """Of each handler run, what was stored: `[order, number]`, in the order of the broker."""
    found = {}
    history = run.history
    for event in history.of("publish"):
        if event.data["topic"] == "out" and event.operation and event.data["value"][:1] == b"[":
            given = next(one for one in history.causes(event.index) if one.kind == "deliver")
            found.setdefault(given.index, []).append(event.data["value"])
    return found.values()


# ---- the laws


def what_one_producer_sends_stays_in_its_order(broker):
    for way in WAYS:
        system = senders(broker, way)
        singles = [fault for fault in candidates(system.run()) if fault.site.entity]
        chance = Random(7)
        pairs = [chance.sample(singles, 2) for _ in range(PAIRS)]
        for faults in [*([one] for one in singles), *pairs]:
            for values in sent_in_one_go(system.run(None, Schedule(faults))):
                assert all(a <= b for a, b in pairwise(values)), (way, faults, values)


def unacknowledged_comes_back(broker):
    system = shop(broker)
    run = system.run(None, Schedule([Crash(Site("worker.on_order/handle"))]))
    assert deliveries(run).count(1) == 2
    assert handled(run).count(1) == 1


def acknowledged_stays_away(broker):
    system = shop(broker)
    run = system.run(None, Schedule([Crash(Site(SETTLE[broker], "after"))]))
    assert deliveries(run).count(1) == 1
    assert sorted(handled(run)) == [1, 2, 3, 4]


def one_consumer_gets_messages_in_order_at_first(broker):
    system = shop(broker)
    for fault, run in runs_with_one_fault(system):
        messages = [event.data["message"] for event in run.history.of("deliver")]
        first = list(dict.fromkeys(messages))
        assert first == sorted(first), fault  # a message is named by the event that stored it


def at_least_once_under_any_single_fault(broker):
    for replicas in (1, 2):
        for fault, run in runs_with_one_fault(shop(broker, replicas=replicas)):
            assert set(handled(run)) == {1, 2, 3, 4}, fault


def nothing_is_invented(broker):
    for fault, run in runs_with_one_fault(shop(broker, replicas=2)):
        assert set(handled(run)) <= {1, 2, 3, 4}, fault
        stored = {event.index for event in run.history.of("publish")}
        given = {event.data["message"] for event in run.history.of("deliver")}
        assert given <= stored, fault


def nothing_goes_to_the_dead(broker):
    for fault, run in runs_with_one_fault(shop(broker, replicas=2)):
        dead = set()
        for event in run.history.of("crash", "deliver"):
            if event.kind == "crash":
                dead.add(event.actor)
            else:
                assert event.data["to"] not in dead, fault


def a_consumer_has_no_more_at_a_time_than_it_may(broker):
    for fault, run in runs_with_one_fault(shop(broker, replicas=2)):
        busy = {}
        for event in run.history.of("deliver", "ack", "nack", "crash"):
            match event.kind:
                case "deliver" if event.data.get("lost"):
                    pass  # it was handed out, and its answer never arrived
                case "deliver":
                    mine = busy.setdefault(event.data["to"], set())
                    mine.add(event.data["message"])
                    assert len(mine) <= AT_A_TIME[broker], fault
                case "ack" | "nack":
                    who = event.data.get("from", event.actor)
                    if "message" in event.data:
                        busy.get(who, set()).discard(event.data["message"])
                    else:
                        busy.get(who, set()).clear()  # Kafka: it may go on without its commit
                case "crash":
                    busy.pop(event.actor, None)


def illegal_faults_are_refused(broker):
    system = shop(broker)
    for fault in ILLEGAL[broker]:
        with pytest.raises(IllegalFault, match="can never happen in a real deployment"):
            system.run(None, Schedule([fault]))


def the_same_run_twice_is_the_same(broker):
    first, second = shop(broker, replicas=2), shop(broker, replicas=2)
    for fault in single_faults(first):
        schedule = Schedule([fault])
        assert first.run(None, schedule).digest() == second.run(None, schedule).digest(), fault


def what_comes_back_comes_before_anything_newer(broker):
    """Among two consumers, one crashes with a message in its hands."""
    run = shop(broker, replicas=2).run(None, Schedule([Crash(Site("worker.on_order/handle"))]))
    done = handled(run)
    assert done == sorted(done)


def looping(broker):
    """A service with a loop of its own that takes several messages at once."""
    system = System("looping", arrival_ms=1)
    bus = system.add(MAKE[broker]())

    @system.service("worker", replicas=2)
    def worker(env):
        unreadable = {NATS: {"on_unreadable": "term"}, Redis: {"on_unreadable": "skip"}}
        words = unreadable.get(broker, {})  # where it would be handed out for ever
        consumer = env.consumer(bus, "orders", read_as=dict, **words)

        def polls():
            while True:
                env.sleep(0.002)
                with suppress(ValueError, CommitFailed, TimeoutError):
                    for record in consumer.poll(3):
                        env.note("handled", order=record.value["id"])
                    consumer.commit()

        def receives():
            while True:
                with suppress(ConnectionError):
                    try:
                        record = consumer.receive()
                    except ValueError:
                        continue
                    env.note("handled", order=record.value["id"])
                    consumer.ack(record)

        def asks():
            while True:
                with suppress(ValueError, ConnectionError, TimeoutError):
                    for record in consumer.receive(3):
                        env.note("handled", order=record.value["id"])
                        consumer.delete(record)

        def fetches():
            while True:
                with suppress(ValueError):
                    for record in consumer.fetch(3):
                        env.note("handled", order=record.value["id"])
                        consumer.ack(record)

        def reads():
            while True:
                with suppress(ValueError, ConnectionError, TimeoutError):
                    for record in consumer.read(3):
                        env.note("handled", order=record.value["id"])
                        consumer.ack(record)
                    for record in consumer.autoclaim(60):
                        env.note("handled", order=record.value["id"])
                        consumer.ack(record)

        loops = {Kafka: polls, RabbitMQ: receives, SQS: asks, NATS: fetches, Redis: reads}
        env.main(loops[broker])

    @system.entry(examples=[{"id": 1}, b"not JSON", {"id": 3}, {"id": 4}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    return system


REASONS = {
    Kafka: ("rebalance", "raised"),
    RabbitMQ: ("nack",),
    SQS: ("nack",),
    NATS: ("nack",),
    Redis: ("nack",),
}


def nothing_is_handed_out_twice_without_a_reason(broker):
    for system in (shop(broker, replicas=2), looping(broker)):
        for fault in [None, *candidates(system.run())]:
            run = system.run(None, Schedule([fault] if fault else []))
            given = {}
            since = 0
            for event in run.history.of("deliver", *REASONS[broker]):
                if event.kind != "deliver":
                    since = event.index
                    continue
                key = event.data["to"], event.data["message"]
                assert given.get(key, -1) < since, (fault, event)
                given[key] = event.index


LAWS = (
    nothing_is_handed_out_twice_without_a_reason,
    what_one_producer_sends_stays_in_its_order,
    unacknowledged_comes_back,
    acknowledged_stays_away,
    one_consumer_gets_messages_in_order_at_first,
    at_least_once_under_any_single_fault,
    nothing_is_invented,
    nothing_goes_to_the_dead,
    a_consumer_has_no_more_at_a_time_than_it_may,
    illegal_faults_are_refused,
    the_same_run_twice_is_the_same,
    what_comes_back_comes_before_anything_newer,
)

DIFFERENCES = {
    (SQS, nothing_is_handed_out_twice_without_a_reason): (
        "a second server's copy of a standard queue: at least once, and rarely more"
    ),
    (SQS, what_one_producer_sends_stays_in_its_order): (
        "each send is a request of its own: those that are under way at once may swap"
    ),
    (SQS, one_consumer_gets_messages_in_order_at_first): "a standard queue: best-effort order",
    (SQS, what_comes_back_comes_before_anything_newer): (
        "it comes back when its time is over: the other consumer is done with the rest by then"
    ),
    (NATS, what_comes_back_comes_before_anything_newer): (
        "it comes back after AckWait: the other consumer is done with the rest by then"
    ),
    (Redis, what_one_producer_sends_stays_in_its_order): (
        "each command takes a connection of a pool: those that are under way at once may swap"
    ),
    (Redis, what_comes_back_comes_before_anything_newer): (
        "it comes back when somebody claims it: the other consumer is done with the rest by then"
    ),
    (RabbitMQ, what_comes_back_comes_before_anything_newer): (
        "a queue is not a log partition: the other consumer has newer messages already"
    ),
}


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("broker", BROKERS, ids=lambda broker: broker.__name__)
def test_delivery_law(broker, law):
    if (broker, law) in DIFFERENCES:
        with pytest.raises(AssertionError):
            law(broker)
    else:
        law(broker)


def test_every_broker_is_held_to_the_laws():
    assert set(MAKE) == set(BROKERS)


# ---- the test of the test: each law is broken by a broker that breaks it


def forget(*_, **__):
    """Do nothing where something should be done."""


def deliver_backwards(order, copy):
    order._places = copy.place = order._places - 1
    order._heap.append((0, copy.place, copy))
    order._heap.sort()


def counting(words):
    numbers = iter(range(1_000_000))  # state that no run can set back

    def wrong(*arguments):
        return {**words(*arguments), "nonce": next(numbers)}

    return wrong


def numbering(write):
    numbers = iter(range(1_000_000))  # state that no run can set back

    def wrong(journal, *arguments):
        index = write(journal, *arguments)
        journal.world.raw[index][-1]["nonce"] = next(numbers)
        return index

    return wrong


def swapping(store):
    def wrong(bus, scope, operation, attempt, *draft):
        store(bus, scope, operation, attempt, *draft)
        log = bus.logs[draft[0]][draft[1]]
        log[-2:] = log[:-3:-1]

    return wrong


def giving_back(consumer, member, message, cause):
    take(consumer, member, message, cause)
    slot = member.slots[message.topic, message.partition]
    if slot.position > 1 and not consumer._again:
        consumer._again = True
        slot.position -= 1


def pending_for_nobody(machine, operation, group, kept, now):
    hand_out(machine, operation, group, kept, now)
    del group.pending[kept.id]


hand_out = RedisMachine._hand_out
take = Consumer._take
Consumer._again = False


BREAKS = [
    (unacknowledged_comes_back, Redis, RedisMachine, "_hand_out", pending_for_nobody),
    (acknowledged_stays_away, Redis, redis_subscription, "ack", lambda *_: True),
    (at_least_once_under_any_single_fault, Redis, RedisDesk, "_network_changed", forget),
    (nothing_goes_to_the_dead, Redis, Lines, "leave", forget),
    (unacknowledged_comes_back, SQS, AtWork, "_tick", forget),
    (unacknowledged_comes_back, NATS, AtWork, "_tick", forget),
    (acknowledged_stays_away, NATS, NatsMachine, "_settle", forget),
    (at_least_once_under_any_single_fault, NATS, NatsDesk, "_network_changed", forget),
    (nothing_goes_to_the_dead, NATS, Lines, "leave", forget),
    (what_one_producer_sends_stays_in_its_order, NATS, lane.Turn, "come", lambda turn: iter(())),
    (acknowledged_stays_away, SQS, sqs_consumers, "delete", forget),
    (at_least_once_under_any_single_fault, SQS, Desk, "_network_changed", forget),
    (nothing_goes_to_the_dead, SQS, Lines, "leave", forget),
    (
        a_consumer_has_no_more_at_a_time_than_it_may,
        SQS,
        SQSOpenQueue,
        "_take",
        lambda queue, now: next(iter(queue.records.values()), None),
    ),
    (the_same_run_twice_is_the_same, SQS, Journal, "write", numbering(Journal.write)),
    (nothing_is_handed_out_twice_without_a_reason, Kafka, Consumer, "_take", giving_back),
    (nothing_is_handed_out_twice_without_a_reason, RabbitMQ, Link, "_returned", forget),
    (what_one_producer_sends_stays_in_its_order, Kafka, lane.Turn, "come", lambda turn: iter(())),
    (
        what_one_producer_sends_stays_in_its_order,
        RabbitMQ,
        lane.Turn,
        "come",
        lambda turn: iter(()),
    ),
    (unacknowledged_comes_back, RabbitMQ, Node, "_give_back", forget),
    (unacknowledged_comes_back, Kafka, Coordination, "_died", forget),
    (acknowledged_stays_away, RabbitMQ, Node, "ack", forget),
    (acknowledged_stays_away, Kafka, Subscription, "_take_commit", lambda *_: True),
    (
        one_consumer_gets_messages_in_order_at_first,
        RabbitMQ,
        ClassicOrder,
        "append",
        deliver_backwards,
    ),
    (
        one_consumer_gets_messages_in_order_at_first,
        Kafka,
        OpenKafka,
        "_store",
        swapping(OpenKafka._store),
    ),
    (at_least_once_under_any_single_fault, RabbitMQ, Link, "reopen", forget),
    (at_least_once_under_any_single_fault, Kafka, Coordination, "rejoin", forget),
    (nothing_goes_to_the_dead, RabbitMQ, Link, "_died", forget),
    (
        a_consumer_has_no_more_at_a_time_than_it_may,
        RabbitMQ,
        Taker,
        "has_room",
        lambda taker: True,
    ),
    (
        the_same_run_twice_is_the_same,
        RabbitMQ,
        OpenRabbitMQ,
        "_words",
        counting(OpenRabbitMQ._words),
    ),
]


@pytest.mark.parametrize(
    ("law", "broker", "owner", "name", "wrong"),
    BREAKS,
    ids=[f"{broker.__name__}, {law.__name__}" for law, broker, *_ in BREAKS],
)
def test_a_broker_that_breaks_a_law_is_caught(monkeypatch, law, broker, owner, name, wrong):
    monkeypatch.setattr(owner, name, wrong)
    with pytest.raises(AssertionError):
        law(broker)
