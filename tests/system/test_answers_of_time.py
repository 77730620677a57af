"""What time alone changes is waited for by whoever asks again and again, and by nobody else."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta

import boto3
import pytest
import redis
from apscheduler.schedulers.background import BackgroundScheduler
from confluent_kafka import Consumer, TopicPartition

from chaosharness import (
    AWS,
    SQS,
    Gateway,
    Kafka,
    KafkaServers,
    RedisStore,
    SQLite,
    SQSQueue,
    System,
)

DUE_S = 137
QUEUE = "https://sqs.eu-central-1.amazonaws.com/000000000000/in"


class Store:
    """SQLite; `put` is done by the entry, and `ask` each second."""

    def __init__(self, schema, put, ask):
        self.schema, self.put, self.ask = schema, put, ask

    def parts(self, system):
        return system.add(SQLite("db", schema=self.schema))

    def begin(self, env, db):
        connection = env.connect(db)
        with connection:
            connection.execute(self.put)

    def poll(self, env, db):
        connection = env.connect(db)
        return lambda: connection.execute(self.ask).fetchall()


class Cache:
    """Redis, likewise; both are given a client."""

    def __init__(self, put, ask):
        self.put, self.ask = put, ask

    def parts(self, system):
        return system.add(RedisStore("cache", url="redis://cache.shop.example"))

    def begin(self, env, _):
        client = redis.Redis("cache.shop.example", socket_timeout=5)
        self.put(client)
        client.set("begun", "1")

    def poll(self, env, _):
        client = redis.Redis("cache.shop.example", socket_timeout=5)
        return lambda: client.exists("begun") and self.ask(client)


class Bank:
    """A payment that is asked for again and again: at last the bank has forgotten its key."""

    def __init__(self, remembers=DUE_S * 1_000):
        self.remembers = remembers

    def parts(self, system):
        return system.add(Gateway("bank", idempotency_keys=self.remembers))

    def begin(self, env, _): ...

    def poll(self, env, bank):
        client, first = env.client(bank), []

        def ask():
            answer = client.charge("o1", 500, key="o1").id
            if not first:
                first.append(answer)
            return answer != first[0]

        return ask


class Queue:
    """How many messages there are: one is put off, and the loop takes none."""

    def parts(self, system):
        bus = system.add(SQS("bus", {"in": SQSQueue()}))
        system.add(AWS(bus))

    def begin(self, env, _):
        sqs = boto3.client("sqs", region_name="eu-central-1")
        sqs.send_message(QueueUrl=QUEUE, MessageBody="{}", DelaySeconds=DUE_S)

    def poll(self, env, _):
        sqs = boto3.client("sqs", region_name="eu-central-1")
        wanted = "ApproximateNumberOfMessages"

        def ask():
            told = sqs.get_queue_attributes(QueueUrl=QUEUE, AttributeNames=[wanted])
            return int(told["Attributes"][wanted])

        return ask


class Records:
    """A record that is put back until it is old enough, read by polls that wait for nothing."""

    def parts(self, system):
        bus = system.add(Kafka("in-kafka", topics={"in": 1}))
        system.add(KafkaServers("kafka:9092", bus))
        return bus

    def begin(self, env, bus):
        env.publisher(bus)("in", {"id": "1"}, key="1")

    def poll(self, env, _):
        settings = {"bootstrap.servers": "kafka:9092", "group.id": "g"}
        more = {"enable.auto.commit": False, "auto.offset.reset": "earliest"}
        consumer = Consumer({**settings, **more})
        consumer.subscribe(["in"])

        def ask():
            message = consumer.poll(0)
            if message is None or message.error():
                return False
            if time.time() - message.timestamp()[1] / 1_000 >= DUE_S:
                consumer.commit(message, asynchronous=False)
                return True
            consumer.seek(TopicPartition("in", 0, message.offset()))
            return False

        return ask


class Memory:
    """What only memory knows; `make()` returns what is asked."""

    def __init__(self, make):
        self.make = make

    def parts(self, system): ...

    def begin(self, env, _): ...

    def poll(self, env, _):
        return self.make()


def scheduled():
    found = []
    scheduler = BackgroundScheduler(timezone="UTC")
    scheduler.start()
    when = datetime.now(UTC) + timedelta(seconds=DUE_S)
    scheduler.add_job(lambda: found.append(1), "date", run_date=when)
    return lambda: found


def timer():
    found = []
    threading.Timer(DUE_S, lambda: found.append(1)).start()
    return lambda: found


def two_sleeps():
    """The clock is read behind one sleep of a round, and not behind the other one."""
    until = datetime.now(UTC) + timedelta(minutes=2, seconds=17)

    def ask():
        time.sleep(0.1)
        return datetime.now(UTC) >= until

    return ask


JOBS = "CREATE TABLE jobs (id TEXT, due TEXT, at DEFAULT (unixepoch()));"
OLD = "CREATE VIEW old AS SELECT id FROM jobs WHERE unixepoch() - at >= 137;"
AGE = """
local now = redis.call('TIME')
return tonumber(now[1]) - tonumber(redis.call('GET', KEYS[1])) >= 137
"""


def job(at_s):
    return json.dumps({"id": "j1", "due": at_s})


WAITED_FOR = {
    "view": Store(
        JOBS + "CREATE VIEW ready AS SELECT id FROM jobs WHERE due <= datetime('now')",
        "INSERT INTO jobs (id, due) VALUES ('j1', datetime('now', '+137 seconds'))",
        "SELECT id FROM ready",
    ),
    "view that names a number": Store(
        JOBS + OLD, "INSERT INTO jobs (id) VALUES ('j1')", "SELECT id FROM old"
    ),
    "view of a view": Store(
        JOBS + OLD + "CREATE VIEW few AS SELECT id FROM old",
        "INSERT INTO jobs (id) VALUES ('j1')",
        "SELECT id FROM few",
    ),
    "score": Cache(
        lambda client: client.zadd("jobs", {"j1": time.time() + DUE_S}),
        lambda client: client.zrangebyscore("jobs", 0, time.time()),
    ),
    "value": Cache(
        lambda client: client.set("job", job(time.time() + DUE_S)),
        lambda client: json.loads(client.get("job"))["due"] <= time.time(),
    ),
    "field of a hash": Cache(
        lambda client: (client.hset("h", "f", "1"), client.hexpire("h", DUE_S, "f")),
        lambda client: not client.hexists("h", "f"),
    ),
    "script": Cache(
        lambda client: client.set("at", client.time()[0]),
        lambda client: client.eval(AGE, 1, "at"),
    ),
    "idempotency key": Bank(),
    "delayed message": Queue(),
    "old record": Records(),
    "job of a scheduler": Memory(scheduled),
    "timer": Memory(timer),
    "two sleeps a round": Memory(two_sleeps),
}

AT_REST = {
    "table with a default": Store(
        JOBS + OLD, "INSERT INTO jobs (id) VALUES ('j1')", "SELECT id FROM jobs WHERE id = 'j2'"
    ),
    "plain value": Cache(
        lambda client: client.set("job", job(1)), lambda client: client.get("job") == b""
    ),
    "key that is kept": Bank(remembers=True),
    "memory": Memory(lambda: list),
}


def polling(case, busy_s):
    """A loop that asks each second; beside it, another handler is at work for a while."""
    system = System("polling")
    others = system.add(Kafka("others", topics={"slow": 1}))
    parts = case.parts(system)

    @system.service("worker")
    def worker(env):
        ask = case.poll(env, parts)

        def run():
            done = False
            while True:
                if not done and ask():
                    done = True
                    env.note("due")
                time.sleep(1)

        env.main(run)

    @system.service("slow")
    def slow(env):
        env.consume(others, "slow", lambda one: time.sleep(one["s"]))

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        case.begin(env, parts)
        if busy_s:
            env.publisher(others)("slow", {"id": "o1", "s": busy_s}, key="o1")

    return system


@pytest.mark.parametrize("busy_s", [0, 250])
@pytest.mark.parametrize("case", WAITED_FOR.values(), ids=WAITED_FOR)
def test_what_time_changes_is_waited_for(case, busy_s):
    run = polling(case, busy_s).run()
    assert run.ending.verdict == "quiet"
    (noted,) = [event.at_ms for event in run.history.of("note")]
    assert DUE_S * 1_000 <= noted <= DUE_S * 1_000 + 2_100


@pytest.mark.parametrize("case", AT_REST.values(), ids=AT_REST)
def test_what_it_does_not_change_is_asked_a_few_times(case):
    run = polling(case, 0).run()
    assert (run.ending.verdict, run.ending.ran_on) == ("quiet", ())
    assert run.history[-1].at_ms <= 3_000
