"""Shops of one client library each, right and with a slip, for what no application of `models` has.

Each has two handlers' worth of work at most: an order comes, and a row, a key or a charge is made.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

from chaosharness import (
    AMQP,
    Env,
    External,
    Gateway,
    Queue,
    RabbitMQ,
    RedisStore,
    SQLite,
    System,
    Web,
    idempotent,
)

ORDERS = [{"id": "o1", "cents": 500}, {"id": "o2", "cents": 700}]
Handler = Callable[[Any], Any]


def _charged(handler: Handler, bank: Any, web: Web) -> System:
    """Return orders from a queue that are charged behind a host name."""
    system = System("shop")
    queues = {"orders": Queue("quorum", dead_letter="dead"), "dead": Queue("quorum")}
    bus = system.add(RabbitMQ("bus", queues=queues))
    system.add(bank)
    system.add(web)
    system.service("billing", replicas=2)(lambda env: env.consume(bus, "orders", handler))

    @system.entry(examples=ORDERS)
    def place(env: Env, order: dict[str, Any]) -> None:
        env.publisher(bus)("orders", order, key=order["id"])

    return system


# ---- aiohttp


def on_aiohttp(*, keyed: bool = True) -> System:
    """Return orders that are charged by aiohttp."""
    import aiohttp

    async def on_order(order: dict[str, Any]) -> None:
        headers = {"Idempotency-Key": order["id"]} if keyed else {}
        body = {"order": order["id"], "cents": order["cents"]}
        patience = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=patience, raise_for_status=True) as client:
            await client.post("https://bank.example/charges", json=body, headers=headers)

    bank = Gateway("bank")
    return _charged(on_order, bank, Web("bank.example", bank, routes={"POST /charges": "charge"}))


def on_aiohttp_keyless() -> System:
    """Return the same without a key."""
    return on_aiohttp(keyed=False)


# ---- stripe


class Stripe:
    """Takes money once for each key."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Any]] = {}

    def create(self, amount: str, currency: str, idempotency_key: str = "") -> Any:
        if idempotency_key in self.known:
            return External.unchanged(self.known[idempotency_key])
        found = {"id": f"pi_{len(self.known) + 1}", "object": "payment_intent", "amount": amount}
        self.known[idempotency_key] = found
        return found


def on_stripe(*, keyed: bool = True) -> System:
    """Return orders that are charged by stripe: it makes a key per call where it is given none."""
    import stripe

    client = stripe.StripeClient("sk_test_1", http_client=stripe.RequestsClient())

    def on_order(order: dict[str, Any]) -> None:
        options: Any = {"idempotency_key": order["id"]} if keyed else {}
        asked: Any = {"amount": order["cents"], "currency": "eur"}
        client.v1.payment_intents.create(asked, options)

    bank = External("stripe", Stripe)
    routes = {"POST /v1/payment_intents": "create"}
    return _charged(on_order, bank, Web("api.stripe.com", bank, routes=routes))


def on_stripe_keyless() -> System:
    """Return the same without a key of the order's."""
    return on_stripe(keyed=False)


# ---- aio-pika


def on_aio_pika(*, early: bool = False) -> System:
    """Return orders that aio-pika consumes, and says are paid; `early`: acknowledged first."""
    import asyncio

    import aio_pika

    async def main() -> None:
        connection = await aio_pika.connect_robust("amqp://rabbit/")
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=1)
        queue = await channel.get_queue("orders")

        async def on_order(message: Any) -> None:
            if early:
                await message.ack()
            try:
                paid = aio_pika.Message(json.dumps(json.loads(message.body)).encode())
            except ValueError:
                await message.reject(requeue=False)
                return
            async with message.process(requeue=True, ignore_processed=True):
                await channel.default_exchange.publish(paid, "paid")

        await queue.consume(on_order)
        await asyncio.Future()

    system = System("shop")
    dead = {"orders": Queue("quorum", dead_letter="dead"), "dead": Queue("quorum")}
    queues = {**dead, "paid": Queue("quorum", dead_letter="dead")}
    bus = system.add(RabbitMQ("bus", queues=queues))
    system.add(AMQP("rabbit", bus))
    books = system.add(External("books", _Books))
    system.service("payments", replicas=2)(lambda env: env.main(main))

    @system.service("accounts")
    def accounts(env: Env) -> None:
        enter = env.client(books).enter
        env.consume(bus, "paid", lambda order: enter(order["id"]))

    @system.entry(examples=ORDERS)
    def place(env: Env, order: dict[str, Any]) -> None:
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def on_aio_pika_early() -> System:
    """Return the same, where an order is acknowledged before it is paid."""
    return on_aio_pika(early=True)


class _Books:
    """Enters an order once, however often it is told."""

    def __init__(self) -> None:
        self.entered: set[str] = set()

    def enter(self, order: str) -> Any:
        if order in self.entered:
            return External.unchanged(order)
        self.entered.add(order)
        return order


