"""Loops that ask the same again and again are at rest, whatever clocks their libraries read."""

import asyncio
import time

import aiohttp
import httpx
import pika
import pytest
import requests

from chaosharness import AMQP, External, PostgreSQL, Queue, RabbitMQ, System, Web
from tests.adapters.databases.servers import SERVER, needs_postgresql

LEVEL = "https://stock.example/level"
DSN = "postgresql://app@db.internal/orders"
ASKS = "SELECT id FROM orders"


class Stock:
    """A third party that tells what there is."""

    def level(self):
        return 5


def by_requests():
    while True:
        requests.get(LEVEL, timeout=5)
        time.sleep(1)


def by_httpx():
    with httpx.Client(timeout=5) as client:
        while True:
            client.get(LEVEL)
            time.sleep(1)


async def by_aiohttp():
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(LEVEL) as answer:
                await answer.read()
            await asyncio.sleep(1)


def by_pika():
    connection = pika.BlockingConnection(pika.URLParameters("amqp://rabbit.internal/"))
    channel = connection.channel()
    while True:
        channel.basic_get("jobs")
        connection.sleep(1)


def is_at_rest(run):
    assert run.ending.verdict == "quiet"
    assert run.ending.ran_on == ()
    assert len(run.history) < 20


@pytest.mark.parametrize("loop", [by_requests, by_httpx, by_aiohttp, by_pika])
def test_by_http_and_at_a_queue(loop):
    system = System("polls")
    stock = system.add(External("stock", Stock, reads=("level",)))
    system.add(Web("stock.example", stock, routes={"GET /level": "level"}))
    system.add(AMQP("rabbit.internal", system.add(RabbitMQ("bus", {"jobs": Queue()}))))
    system.service("poller")(lambda env: env.main(loop))
    system.entry(examples=["i1"])(lambda env, item: None)
    is_at_rest(system.run())


def by_psycopg():
    import psycopg

    while True:
        with psycopg.connect(DSN) as connection:
            connection.execute(ASKS).fetchall()
        time.sleep(1)


async def by_psycopg_async():
    import psycopg

    while True:
        async with await psycopg.AsyncConnection.connect(DSN) as connection:
            await (await connection.execute(ASKS)).fetchall()
        await asyncio.sleep(1)


def by_psycopg2():
    import psycopg2

    while True:
        connection = psycopg2.connect(DSN)
        connection.cursor().execute(ASKS)
        connection.close()
        time.sleep(1)


async def by_asyncpg():
    import asyncpg

    async with asyncpg.create_pool(DSN, min_size=1, max_size=2) as pool:
        while True:
            await pool.fetch(ASKS, timeout=5)
            await asyncio.sleep(1)


@pytest.mark.real_broker
@pytest.mark.parametrize(
    ("library", "loop"),
    [
        ("psycopg", by_psycopg),
        ("psycopg", by_psycopg_async),
        ("psycopg2", by_psycopg2),
        ("asyncpg", by_asyncpg),
    ],
)
def test_at_a_database(library, loop):
    needs_postgresql()
    pytest.importorskip(library)
    system = System("polls")
    system.add(PostgreSQL("db", "CREATE TABLE orders (id text PRIMARY KEY)", server=SERVER))
    system.service("poller")(lambda env: env.main(loop))
    system.entry(examples=["i1"])(lambda env, item: None)
    is_at_rest(system.run())
