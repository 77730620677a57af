"""redis-py, sync and asyncio, unmodified, in virtual time."""

import pytest

pytest.importorskip("redis")
pytest.importorskip("fakeredis")

import time

import redis
import redis.asyncio as redis_async
from redis.backoff import NoBackoff
from redis.retry import Retry

from chaosharness import (
    Budget,
    Crash,
    LostReply,
    LostRequest,
    LostWrites,
    Pause,
    RedisStore,
    Schedule,
    Site,
    StoreOutage,
    System,
    check,
    idempotent,
    smallest,
)
from chaosharness.errors import IllegalFault, InvalidDefinition
from tests.adapters.databases.shops import shop
from tests.adapters.databases.workers import AGAIN, AGAIN_ASYNC
from tests.adapters.digests import printed_everywhere

cache = redis.Redis("cache.shop.example", socket_timeout=5, decode_responses=True, **AGAIN)
once = redis.Redis("cache.shop.example", socket_timeout=5, retry=Retry(NoBackoff(), 0))
cache_async = redis_async.Redis(host="cache.shop.example", socket_timeout=5, **AGAIN_ASYNC)
from_url = redis.from_url("redis://cache.shop.example", socket_timeout=5)
INCR = Site("orders.on_order/cache.incr", "after")


def count(order: dict):
    if cache.set(f"seen:{order['id']}", "1", nx=True, ex=3600):
        cache.incr("orders")


async def count_async(order: dict):
    if await cache_async.set(f"seen:{order['id']}", "1", nx=True, ex=3600):
        await cache_async.incr("orders")


def remember(order: dict):
    cache.hset("orders", order["id"], order["cents"])


def items(run):
    [state] = [one.data for one in run.history if one.kind == "state"]
    return state["items"]


BOTH = pytest.mark.parametrize("handler", [count, count_async], ids=["sync", "asyncio"])


@BOTH
def test_commands_are_sites_and_a_client_repeats_what_was_not_answered(handler):
    system = shop(handler, RedisStore("cache"))
    run = system.run()
    assert run.ending.verdict == "quiet" and run.spoken.keys() == {"redis"}
    assert items(run) == {"orders": "2", "seen:o1": "1", "seen:o2": "1"}
    assert [one.operation for one in run.history if one.kind == "commit"] == [
        *("orders.on_order/cache.set", "orders.on_order/cache.incr") * 2
    ]
    lost = system.run(None, Schedule([LostReply(INCR)]))
    assert items(lost)["orders"] == "3"  # redis-py's own retry
    assert not any(one.kind == "raised" for one in lost.history)
    first = [one for one in lost.history if one.operation == INCR.operation and one.entity == 1]
    assert first[-1].kind == "commit" and first[-1].at_ms >= 5_000  # after the time-out
    assert lost.digest() == system.run(None, Schedule([LostReply(INCR)])).digest()
    request = system.run(None, Schedule([LostRequest(Site(INCR.operation))]))
    assert items(request)["orders"] == "2"


@pytest.mark.parametrize("client", [once, from_url], ids=["no retries", "from_url"])
def test_without_retries_the_code_learns_of_it(client):
    def impatient(order: dict):
        client.incr("orders")

    run = shop(impatient, RedisStore("cache")).run(None, Schedule([LostReply(INCR)]))
    [raised] = [one.data["error"] for one in run.history if one.kind == "raised"]
    assert raised == "TimeoutError: Timeout reading from cache"
    assert items(run) == {"orders": "3"}  # delivered again, and counted again


def test_keys_expire_and_locks_are_waited_for_in_virtual_time():
    taken = []

    def locked(order: dict):
        with cache.lock("total", timeout=60):
            cents = int(cache.get("cents") or 0)
            taken.append(order["id"])
            cache.set("cents", cents + order["cents"])

    system = shop(locked, RedisStore("cache"))
    stall = Pause(Site("orders.on_order/cache.get", "after"), lasting=5_000)
    run = system.run(None, Schedule([stall]))
    assert items(run) == {"cents": "1200"}
    assert [one.at_ms for one in run.history if one.kind == "handled"][1] >= 5_000
    crash = Crash(Site("orders.on_order/cache.get", "after"), down="long")
    run = system.run(None, Schedule([crash]))  # the lock is given up when it expires
    assert items(run) == {"cents": "1200"}
    assert run.ending.verdict == "quiet"

    def wait(order: dict):
        cache.set("token", "1", px=30_000)
        time.sleep(29)
        assert cache.exists("token")
        time.sleep(2)
        assert not cache.exists("token")

    assert shop(wait, RedisStore("cache"), replicas=1).run().ending.verdict == "quiet"


def poll(cache):
    cache.hvals("sold")


def beat(cache):
    cache.set("beat", time.time(), ex=30)


def lock(cache):
    with cache.lock("report", timeout=20, blocking=False):
        cache.hvals("sold")


def lock_and_count(cache):
    lock(cache)
    cache.incr("rounds")


@pytest.mark.parametrize(
    ("step", "verdict"),
    [(poll, "quiet"), (beat, "quiet"), (lock, "quiet"), (lock_and_count, "budget")],
)
def test_a_loop_that_changes_nothing_for_good_is_at_rest(step, verdict):
    system = System("rounds")
    system.add(RedisStore("cache", persistence="always"))
    cache = redis.Redis("cache.shop.example", decode_responses=True)

    def main():
        while True:
            step(cache)
            time.sleep(10)

    system.service("rounds", replicas=2)(lambda env: env.main(main))
    system.entry(examples=[1])(lambda env, item: None)
    run = system.run([], budget=Budget(calm_ms=7_200_000))
    assert run.ending.verdict == verdict, run.ending
    assert (len(run.history) < 400) is (verdict == "quiet")


