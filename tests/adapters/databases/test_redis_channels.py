"""Redis Pub/Sub by redis-py: a broadcast that may be lost, to whoever listens just then."""

import asyncio
import json
import time
from contextlib import suppress
from functools import partial

import pytest

pytest.importorskip("redis")
pytest.importorskip("fakeredis")

import redis
import redis.asyncio as redis_async

from chaosharness import (
    Crash,
    Gateway,
    LostReply,
    NetworkPartition,
    RedisStore,
    Schedule,
    Site,
    SQLite,
    StoreOutage,
    System,
    explore,
)
from chaosharness.reporting import to_text
from tests.adapters.digests import printed_everywhere

LOSE = (LostReply, NetworkPartition)
HEARD = Site("cache.orders/deliver to cashier", "after")


def late(env, order):
    if order["id"] != "o1":
        time.sleep(60)
    tells(env, order)


def tells(env, order):
    redis.Redis("cache").publish("orders", json.dumps(order))


def listens(charge):
    """Charge what is heard."""
    ears = redis.Redis("cache").pubsub(ignore_subscribe_messages=True)
    ears.subscribe("orders")
    for message in ears.listen():
        charge(json.loads(message["data"]))


def looks(charge):
    """The same, by looking now and then."""
    ears = redis.Redis("cache", decode_responses=True).pubsub()
    ears.psubscribe("ord*")
    while True:
        message = ears.get_message(ignore_subscribe_messages=True, timeout=1.0)
        if message is not None:
            charge(json.loads(message["data"]))


def is_called(charge):
    """The same, by a thread that calls; redis-py 5 has it end where its connection does."""
    while True:
        ears = redis.Redis("cache").pubsub()
        ears.subscribe(orders=lambda message: charge(json.loads(message["data"])))
        ears.run_in_thread(sleep_time=0.5).join()
        time.sleep(1)


async def listens_async(charge):
    """The same on asyncio."""
    ears = redis_async.Redis(host="cache").pubsub(ignore_subscribe_messages=True)
    await ears.subscribe("orders")
    async for message in ears.listen():
        await charge(json.loads(message["data"]))


async def looks_async(charge):
    """The same on asyncio, by looking now and then."""
    async with redis_async.Redis(host="cache").pubsub() as ears:
        await ears.subscribe("orders")
        while True:
            message = await ears.get_message(ignore_subscribe_messages=True, timeout=1.0)
            if message is not None:
                await charge(json.loads(message["data"]))


def writes():
    """Ask the server for something else, after a while."""
    time.sleep(30)
    redis.Redis("cache").set("written", "yes")


def shop(loop, *, orders=({"id": "o1"}, {"id": "o2"}), services=("cashier",), entry=tells):
    system = System("shop")
    if entry is late:
        system.service("other")(lambda env: env.main(writes))
    system.add(RedisStore("cache"))
    bank = system.add(Gateway("bank"))
    runtime = "asyncio" if asyncio.iscoroutinefunction(loop) else None

    for name in services:

        @system.service(name, **({"runtime": runtime} if runtime else {}))
        def service(env, name=name):
            client = env.client(bank)

            def charge(order):
                return client.charge(order["id"], 500, key=f"{name} {order['id']}")

            async def charge_async(order):
                await client.charge(order["id"], 500, key=f"{name} {order['id']}")

            env.main(partial(loop, charge_async if runtime else charge))

    system.entry(examples=list(orders))(entry)
    return system


def charged(run):
    return [(event.entity, event.data["key"]) for event in run.history.of("effect")]


LOOPS = pytest.mark.parametrize(
    "loop", [listens, looks, is_called, listens_async, looks_async], ids=lambda one: one.__name__
)


@LOOPS
def test_who_listens_hears_it_on_behalf_of_who_said_it(loop):
    run = shop(loop).run()
    assert run.ending.verdict == "quiet", run.ending
    assert charged(run) == [(1, "cashier o1"), (2, "cashier o2")]
    assert run.digest() == shop(loop).run().digest()


def test_all_who_listen_hear_it():
    run = shop(listens, services=("cashier", "auditor")).run()
    assert sorted(charged(run)) == [
        *[(1, "auditor o1"), (1, "cashier o1"), (2, "auditor o2"), (2, "cashier o2")]
    ]


@LOOPS
def test_a_charge_that_relies_on_it_is_named_with_nothing_claimed(loop):
    found = explore(shop(loop, orders=[{"id": "o1"}]), faults_max=1, kinds=LOSE)
    assert found.result == "violated"
    told = [one for one in found.counterexamples if one.findings[0].kind != "stuck"]
    lost = [fault for one in told for fault in one.schedule if type(fault) in LOSE]
    assert HEARD.operation in {fault.site.operation for fault in lost}, found


@LOOPS
@pytest.mark.parametrize(
    "fault",
    [LostReply(HEARD), NetworkPartition(Site(HEARD.operation), lasting=3_000)],
    ids=["lost", "cut off"],
)
def test_what_is_lost_is_lost(loop, fault):
    run = shop(loop).run(None, Schedule([fault]))
    assert fault not in run.unused
    assert (1, "cashier o1") not in charged(run)


