"""Commits that nobody waits for: sent in their order, told in their order, and never made again."""

import pytest

from chaosharness import (
    CommitFailed,
    Crash,
    Kafka,
    LostReply,
    LostRequest,
    Rebalance,
    Schedule,
    Site,
    System,
)

COMMIT = "reader.run/bus.commit"
ORDERS = ("orders", 0)


def reading(*, items, then=None, coloured=False):
    """Return a system whose loop commits each record and waits for nothing, and what it is told."""
    system = System("asking", arrival_ms=40_000)
    bus = system.add(Kafka("bus", {"orders": 1}, session_timeout_ms=6_000))
    told = []

    @system.service("reader")
    def reader(env):
        consumer = env.consumer(bus, "orders")

        def tell(offsets, error):
            told.append((dict(offsets), error and type(error)))
            if then is not None:
                then(consumer, offsets, error)

        async def tell_later(offsets, error):
            await env.sleep(0.001)
            tell(offsets, error)

        def run():
            while True:
                for delivery in consumer.poll(timeout_s=5):
                    consumer.commit_async(delivery, then=tell)
                    told.append(delivery.value)

        async def run_async():
            while True:
                for delivery in await consumer.poll(timeout_s=5):
                    consumer.commit_async(delivery, then=tell_later)
                    told.append(delivery.value)

        run_async.__name__ = "run"
        env.main(run_async if coloured else run)

    system.entry(examples=[*range(1, items + 1)])(
        lambda env, value: env.publisher(bus)("orders", value)
    )
    return system, told


def struck(system, *faults):
    run = system.run(None, Schedule(faults))
    assert not run.unused
    return run


def committed(run):
    return [run.history[one.data["message"]].data["offset"] + 1 for one in run.history.of("ack")]


@pytest.mark.parametrize("coloured", [False, True])
def test_the_loop_goes_on_and_is_told_inside_a_poll(coloured):
    system, told = reading(items=2, coloured=coloured)
    run = struck(system)
    assert told == [1, ({ORDERS: 1}, None), 2, ({ORDERS: 2}, None)]
    assert committed(run) == [1, 2]


def test_one_that_is_lost_is_told_and_not_made_again():
    system, told = reading(items=2)
    run = struck(system, LostRequest(Site(COMMIT, entity=1)))
    assert told == [1, ({ORDERS: 1}, TimeoutError), 2, ({ORDERS: 2}, None)]
    assert committed(run) == [2]


def test_one_that_is_not_answered_is_taken():
    system, told = reading(items=1)
    assert committed(struck(system, LostReply(Site(COMMIT, "after")))) == [1]
    assert told == [1, ({ORDERS: 1}, TimeoutError)]


@pytest.mark.parametrize("coloured", [False, True])
def test_they_are_told_in_the_order_in_which_they_were_asked_for(coloured):
    """One connection: who gets no answer to the first hears of that before the second."""
    system, told = reading(items=2, coloured=coloured)
    system.arrival_ms = 10
    run = struck(system, LostReply(Site(COMMIT, "after", entity=1)))
    assert committed(run) == [1, 2]
    assert told == [1, 2, ({ORDERS: 1}, TimeoutError), ({ORDERS: 2}, None)]


def test_a_member_that_is_out_is_told_so():
    system, told = reading(items=1)
    struck(system, Rebalance(Site(COMMIT)))
    assert told[:2] == [1, ({ORDERS: 1}, CommitFailed)]
    assert told[2:] == [1, ({ORDERS: 1}, None)]


def test_who_makes_one_again_in_its_callback_takes_a_newer_one_back():
    """The reason why no client does: what is made again is older than what came meanwhile."""

    def again(consumer, offsets, error):
        if error is not None:
            consumer.commit_async(offsets=offsets)

    system, _ = reading(items=2, then=again)
    system.arrival_ms = 10
    run = struck(system, LostRequest(Site(COMMIT, entity=1)))
    assert committed(run) == [2, 1]


def test_who_dies_before_it_is_answered_is_told_nothing():
    system, told = reading(items=1)
    run = struck(system, Crash(Site(COMMIT, "after"), down=1_000))
    assert committed(run) == [1]
    assert told == [1]


def test_everything_that_was_polled_is_what_was_polled_when_it_was_asked_for():
    system = System("polled", arrival_ms=10)
    bus = system.add(Kafka("bus", {"orders": 1}))
    told = []

    @system.service("reader")
    def reader(env):
        consumer = env.consumer(bus, "orders")

        def run():
            consumer.poll(timeout_s=1)
            consumer.commit_async(then=lambda offsets, error: told.append((dict(offsets), error)))
            consumer.poll(timeout_s=1)
            told.append(consumer.committed("orders", 0))
            consumer.close()

        env.main(run)

    system.entry(examples=[1, 2])(lambda env, value: env.publisher(bus)("orders", value))
    run = system.run()
    assert told == [({ORDERS: 1}, None), 1]
    assert [one.data["message"] for one in run.history.of("ack")] == [None]


def test_closing_tells_what_is_known():
    system = System("closes")
    bus = system.add(Kafka("bus", {"orders": 1}))
    told = []

    @system.service("reader")
    def reader(env):
        consumer = env.consumer(bus, "orders")

        def run():
            for delivery in consumer.poll(timeout_s=1):
                consumer.commit_async(delivery, then=lambda *words: told.append(words))
            env.sleep(1)
            consumer.close()

        env.main(run)

    system.entry(examples=[1])(lambda env, value: env.publisher(bus)("orders", value))
    system.run()
    assert told == [({ORDERS: 1}, None)]
