"""Connections and channels: heartbeats that nobody answers, and what is shared dies together."""

import pytest

from chaosharness import (
    Budget,
    Delivery,
    LostRequest,
    Pause,
    RabbitMQ,
    Schedule,
    Site,
    System,
)


def jobs(work, *, heartbeat_ms=2_000, replicas=1, items=("j1",), asynchronous=False, **options):
    """A service that handles jobs, and notes when it begins and ends one."""
    system = System("jobs", arrival_ms=1, budget=Budget(deliveries_max=4))
    bus = system.add(RabbitMQ("bus", queues=["jobs"], heartbeat_ms=heartbeat_ms))

    @system.service("worker", replicas=replicas)
    def worker(env):
        def on_job(job, delivery: Delivery):
            env.note("begins", job=job, redelivered=delivery.redelivered)
            env.sleep(work(job, delivery))
            env.note("ends", job=job)

        async def on_job_later(job, delivery: Delivery):
            env.note("begins", job=job, redelivered=delivery.redelivered)
            await env.sleep(work(job, delivery))
            env.note("ends", job=job)

        handler = on_job_later if asynchronous else on_job
        env.consume(bus, "jobs", handler, prefetch=1, **options)

    @system.entry(examples=items)
    def submit(env, job):
        env.publisher(bus)("jobs", job)

    return system


def ten_seconds_once(job, delivery):
    return 1 if delivery.redelivered else 10


def noted(run, word):
    return [event for event in run.history.of("note") if event.data["what"] == word]


def notes(run, word):
    return [(event.at_ms, event.actor) for event in noted(run, word)]


def whys(run):
    return [event.data["why"] for event in run.history.of("nack") if "why" in event.data]


def test_a_plain_handler_slower_than_two_heartbeats_loses_its_connection():
    run = jobs(ten_seconds_once).run()
    assert notes(run, "begins") == [(1, "worker#1"), (11_002, "worker#1")]
    assert whys(run) == ["missed heartbeats"]
    [void] = [event for event in run.history.of("nack") if "error" in event.data]
    assert (void.at_ms, void.data["error"]) == (10_001, "void: missed heartbeats")


def test_another_replica_has_the_message_while_the_first_is_still_at_it():
    run = jobs(ten_seconds_once, replicas=2).run()
    assert notes(run, "begins") == [(1, "worker#1"), (4_002, "worker#2")]
    assert notes(run, "ends") == [(5_002, "worker#2"), (10_001, "worker#1")]


@pytest.mark.parametrize(
    "options",
    [
        {"heartbeat_ms": 5_001},
        {"heartbeat_ms": 0},
        {"in_thread": True},
        {"asynchronous": True},
    ],
    ids=str,
)
def test_one_that_answers_its_heartbeats_keeps_its_connection(options):
    run = jobs(ten_seconds_once, replicas=2, **options).run()
    assert len(notes(run, "begins")) == 1
    assert whys(run) == []


def test_the_time_of_each_message_is_its_own():
    run = jobs(lambda job, delivery: 3, items=range(5)).run()
    assert len(notes(run, "begins")) == 5


def test_a_stall_in_a_handler_is_as_slow_work():
    pause = Pause(Site("worker.on_job/sleep", "after"), lasting=10_000)
    run = jobs(lambda job, delivery: 1).run(None, Schedule([pause]))
    assert whys(run) == ["missed heartbeats"]


def test_with_automatic_acknowledgement_what_was_sent_ahead_is_lost_with_the_connection():
    run = jobs(lambda job, _: 10, items=range(3), acknowledge="before").run()
    assert len(notes(run, "begins")) == 1
    assert len([*run.history.of("ack")]) == 3


# ---- main loops


def looping(loop, *, heartbeat_ms=2_000, **options):
    system = System("jobs", arrival_ms=1)
    bus = system.add(RabbitMQ("bus", queues=["jobs"], heartbeat_ms=heartbeat_ms))

    @system.service("worker")
    def worker(env):
        consumer = env.consumer(bus, "jobs", prefetch=1, **options)
        env.main(lambda: loop(env, consumer))

    @system.entry(examples=["j1"])
    def submit(env, job):
        env.publisher(bus)("jobs", job)

    return system


def slow(env, consumer):
    while True:
        delivery = consumer.receive()
        env.note("begins", redelivered=delivery.redelivered)
        env.sleep(1 if delivery.redelivered else 10)
        try:
            consumer.ack(delivery)
        except ConnectionError as error:
            env.note("failed", error=str(error))


