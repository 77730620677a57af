"""A loop that looks whether it is time gets to the time: due rows, leases, batches, deadlines."""

import asyncio
import datetime
import time
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from chaosharness import Books, Kafka, KeyValue, Queue, RabbitMQ, SQLite, System

SCHEMA = "CREATE TABLE jobs (id TEXT PRIMARY KEY, at_ms INTEGER, iso TEXT, state TEXT);"
LEASE = datetime.timedelta(minutes=10)
HOUR_MS = 3_600_000
SETTINGS = SimpleNamespace(worker=SimpleNamespace(lease_ms=400_000))


def timed(make: Any, *, enter: Any = None, runtime: Any = None, broker: Any = None) -> System:
    """Return a system with one loop, made by `make(env, kit)`, and jobs that a client enters."""
    system = System("timed")
    store = system.add(SQLite("db", SCHEMA))
    done = system.add(KeyValue("done"))
    plans = system.add(KeyValue("plans"))
    bus = None if broker is None else system.add(broker)

    @system.service("worker", runtime=runtime)
    def worker(env):
        kit = SimpleNamespace(
            db=env.connect(store), done=env.connect(done), plans=env.connect(plans), bus=bus
        )
        env.main(make(env, kit))

    @system.entry(examples=["j1", "j2"])
    def submit(env, job):
        if enter is not None:
            enter(env, SimpleNamespace(plans=env.connect(plans), bus=bus), job)
            return
        db = env.connect(store)
        with db:
            db.execute("INSERT INTO jobs VALUES (?, NULL, NULL, 'new')", (job,))

    return system


def new_jobs(kit: Any) -> list[tuple[Any, ...]]:
    """Return the jobs that are not done."""
    return kit.db.execute("SELECT id, at_ms, iso FROM jobs WHERE state = 'new'").fetchall()


def finish(kit: Any, job: str) -> None:
    """Do a job, once."""
    kit.done.put(job, "done")
    with kit.db:
        kit.db.execute("UPDATE jobs SET state = 'done' WHERE id = ?", (job,))


# ---- due times in rows


def due_rows(ahead_ms: int, poll_s: float) -> System:
    """Return a loop that runs what is due; the client says how far ahead that is."""
    system = System("due")
    store = system.add(SQLite("db", SCHEMA))
    done = system.add(KeyValue("done"))

    @system.service("worker")
    def worker(env):
        kit = SimpleNamespace(db=env.connect(store), done=env.connect(done))

        def loop():
            while True:
                due = "SELECT id FROM jobs WHERE state = 'new' AND at_ms <= ?"
                for (job,) in kit.db.execute(due, (env.now_ms(),)).fetchall():
                    finish(kit, job)
                env.sleep(poll_s)

        env.main(loop)

    @system.entry(examples=["j1", "j2"])
    def submit(env, job):
        db = env.connect(store)
        with db:
            at_ms = env.now_ms() + ahead_ms
            db.execute("INSERT INTO jobs VALUES (?, ?, NULL, 'new')", (job, at_ms))

    return system


@pytest.mark.parametrize(("ahead_ms", "poll_s"), [(10_000, 1), (2 * HOUR_MS, 60), (600_000, 0.5)])
def test_a_row_that_is_due_later_is_run(ahead_ms, poll_s):
    run = due_rows(ahead_ms, poll_s).run()
    assert Books(run.history).values("done") == {"j1": "done", "j2": "done"}
    assert run.ending.verdict == "quiet"


def test_a_run_ends_soon_after_the_last_due_time():
    run = due_rows(2 * HOUR_MS, 60).run()
    end_ms = [*run.history][-1].at_ms
    assert 2 * HOUR_MS <= end_ms < 2.5 * HOUR_MS


def test_a_deadline_of_a_day_ahead_looked_at_each_second_is_reached_by_a_bounded_run():
    run = due_rows(20 * HOUR_MS, 1).run()
    assert run.ending.verdict == "quiet"
    assert Books(run.history).values("done") == {"j1": "done", "j2": "done"}
    assert len(run.history) < 10_000  # idle rounds are skipped
    [ran_on] = run.ending.ran_on
    assert (ran_on.place, ran_on.why) == ("worker.loop", "reads a clock")


