"""A process that is told to stop: SIGTERM, a grace period, what each kind of code does in it."""

import asyncio
import signal

import pytest

from chaosharness import (
    NATS,
    SQS,
    Crash,
    GracefulStop,
    Kafka,
    KeyValue,
    Queue,
    RabbitMQ,
    Redis,
    Schedule,
    Site,
    System,
    explore,
)
from chaosharness.errors import IllegalFault

HANDLE = "worker.on_order/handle"


def shop(build, bus=None, items=("a", "b", "c"), **options):
    """Three orders of one key, and a worker that is built by `build(env, bus, store)`."""
    system = System("shop", arrival_ms=1)
    bus = system.add(bus or Kafka("bus", topics={"orders": 1}))
    store = system.add(KeyValue("store"))

    def worker(env):
        build(env, bus, env.connect(store))

    system.service("worker", **options)(worker)

    @system.entry(examples=[{"id": one} for one in items])
    def send(env, order):
        env.publisher(bus)("orders", order, key="one")

    return system


def told(system, operation, phase="after", entity=1, **options):
    return system.run(None, Schedule([GracefulStop(Site(operation, phase, entity), **options)]))


def called(env, bus, store):
    def on_order(order: dict):
        env.sleep(1)
        store.put(order["id"], "done")

    env.consume(bus, "orders", on_order)


def handled(run):
    return [event.entity for event in run.history.of("handled")]


def ends(run):
    return [(e.at_ms, e.data.get("how")) for e in run.history.of("crash")]


def back_after_ms(run):
    """Return when the next life of the worker is given the log partition."""
    return list(run.history.of("rebalance"))[1].at_ms


def polled(stopping):
    """A loop that handles what it polls, one after the other; `stopping(flag, consumer)`."""

    def build(env, bus, store):
        def loop():
            over = []
            consumer = env.consumer(bus, "orders")
            signal.signal(signal.SIGTERM, lambda *_: over.append(True))
            while not over:
                for one in consumer.poll(10, timeout_s=1):
                    env.sleep(1)
                    store.put(one.value["id"], "done")
                consumer.commit()
            stopping(env, consumer)

        env.main(loop)

    return build


# ---- handlers that a broker calls


def test_a_handler_comes_to_its_end_and_its_group_is_left_at_once():
    run = told(shop(called), HANDLE, "before")
    assert ends(run) == [(1_001, "stopped")]
    assert handled(run) == [1, 2, 3], "each once: the first is committed"
    assert back_after_ms(run) < 5_000, "nobody waits for the session to be over"
    crash = shop(called).run(None, Schedule([Crash(Site(HANDLE, "before", 1))]))
    assert back_after_ms(crash) > 40_000


def test_what_is_not_done_when_its_time_is_over_is_killed():
    run = told(shop(called), HANDLE, "before", grace_ms=400)
    assert ends(run) == [(401, "killed")]
    assert handled(run) == [1, 2, 3]
    assert [e.entity for e in run.history.of("deliver")] == [1, 1, 2, 3]
    assert back_after_ms(run) > 40_000, "as after a crash"


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_prefetched_messages_go_back_at_once(kind):
    queue = RabbitMQ("bus", queues={"orders": Queue(kind)})
    run = told(shop(called, queue), HANDLE, "before")
    assert ends(run) == [(1_001, "stopped")]
    assert sorted(handled(run)) == [1, 2, 3]
    back = [e.at_ms for e in run.history.of("nack")]
    assert set(back) == {1_001}


def test_a_second_stop_changes_nothing():
    both = [GracefulStop(Site(HANDLE, "before", 1)), GracefulStop(Site(HANDLE, "after", 1))]
    run = shop(called).run(None, Schedule(both))
    assert ends(run) == [(1_001, "stopped")]


BATCHES = {
    "sqs": (lambda: SQS("bus", ["orders"]), {"batch": 10}, 30_000),
    "nats": (lambda: NATS("bus", ["orders"]), {"batch": 10}, 30_000),
    "redis": (lambda: Redis("bus", ["orders"]), {"claim_ms": 20_000}, 0),
}