def slow_in_parts(env, consumer):
    while True:
        delivery = consumer.receive()
        env.note("begins", redelivered=delivery.redelivered)
        for _ in range(5):
            env.sleep(2)
            consumer.process_data_events()
        consumer.ack(delivery)


def test_a_plain_loop_that_works_for_too_long_learns_it_from_its_acknowledgement():
    run = looping(slow).run()
    assert [event.data["redelivered"] for event in noted(run, "begins")] == [
        False,
        True,
    ]
    [failed] = noted(run, "failed")
    assert failed.data["error"] == "worker.<lambda>/bus.ack: channel closed: missed heartbeats"


def test_a_loop_that_answers_heartbeats_in_the_middle_keeps_its_connection():
    assert len(noted(looping(slow_in_parts).run(), "begins")) == 1
    assert len(noted(looping(slow, in_thread=True).run(), "begins")) == 1


def test_a_loop_with_nothing_in_hand_misses_nothing():
    def idle(env, consumer):
        while True:
            env.sleep(10)
            delivery = consumer.get()
            if delivery is not None:
                env.note("begins", redelivered=delivery.redelivered)
                consumer.ack(delivery)

    run = looping(idle).run()
    assert [event.data["redelivered"] for event in run.history.of("note")] == [False]


# ---- shared


def sharing(*, connection=None, channel=None, twice=False):
    """Two handlers; the loop beside them acknowledges a message of its own, perhaps twice."""
    system = System("shop", arrival_ms=1)
    bus = system.add(RabbitMQ("bus", queues=["orders", "mails", "audit"]))

    @system.service("worker")
    def worker(env):
        shared = {"connection": connection, "channel": channel}

        async def on_order(order, delivery: Delivery):
            await env.sleep(1)
            env.note("order", redelivered=delivery.redelivered)

        async def on_mail(mail, delivery: Delivery):
            await env.sleep(1)
            env.note("mail", redelivered=delivery.redelivered)

        env.consume(bus, "orders", on_order, **shared)
        env.consume(bus, "mails", on_mail, **shared)
        consumer = env.consumer(bus, "audit", **shared)

        async def loop():
            delivery = await consumer.receive()
            await consumer.ack(delivery)
            if twice and not delivery.redelivered:
                try:
                    await consumer.ack(delivery)
                except ConnectionError as error:
                    env.note("failed", error=str(error))

        env.main(loop)

    @system.entry(examples=[1])
    def submit(env, item):
        publish = env.publisher(bus)
        for queue in ("orders", "mails", "audit"):
            publish(queue, item)

    return system


def redelivered(run):
    return sorted(
        f"{event.data['what']}{'r' if event.data['redelivered'] else ''}"
        for event in run.history.of("note")
        if "redelivered" in event.data
    )


def test_an_unknown_tag_takes_down_all_that_share_the_channel():
    run = sharing(channel="main", twice=True).run()
    assert redelivered(run) == ["mail", "mailr", "order", "orderr"]
    [failed] = noted(run, "failed")
    assert "406 PRECONDITION_FAILED - unknown delivery tag" in failed.data["error"]


def test_and_nobody_else():
    for shared in ({}, {"connection": "main"}):
        assert redelivered(sharing(twice=True, **shared).run()) == ["mail", "order"]
    assert redelivered(sharing(channel="main").run()) == ["mail", "order"]


def test_a_lost_connection_takes_down_all_its_channels():
    lost = Schedule([LostRequest(Site("worker.loop/bus.ack"))])
    assert redelivered(sharing().run(None, lost)) == ["mail", "order"]
    run = sharing(connection="main").run(None, lost)
    assert redelivered(run) == ["mail", "mailr", "order", "orderr"]


def test_one_connection_has_one_thread_for_plain_handlers():
    def build(**shared):
        system = System("shop", arrival_ms=0)
        bus = system.add(RabbitMQ("bus", queues=["a", "b"]))

        @system.service("worker")
        def worker(env):
            def on_a(_):
                env.sleep(1)
                env.note("a")

            def on_b(_):
                env.sleep(1)
                env.note("b")

            env.consume(bus, "a", on_a, **shared)
            env.consume(bus, "b", on_b, **shared)

        @system.entry(examples=[1])
        def submit(env, item):
            publish = env.publisher(bus)
            publish("a", item)
            publish("b", item)

        return system

    alone, shared = build().run(), build(connection="main").run()
    assert [event.at_ms for event in alone.history.of("note")] == [1_001, 1_001]
    assert [event.at_ms for event in shared.history.of("note")] == [1_001, 2_001]
