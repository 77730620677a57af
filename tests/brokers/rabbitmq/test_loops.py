"""RabbitMQ consumed by a service's own main loop, and by `async` handlers."""

import pytest

from chaosharness import (
    ChannelClosed,
    Crash,
    Delay,
    LostRequest,
    NetworkPartition,
    Pause,
    RabbitMQ,
    Redeliver,
    Schedule,
    Site,
    System,
)
from chaosharness.errors import InvalidDefinition

DELIVER = "bus.orders/deliver to worker"


def loop(main, *, items=3, queues=("orders",), replicas=1, **options):
    """A service whose main loop is `main(env, consumer)`, fed with a few messages."""
    system = System("shop", arrival_ms=1)
    bus = system.add(RabbitMQ("bus", queues=queues))

    @system.service("worker", replicas=replicas)
    def worker(env):
        consumer = env.consumer(bus, *queues, **options)

        def loop():
            main(env, consumer)

        env.main(loop)

    @system.entry(examples=range(1, items + 1))
    def place(env, order):
        env.publisher(bus)(queues[(order - 1) % len(queues)], order, key=f"order-{order}")

    return system


def run(system, *faults):
    return system.run(None, Schedule(faults))


def given(run):
    return [
        f"{event.data['order']}{'r' if event.data['redelivered'] else ''}"
        for event in run.history.of("note")
    ]


def note(env, delivery):
    env.note("given", order=delivery.value, redelivered=delivery.redelivered)


def iterate(env, consumer):
    for delivery in consumer:
        note(env, delivery)
        consumer.ack(delivery)


def ask(env, consumer):
    while True:
        delivery = consumer.get()
        if delivery is None:
            env.sleep(1)
            continue
        note(env, delivery)
        consumer.ack(delivery)


def with_patience(env, consumer):
    while True:
        delivery = consumer.receive(timeout_s=5)
        if delivery is not None:
            note(env, delivery)
            consumer.ack(delivery)


@pytest.mark.parametrize("main", [iterate, ask, with_patience])
def test_a_main_loop_gets_every_message_and_the_run_becomes_quiet(main):
    calm = run(loop(main))
    assert given(calm) == ["1", "2", "3"]
    assert calm.ending.verdict == "quiet"
    assert [event.entity for event in calm.history.of("ack")] == [1, 2, 3]


@pytest.mark.parametrize("main", [iterate, ask, with_patience])
@pytest.mark.parametrize(
    "fault",
    [
        Crash(Site("worker.loop/bus.ack", "after")),
        LostRequest(Site("worker.loop/bus.ack")),
        Delay(Site(DELIVER), lasting="long"),
        NetworkPartition(Site(DELIVER), lasting=30_000),
        NetworkPartition(Site(DELIVER), lasting="long"),
        NetworkPartition(Site(DELIVER), way="out", lasting="long"),
        NetworkPartition(Site(DELIVER), way="back", lasting="long"),
    ],
    ids=str,
)
def test_it_gets_every_message_under_faults_too(main, fault):
    struck = run(loop(main), fault)
    assert struck.unused == ()
    assert {text.rstrip("r") for text in given(struck)} == {"1", "2", "3"}
    assert struck.ending.verdict == "quiet"


def test_a_lost_acknowledgement_is_not_noticed_by_who_sent_it():
    struck = run(loop(iterate, items=1), LostRequest(Site("worker.loop/bus.ack")))
    assert given(struck) == ["1", "1r"]
    assert list(struck.history.of("crash", "raised")) == []


def test_who_acknowledges_on_a_channel_that_is_gone_is_told():
    told = []

    def main(env, consumer):
        for delivery in consumer:
            note(env, delivery)
            try:
                consumer.ack(delivery)
            except ChannelClosed as error:
                told.append(str(error))

    struck = run(loop(main, items=1), Redeliver(Site(DELIVER, "after")))
    assert given(struck) == ["1", "1r"]
    assert told == ["worker.loop/bus.ack: channel closed: connection lost"]


def test_acknowledging_twice_closes_the_channel_and_requeues_the_rest():
    def main(env, consumer):
        first = consumer.receive()
        second = consumer.receive()
        note(env, first)
        note(env, second)
        consumer.ack(first)
        with pytest.raises(ChannelClosed, match="406 PRECONDITION_FAILED - unknown delivery tag"):
            consumer.ack(first)
        iterate(env, consumer)

    seen = run(loop(main, items=2))
    assert given(seen) == ["1", "2", "2r"]
    [back] = [event.data for event in seen.history.of("nack") if "why" in event.data]
    assert back["why"] == "406 PRECONDITION_FAILED - unknown delivery tag 1"


def test_one_acknowledgement_can_be_for_all_before_it():
    def main(env, consumer):
        for delivery in consumer:
            note(env, delivery)
            if delivery.value == 3:
                consumer.ack(delivery, multiple=True)

    seen = run(loop(main))
    assert len(list(seen.history.of("ack"))) == 3


