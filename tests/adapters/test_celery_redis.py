"""Celery on Redis: kombu's lists and its visibility timeout, results, groups, chains and chords."""

import subprocess
import sys
import time

import pytest
from billiard.exceptions import WorkerLostError
from celery import Celery, chain, chord, group
from celery.exceptions import TimeoutError as ResultTimeout

from chaosharness import (
    AMQP,
    Crash,
    Gateway,
    LostRequest,
    RabbitMQ,
    RedisStore,
    Schedule,
    Site,
    StoreOutage,
    System,
    Web,
)
from chaosharness.errors import InvalidDefinition
from tests.adapters.digests import printed_everywhere
from tests.adapters.test_celery import EPOCH_S, acks, charge, charges

TWO = ("worker", "--concurrency=2")
REDIS = "redis://redis/0"
RABBIT = "amqp://guest:guest@rabbit//"


class Tasks:
    """An application of two tasks, and what they saw."""

    def __init__(self, broker, body=None, backend=None, conf=(), **options):
        self.seen = []
        self.app = Celery("shop", broker=broker, backend=backend, set_as_current=False)
        self.app.conf.task_acks_late = True
        self.app.conf.broker_transport_options = {"visibility_timeout": 60}
        self.app.conf.update(conf)
        body = body or self._work

        def work(task, seconds=0):
            return body(self, seconds)

        def total(task, seconds):
            self.note(seconds)
            return sum(seconds)

        work.__name__ = getattr(body, "__name__", "work").removeprefix("_")
        self.work = self.app.task(bind=True, name="shop.work", shared=False, **options)(work)
        self.total = self.app.task(bind=True, name="shop.total", shared=False)(total)

    def note(self, what):
        self.seen.append((int(time.time() - EPOCH_S), what))

    @staticmethod
    def _work(tasks, seconds):
        tasks.note(seconds)
        time.sleep(seconds)
        return seconds


def played(tasks, send, *faults, replicas=2, argv=TWO):
    """Run two workers and a client; return what the tasks saw, and the run."""
    system = System("shop", arrival_ms=0)
    bus = system.add(RabbitMQ("bus"))
    system.add(AMQP("rabbit", bus))
    system.add(RedisStore("queue", persistence="always"))
    bank = system.add(Gateway("bank"))
    system.add(Web("api.bank.example", bank, routes={"POST /charges": "charge"}))
    main = lambda: tasks.app.worker_main([*argv])  # noqa: E731
    system.service("workers", replicas=replicas)(lambda env: env.main(main))
    system.entry(examples=["o1"])(lambda env, order: send(tasks))
    run = system.run(None, Schedule(faults))
    assert (run.ending.verdict, run.unused) == ("quiet", ())
    return tasks.seen, run


def stored(run):
    [state] = [event.data for event in run.history if event.kind == "state"]
    return state["items"]


def deliveries(run):
    return [event.at_ms for event in run.history if event.kind == "deliver"]


@pytest.mark.parametrize("prefix", ["", "shop."])
def test_a_task_goes_through_a_list_and_is_held_until_it_is_acknowledged(prefix):
    options = {"visibility_timeout": 60, "global_keyprefix": prefix}
    tasks = Tasks(REDIS, conf={"broker_transport_options": options})
    seen, run = played(tasks, lambda tasks: tasks.work.delay(5))
    assert (seen, len(acks(run))) == ([(0, 5)], 1)
    kept = stored(run)
    assert {key for key in kept if "unacked" in key or key.endswith("celery")} == {
        f"{prefix}_kombu.binding.celery",
        f"{prefix}_kombu.binding_permanent.celery",
    }


def test_a_task_that_runs_for_longer_than_the_visibility_timeout_runs_twice():
    seen, run = played(Tasks(REDIS), lambda tasks: tasks.work.delay(59))
    assert seen == [(0, 59)]
    seen, run = played(Tasks(REDIS), lambda tasks: tasks.work.delay(61))
    assert seen == [(0, 61), (60, 61)]
    [back] = [event for event in run.history if event.kind == "nack"]
    assert (back.at_ms, back.data["why"]) == (60_000, "visibility timeout")


