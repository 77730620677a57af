"""What a run costs on each stack, how many times that of ports, and how soon a slip is found.

python -m benchmarks stacks
python -m benchmarks.stacks NAME ...: those rows whose names begin so

Each is an application as its users write it (`models/applications/`, or a worker of the tests where
there is none), in its right form and in one with a slip. A run differs in length from stack to
stack, so what is compared with ports is the cost of an event of its history. `to find it` is CPU
time from nothing to the counterexample, made as small as can be; `single level` that of every
single fault in the right one, and of nothing else (a search by default has a run by chance beside
four of them). `bound` is what the level may take: 10 s where a run of it costs 40 ms at most, on
average, and 60 s elsewhere: a run with a long fault is dearer than a calm one. A slip should be
found in 10 s. `kept` says whether both are so, and the right form holds. `ports` is what an event
of ports cost beside the row, in microseconds: a busy machine shows there.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import attrs

from benchmarks.amqp import system as amqp_system
from benchmarks.amqp import with_ports
from chaosharness import (
    AWS,
    SQS,
    Env,
    Gateway,
    PostgreSQL,
    Schedule,
    SQSQueue,
    System,
    Web,
    explore,
    idempotent,
    smallest,
)

RUNS = 10
LIMIT_S = 10.0
DEAR_MS = 40.0
DEAR_S = 60.0


@attrs.frozen
class Stack:
    """A stack, a system on it, and the same with a slip: each a module and a function of it."""

    name: str
    right: str
    slip: str


def _application(libraries: str, name: str, slip: str) -> Stack:
    where = f"models.applications.{name}.system"
    return Stack(libraries, f"{where}:{name}", f"{where}:{slip}")


def _shop(libraries: str, name: str, slip: str) -> Stack:
    where = "benchmarks.stack_shops"
    return Stack(libraries, f"{where}:{name}", f"{where}:{slip}")


STACKS = (
    _application("confluent-kafka, requests", "billing", "keyless"),
    _application("aiokafka, httpx", "payouts", "keyless"),
    _application("kafka-python, requests", "refunds", "keyless"),
    _application("pika, SQLAlchemy, requests", "invoices", "no_key"),
    _application("FastStream on RabbitMQ", "charges", "no_key"),
    _application("Celery on RabbitMQ", "parcels", "keyless"),
    _application("Celery on Redis", "shipments", "told_without_a_key"),
    _application("taskiq on RabbitMQ", "receipts", "keyless"),
    _application("FastAPI, SQLAlchemy, httpx", "checkout", "no_key"),
    _application("Flask, requests", "booking", "retried_post"),
    _application("FastAPI, SQLite, httpx", "wallet", "each_time"),
    Stack("nats-py, fetched", f"{__name__}:nats", f"{__name__}:nats_that_counts"),
    Stack("nats-py, pushed", f"{__name__}:nats_pushed", f"{__name__}:nats_pushed_that_counts"),
    Stack("boto3 (SQS), requests", f"{__name__}:sqs", f"{__name__}:sqs_keyless"),
    Stack("AWS Lambda on SQS", "models.aws.till:till", "models.aws.till:partial_response_missing"),
    Stack("aiobotocore (SQS)", f"{__name__}:aio_sqs", f"{__name__}:aio_sqs_keyless"),
    Stack("FastStream on Kafka", f"{__name__}:faststream", f"{__name__}:faststream_careless"),
    Stack("psycopg", f"{__name__}:by_psycopg", f"{__name__}:by_psycopg_unlocked"),
    Stack("asyncpg", f"{__name__}:by_asyncpg", f"{__name__}:by_asyncpg_unlocked"),
    Stack("Temporal", "models.temporal.right:build", "models.temporal.broken:key_of_attempt"),
    Stack("redis-py, streams", f"{__name__}:streams", f"{__name__}:streams_that_forget"),
    _shop("redis-py, a store", "on_redis", "on_redis_counted"),
    _shop("redis.asyncio, a store", "on_redis_async", "on_redis_async_counted"),
    _shop("aiohttp", "on_aiohttp", "on_aiohttp_keyless"),
    _shop("stripe", "on_stripe", "on_stripe_keyless"),
    _shop("aio-pika", "on_aio_pika", "on_aio_pika_early"),
    _shop("aiosqlite", "on_aiosqlite", "on_aiosqlite_added"),
    _shop("SQLAlchemy on asyncio", "on_sqlalchemy_async", "on_sqlalchemy_async_added"),
    _shop("Django's ORM", "on_django", "on_django_added"),
    _shop("Lambda durable functions", "durable", "durable_without_key"),
)


def nats(*, counts: bool = False) -> System:
    """Return orders that are fetched from JetStream."""
    from tests.adapters import nats_workers, test_nats

    found: System = test_nats.shop(nats_workers.ack, counts=counts)
    return found


def nats_that_counts() -> System:
    """Return the same, where an acknowledgement that is lost counts twice."""
    return nats(counts=True)


def nats_pushed(*, counts: bool = False) -> System:
    """Return orders that JetStream hands out."""
    from tests.adapters import test_nats_listening as pushed

    found: System = pushed.shop(pushed.durable, counts=counts)
    return found


def nats_pushed_that_counts() -> System:
    """Return the same, where an acknowledgement that is lost counts twice."""
    return nats_pushed(counts=True)


def sqs(*, keyed: bool = True) -> System:
    """Return orders that are received from a queue of SQS, and charged by HTTP."""
    import boto3
    import requests

    url = "https://sqs.eu-central-1.amazonaws.com/000000000000/orders"
    client = boto3.client("sqs", region_name="eu-central-1")

    def charge(order: dict[str, Any]) -> None:
        headers = {"Idempotency-Key": order["order"]} if keyed else {}
        where = "https://bank.example/charges"
        requests.post(where, json=order, headers=headers, timeout=10).raise_for_status()

    def work() -> None:
        while True:
            answer = client.receive_message(QueueUrl=url, WaitTimeSeconds=20)
            for message in answer.get("Messages", []):
                try:
                    charge(json.loads(message["Body"]))
                except (OSError, ValueError):
                    continue
                client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    system = System("shop")
    queues = {"orders": SQSQueue(dead_letter="dead"), "dead": SQSQueue()}  # for what is no order
    bus = system.add(SQS("bus", queues))
    bank = system.add(Gateway("bank"))
    system.add(AWS(bus))
    system.add(Web("bank.example", bank, routes={"POST /charges": "charge"}))
    system.service("billing")(lambda env: env.main(work))

    @system.entry(examples=[{"order": "o1", "cents": 500}])
    def place(env: Env, order: dict[str, Any]) -> None:
        env.publisher(bus)("orders", order, key=order["order"])

    return system


def sqs_keyless() -> System:
    """Return the same, where the bank is given no key."""
    return sqs(keyed=False)


def aio_sqs(*, keyed: bool = True) -> System:
    """Return orders that are received from SQS on asyncio."""
    import_module("aiobotocore")  # whose tests are left out without it
    from tests.adapters import test_aiobotocore

    found: System = test_aiobotocore.till(keyed=keyed)
    return found


def aio_sqs_keyless() -> System:
    """Return the same, where the bank is given no key."""
    return aio_sqs(keyed=False)


def faststream(app: str = "app") -> System:
    """Return an application of FastStream on Kafka."""
    from tests.adapters import faststream_kafka_app, test_faststream_kafka

    found: System = test_faststream_kafka.shop(getattr(faststream_kafka_app, app))
    return found


def faststream_careless() -> System:
    """Return the same, where what failed is committed."""
    return faststream("careless_app")


def _on_postgresql(handler: Callable[..., Any]) -> System:
    """Return a total that two replicas add to, on a real server.

    Raises:
        ImportError: There is none.
    """
    import psycopg

    from tests.adapters.databases import servers, shops, test_psycopg

    try:
        psycopg.connect(servers.SERVER, dbname="postgres").close()
    except psycopg.OperationalError:
        raise ImportError("no PostgreSQL server answers") from None
    db = PostgreSQL("db", test_psycopg.SCHEMA, server=servers.SERVER)
    found: System = shops.shop(handler, db)
    found.claim(idempotent())
    return found


def by_psycopg(handler: str = "right") -> System:
    """Return a total that psycopg adds to."""
    from tests.adapters.databases import test_psycopg

    return _on_postgresql(getattr(test_psycopg, handler))


def by_psycopg_unlocked() -> System:
    """Return the same, where nothing is locked between reading and writing."""
    return by_psycopg("unlocked")


def by_asyncpg(lock: str = "FOR UPDATE") -> System:
    """Return a total that asyncpg adds to."""
    import asyncpg

    from tests.adapters.databases.test_psycopg import DSN

    async def add(order: dict[str, Any]) -> None:
        connection = await asyncpg.connect(DSN)
        try:
            async with connection.transaction():
                new = "INSERT INTO orders (id, cents) VALUES ($1, $2) ON CONFLICT DO NOTHING"
                if not (await connection.execute(new, order["id"], order["cents"])).endswith("1"):
                    return
                cents = await connection.fetchval(f"SELECT cents FROM total WHERE id = 1 {lock}")
                await connection.execute(
                    "UPDATE total SET cents = $1 WHERE id = 1", cents + order["cents"]
                )
        finally:
            await connection.close()

    return _on_postgresql(add)


def by_asyncpg_unlocked() -> System:
    """Return the same, where nothing is locked between reading and writing."""
    return by_asyncpg("")


def streams(worker: str = "worker") -> System:
    """Return orders that are read from a stream of Redis."""
    from tests.adapters.databases import test_redis_streams, workers

    found: System = test_redis_streams.shop(getattr(workers, worker))
    return found


def streams_that_forget() -> System:
    """Return the same, where nobody claims what is pending."""
    return streams("forgetful")


def made(where: str) -> System:
    """Return a system by where it is written."""
    module, _, name = where.partition(":")
    make: Callable[[], System] = getattr(import_module(module), name)
    return make()


def us_per_event(system: System) -> tuple[float, float]:
    """Return what a run costs in milliseconds, and each of its events in microseconds."""
    events = len(system.run().history)
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        for _ in range(RUNS):
            system.run(None, Schedule())
        best = min(best, (time.process_time() - began) / RUNS)
    return best * 1e3, best * 1e6 / events


def found_in_s(system: System) -> tuple[float, str]:
    """Return how long it takes to the smallest counterexample, and its schedule."""
    began = time.process_time()
    found = smallest(system, faults_max=1)
    took_s = time.process_time() - began
    return took_s, "nothing" if found is None else "; ".join(map(str, found.schedule)) or "no fault"


def level_in_s(system: System) -> tuple[float, int, str]:
    """Return how long every single fault takes, how many runs that is, and what came out."""
    began = time.process_time()
    found = explore(system, faults_max=1, runs_max=100_000, mode="small-first")
    return time.process_time() - began, found.runs, str(found.result)


def main(stacks: Sequence[Stack] = STACKS) -> None:
    """Print the table; what the applications log is not shown meanwhile."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    try:
        _print(stacks)
    finally:
        logging.disable(logging.NOTSET)