# ---- stores


def _kept(handler: Handler, store: Any) -> System:
    from tests.adapters.databases import shops

    found: System = shops.shop(handler, store)
    found.claim(idempotent())
    return found


_ROWS = "CREATE TABLE orders (id TEXT PRIMARY KEY, cents INTEGER NOT NULL)"
_SUM = "CREATE TABLE total (id INTEGER PRIMARY KEY, cents INTEGER); INSERT INTO total VALUES (1, 0)"


def on_aiosqlite() -> System:
    """Return rows that aiosqlite inserts."""
    from tests.adapters.databases import shops

    return _kept(shops.on_order_aiosqlite, SQLite("db", _ROWS, url="orders.db"))


def on_aiosqlite_added() -> System:
    """Return a sum that is added to once more, when an order comes once more."""
    import aiosqlite

    async def on_order(order: dict[str, Any]) -> None:
        async with aiosqlite.connect("orders.db") as db:
            await db.execute("UPDATE total SET cents = cents + ?", (order["cents"],))
            await db.commit()

    return _kept(on_order, SQLite("db", _SUM, url="orders.db"))


def on_sqlalchemy_async() -> System:
    """Return rows that SQLAlchemy merges on asyncio."""
    from tests.adapters.databases import shops

    handler = shops.merge_async(shops.file_engine_async)
    return _kept(handler, SQLite("db", _ROWS, url=f"sqlite:///{shops.FILE}"))


def on_sqlalchemy_async_added() -> System:
    """Return a sum of rows, read and written in two transactions."""
    from sqlalchemy.ext.asyncio import AsyncSession

    from tests.adapters.databases import shops

    async def on_order(order: dict[str, Any]) -> None:
        async with AsyncSession(shops.file_engine_async) as session:
            known = await session.get(shops.Order, "sum")
            cents = 0 if known is None else known.cents
            await session.commit()
            await session.merge(shops.Order(id="sum", cents=cents + order["cents"]))
            await session.commit()

    return _kept(on_order, SQLite("db", _ROWS, url=f"sqlite:///{shops.FILE}"))


def _django() -> Any:
    """Return Django's model of an order, its settings made once in a process."""
    import django
    from django.conf import settings

    if not settings.configured:
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}
        settings.configure(DATABASES={"default": database}, INSTALLED_APPS=[])
        django.setup()
    from django.apps import apps
    from django.db import models

    if "order" in apps.all_models["shop"]:
        return apps.all_models["shop"]["order"]

    class Order(models.Model):
        id = models.CharField(max_length=20, primary_key=True)
        cents = models.IntegerField()

        class Meta:
            app_label = "shop"
            db_table = "orders"

    return Order


def on_django() -> System:
    """Return rows that Django's ORM makes once."""
    rows = _django()
    transaction = import_module("django.db.transaction")

    def on_order(order: dict[str, Any]) -> None:
        with transaction.atomic():
            rows.objects.get_or_create(id=order["id"], defaults={"cents": order["cents"]})

    return _kept(on_order, SQLite("db", _ROWS, url="sqlite:///db.sqlite3"))


def on_django_added() -> System:
    """Return a sum that Django's ORM reads, and writes without a lock."""
    rows = _django()

    def on_order(order: dict[str, Any]) -> None:
        made, _ = rows.objects.get_or_create(id="sum", defaults={"cents": 0})
        made.cents += order["cents"]
        made.save()

    return _kept(on_order, SQLite("db", _ROWS, url="sqlite:///db.sqlite3"))


def on_redis(handler: str = "remember") -> System:
    """Return what redis-py keeps by key."""
    from tests.adapters.databases import test_redis

    return _kept(getattr(test_redis, handler), RedisStore("cache", persistence="always"))


def on_redis_counted() -> System:
    """Return a counter: redis-py repeats INCR after an answer that was lost."""
    return on_redis("count")


def on_redis_async() -> System:
    """Return what redis.asyncio keeps by key."""
    from tests.adapters.databases import test_redis

    async def on_order(order: dict[str, Any]) -> None:
        await test_redis.cache_async.hset("orders", order["id"], order["cents"])

    return _kept(on_order, RedisStore("cache", persistence="always"))


def on_redis_async_counted() -> System:
    """Return the counter on asyncio."""
    return on_redis("count_async")


# ---- Lambda's durable functions


def durable(body: str = "by_key") -> System:
    """Return a durable function that charges in a step."""
    import_module("aws_durable_execution_sdk_python")  # whose tests are left out without it
    from tests.orchestrators.durablefunctions import test_in_a_system as durables

    return durables.shop(getattr(durables, body))


def durable_without_key() -> System:
    """Return one that charges without a key."""
    return durable("without_key")
