"""What no part of a system stands for: one sentence with the call, the user's line, and what to do.

Real hosts, two brokers at once, C extensions with sockets of their own, forks, pools. It
is said in other words where another test has met the library: nothing here depends on that.
"""

import asyncio
import gc
import multiprocessing
import os
import re
import smtplib
import socket
import subprocess
import sys
import urllib.request
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module

import pytest

from chaosharness import AMQP, NATS, Kafka, KafkaServers, RabbitMQ, RedisStore, System
from chaosharness.errors import InvalidDefinition, RealIO

HERE = r" \(at (?:tests/adapters/)?test_strangers.py:\d+\)"
AT_HOME = sys.platform == "linux"


def refused(ask, *parts):
    """Return what a service is told whose main loop asks for something."""
    system = System("shop")
    for part in parts:
        system.add(part)

    async def later():
        await ask()

    is_async = asyncio.iscoroutinefunction(getattr(ask, "func", ask))
    system.service("worker")(lambda env: env.main(later if is_async else partial(ask)))
    system.entry(examples=[1])(lambda env, item: None)
    with pytest.raises((InvalidDefinition, RealIO)) as told:
        system.run()
    return str(told.value)


# ---- real hosts

CONFLUENT = {"bootstrap.servers": "kafka.real:9092", "group.id": "g"}
PG = "postgresql://pg.real/db"


def confluent(kind):
    getattr(import_module("confluent_kafka"), kind)(CONFLUENT).poll(1)


def confluent_admin():
    import_module("confluent_kafka.admin").AdminClient(CONFLUENT).list_topics(timeout=1)


async def aiokafka_producer():
    await import_module("aiokafka").AIOKafkaProducer(bootstrap_servers="kafka.real:9092").start()


def kafka_producer():
    import_module("kafka").KafkaProducer(bootstrap_servers="kafka.real:9092")


def pika_connection():
    pika = import_module("pika")
    pika.BlockingConnection(pika.ConnectionParameters("rabbit.real"))


async def aio_pika_connection():
    await import_module("aio_pika").connect_robust("amqp://rabbit.real")


def boto3_client():
    import_module("boto3").client("sqs", region_name="eu-west-1").list_queues()


async def nats_connection():
    await import_module("nats").connect("nats://nats.real")


def redis_client():
    import_module("redis").Redis("redis.real").get("a")


async def redis_async_client():
    await import_module("redis.asyncio").Redis(host="redis.real").get("a")


def psycopg_connection(conninfo):
    import_module("psycopg").connect(conninfo)


async def psycopg_async_connection():
    await import_module("psycopg").AsyncConnection.connect(PG)


async def asyncpg_connection():
    await import_module("asyncpg").connect(PG)


def sqlalchemy_connection():
    import_module("sqlalchemy").create_engine("postgresql+psycopg://pg.real/db").connect()


def celery_worker(broker):
    celery = import_module("celery")
    celery.Celery("x", broker=broker, set_as_current=False).worker_main(["worker"])


async def aiosqlite_file():
    await import_module("aiosqlite").connect("real.db")


async def aiosqlite_engine():
    asyncio_ = import_module("sqlalchemy.ext.asyncio")
    async with asyncio_.create_async_engine("sqlite+aiosqlite:///real.db").begin():
        pass


async def temporal_client():
    await import_module("temporalio.client").Client.connect("temporal.real:7233")


def httpx_get():
    import_module("httpx").get("https://api.real/")


def requests_get():
    import_module("requests").get("https://api.real/")


async def aiohttp_get():
    async with import_module("aiohttp").ClientSession() as session:
        await session.get("https://api.real/")


def stripe_charge():
    import_module("stripe").Charge.create(api_key="x", amount=1)


def urllib_get():
    urllib.request.urlopen("https://api.real/")


def plain_socket():
    socket.create_connection(("db.real", 5432))


async def plain_streams():
    await asyncio.open_connection("db.real", 5432)


