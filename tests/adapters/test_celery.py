"""Celery as it is: its worker, its requests and their acknowledgements, in virtual time."""

import time
from datetime import UTC, datetime, timedelta

import pytest
import requests
from celery import Celery, group
from celery.exceptions import Reject

from chaosharness import (
    AMQP,
    Crash,
    Delay,
    ErrorReply,
    Gateway,
    RabbitMQ,
    Redeliver,
    Schedule,
    Site,
    System,
    Web,
)
from chaosharness.errors import InvalidDefinition
from tests.adapters.digests import printed_everywhere

EPOCH_S = 1_893_456_000
TWO = ("worker", "--concurrency=2")
POOLS = ["prefork", "threads", "solo"]


def began(seen):
    """Return when each try of a task began, in whole seconds of the run."""
    return [int(moment - EPOCH_S) for moment in seen]


def played(task, *faults, send=lambda one: one.delay(), argv=TWO, conf=(), backend=None, **options):
    """Run a worker with one task, `task(self, seen)`; return what it saw, and the run."""
    app = Celery(
        "shop", broker="amqp://guest:guest@rabbit//", backend=backend, set_as_current=False
    )
    app.conf.broker_transport_options = {"confirm_publish": True}
    app.conf.update(conf)
    seen = []

    def body(self, *arguments):
        return task(self, seen, *arguments)

    body.__name__ = task.__name__  # which sites are called after
    one = app.task(bind=True, name="shop.work", shared=False, **options)(body)
    system = System("shop", arrival_ms=0)
    bus = system.add(RabbitMQ("bus"))
    bank = system.add(Gateway("bank"))
    system.add(AMQP("rabbit", bus))
    system.add(Web("api.bank.example", bank, routes={"POST /charges": "charge"}))
    system.service("workers")(lambda env: env.main(lambda: app.worker_main([*argv])))
    system.entry(examples=["o1"])(lambda env, order: send(one))
    run = system.run(None, Schedule(faults))
    assert (run.ending.verdict, run.unused) == ("quiet", ())
    return seen, run


def note(self, seen, *arguments):
    seen.append(time.time())


def charge(self, seen):
    seen.append(time.time())
    body = {"order": "o1", "cents": 500}
    requests.post("https://api.bank.example/charges", json=body).raise_for_status()


def acks(run):
    return [event for event in run.history if event.kind == "ack"]


def rejected(run):
    """Return whether each message that was rejected went back to its queue."""
    operation = "workers.charge/bus.reject"
    return [event.data["requeue"] for event in run.history if event.operation == operation]


@pytest.mark.parametrize("pool", POOLS)
def test_a_task_runs_once_and_is_acknowledged(pool):
    seen, run = played(note, argv=["worker", f"--pool={pool}"])
    assert began(seen) == [0]
    assert len(acks(run)) == 1


def countdown(one):
    one.apply_async(countdown=60)


def eta(one):
    one.apply_async(eta=datetime.now(UTC) + timedelta(seconds=60))


@pytest.mark.parametrize("send", [countdown, eta])
@pytest.mark.parametrize("late", [True, False])
def test_what_is_due_later_waits_in_the_worker_unacknowledged(send, late):
    seen, run = played(note, send=send, acks_late=late)
    assert began(seen) == [60]
    times = {event.kind: event.at_ms for event in run.history if event.kind in ("deliver", "ack")}
    assert times["deliver"] < 1_000
    assert times["ack"] >= 60_000


def in_an_hour(one):
    one.apply_async(countdown=3_600)