@LOOPS
def test_what_is_said_while_a_process_is_down_is_lost(loop):
    name = "PubSubWorkerThread" if loop is is_called else loop.__name__
    crash = Crash(Site(f"cashier.{name}/bank.charge"), down="long")
    run = shop(loop).run(None, Schedule([crash]))
    assert crash not in run.unused
    assert charged(run) == []


@LOOPS
def test_it_connects_again_and_hears_what_is_said_then(loop):
    system = shop(loop, entry=late)
    outage = StoreOutage(Site("other.writes/cache.set", entity=0), lasting=2_000)
    for fault in (LostReply(HEARD), outage):
        run = system.run(None, Schedule([fault]))
        assert fault not in run.unused
        assert (2, "cashier o2") in charged(run)


@pytest.mark.parametrize("kind", LOSE)
def test_a_report_says_what_a_broadcast_is_good_for(kind):
    found = explore(shop(listens, orders=[{"id": "o1"}]), kinds=[kind], faults_max=1)
    texts = [
        " ".join(to_text(one).split())
        for one in found.counterexamples
        if any(fault.site.operation == HEARD.operation for fault in one.schedule)
    ]
    assert texts
    assert all("what is only broadcast is a hint to look there" in one for one in texts)


# ---- a mere hint


def hinted(*, relies: bool):
    """Rows to be charged; a hint says when to look, and a look each five seconds finds the rest."""
    system = System("hinted")
    system.add(RedisStore("cache"))
    rows = system.add(SQLite("rows", "CREATE TABLE rows (id TEXT PRIMARY KEY, status TEXT)"))
    bank = system.add(Gateway("bank"))

    @system.service("cashier")
    def cashier(env):
        store, client = env.connect(rows), env.client(bank)

        def work():
            for (name,) in store.execute("SELECT id FROM rows WHERE status = 'new'").fetchall():
                client.charge(name, 500, key=name)
                with store:
                    store.execute("UPDATE rows SET status = 'charged' WHERE id = ?", (name,))

        def loop():
            ears = redis.Redis("cache").pubsub(ignore_subscribe_messages=True)
            ears.subscribe("orders")
            while True:
                try:
                    heard = ears.get_message(timeout=5.0)
                except redis.RedisError:
                    time.sleep(1)
                    continue
                if heard or not relies:
                    work()

        env.main(loop)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        store = env.connect(rows)
        with store:
            store.execute("INSERT OR IGNORE INTO rows VALUES (?, 'new')", (order["id"],))
        with suppress(redis.RedisError):
            redis.Redis("cache").publish("orders", "look")

    return system


def test_a_mere_hint_is_silent_and_one_that_is_relied_on_is_named():
    right = explore(hinted(relies=False), faults_max=1)
    assert right.result == "holds", [str(one) for one in right.counterexamples]
    assert right.coverage.operations and right.runs > 20
    assert explore(hinted(relies=True), faults_max=1).result == "violated"


def test_channels_that_nobody_of_the_system_listens_to_are_named():
    def others(env, order):
        redis.Redis("cache").publish("others", "x")

    system = shop(listens, entry=others)
    assert any("subscribers of others" in one for one in system.run().unspoken)


# ---- against a real server


def script(client):
    """What both say of what is asked of them."""
    ears = client.pubsub()
    ears.subscribe("one", "two")
    ears.psubscribe("t?o", "[ab]*")
    yield client.publish("two", "x"), client.publish("b", "y"), client.publish("c", "z")
    time.sleep(0.1)
    while (message := ears.get_message(timeout=0.2)) is not None:
        yield message
    ears.unsubscribe("two")
    ears.punsubscribe()
    yield client.publish("two", "x")
    time.sleep(0.1)
    while (message := ears.get_message(timeout=0.2)) is not None:
        yield message
    ears.close()


@pytest.mark.real_broker
def test_what_a_real_server_says_ours_says_too():
    try:
        real = list(script(redis.Redis("127.0.0.1", protocol=2)))
    except redis.ConnectionError:
        pytest.skip("no Redis server")
    found = []
    system = System("script")
    system.add(RedisStore("cache"))
    system.service("script")(lambda env: env.main(lambda: found.extend(script(redis.Redis("c")))))
    system.entry(examples=[{"id": "o1"}])(lambda env, order: env.note("nothing"))
    system.run()
    assert found == real


SAME = """
from tests.adapters.databases.test_redis_channels import *
for loop in (listens, looks, listens_async):
    for faults in ([], [LostReply(HEARD)], [NetworkPartition(Site(HEARD.operation))]):
        print(shop(loop, services=("cashier", "auditor")).run(None, Schedule(faults)).digest())
"""


@pytest.mark.slow
def test_a_history_is_the_same_in_every_process():
    assert len(set(printed_everywhere(SAME))) == 9