def test_a_task_due_after_the_visibility_timeout_is_held_by_two_and_runs_twice():
    def send(tasks):
        tasks.work.apply_async(countdown=150)

    seen, run = played(Tasks(REDIS), send)
    assert [moment for moment, _ in seen] == [150, 150, 150]  # given back at 60 s, and at 120 s
    assert deliveries(run) == [0, 60_000, 120_000]


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_what_a_dead_worker_held_comes_again_after_the_visibility_timeout(pool):
    crash = Crash(Site("workers.charging/bank.charge", "after"))
    tasks = Tasks(REDIS, charging, reject_on_worker_lost=True)
    argv = ["worker", f"--pool={pool}"]
    _, run = played(tasks, lambda tasks: tasks.work.delay(), crash, argv=argv)
    assert charges(run) == 2
    again = deliveries(run)[1]
    assert again == 60_000 if pool != "prefork" else 10_000 <= again < 11_000


def charging(tasks, seconds):
    charge(None, [])
    tasks.note(seconds)
    return seconds


def test_a_dead_worker_that_held_tasks_for_later_hands_them_on():
    def body(tasks, seconds):
        tasks.note(seconds)
        if not seconds:
            charge(None, [])

    def send(tasks):
        tasks.work.apply_async((1,), countdown=50)
        tasks.work.delay(0)

    crash = Crash(Site("workers.body/bank.charge", "after"), down="long")
    argv = ["worker", "--pool=threads"]
    seen, _ = played(Tasks(REDIS, body), send, crash, replicas=1, argv=argv)
    assert seen[0][1] == 0 and seen[0][0] < 1
    handed_on = seen[1:]  # at one moment, in whatever order redis-py reads them
    assert sorted(what for _, what in handed_on) == [0, 1]
    assert all(at_s >= 60 for at_s, _ in handed_on)


def test_a_task_that_was_taken_and_not_entered_is_lost():
    taken = Crash(Site("workers.<lambda>/queue.brpop", "after", entity=0))
    seen, _ = played(Tasks(REDIS), lambda tasks: tasks.work.delay(1), taken)
    assert seen == []


def test_no_visibility_timeout_where_acknowledgements_are_not_emulated():
    conf = {"broker_transport_options": {"visibility_timeout": 60, "ack_emulation": False}}
    seen, _ = played(Tasks(REDIS, conf=conf), lambda tasks: tasks.work.delay(200))
    assert seen == [(0, 200)]


@pytest.mark.parametrize(
    "fault",
    [
        StoreOutage(Site("workers.work/queue.multi"), lasting=5_000),
        LostRequest(Site("workers.work/queue.multi")),
    ],
)
def test_a_worker_goes_on_after_redis_was_away(fault):
    seen, run = played(Tasks(REDIS), lambda tasks: tasks.work.delay(1), fault)
    assert seen[0] == (0, 1)
    assert not [key for key in stored(run) if key.startswith("unacked")]


# ---- results

RESULTS = "redis://redis/1"
BROKERS = pytest.mark.parametrize("broker", [REDIS, RABBIT])


def asked(broker, ask, *faults, argv=TWO, **options):
    """Run a client that asks for results; return what it got, what tasks saw, and the run."""
    got = []

    def send(tasks):
        got.append(ask(tasks))

    seen, run = played(Tasks(broker, backend=RESULTS, **options), send, *faults, argv=argv)
    return got[0], seen, run


@BROKERS
def test_a_result_is_waited_for_and_forgotten(broker):
    def ask(tasks):
        result = tasks.work.delay(10)
        found = [result.state]
        with pytest.raises(ResultTimeout):
            result.get(timeout=5)
        found += [int(time.time() - EPOCH_S), result.get(), result.state]
        found.append(int(time.time() - EPOCH_S))
        result.forget()
        return [*found, result.state]

    got, _, _ = asked(broker, ask)
    assert got == ["PENDING", 5, 10, "SUCCESS", 10, "PENDING"]


@BROKERS
def test_groups_chains_and_chords(broker):
    def many(tasks):
        return group(tasks.work.s(one) for one in (1, 2, 3)).apply_async().get()

    assert asked(broker, many)[0] == [1, 2, 3]

    def one_by_one(tasks):
        return chain(tasks.work.s(1), tasks.work.s().set(countdown=5)).apply_async().get()

    got, seen, _ = asked(broker, one_by_one)
    assert (got, seen) == (1, [(0, 1), (6, 1)])

    def summed(tasks):
        return chord([tasks.work.s(one) for one in (1, 2, 3)])(tasks.total.s()).get()

    got, seen, _ = asked(broker, summed)
    assert (got, seen[-1]) == (6, (4, [1, 2, 3]))