def test_an_outage_refuses_and_what_is_stored_survives_crashes_of_the_service():
    system = shop(remember, RedisStore("cache"))
    site = Site("orders.on_order/cache.hset")
    run = system.run(None, Schedule([StoreOutage(site, lasting=60_000)]))
    raised = [one.data["error"] for one in run.history if one.kind == "raised"]
    assert raised and all("Connection" in one for one in raised)
    assert items(run) == {"orders": {"o1": "500", "o2": "700"}}
    run = system.run(None, Schedule([Crash(Site(site.operation, "after"))]))
    assert items(run) == {"orders": {"o1": "500", "o2": "700"}}


@pytest.mark.parametrize(("persistence", "left"), [("everysec", {}), ("none", {})])
def test_what_a_crash_of_redis_takes(persistence, left):
    system = shop(count, RedisStore("cache", persistence=persistence), replicas=1)
    fault = LostWrites(Site(INCR.operation, "after", entity=2))
    run = system.run(None, Schedule([fault]))
    assert items(run) == left  # all of it was younger than a second
    kept = shop(count, RedisStore("cache", persistence="always"))
    with pytest.raises(IllegalFault):
        kept.run(None, Schedule([fault]))


def test_transactions_are_one_site():
    def both(order: dict):
        with cache.pipeline() as pipe:
            pipe.incr("orders")
            pipe.incrby("cents", order["cents"])
            pipe.execute()

    run = shop(both, RedisStore("cache")).run()
    assert items(run) == {"cents": "1200", "orders": "2"}
    assert {one.operation for one in run.history if one.kind == "commit"} == {
        "orders.on_order/cache.multi"
    }


def test_what_may_strike_at_a_transaction_does_not_hang_on_which_one_comes_first():
    def looks_and_writes(order: dict):
        for change in (False, True):
            with cache.pipeline() as together:
                if change:
                    together.sadd("orders", order["id"])
                together.scard("orders")
                together.get("name")
                together.execute()

    both = [LostReply(Site("orders.on_order/cache.multi", "after", attempt=n)) for n in (1, 2)]
    run = shop(looks_and_writes, RedisStore("cache")).run(None, Schedule(both))
    assert not run.unused and items(run) == {"orders": ["o1", "o2"]}


def test_right_code_is_silent_and_a_counter_is_found():
    check(shop(remember, RedisStore("cache")), properties=[idempotent()], faults_max=1)
    system = shop(count, RedisStore("cache", persistence="always"))
    system.claim(idempotent())
    assert "orders" in smallest(system, faults_max=1).findings[0].summary


def test_a_server_says_of_itself_what_clients_look_at_before_they_begin():
    told = []

    def on_order(order: dict):
        with cache.pipeline(transaction=False) as pipe:
            pipe.info("server").set("INFO", "INFO").info("memory").get("INFO")
            told.append(pipe.execute())
        told.append(cache.info())

    run = shop(on_order, RedisStore("cache")).run([{"id": "o1", "cents": 500}])
    assert run.ending.verdict == "quiet"
    (server, stored, memory, value), every = told
    assert server["redis_version"] == every["redis_version"] == "7.0.0"
    assert (stored, value, memory["maxmemory"]) == (True, "INFO", 0)
    assert every["role"] == "master"


def test_channels_that_are_published_to_and_nobody_hears_are_named_and_sharded_ones_are_refused():
    def tell(order: dict):
        cache.publish("prices", order["id"])
        with cache.pipeline() as pipeline:
            pipeline.set(order["id"], 1)
            pipeline.publish("stock", order["id"])
            pipeline.execute()

    run = shop(tell, RedisStore("cache")).run()
    assert run.unspoken == ("subscribers of prices at cache", "subscribers of stock at cache")
    assert shop(count, RedisStore("cache")).run().unspoken == ()

    def hear(order: dict):
        cache.pubsub().ssubscribe("prices")

    words = (
        "SSUBSCRIBE is not modelled .*test_redis.* channels that are sharded, .*Subscribe to the"
    )
    with pytest.raises(InvalidDefinition, match=words):
        shop(hear, RedisStore("cache")).run()


def test_what_is_not_modelled_is_said():
    def wait(order: dict):
        cache.blpop("orders", timeout=5)

    def stream(order: dict):
        cache.xadd("orders", order)

    for handler, words in (
        (wait, "BLPOP is not modelled"),
        (stream, "XADD is not modelled.*Redis"),
    ):
        with pytest.raises(InvalidDefinition, match=words):
            shop(handler, RedisStore("cache")).run()
    with pytest.raises(InvalidDefinition, match=r"connects to cache.shop.example by redis \(at te"):
        shop(count, RedisStore("other", url="redis://other.example")).run()
    with pytest.raises(InvalidDefinition, match="persistence"):
        RedisStore("cache", persistence="sometimes")


SAME = """
from tests.adapters.databases.test_redis import *
for handler in (count, count_async, remember):
    system = shop(handler, RedisStore("cache"))
    site = Site("orders.on_order/cache.hset" if handler is remember else INCR.operation, "after")
    for faults in ([], [LostReply(site)], [Crash(site)], [LostWrites(site)]):
        for _ in range(2):
            print(handler.__name__, system.run(None, Schedule(faults)).digest())
"""


def test_a_history_is_the_same_in_every_process():
    lines = printed_everywhere(SAME)
    assert len(lines) == 24 and lines[::2] == lines[1::2]
