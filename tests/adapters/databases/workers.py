"""Workers on Redis Streams as teams write them: redis-py, nothing of chaosharness."""

import asyncio
import time

import redis
import redis.asyncio as redis_async
from redis.asyncio.retry import Retry as RetryAsync
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

AGAIN, AGAIN_ASYNC = {}, {}
if redis.__version__.startswith("5."):  # which asks once, unless it is told otherwise
    told = {"retry_on_error": [redis.TimeoutError, redis.ConnectionError]}
    AGAIN = {**told, "retry": Retry(ExponentialBackoff(cap=1), 3)}
    AGAIN_ASYNC = {**told, "retry": RetryAsync(ExponentialBackoff(cap=1), 3)}

bus = redis.Redis("bus.shop.example", socket_timeout=10, decode_responses=True, **AGAIN)
bus_async = redis_async.Redis(host="bus.shop.example", socket_timeout=10, **AGAIN_ASYNC)
GROUP = {"groupname": "billing", "consumername": "billing-1"}


def ensure(client):
    try:
        client.xgroup_create("orders", "billing", id="0", mkstream=True)
    except redis.ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise


def bill(client, name, fields):
    if fields.get("order"):
        client.sadd("billed", fields["order"])
    client.xack("orders", "billing", name)


def worker(consumer="billing-1", claims=True):
    """Bill each order once, whatever comes again."""
    ensure(bus)
    while True:
        if claims:
            _, entries, _ = bus.xautoclaim("orders", "billing", consumer, 60_000)
            for name, fields in entries:
                bill(bus, name, fields)
        answer = bus.xreadgroup("billing", consumer, {"orders": ">"}, count=10, block=5_000)
        for _, entries in answer.items() if isinstance(answer, dict) else answer:
            for name, fields in entries:
                bill(bus, name, fields)


def forgetful():
    """The same, and what is pending for a worker that never saw it stays so."""
    worker(claims=False)


def counting():
    """Count instead of remembering."""
    ensure(bus)
    while True:
        answer = bus.xreadgroup("billing", "billing-1", {"orders": ">"}, count=10, block=5_000)
        for _, entries in answer.items() if isinstance(answer, dict) else answer:
            for name, _ in entries:
                bus.incr("billed")
                bus.xack("orders", "billing", name)


async def worker_async():
    try:
        await bus_async.xgroup_create("orders", "billing", id="0", mkstream=True)
    except redis.ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
    while True:
        _, late, _ = await bus_async.xautoclaim("orders", "billing", "billing-1", 60_000)
        found = await bus_async.xreadgroup(
            "billing", "billing-1", {"orders": ">"}, count=10, block=5_000
        )
        lists = found.values() if isinstance(found, dict) else [one for _, one in found]
        for entries in (late, *lists):
            for name, fields in entries:
                if fields.get(b"order"):
                    await bus_async.sadd("billed", fields[b"order"])
                await bus_async.xack("orders", "billing", name)
        await asyncio.sleep(0)


def reaper(careful):
    """Look every half minute for consumers of pods that are no more."""
    ensure(bus)
    while True:
        time.sleep(30)
        reap(careful)


def reap(careful):
    """Delete consumers that have been idle for a minute."""
    for one in bus.xinfo_consumers("orders", "billing"):
        if one["idle"] < 60_000 or one["name"] == "reaper":
            continue
        if careful and one["pending"]:
            rows = bus.xpending_range("orders", "billing", "-", "+", 10, consumername=one["name"])
            names = [row["message_id"] for row in rows]
            for name, fields in bus.xclaim("orders", "billing", "reaper", 60_000, names):
                bill(bus, name, fields)
        bus.xgroup_delconsumer("orders", "billing", one["name"])