@pytest.mark.parametrize(
    ("faults", "send", "at"),
    [
        ([Delay(Site("bus.celery/deliver to workers"), lasting="long")], countdown, [1_801]),
        ([], in_an_hour, [3_600]),
    ],
    ids=["late", "far ahead"],
)
def test_a_worker_whose_channel_rabbitmq_has_closed_ends_and_is_started_again(faults, send, at):
    """A message may be out for half an hour: then Celery says `Unrecoverable error`, and exits."""
    seen, run = played(note, *faults, send=send, acks_late=True)
    assert began(seen) == at
    [first, *_] = run.history.of("raised")
    assert (first.at_ms // 1_000, first.data["error"][:26]) == (1_800, "PreconditionFailed: (0, 0)")
    assert [event.at_ms - first.at_ms for event in run.history.of("crash")][:1] == [0]
    assert len(acks(run)) == 1


def test_what_runs_when_the_connection_is_lost_comes_again():
    lost = Redeliver(Site("bus.celery/deliver to workers", "after"))
    seen, run = played(note, lost, send=countdown, acks_late=True)
    assert began(seen) == [60, 60]
    assert (sum(event.kind == "deliver" for event in run.history), len(acks(run))) == (2, 1)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_what_runs_when_the_connection_is_lost_keeps_its_slot(pool):
    def work(self, seen):
        seen.append(time.time())
        time.sleep(10)

    def send(one):
        for _ in range(3):
            one.delay()

    lost = Redeliver(Site("bus.celery/deliver to workers", "after"))
    argv = ["worker", f"--pool={pool}", "--concurrency=1"]
    seen, run = played(work, lost, send=send, argv=argv, acks_late=True)
    assert began(seen) == [0, 10, 20, 30], "one at a time, and the first one twice"
    assert len(acks(run)) == 3


@pytest.mark.parametrize("pool", POOLS)
def test_a_retry_is_a_message_of_its_own(pool):
    def work(self, seen):
        seen.append((time.time(), self.request.retries))
        raise self.retry(countdown=7, exc=ValueError("no"))

    seen, run = played(work, argv=["worker", f"--pool={pool}"], max_retries=2)
    assert [(int(moment - EPOCH_S), times) for moment, times in seen] == [(0, 0), (7, 1), (14, 2)]
    assert len({event.data["message"] for event in acks(run)}) == 3
    assert [event.data["error"] for event in run.history if event.kind == "raised"] == [
        "ValueError: no"
    ]


def test_autoretry_waits_twice_as_long_each_time():
    def work(self, seen):
        seen.append(time.time())
        if len(seen) < 3:
            raise ValueError("no")

    again = {"autoretry_for": (ValueError,), "retry_backoff": 2, "retry_jitter": False}
    seen, _ = played(work, **again)
    assert began(seen) == [0, 2, 6]


ACK = "workers.charge/bus.ack"
CHARGED = Site("workers.charge/bank.charge", "after")


def charges(run):
    return sum(event.kind == "effect" for event in run.history)


@pytest.mark.parametrize("pool", POOLS)
def test_a_task_that_is_acknowledged_early_is_gone_with_its_process(pool):
    seen, run = played(charge, Crash(CHARGED), argv=["worker", f"--pool={pool}"])
    assert (began(seen), charges(run), len(acks(run))) == ([0], 1, 1)
    _, run = played(charge, Crash(Site(ACK, "after")), argv=["worker", f"--pool={pool}"])
    assert (charges(run), len(acks(run))) == (0, 1)


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_a_task_that_is_acknowledged_late_comes_again_when_its_worker_dies(pool):
    argv = ["worker", f"--pool={pool}"]
    seen, run = played(charge, Crash(CHARGED), argv=argv, acks_late=True)
    assert (len(seen), charges(run), len(acks(run))) == (2, 2, 1)


def test_a_pools_process_that_is_killed_loses_its_task_acknowledged_late_or_not():
    seen, run = played(charge, Crash(CHARGED), acks_late=True)
    assert (len(seen), charges(run), len(acks(run))) == (1, 1, 1)


def test_a_task_comes_again_where_it_is_rejected_when_its_process_is_lost():
    seen, run = played(charge, Crash(CHARGED), acks_late=True, reject_on_worker_lost=True)
    assert (len(seen), charges(run), len(acks(run))) == (2, 2, 1)
    assert rejected(run) == [True]


def test_a_worker_that_dies_takes_its_pool_along():
    seen, run = played(charge, Crash(Site(ACK)), acks_late=True)
    assert (len(seen), charges(run), len(acks(run))) == (2, 2, 1)


def test_an_error_is_acknowledged_even_late():
    _, run = played(charge, ErrorReply(Site("workers.charge/bank.charge")), acks_late=True)
    assert (charges(run), len(acks(run))) == (0, 1)
    settings = {"task_acks_on_failure_or_timeout": False}
    fault = ErrorReply(Site("workers.charge/bank.charge"))
    _, run = played(charge, fault, acks_late=True, conf=settings)
    assert (charges(run), len(acks(run))) == (0, 0)
    assert rejected(run) == [False]


def test_what_is_rejected_to_its_queue_comes_again():
    def work(self, seen):
        seen.append(time.time())
        if len(seen) == 1:
            raise Reject("later", requeue=True)

    seen, run = played(work, acks_late=True)
    assert (len(seen), len(acks(run))) == (2, 1)


def test_a_worker_runs_as_many_tasks_at_once_as_it_has_slots():
    def work(self, seen):
        seen.append(time.time())
        time.sleep(10)

    def three(one):
        group(one.s() for _ in range(3)).apply_async()

    seen, _ = played(work, send=three)
    assert began(seen) == [0, 0, 10]
    seen, _ = played(work, send=three, argv=["worker", "--pool=solo"])
    assert began(seen) == [0, 10, 20]


def test_a_task_is_published_by_the_handler_of_another_service():
    app = Celery("shop", broker="amqp://guest:guest@rabbit//", set_as_current=False)
    seen = []

    @app.task(name="shop.ship", shared=False)
    def ship(order):
        seen.append(order)

    system = System("shop", arrival_ms=0)
    bus = system.add(RabbitMQ("bus", queues=["orders"]))
    system.add(AMQP("rabbit", bus))
    system.service("workers")(lambda env: env.main(lambda: app.worker_main([*TWO])))

    @system.service("shop")
    def shop(env):
        def on_order(order):
            ship.delay(order)

        env.consume(bus, "orders", on_order)

    system.entry(examples=["o1"])(lambda env, order: env.publisher(bus)("orders", order))
    run = system.run()
    assert (run.ending.verdict, seen) == ("quiet", ["o1"])
    assert "shop.on_order/bus.publish celery" in {event.operation for event in run.history}


DIGESTS = """
from chaosharness import Crash, Schedule, Site
from models.applications.parcels.system import acknowledged_first, parcels
for system, site in ((parcels(), "charge"), (acknowledged_first(), "acknowledged_first")):
    for faults in ((), (Crash(Site(f"workers.{site}/handle")),)):
        for _ in range(2):
            print(system.run(None, Schedule(faults)).digest())
"""


def test_runs_are_the_same_in_every_process():
    lines = printed_everywhere(DIGESTS)
    assert lines[::2] == lines[1::2]
    assert len(set(lines)) == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"argv": ["worker", "--beat"]}, "worker.--beat is not modelled"),
        ({"argv": ["worker", "--autoscale=3,1"]}, "worker.--autoscale is not modelled"),
        ({"argv": ["worker", "--nonsense"]}, "No such option '--nonsense'"),
        ({"backend": "redis://results"}, "RedisBackend .* this system has none: add RedisStore"),
        ({"backend": "rpc://"}, "RPCBackend .*Redis alone is modelled"),
    ],
)
def test_what_is_not_modelled_is_refused_in_a_sentence(options, words):
    with pytest.raises(InvalidDefinition, match=words):
        played(note, **options)


def test_a_task_that_exceeds_its_time_limit_ends_the_run():
    def work(self, seen):
        time.sleep(20)

    with pytest.raises(
        InvalidDefinition, match=r"shop\.work ran for 20 s, and its time limit is 5 s"
    ):
        played(work, time_limit=5)


QUORUM = {"task_default_queue_type": "quorum", "task_default_exchange_type": "topic"}


def countdown_later(one):
    time.sleep(1)  # the worker declares the queues in which countdowns pass
    one.apply_async(countdown=60)


def test_on_quorum_queues_a_countdown_passes_with_the_broker():
    conf = QUORUM | {"task_default_exchange": "tasks", "task_default_routing_key": "work"}
    seen, run = played(note, send=countdown_later, conf=conf, acks_late=True)
    assert began(seen) == [61]
    waited = {event.data["topic"] for event in run.history.of("publish")}
    assert any(topic.endswith(".work") for topic in waited)  # its way: 28 bits, then the key
    [handed] = [*run.history.of("deliver")]
    assert handed.at_ms == 61_000  # no worker has held it meanwhile


def test_on_quorum_queues_a_task_runs_at_once_where_nothing_is_to_wait_for():
    assert began(played(note, conf=QUORUM)[0]) == [0]
