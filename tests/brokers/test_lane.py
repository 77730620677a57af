"""A lane holds back what one producer sends behind a delayed message, and nothing else."""

import asyncio

import pytest

from chaosharness import (
    Crash,
    Delay,
    Kafka,
    LostReply,
    LostRequest,
    Pause,
    RabbitMQ,
    Schedule,
    Site,
    System,
)

FIRST = "relay.on_order/bus.publish a"
MAKE = {
    "kafka": lambda: Kafka("bus", topics={"orders": 1, "a": 1, "b": 1}),
    "rabbitmq": lambda: RabbitMQ("bus", queues=["orders", "a", "b"]),
    "without confirms": lambda: RabbitMQ("bus", queues=["orders", "a", "b"], confirms=False),
}


@pytest.fixture(params=MAKE)
def bus(request):
    return MAKE[request.param]()


def relay_of(bus, *, producers=1, send=None):
    """A handler that publishes to two topics at once."""
    system = System("relay", arrival_ms=1)
    system.add(bus)

    @system.service("relay")
    def relay(env):
        publish = [env.publisher(bus) for _ in range(producers)]

        async def on_order(order: dict):
            calls = publish[0]("a", order), publish[-1]("b", order)
            await (send or asyncio.gather)(*calls)
            env.note("done")

        env.consume(bus, "orders", on_order)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    return system


def stored(run):
    return [
        (event.data["topic"], event.at_ms)
        for event in run.history.of("publish")
        if event.data["topic"] in "ab"
    ]


def struck(system, *faults):
    run = system.run(None, Schedule(faults))
    assert not run.unused
    return run


def test_a_delay_holds_back_what_follows(bus):
    [first, second] = stored(struck(relay_of(bus), Delay(Site(FIRST), lasting=500)))
    assert first == ("a", 501)
    assert second == ("b", 501)


def test_so_does_a_pause_before_it(bus):
    run = struck(relay_of(bus), Pause(Site(FIRST), lasting=500))
    assert [topic for topic, _ in stored(run)] == ["a", "b"]


def test_another_producer_is_not_held_back(bus):
    run = struck(relay_of(bus, producers=2), Delay(Site(FIRST), lasting=500))
    assert stored(run) == [("b", 1), ("a", 501)]


def test_what_is_lost_holds_nobody_back(bus):
    run = struck(relay_of(bus), LostRequest(Site(FIRST)))
    assert stored(run)[0] == ("b", 1)


def test_nobody_waits_for_the_answer_to_what_went_before(bus):
    fault = Pause if not getattr(bus, "confirms", True) else LostReply
    run = struck(relay_of(bus), fault(Site(FIRST, "after")))
    assert stored(run)[:2] == [("a", 1), ("b", 1)]


def test_a_task_that_is_cancelled_gives_its_place_up(bus):
    async def give_up(first, second):
        both = [asyncio.ensure_future(one) for one in (first, second)]
        await asyncio.sleep(0.1)
        both[0].cancel()
        await asyncio.gather(*both, return_exceptions=True)

    run = struck(relay_of(bus, send=give_up), Delay(Site(FIRST), lasting=500))
    assert run.ending.verdict == "quiet"
    assert stored(run) == [("b", 101)]


def test_one_that_is_cancelled_while_it_waits_is_left_out(bus):
    async def give_up(first, second):
        both = [asyncio.ensure_future(one) for one in (first, second)]
        await asyncio.sleep(0.1)
        both[1].cancel()
        await asyncio.gather(*both, return_exceptions=True)

    run = struck(relay_of(bus, send=give_up), Delay(Site(FIRST), lasting=500))
    assert run.ending.verdict == "quiet"
    assert stored(run) == [("a", 501)]


def test_a_crash_in_the_lane_is_the_end_of_it(bus):
    faults = Delay(Site(FIRST), lasting=500), Crash(Site(FIRST))
    run = struck(relay_of(bus), *faults)
    assert run.ending.verdict == "quiet"
    assert [topic for topic, _ in stored(run)] == ["a", "b"]  # by its successor
    assert stored(run)[0][1] > 501


def test_handlers_that_share_a_producer_share_its_lane(bus):
    system = System("two handlers", arrival_ms=1)
    system.add(bus)

    @system.service("relay")
    def relay(env):
        publish = env.publisher(bus)

        def on_order(order: dict):
            publish("a", order)

        def beside():
            env.sleep(0.1)
            publish("b", 1)

        env.consume(bus, "orders", on_order)
        env.main(beside)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    run = struck(system, Delay(Site(FIRST), lasting=500))
    assert stored(run) == [("a", 501), ("b", 501)]