@attrs.frozen
class Row:
    """What was measured of one stack.

    Attributes:
        stack: Which.
        ms: What a calm run costs.
        event_us: What each of its events costs.
        ports_us: What an event of ports cost beside it: twice that of a quiet machine, and all
            seconds of this row are twice as many, too.
        found_s: From nothing to the smallest counterexample of the slip.
        fault: Its schedule.
        level_s: All single faults of the right one.
        runs: How many those are.
        result: What came of them.
    """

    stack: Stack
    ms: float
    event_us: float
    ports_us: float
    found_s: float
    fault: str
    level_s: float
    runs: int
    result: str

    @property
    def bound_s(self) -> float:
        """What the level may take: by what a run of it costs on average."""
        return LIMIT_S if self.level_s * 1e3 / self.runs <= DEAR_MS else DEAR_S

    @property
    def broken(self) -> list[str]:
        """Which bounds are not kept."""
        found = []
        if self.found_s > LIMIT_S:
            found.append(f"found in {self.found_s:.0f} s")
        if self.level_s > self.bound_s:
            found.append(f"level {self.level_s:.0f} s")
        if self.result != "holds":
            found.append(f"the right one: {self.result}")
        return found

    def __str__(self) -> str:
        each_ms = self.level_s * 1e3 / self.runs
        cost = f"{self.ms:8.2f} {self.event_us / self.ports_us:6.1f}x {self.ports_us:6.1f}"
        level = f"{self.found_s:9.2f} {self.level_s:9.1f} {self.runs:5} {each_ms:8.1f}"
        kept = "no: " + ", ".join(self.broken) if self.broken else "yes"
        return f"{self.stack.name:28} {cost} {level} {self.bound_s:6.0f}  {kept:4}  {self.fault}"