KAFKA = ("kafka.real:9092", 'KafkaServers("')
POSTGRESQL = ("psycopg", 'PostgreSQL("db"')
WEB = ("api.real", "Web(")
HOSTS = [
    ("confluent_kafka", partial(confluent, "Producer"), *KAFKA),
    ("confluent_kafka", partial(confluent, "Consumer"), *KAFKA),
    ("confluent_kafka", confluent_admin, *KAFKA),
    ("aiokafka", aiokafka_producer, *KAFKA),
    ("kafka", kafka_producer, *KAFKA),
    ("pika", pika_connection, "pika", "AMQP("),
    ("aio_pika", aio_pika_connection, "aiormq", "AMQP("),
    ("boto3", boto3_client, "boto", "AWS("),
    ("nats", nats_connection, "nats", 'NATS("bus"'),
    ("redis", redis_client, "redis.real", "RedisStore("),
    ("redis", redis_async_client, "redis.real", "RedisStore("),
    ("psycopg", partial(psycopg_connection, PG), *POSTGRESQL),
    ("psycopg", partial(psycopg_connection, "host=127.0.0.1 port=9"), *POSTGRESQL),
    ("psycopg", partial(psycopg_connection, "host=/nowhere"), *POSTGRESQL),
    ("psycopg", psycopg_async_connection, *POSTGRESQL),
    ("sqlalchemy", sqlalchemy_connection, *POSTGRESQL),
    ("asyncpg", asyncpg_connection, "asyncpg", 'PostgreSQL("db"'),
    ("aiosqlite", aiosqlite_file, "'real.db'", 'SQLite("db", schema, url="sqlite:///real.db")'),
    ("aiosqlite", aiosqlite_engine, "'real.db'", 'SQLite("db", schema, url="sqlite:///real.db")'),
    ("temporalio", temporal_client, "temporal.real:7233", "env.client("),
    ("httpx", httpx_get, *WEB),
    ("requests", requests_get, *WEB),
    ("aiohttp", aiohttp_get, *WEB),
    ("stripe", stripe_charge, "stripe", "Web("),
    ("urllib", urllib_get, *WEB),
    ("socket", plain_socket, "db.real", "Web("),
    ("asyncio", plain_streams, "db.real", "Web("),
]


@pytest.mark.parametrize(("package", "ask", "what", "instead"), HOSTS)
def test_a_host_that_nobody_stands_for_is_said(package, ask, what, instead):
    pytest.importorskip(package)
    if package in ("sqlalchemy", "aiosqlite"):
        pytest.importorskip("psycopg")
        pytest.importorskip("sqlalchemy")
    found = refused(ask)
    assert what in found and instead in found and re.search(HERE, found), found


@pytest.mark.parametrize("broker", ["amqp://rabbit.real//", "sqs://"])
def test_a_broker_of_celery_that_nobody_stands_for_is_said(broker):
    pytest.importorskip("celery")
    found = refused(partial(celery_worker, broker))
    assert re.search(HERE, found), found
    assert "AMQP(" in found or (broker == "sqs://" and "AWS(" in found), found


def test_a_mail_is_a_third_partys():
    def send():
        smtplib.SMTP("mail.real")

    found = refused(send)
    assert "called smtplib.connect('mail.real') (at " in found
    assert "External (env.client)" in found and "env.publisher" not in found


# ---- two brokers at once


def clusters(client):
    return [
        part
        for name in ("a", "b")
        for cluster in [Kafka(name, ["t"], client=client)]
        for part in (cluster, KafkaServers(f"{name}:9092", cluster))
    ]


def two_confluent():
    import_module("confluent_kafka").Producer({"bootstrap.servers": "a:9092,b:9092"})


async def two_aiokafka():
    await import_module("aiokafka").AIOKafkaProducer(bootstrap_servers="a:9092,b:9092").start()


def two_kafka():
    import_module("kafka").KafkaProducer(bootstrap_servers=["a:9092", "b:9092"])


@pytest.mark.parametrize(
    ("package", "ask", "client"),
    [
        ("confluent_kafka", two_confluent, "confluent-kafka"),
        ("aiokafka", two_aiokafka, "aiokafka"),
        ("kafka", two_kafka, "kafka-python"),
    ],
)
def test_a_client_of_two_clusters_is_said(package, ask, client):
    pytest.importorskip(package)
    found = refused(ask, *clusters(client))
    assert "which are two clusters, 'a' and 'b': make a client for each" in found
    assert "test_strangers.py:" in found