def test_giving_back_and_rejecting():
    def main(env, consumer):
        for delivery in consumer:
            note(env, delivery)
            if delivery.redelivered:
                consumer.reject(delivery, requeue=False)
            else:
                consumer.nack(delivery)

    seen = run(loop(main, items=1))
    assert given(seen) == ["1", "1r"]
    assert [event.data["reason"] for event in seen.history.of("dead")] == ["rejected"]


def test_prefetch_bounds_what_is_sent_ahead():
    def main(env, consumer):
        for delivery in consumer:
            env.sleep(1)
            consumer.ack(delivery)

    seen = run(loop(main, prefetch=2))
    at = [event.at_ms for event in seen.history.of("deliver")]
    assert at == [0, 1, 1_001]


def test_several_queues_at_once():
    seen = run(loop(iterate, items=4, queues=("orders", "refunds")))
    assert sorted(given(seen)) == ["1", "2", "3", "4"]


def test_acknowledged_on_hand_over():
    def main(env, consumer):
        for delivery in consumer:
            env.sleep(1)
            note(env, delivery)

    system = loop(main, acknowledge="before")
    assert given(run(system)) == ["1", "2", "3"]
    crash = Crash(Site("worker.loop/sleep", "after"))
    assert given(run(system, crash)) == [], "all three had been sent"


def test_a_message_in_hand_for_half_an_hour_is_somebody_elses():
    def main(env, consumer):
        for delivery in consumer:
            note(env, delivery)
            env.sleep(0.1)
            consumer.ack(delivery)

    pause = Pause(Site("worker.loop/sleep", "after"), lasting=31 * 60_000)
    struck = run(loop(main, items=1, replicas=2, in_thread=True), pause)
    assert given(struck) == ["1", "1r"]
    [raised] = struck.history.of("raised")
    assert raised.data["error"] == (
        "ChannelClosed: worker.loop/bus.ack: channel closed: "
        "406 PRECONDITION_FAILED - delivery acknowledgement timed out"
    )


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (lambda env, consumer: consumer.ack("order"), "ack takes what get.. or receive.. gave"),
        (lambda env, consumer: (consumer.receive(), consumer.get()), "either pushed|have messages"),
    ],
)
def test_a_consumer_used_wrongly_says_so(main, words):
    with pytest.raises(InvalidDefinition, match=words):
        run(loop(main))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prefetch": -1}, "prefetch must be a whole number from 0, not -1"),
        ({"acknowledge": "never"}, "acknowledge must be 'after' or 'before'"),
        ({"on_error": "reject"}, "there is no option 'on_error'; there are: prefetch, acknowledge"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options, words):
    with pytest.raises(
        InvalidDefinition,
        match=rf"worker consumes orders \(at .*test_loops.py:\d+\): .*{words}",
    ):
        run(loop(iterate, **options))


# ---- async


def service(runtime, *, items=4, **options):
    system = System("shop", arrival_ms=0)
    bus = system.add(RabbitMQ("bus", queues=["orders"]))
    most = []

    @system.service("worker", runtime=runtime)
    def worker(env):
        busy = []

        async def on_order(order):
            busy.append(order)
            most.append(len(busy))
            await env.sleep(1)
            busy.remove(order)
            env.note("given", order=order, redelivered=False)

        env.consume(bus, "orders", on_order, **options)

    @system.entry(examples=range(1, items + 1))
    def place(env, order):
        env.publisher(bus)("orders", order)

    return system, most


@pytest.mark.parametrize("runtime", ["ports", "asyncio", "trio"])
@pytest.mark.parametrize(
    ("options", "at_a_time"),
    [({}, 4), ({"prefetch": 2}, 2), ({"prefetch": 3, "concurrency": 1}, 1)],
)
def test_async_handlers_run_side_by_side_up_to_prefetch(runtime, options, at_a_time):
    system, most = service(runtime, **options)
    seen = run(system)
    assert sorted(given(seen)) == ["1", "2", "3", "4"]
    assert max(most) == at_a_time


@pytest.mark.parametrize("runtime", ["ports", "asyncio", "trio"])
def test_an_async_main_loop(runtime):
    system = System("shop")
    bus = system.add(RabbitMQ("bus", queues=["orders"]))

    @system.service("worker", runtime=runtime)
    def worker(env):
        consumer = env.consumer(bus, "orders")

        async def loop():
            async for delivery in consumer:
                note(env, delivery)
                await consumer.ack(delivery)

        env.main(loop)

    @system.entry(examples=[1, 2])
    def place(env, order):
        env.publisher(bus)("orders", order)

    seen = run(system, Crash(Site("worker.loop/bus.ack", "after")))
    assert given(seen) == ["1", "2"]
    assert seen.ending.verdict == "quiet"


def test_patience_is_kept_while_there_is_no_connection():
    waited = []

    def main(env, consumer):
        for _ in range(30):
            since = env.now_ms()
            delivery = consumer.receive(timeout_s=10)
            waited.append(env.now_ms() - since)
            if delivery is not None:
                note(env, delivery)
                consumer.ack(delivery)

    cut = NetworkPartition(Site(DELIVER), lasting=200_000)
    assert given(run(loop(main, items=1), cut)) == ["1r"]
    assert max(waited) <= 11_000  # or a second longer: until it tried to connect