HEADS = (
    f"{'stack':28} {'ms a run':>8} {'ratio':>7} {'ports':>6} {'to find':>9} {'level, s':>9} "
    f"{'runs':>5} {'ms each':>8} {'bound':>6}  {'kept':4}  the fault"
)


def measured(stack: Stack) -> Row:
    """Return what one stack costs, and what ports cost before and after it.

    Raises:
        ImportError: Its library is not installed, or its server does not answer.
    """
    ports = amqp_system(with_ports)
    before_us = us_per_event(ports)[1]
    ms, event_us = us_per_event(made(stack.right))
    found_s, fault = found_in_s(made(stack.slip))
    level_s, runs, result = level_in_s(made(stack.right))
    ports_us = (before_us + us_per_event(ports)[1]) / 2
    return Row(stack, ms, event_us, ports_us, found_s, fault, level_s, runs, result)


def _print(stacks: Sequence[Stack]) -> None:
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    print(HEADS)
    for one in stacks:
        try:
            print(measured(one))
        except ImportError as error:
            print(f"{one.name:28} left out: {error}")


def named(beginnings: Sequence[str]) -> Sequence[Stack]:
    """Return the stacks whose names begin so; all of them where nothing is asked for."""
    wanted = tuple(one.lower() for one in beginnings) or ("",)
    return [one for one in STACKS if one.name.lower().startswith(wanted)]


if __name__ == "__main__":
    main(named(sys.argv[1:]))