@pytest.mark.parametrize("broker", BATCHES)
def test_of_a_batch_what_is_in_hand_is_done_and_the_rest_comes_again(broker):
    """Nobody gives it back: it is for others when its time is over, or for who has its name."""
    make, options, after_ms = BATCHES[broker]

    def build(env, bus, store):
        def on_order(order: dict):
            env.sleep(1)
            store.put(order["id"], "done")

        env.sleep(1)  # all three are there by then
        env.consume(bus, "orders", on_order, **options)

    run = told(shop(build, make()), HANDLE, "before")
    [(at_ms, how)] = ends(run)
    assert (at_ms - 2_000) < 50
    assert how == "stopped"
    done = list(run.history.of("handled"))
    assert sorted(event.entity for event in done) == [1, 2, 3], "each once"
    assert [event.at_ms for event in done][1] >= after_ms


# ---- main loops


def test_without_a_handler_of_the_signal_a_loop_is_cut_off_where_it_stands():
    closed = []

    def build(env, bus, store):
        def loop():
            consumer = env.consumer(bus, "orders")
            try:
                while True:
                    for one in consumer.poll(10, timeout_s=1):
                        store.put(one.value["id"], "done")
                        consumer.commit(one)
            finally:
                closed.append(env.incarnation.alive)

        env.main(loop)

    run = told(shop(build), "worker.loop/store.put")
    assert ends(run) == [(1, "untold")]
    assert True not in closed, "Python runs no finally"
    assert [e.entity for e in run.history.of("deliver")].count(1) == 2


def test_a_flag_that_is_set_ends_the_loop_behind_what_it_has_in_hand():
    run = told(shop(polled(lambda env, consumer: consumer.close())), "worker.loop/sleep")
    assert [how for _, how in ends(run)] == ["stopped"]
    assert [e.entity for e in run.history.of("deliver")] == [1, 2, 3]
    assert back_after_ms(run) < 5_000


def test_who_does_not_close_his_consumer_is_missed_when_his_session_is_over():
    run = told(shop(polled(lambda env, consumer: None)), "worker.loop/sleep")
    assert [how for _, how in ends(run)] == ["stopped"]
    assert back_after_ms(run) > 40_000


def test_a_loop_that_does_not_look_at_its_flag_is_killed_after_its_grace():
    def build(env, bus, store):
        def loop():
            signal.signal(signal.SIGTERM, lambda *_: None)
            consumer = env.consumer(bus, "orders")
            while True:
                for one in consumer.poll(10, timeout_s=1):
                    store.put(one.value["id"], "done")
                    consumer.commit(one)

        env.main(loop)

    run = told(shop(build), "worker.loop/store.put", grace_ms=5_000)
    assert [how for _, how in ends(run)] == ["killed"]
    assert ends(run)[0][0] >= 5_000


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("operation", ["worker.loop/store.put", HANDLE])
def test_what_the_handler_raises_is_raised_where_the_loop_stands(error, operation):
    """In the code that is struck, or in a poll that waits meanwhile."""
    seen = []

    def build(env, bus, store):
        def stop(number, frame):
            raise error

        def loop():
            signal.signal(signal.SIGTERM, stop)
            consumer = env.consumer(bus, "orders", group="loop")
            try:
                while True:
                    for one in consumer.poll(10, timeout_s=60):
                        store.put(one.value["id"], "done")
                        consumer.commit(one)
            finally:
                seen.append(env.now_ms())
                consumer.close()

        def on_order(order: dict):
            env.sleep(1)

        env.main(loop)
        if operation == HANDLE:
            env.consume(bus, "orders", on_order, group="called")

    run = told(shop(build), operation, "before" if operation == HANDLE else "after")
    assert len(seen) >= 1
    assert [how for _, how in ends(run)] == ["stopped"]