# ---- leases


def lease_of_python(env, kit):
    def loop():
        while True:
            for job, _, iso in new_jobs(kit):
                now = datetime.datetime.now(datetime.UTC)
                if iso is None:
                    with kit.db:
                        kit.db.execute("UPDATE jobs SET iso = ?", (now.isoformat(),))
                elif now - datetime.datetime.fromisoformat(iso) > LEASE:
                    finish(kit, job)
            env.sleep(5)

    return loop


def lease_of_sql(env, kit):
    def loop():
        while True:
            with kit.db:
                kit.db.execute("UPDATE jobs SET iso = datetime('now') WHERE iso IS NULL")
            over = "SELECT id FROM jobs WHERE state = 'new' AND iso < datetime('now', ?)"
            for (job,) in kit.db.execute(over, ("-300 seconds",)).fetchall():
                finish(kit, job)
            env.sleep(5)

    return loop


def lease_of_a_parameter(env, kit):
    lease_ms = 15 * 60 * 1000

    def loop():
        while True:
            with kit.db:
                sql = "UPDATE jobs SET at_ms = ? WHERE at_ms IS NULL"
                kit.db.execute(sql, (env.now_ms(),))
            over = "SELECT id FROM jobs WHERE state = 'new' AND at_ms < ?"
            for (job,) in kit.db.execute(over, (env.now_ms() - lease_ms,)).fetchall():
                finish(kit, job)
            env.sleep(10)

    return loop


class Worker:
    """Judges a lease that is an attribute of what it holds."""

    def __init__(self, kit, clock, config):
        self.kit, self.clock, self.config = kit, clock, config

    def is_over(self, at_ms):
        return self.clock() - at_ms > self.config.lease_ms

    def step(self):
        for job, at_ms, _ in new_jobs(self.kit):
            if at_ms is None:
                with self.kit.db:
                    self.kit.db.execute("UPDATE jobs SET at_ms = ?", (self.clock(),))
            elif self.is_over(at_ms):
                finish(self.kit, job)


def lease_of_an_attribute(env, kit):
    worker = Worker(kit, env.now_ms, SimpleNamespace(lease_ms=900_000))

    def loop():
        while True:
            worker.step()
            env.sleep(1)

    return loop


def lease_of_the_settings(env, kit):
    def loop():
        while True:
            for job, at_ms, _ in new_jobs(kit):
                if at_ms is None:
                    with kit.db:
                        kit.db.execute("UPDATE jobs SET at_ms = ?", (env.now_ms(),))
                elif env.now_ms() - at_ms > SETTINGS.worker.lease_ms:
                    finish(kit, job)
            env.sleep(2)

    return loop


@pytest.mark.parametrize(
    "make",
    [
        lease_of_python,
        lease_of_sql,
        lease_of_a_parameter,
        lease_of_an_attribute,
        lease_of_the_settings,
    ],
    ids=lambda make: make.__name__,
)
def test_a_lease_is_waited_for(make):
    run = timed(make).run()
    assert Books(run.history).values("done") == {"j1": "done", "j2": "done"}
    assert run.ending.verdict == "quiet"


# ---- due times in messages and in the key-value store


def delayed_messages(env, kit):
    consumer = env.consumer(kit.bus, "later")

    def loop():
        held = []
        while True:
            for delivery in consumer.poll(10, timeout_s=30):
                held.append(delivery.value)
                consumer.commit()
            due = [one for one in held if one["deliver_at"] <= time.time()]
            held = [one for one in held if one not in due]
            for one in due:
                kit.done.put(one["id"], "done")

    return loop


def test_a_due_time_in_a_message_is_waited_for():
    def enter(env, kit, job):
        message = {"id": job, "deliver_at": time.time() + 5_400}
        env.publisher(kit.bus)("later", message, key=job)

    run = timed(delayed_messages, enter=enter, broker=Kafka("bus", topics={"later": 1})).run()
    assert Books(run.history).values("done") == {"j1": "done", "j2": "done"}
    assert run.ending.verdict == "quiet"