@BROKERS
def test_an_error_is_raised_where_its_result_is_asked_for(broker):
    def work(tasks, seconds):
        raise ValueError(seconds)

    def ask(tasks):
        with pytest.raises(ValueError, match="7"):
            tasks.work.delay(7).get()
        result = chord([tasks.work.s(1), tasks.work.s(2)])(tasks.total.s())
        with pytest.raises(ValueError, match="1"):
            result.get()
        return type(result.result).__name__

    assert asked(broker, ask, body=work)[0] == "ChordError"


def headers(tasks):
    """Have a chord of two be done, and return what becomes of it within ten minutes."""
    result = chord([tasks.work.s(1), tasks.work.s(2)])(tasks.total.s())
    try:
        return result.get(timeout=600)
    except ResultTimeout:
        return "nothing"
    except WorkerLostError:
        return "an error"


@BROKERS
@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_chord_whose_header_is_lost_never_comes_to_its_end(broker, pool):
    argv = ("worker", f"--pool={pool}")
    crash = Crash(Site("workers.charging/bank.charge", "after"))
    lost = asked(broker, headers, crash, body=charging, acks_late=False, argv=argv)
    # a process of a pool is missed by its worker; a worker is missed by nobody
    assert lost[0] == {"threads": "nothing", "prefork": "an error"}[pool]
    assert not [what for _, what in lost[1] if isinstance(what, list)]
    again = {"body": charging, "reject_on_worker_lost": True}
    got, seen, run = asked(broker, headers, crash, argv=argv, **again)
    assert (got, seen[-1][1]) == (3, [1, 2])
    # what its process had in hand ran twice, and counts once
    assert charges(run) == {"threads": 4, "prefork": 3}[pool]


def test_results_elsewhere_are_refused():
    for backend in ("rpc://", "cache+memory://"):
        with pytest.raises(InvalidDefinition, match=r"of result backends Redis alone is modelled"):
            played(Tasks(REDIS, backend=backend), lambda tasks: tasks.work.delay(1))


DIGESTS = """
from celery import chord
from chaosharness import Crash, GracefulStop, Schedule, Site
from tests.adapters.test_celery_redis import RABBIT, REDIS, RESULTS, Tasks, played

def send(tasks):
    chord([tasks.work.s(1), tasks.work.s(70)])(tasks.total.s()).get()

for broker in (REDIS, RABBIT):
    site = Site("workers.work/handle")
    for faults in ((), (Crash(site),), (GracefulStop(site),)):
        for _ in range(2):
            tasks = Tasks(broker, backend=RESULTS, reject_on_worker_lost=True)
            print(played(tasks, send, *faults)[1].digest())
"""


def test_runs_are_the_same_in_every_process():
    lines = printed_everywhere(DIGESTS)
    assert lines[::2] == lines[1::2]
    assert len(set(lines)) == 6


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_that_takes_one_at_a_time_goes_on_when_it_has_acknowledged(pool):
    """With a prefetch of 1 the next message is wanted once the last is settled, and not before."""

    def body(tasks, seconds):
        tasks.note(seconds)

    def send(tasks):
        for number in range(3):
            tasks.work.delay(number)

    tasks = Tasks(REDIS, body, conf={"worker_prefetch_multiplier": 1})
    argv = ["worker", f"--pool={pool}", "--concurrency=1"]
    seen, run = played(tasks, send, replicas=1, argv=argv)
    assert (seen, len(acks(run))) == ([(0, 0), (0, 1), (0, 2)], 3)


FIRST = """
import sys
from celery import Celery
from chaosharness import RedisStore, System
app = Celery("sums", broker="redis://redis/0", backend="redis://redis/1")

@app.task
def add(one, other):
    return one + other

assert "redis" not in sys.modules
system = System("sums", arrival_ms=0)
system.add(RedisStore("redis", persistence="always"))
worker = lambda: app.worker_main(["worker", "--pool=threads"])
system.service("workers")(lambda env: env.main(worker))
system.entry(examples=[1])(lambda env, item: print(add.delay(1, item).get(timeout=30)))
run = system.run()
print(run.ending.verdict, run.unspoken)
"""


def test_it_is_met_where_nobody_has_imported_redis_before():
    made = subprocess.run(
        [sys.executable, "-c", FIRST], capture_output=True, text=True, timeout=60, check=False
    )
    assert made.stdout.splitlines() == ["2", "quiet ()"], made.stderr[-2_000:]
