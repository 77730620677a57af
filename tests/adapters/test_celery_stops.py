"""A worker of Celery that is told to stop: its warm shutdown, on Redis and on RabbitMQ."""

import signal
import time

import pytest
import requests
from celery import Celery
from celery.signals import worker_shutting_down

from chaosharness import (
    AMQP,
    Crash,
    Gateway,
    GracefulStop,
    RabbitMQ,
    RedisStore,
    Schedule,
    Site,
    StoreOutage,
    System,
    Web,
    explore,
)
from chaosharness.adapters.celery import shutdown
from chaosharness.errors import IllegalFault
from tests.adapters.test_celery import acks
from tests.adapters.test_celery_redis import RABBIT, REDIS, Tasks, deliveries, played

BROKERS = pytest.mark.parametrize("broker", [REDIS, RABBIT])
BEGINS = Site("workers.work/handle")


def told(broker, send, *, pool="prefork", fault=BEGINS, grace_ms=30_000, **more):
    """Tell the one worker to stop; return what its tasks saw, how it ended, and the run."""
    argv = ["worker", f"--pool={pool}", "--concurrency=1"]
    stop = GracefulStop(fault, down=1_000, grace_ms=grace_ms)
    seen, run = played(Tasks(broker, **more), send, stop, replicas=1, argv=argv)
    [end] = [event for event in run.history if event.kind == "crash"]
    return seen, (end.at_ms // 1000, end.data["how"]), run


def three(tasks):
    """Send three tasks, and one for later: a worker of one slot prefetches them all."""
    for seconds in (3, 4, 5):
        tasks.work.delay(seconds)
    tasks.work.apply_async((6,), countdown=40)


@BROKERS
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_what_runs_is_acknowledged_and_what_was_prefetched_is_given_back(broker, pool):
    seen, end, run = told(broker, three, pool=pool)
    assert end == (3, "stopped")
    assert [seconds for _, seconds in seen][0::3] == [3, 6]  # once, and when it is due
    assert sorted(seconds for _, seconds in seen) == [3, 4, 5, 6]
    assert len(acks(run)) == 4
    back = [event.data["why"] for event in run.history if event.kind == "nack"]
    assert back == [{REDIS: "given back", RABBIT: "closed by its client"}[broker]] * 3
    assert all(at_ms < 5_000 for at_ms in deliveries(run)), "nobody waits for a timeout"


def test_solo_on_rabbitmq_runs_what_has_arrived_when_it_cancels_its_consumer():
    """As a real one does, beside RabbitMQ: py-amqp hands on what it reads before `CancelOk`."""
    seen, end, _ = told(RABBIT, three, pool="solo")
    assert (end, [seconds for _, seconds in seen]) == ((12, "stopped"), [3, 4, 5, 6])
    assert told(REDIS, three, pool="solo")[1] == (3, "stopped")


@BROKERS
def test_a_worker_whose_task_has_just_ended_acknowledges_and_ends(broker):
    place = Site("workers.work/handle", "after")
    seen, end, run = told(broker, lambda tasks: tasks.work.delay(2), fault=place)
    assert (end, len(seen), len(acks(run))) == ((2, "stopped"), 1, 1)


@BROKERS
@pytest.mark.parametrize("late", [True, False])
def test_what_is_not_over_in_time_is_killed(broker, late):
    """Acknowledged late it comes again, on Redis after the visibility timeout."""
    send = lambda tasks: tasks.work.delay(10)  # noqa: E731
    seen, end, _ = told(broker, send, grace_ms=5_000, acks_late=late)
    assert end == (5, "killed")
    again = {REDIS: 60, RABBIT: 6}[broker]
    assert [at_s for at_s, _ in seen] == ([0, again] if late else [0])


def test_between_two_attempts_to_connect_a_worker_waits_once():
    """Not in steps of a second: an hour is as many events as attempts."""
    away = StoreOutage(Site("workers.work/queue.multi"), lasting=3_600_000)
    _, run = played(Tasks(REDIS), lambda one: one.work.delay(1), away, replicas=1)
    assert run.history[-1].at_ms > 3_600_000 and len(run.history) < 500
    assert len(acks(run)) == 1, "it came back all the same"


def test_a_worker_is_stopped_between_two_attempts_to_connect():
    def two(tasks):
        tasks.work.delay(1)
        tasks.work.delay(47)

    away = StoreOutage(Site("workers.work/queue.multi"), lasting=3_600_000)
    second = "2 of client.<lambda>/queue.lpush"
    stop = GracefulStop(Site("workers.work/sleep", "after", message=second), down=1_000)
    argv = ["worker", "--pool=threads", "--concurrency=2"]

    _, run = played(Tasks(REDIS), two, away, stop, replicas=1, argv=argv)
    [end] = [event for event in run.history if event.kind == "crash"]
    assert (end.data["how"], end.at_ms // 1_000) == ("stopped", 47), "when its last task ended"


def test_a_second_worker_takes_what_was_given_back():
    stop = GracefulStop(BEGINS, down="long")
    argv = ["worker", "--pool=threads", "--concurrency=1"]
    seen, run = played(Tasks(REDIS), three, stop, argv=argv)
    assert sorted(seconds for _, seconds in seen) == [3, 4, 5, 6]
    assert len(acks(run)) == 4


def test_a_process_of_the_pool_that_dies_meanwhile_is_waited_for():
    """The worker ends when it has learnt of that, and has rejected the message."""
    argv = ["worker", "--concurrency=1"]
    faults = (GracefulStop(BEGINS, down=1_000), Crash(Site("workers.work/sleep", "after")))
    tasks = Tasks(RABBIT, reject_on_worker_lost=True)
    seen, run = played(tasks, lambda one: one.work.delay(3), *faults, replicas=1, argv=argv)
    ends = [(event.actor, event.data.get("how")) for event in run.history.of("crash")]
    assert ends == [("workers#1/pool 1", None), ("workers#1", "stopped")]
    assert [at_s for at_s, _ in seen] == [0, 14]


def test_signals_of_the_library_are_sent():
    heard = []

    def hear(sender, sig, how, **_):
        heard.append((sender, sig, how))

    worker_shutting_down.connect(hear)
    try:
        told(REDIS, lambda tasks: tasks.work.delay(1))
    finally:
        worker_shutting_down.disconnect(hear)
    assert heard == [("celery@workers-1", "SIGTERM", "Warm")]


def test_a_handler_of_one_s_own_takes_the_place_of_the_library_s():
    """So the worker is never told: it goes on until it is killed."""

    def body(tasks, seconds):
        signal.signal(signal.SIGTERM, lambda number, frame: tasks.note(number))
        tasks.note(seconds)
        time.sleep(seconds)

    amid = Site("workers.body/sleep", "before")
    seen, end, _ = told(REDIS, three, body=body, pool="solo", fault=amid, grace_ms=8_000)
    assert end == (8, "killed")
    assert seen[:4] == [(0, 3), (0, signal.SIGTERM), (3, 4), (7, 5)]


def test_the_library_s_takes_the_place_of_one_that_was_there_before():
    before = lambda: signal.signal(signal.SIGTERM, lambda *_: None)  # noqa: E731
    system = billing(REDIS, late=True, seconds=5, before=before)
    run = system.run(None, Schedule([GracefulStop(Site("workers.bill/handle"))]))
    assert [event.data["how"] for event in run.history.of("crash")] == ["stopped"]


def test_a_cold_shutdown_is_refused(monkeypatch):
    monkeypatch.setattr(shutdown, "REMAP_SIGTERM", "SIGQUIT")
    with pytest.raises(IllegalFault, match="cold shutdown, which is not modelled"):
        told(REDIS, three)


# ---- searches


def billing(broker, *, late, seconds, before=lambda: None):
    """A bill that is charged with a key, by a task that takes so long."""
    app = Celery("billing", broker=broker, set_as_current=False)
    app.conf.task_acks_late = late
    app.conf.task_reject_on_worker_lost = True
    app.conf.broker_transport_options = {"visibility_timeout": 120, "confirm_publish": True}

    @app.task(shared=False, name="bill")
    def bill(number):
        time.sleep(seconds)
        body = {"order": number, "cents": 500}
        head = {"Idempotency-Key": number}
        requests.post("https://api.bank.example/charges", json=body, headers=head, timeout=30)

    system = System("billing", arrival_ms=0)
    system.add(AMQP("rabbit", system.add(RabbitMQ("bus"))))
    system.add(RedisStore("redis", persistence="always"))
    bank = system.add(Gateway("bank"))
    system.add(Web("api.bank.example", bank, routes={"POST /charges": "charge"}))

    def main():
        before()
        app.worker_main(["worker", "--concurrency=1"])

    system.service("workers")(lambda env: env.main(main))

    @system.entry(examples=[{"id": "b1"}])
    def send(env, item):
        bill.delay(item["id"])

    return system


@BROKERS
def test_a_right_worker_is_stopped_everywhere_and_loses_nothing(broker):
    right = billing(broker, late=True, seconds=60)  # longer than the grace
    found = explore(right, kinds=[GracefulStop], faults_max=1)
    assert found.result == "holds"
    assert any("graceful stop" in cell for cell in found.coverage.cells)


@BROKERS
def test_a_worker_that_acknowledges_first_loses_what_takes_longer_than_its_grace(broker):
    found = explore(billing(broker, late=False, seconds=60), kinds=[GracefulStop], faults_max=1)
    assert found.result == "violated"
    [one] = found.counterexamples
    assert "bank did charge(cents=500, order=b1) never" in one.findings[0].summary
    short = billing(broker, late=False, seconds=20)
    assert explore(short, kinds=[GracefulStop], faults_max=1).result == "holds"