def test_a_due_time_in_the_key_value_store_is_waited_for():
    def planned(env, kit):
        def loop():
            while True:
                for job, plan in kit.plans.items():
                    moment = datetime.datetime.fromisoformat(plan["at"])
                    if moment <= datetime.datetime.now(datetime.UTC):
                        kit.done.put(job, "done")
                        kit.plans.delete(job)
                env.sleep(20)

        return loop

    def enter(env, kit, job):
        moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=3)
        kit.plans.put(job, {"at": moment.isoformat()})

    run = timed(planned, enter=enter).run()
    assert Books(run.history).values("done") == {"j1": "done", "j2": "done"}
    assert run.ending.verdict == "quiet"


# ---- batches, in every colour and with both brokers


def batch_of_kafka(env, kit):
    consumer = env.consumer(kit.bus, "events")

    def loop():
        batch, since = [], env.now_ms()
        while True:
            batch += [one.value for one in consumer.poll(10, timeout_s=1)]
            if batch and env.now_ms() - since >= 10_000:
                for value in batch:
                    kit.done.put(value, "done")
                consumer.commit()
                batch, since = [], env.now_ms()

    return loop


def batch_of_rabbitmq(env, kit):
    consumer = env.consumer(kit.bus, "events")

    def loop():
        held, since = [], time.monotonic()
        while True:
            one = consumer.receive(timeout_s=1)
            if one is not None:
                held.append(one)
            if held and time.monotonic() - since >= 90:
                for delivery in held:
                    kit.done.put(delivery.value, "done")
                    consumer.ack(delivery)
                held, since = [], time.monotonic()

    return loop


def batch_of_ports(env, kit):
    consumer = env.consumer(kit.bus, "events")

    async def loop():
        batch, idle = [], 0
        while True:
            found = [one.value for one in await consumer.poll(10, timeout_s=1)]
            batch, idle = batch + found, 0 if found else idle + 1
            if batch and idle >= 5:
                for value in batch:
                    await kit.done.put(value, "done")
                await consumer.commit()
                batch = []

    return loop


def batch_of_asyncio(env, kit):
    consumer = env.consumer(kit.bus, "events")

    async def loop():
        batch: list[Any] = []
        clock = asyncio.get_running_loop().time
        since = clock()

        async def flush():
            nonlocal since
            while True:
                await asyncio.sleep(2)
                if batch and clock() - since >= 30:
                    for value in batch:
                        await kit.done.put(value, "done")
                    await consumer.commit()
                    batch.clear()
                    since = clock()

        task = asyncio.create_task(flush())
        while not task.done():
            batch.extend(one.value for one in await consumer.poll(10))

    return loop


def batch_of_trio(env, kit):
    consumer = env.consumer(kit.bus, "events")

    async def loop():
        batch, since = [], trio.current_time()
        while True:
            batch += [one.value for one in await consumer.poll(10, timeout_s=1)]
            if batch and trio.current_time() - since > 200:
                for value in batch:
                    await kit.done.put(value, "done")
                await consumer.commit()
                batch, since = [], trio.current_time()

    return loop


@pytest.mark.parametrize(
    ("make", "runtime"),
    [
        (batch_of_kafka, None),
        (batch_of_rabbitmq, None),
        (batch_of_ports, "ports"),
        (batch_of_asyncio, "asyncio"),
        (batch_of_trio, "trio"),
    ],
    ids=["kafka", "rabbitmq", "ports", "asyncio", "trio"],
)
def test_a_batch_is_flushed(make, runtime):
    rabbit = make is batch_of_rabbitmq
    broker = RabbitMQ("bus", queues={"events": Queue()}) if rabbit else Kafka("bus", {"events": 1})

    def enter(env, kit, job):
        env.publisher(kit.bus)("events", job)

    run = timed(make, enter=enter, runtime=runtime, broker=broker).run()
    assert Books(run.history).values("done") == {"j1": "done", "j2": "done"}
    assert run.ending.verdict == "quiet"