def two_pika():
    pika = import_module("pika")
    pika.BlockingConnection([pika.ConnectionParameters(host) for host in ("a", "b")])


@pytest.mark.parametrize("nodes_of", ["two", "one"])
@pytest.mark.parametrize(
    ("package", "ask"),
    [("pika", two_pika), ("celery", partial(celery_worker, "amqp://a//;amqp://b//"))],
)
def test_a_client_of_two_rabbitmqs_is_said_and_nodes_of_one_are_not(package, ask, nodes_of):
    pytest.importorskip(package)
    one, two = RabbitMQ("one"), RabbitMQ("two")
    parts = [one, two, AMQP("a", one), AMQP("b", one if nodes_of == "one" else two)]
    if nodes_of == "one":
        system = System("shop")
        for part in parts:
            system.add(part)
        system.service("worker")(lambda env: env.main(partial(ask)))
        system.entry(examples=[1])(lambda env, item: None)
        assert system.run().ending.verdict == "quiet"
        return
    found = refused(ask, *parts)
    assert "where two brokers listen, 'one' and 'two': make a connection for each" in found
    assert re.search(HERE, found), found


def test_a_client_of_two_servers_is_said():
    nats = pytest.importorskip("nats")
    pytest.importorskip("redis")

    async def both():
        await nats.connect(["nats://a:4222", "nats://b:4222"])

    parts = [NATS(name, [f"of {name}".replace(" ", "-")], url=f"nats://{name}") for name in "ab"]
    assert "connects to servers of 'a' and 'b' (at " in refused(both, *parts)
    found = refused(redis_client, RedisStore("one"), RedisStore("two"))
    assert "may mean 'one' and 'two' (at " in found


def test_a_connection_that_was_refused_can_be_freed(monkeypatch):
    """Its `__del__` asks what it is connected to: an error there is told in another test."""
    kind = pytest.importorskip("aiosqlite").Connection
    freed = []
    monkeypatch.setattr(kind, "__del__", lambda self: freed.append(vars(self)))
    assert "'real.db'" in refused(aiosqlite_file)
    left = [vars(one) for one in gc.get_objects() if type(one) is kind]
    assert left + freed
    assert all("_connection" in one for one in left + freed)


# ---- other processes


def a_process(how):
    process = multiprocessing.get_context(how).Process(target=print)
    process.start()


def a_pool():
    multiprocessing.get_context("fork").Pool(1)


def an_executor():
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        pool.submit(print).result()


async def an_executor_of_a_loop():
    with ProcessPoolExecutor(1) as pool:
        await asyncio.get_running_loop().run_in_executor(pool, print)


def a_fork():
    os.fork()


def a_shell():
    os.system("true")


async def a_command_of_a_loop():
    await asyncio.create_subprocess_exec("true")


async def a_shell_of_a_loop():
    await asyncio.create_subprocess_shell("true")


def a_command():
    subprocess.run(["true"], check=True)


@pytest.mark.skipif(not AT_HOME, reason="forks are those of Linux")
@pytest.mark.parametrize(
    ("ask", "call"),
    [
        (a_fork, "os.fork"),
        (partial(a_process, "fork"), "os.fork"),
        (partial(a_process, "spawn"), "multiprocessing.Process.start"),
        (a_pool, "os.fork"),
        (an_executor, "os.fork"),
        (  # the pool has a process beside it, unless there is one from before
            an_executor_of_a_loop,
            "(ProcessPoolExecutor.submit by loop.run_in_executor|multiprocessing.Process.start)",
        ),
        (a_command, r"subprocess.Popen"),
        (a_shell, "os.system"),
        (a_command_of_a_loop, "asyncio's loop.subprocess_exec"),
        (a_shell_of_a_loop, "asyncio's loop.subprocess_shell"),
    ],
)
def test_another_process_is_said(ask, call):
    found = refused(ask)
    assert re.search(f"called {call}", found) and "ThreadPoolExecutor" in found
    assert "test_strangers.py:" in found
