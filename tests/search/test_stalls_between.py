"""What breaks at a length that no word stands for, for each kind of trouble, and its twin."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chaosharness import (
    Crash,
    Delay,
    Kafka,
    KeyValue,
    NetworkPartition,
    PartitionDelay,
    Pause,
    Queue,
    RabbitMQ,
    Schedule,
    Site,
    StoreOutage,
    System,
    always,
    explore,
)
from chaosharness.search.shrink import shrink
from chaosharness.strategies.drawing import deck_for
from chaosharness.strategies.sizes import length_of

LASTING = (Pause, Delay, PartitionDelay, StoreOutage, NetworkPartition)
GOOD_FOR_MS = 3_000
REFUSES_AFTER_MS = 42_000
"""Below the session timeout of Kafka, after which a record is handed out again."""


def kafka():
    return Kafka("bus", topics={"orders": 1})


def rabbitmq():
    return RabbitMQ("bus", queues=["orders"])


def desk(*, refuses_after_ms, broker=kafka):
    """Book an order unless it is too old. How old it may be stands in the claim only."""
    system = System("desk")
    bus = system.add(broker())
    book = system.add(KeyValue("book"))

    @system.service("desk")
    def serve(env):
        shelf = env.connect(book)

        def on_order(order: dict):
            if env.now_ms() - order["placed_ms"] > refuses_after_ms:
                return
            shelf.put(order["id"], "booked")
            age_ms = env.now_ms() - order["placed_ms"]
            if age_ms <= refuses_after_ms:
                env.note("booked", age_ms=age_ms)

        env.consume(bus, "orders", on_order)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", {**order, "placed_ms": env.now_ms()}, key=order["id"])

    def is_fresh(event):
        return event.data["age_ms"] <= GOOD_FOR_MS

    system.claim(always("nothing old is booked", is_fresh, kinds=["note"]))
    return system


@pytest.mark.parametrize("kind", LASTING, ids=lambda kind: kind.__name__)
def test_a_length_between_the_words_is_tried(kind):
    broken = desk(refuses_after_ms=REFUSES_AFTER_MS)
    campaign = explore(broken, faults_max=1, kinds=(kind,))
    assert campaign.result == "violated"
    [found] = campaign.counterexamples
    [fault] = found.schedule
    assert GOOD_FOR_MS < length_of(fault) <= REFUSES_AFTER_MS


@pytest.mark.parametrize("kind", LASTING, ids=lambda kind: kind.__name__)
def test_and_who_refuses_in_time_holds(kind):
    campaign = explore(desk(refuses_after_ms=GOOD_FOR_MS), faults_max=1, kinds=(kind,))
    assert campaign.result == "holds", campaign.sentences()


def test_and_so_is_how_long_a_service_stays_down():
    broken = desk(refuses_after_ms=REFUSES_AFTER_MS, broker=rabbitmq)
    campaign = explore(broken, faults_max=1, kinds=(Crash,))
    [fault] = campaign.counterexamples[0].schedule
    assert GOOD_FOR_MS < length_of(fault) <= REFUSES_AFTER_MS
    right = desk(refuses_after_ms=GOOD_FOR_MS, broker=rabbitmq)
    assert explore(right, faults_max=1, kinds=(Crash,)).result == "holds"


def seats(*, looks_again):
    """A seat is held for 20 s, then swept; nobody pays after 90 s. In between it has two owners."""
    system = System("seats")
    hall = system.add(KeyValue("hall"))

    @system.service("sweeper")
    def sweeper(env):
        shelf = env.connect(hall)

        def sweep():
            env.sleep(20)
            shelf.put("swept", True)
            env.sleep(90)
            shelf.put("closed", True)

        env.main(sweep)

    @system.service("sales")
    def sales(env):
        shelf = env.connect(hall)

        def sell():
            began_ms = env.now_ms()
            shelf.put("held", True)
            patience_ms = 20_000 if looks_again else 90_000
            if env.now_ms() - began_ms < patience_ms:
                env.note("paid", late=env.now_ms() - began_ms >= 20_000)

        env.main(sell)

    @system.entry(examples=["seat 1"])
    def ask(env, seat): ...

    def in_time(event):
        return not event.data["late"]

    system.claim(always("nobody pays for a seat that was swept", in_time, kinds=["note"]))
    return system


def test_a_stall_that_outlasts_a_lease_and_not_the_next_deadline():
    broken = explore(seats(looks_again=False), faults_max=1, kinds=(Pause,))
    assert broken.result == "violated"
    right = explore(seats(looks_again=True), faults_max=1, kinds=(Pause,))
    assert right.result == "holds", right.sentences()


def test_what_a_system_waits_for_is_known():
    system = System("known")
    queues = {"jobs": Queue(ttl_ms=7_000), "more": Queue()}
    bus = system.add(RabbitMQ("bus", queues=queues, heartbeat_ms=50_000))

    @system.service("worker")
    def worker(env):
        consumer = env.consumer(bus, "jobs")

        def loop():
            consumer.receive(timeout_s=4)
            env.sleep(3)

        env.main(loop)

    @system.service("later", runtime="asyncio")
    def later(env):
        async def loop():
            import asyncio

            await asyncio.sleep(2)

        env.main(loop)

    @system.entry(examples=[1, 2])
    def begin(env, item):
        env.publisher(bus)("more", item, expiration_ms=9_000)

    known = system.run().durations
    assert list(known) == sorted(set(known))
    assert {10, 2_000, 3_000, 4_000, 7_000, 9_000, 100_000, 1_800_000} <= set(known)


def test_the_coverage_names_what_was_tried():
    campaign = explore(desk(refuses_after_ms=GOOD_FOR_MS), faults_max=1, kinds=(Pause,))
    level = campaign.coverage.levels[1]
    assert level.complete
    assert str(level).startswith("all 1-fault schedules, all options")
    assert campaign.coverage.stalls == (
        "trouble lasted until the next event, past the next timeout, past every timeout, "
        "for 27 s, for 40.5 s, for 49.5 s, for 4.5 min and for 5.5 min",
    )
    assert campaign.coverage.stalls[0] in campaign.sentences()


def crowded():
    """A broker with more times to live than there are lengths at a site."""
    system = System("crowded")
    lives = {f"q{number}": Queue(ttl_ms=1_000 * 2**number) for number in range(8)}
    bus = system.add(RabbitMQ("bus", queues=lives))

    @system.service("worker")
    def worker(env):
        def on_job(job): ...

        env.consume(bus, "q0", on_job)

    @system.entry(examples=[1])
    def begin(env, item):
        env.publisher(bus)("q0", item)

    return system


def test_a_level_that_left_lengths_out_does_not_call_itself_all():
    campaign = explore(crowded(), faults_max=1)
    level = campaign.coverage.levels[1]
    assert level.complete
    assert level.partly
    assert not str(level).startswith("all")
    assert "all options" not in str(level)
    assert "no length was tried between" in campaign.coverage.stalls[-1]


def test_the_shortest_length_that_still_breaks_it_is_told():
    system = desk(refuses_after_ms=REFUSES_AFTER_MS)
    handle = Site("desk.on_order/book.put", "after")
    longer = Schedule([Pause(handle, lasting=40_500)])
    found = shrink(system, system.properties[0], None, longer)
    assert found.schedule == Schedule([Pause(handle, lasting=27_000)])


def test_a_strategy_can_draw_what_a_search_proposes():
    system = desk(refuses_after_ms=REFUSES_AFTER_MS)
    deck = deck_for(system, faults_max=1)
    fault = Schedule([Pause(Site("desk.on_order/book.put", "after"), lasting=27_000)])
    numbers = deck.write(fault)
    assert numbers is not None
    left = iter(numbers)
    assert deck.read(lambda top: next(left)) == fault


SCRIPT = """
from chaosharness.search.marks import Sight
from chaosharness.search.small_first import SmallFirst
from tests.search.test_stalls_between import REFUSES_AFTER_MS, desk
system, planner = desk(refuses_after_ms=REFUSES_AFTER_MS), SmallFirst(faults_max=1)
while (schedule := planner.propose()) is not None:
    run = system.run(None, schedule)
    planner.observe(Sight(run))
    print(run.digest(), schedule)
"""


def test_two_processes_propose_the_same():
    root = Path(__file__).parents[2]
    outputs = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=root,
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert b"lasting=27000" in outputs.pop()