def test_a_wait_goes_on_where_the_handler_returns():
    """PEP 475: a sleep is as long as it was."""
    slept = []

    def build(env, bus, store):
        def loop():
            signal.signal(signal.SIGTERM, lambda *_: store.put("told", env.now_ms()))
            began = env.now_ms()
            env.sleep(10)
            slept.append(env.now_ms() - began)

        env.main(loop)
        env.consume(bus, "orders", lambda order: env.sleep(1))

    run = told(shop(build), "worker.<lambda>/handle", "before")
    assert slept[0] == 10_000
    assert [how for _, how in ends(run)] == ["stopped"]
    assert ends(run)[0][0] == 10_000


# ---- asyncio


def tasks(stop):
    def build(env, bus, store):
        async def loop():
            over = asyncio.Event()
            running = asyncio.get_running_loop()
            stop(running, over)
            consumer = env.consumer(bus, "orders")
            try:
                while not over.is_set():
                    for one in await consumer.poll(10, timeout_s=1):
                        await env.sleep(1)
                        await store.put(one.value["id"], "done")
                    await consumer.commit()
            finally:
                await consumer.close()

        env.main(loop)

    return build


def test_what_an_asyncio_loop_was_given_is_called():
    build = tasks(lambda loop, over: loop.add_signal_handler(signal.SIGTERM, over.set))
    run = told(shop(build), "worker.loop/sleep")
    assert [how for _, how in ends(run)] == ["stopped"]
    assert [e.entity for e in run.history.of("deliver")] == [1, 2, 3]


def test_a_handler_of_python_ends_an_asyncio_loop_as_asyncio_run_does():
    def leave(*_):
        raise SystemExit

    run = told(shop(tasks(lambda *_: signal.signal(signal.SIGTERM, leave))), "worker.loop/sleep")
    assert [how for _, how in ends(run)] == ["stopped"]
    assert back_after_ms(run) < 5_000, "its consumer was closed"


def test_what_was_taken_back_is_not_called():
    def stop(loop, over):
        loop.add_signal_handler(signal.SIGTERM, over.set)
        assert loop.remove_signal_handler(signal.SIGTERM)
        assert not loop.remove_signal_handler(signal.SIGTERM)

    run = told(shop(tasks(stop)), "worker.loop/sleep")
    assert [how for _, how in ends(run)] == ["untold"]


def test_trio_is_told_too():
    trio = pytest.importorskip("trio")

    def build(env, bus, store):
        async def loop():
            consumer = env.consumer(bus, "orders")
            async with trio.open_nursery() as nursery:

                async def listen():
                    with trio.open_signal_receiver(signal.SIGTERM) as signals:
                        async for _ in signals:
                            nursery.cancel_scope.cancel()

                nursery.start_soon(listen)
                while True:
                    for one in await consumer.poll(10, timeout_s=1):
                        await store.put(one.value["id"], "done")
                    await consumer.commit()
            await consumer.close()

        env.main(loop)

    run = told(shop(build, runtime="trio"), "worker.loop/store.put")
    assert [how for _, how in ends(run)] == ["stopped"]


# ---- what cannot be


def test_signal_gives_back_what_was_there():
    seen = []

    def build(env, bus, store):
        def first(*_): ...

        seen.append(signal.signal(signal.SIGTERM, first))
        seen.append(signal.signal(signal.SIGTERM, signal.SIG_IGN))
        seen.append(signal.signal(signal.SIGTERM, signal.SIG_DFL))
        seen.append(first)
        called(env, bus, store)

    before = signal.getsignal(signal.SIGTERM)
    shop(build).run()
    assert seen == [signal.SIG_DFL, seen[3], signal.SIG_IGN, seen[3]]
    assert signal.getsignal(signal.SIGTERM) == before, "that of pytest's own process"


def test_a_process_that_does_not_run_cannot_be_told():
    with pytest.raises(IllegalFault, match="Legal before client"):
        told(shop(called), "client.send/bus.publish orders", "before")


def test_a_search_tries_it_where_it_is_asked_to():
    usual = explore(shop(called), faults_max=1, runs_max=60)
    assert not [cell for cell in usual.coverage.cells if "graceful stop" in cell]
    found = explore(shop(called), faults_max=1, kinds=[GracefulStop], runs_max=60)
    assert any("graceful stop" in cell for cell in found.coverage.cells)
    assert not found.counterexamples
