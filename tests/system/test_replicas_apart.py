"""Replicas are not started in one millisecond: their loops do not look in step."""

import asyncio
import threading
import time
from contextlib import suppress

import pytest
import trio

from chaosharness import Crash, Gateway, Kafka, Schedule, Site, SQLite, System, idempotent

AT = "/var/lib/shop/outbox.db"
SCHEMA = "CREATE TABLE outbox (id TEXT PRIMARY KEY, sent INTEGER NOT NULL DEFAULT 0)"


def in_plain_code(env, note):
    def loop():
        while True:
            time.sleep(5)
            note(env)

    return loop


def until_told_to_stop(env, note):
    stop = threading.Event()

    def loop():
        while not stop.wait(5):
            note(env)

    return loop


def in_asyncio(env, note):
    async def loop():
        while True:
            await asyncio.sleep(5)
            note(env)

    return loop


def until_told_to_stop_in_asyncio(env, note):
    async def loop():
        stop = asyncio.Event()
        while not stop.is_set():
            try:
                await asyncio.wait_for(stop.wait(), 5)
            except TimeoutError:
                note(env)

    return loop


def in_trio(env, note):
    async def loop():
        while True:
            await trio.sleep(5)
            note(env)

    return loop


@pytest.mark.parametrize(
    "made_by",
    [in_plain_code, until_told_to_stop, in_asyncio, until_told_to_stop_in_asyncio, in_trio],
)
def test_loops_of_replicas_wake_at_times_of_their_own(made_by):
    woke = {}
    system = System("clockwork")
    system.add(SQLite("db", SCHEMA))

    def note(env):
        woke.setdefault(env.incarnation.replica, []).append(env.now_ms())

    @system.service("clock", replicas=3, runtime="trio" if made_by is in_trio else "asyncio")
    def clock(env):
        env.main(made_by(env, note))

    @system.entry(examples=["i1"])
    def enter(env, item):
        pass

    system.run()
    assert [woke[replica][:2] for replica in (1, 2, 3)] == [
        [5_000, 10_000],
        [5_370, 10_370],
        [5_740, 10_740],
    ]


async def shortly():
    await asyncio.sleep(0.1)


def a_task_in_each_round(note):
    async def loop():
        for _ in range(4):
            try:
                await asyncio.wait_for(shortly(), 0.3)
            except TimeoutError:
                note()
            await asyncio.sleep(1)

    return loop


def a_sleep_after_a_limit(note):
    async def loop():
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.2)
        for _ in range(3):
            try:
                async with asyncio.timeout(0.3):
                    await shortly()
            except TimeoutError:
                note()

    return loop


def a_limit_in_trio(note):
    async def loop():
        for _ in range(3):
            with trio.move_on_after(0.3) as limit:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.sleep, 0.1)
            if limit.cancelled_caught:
                note()
            await trio.sleep(1)

    return loop


@pytest.mark.parametrize("made_by", [a_task_in_each_round, a_sleep_after_a_limit, a_limit_in_trio])
def test_no_limit_runs_out_because_replicas_are_apart(made_by):
    ran_out = []
    went_on = []
    system = System("limits")
    system.add(SQLite("db", SCHEMA))

    @system.service("worker", replicas=3, runtime="trio" if made_by is a_limit_in_trio else None)
    def worker(env):
        loop = made_by(lambda: ran_out.append(env.incarnation.replica))

        async def main():
            await loop()
            went_on.append(env.incarnation.replica)

        env.main(main)

    @system.entry(examples=["i1"])
    def enter(env, item):
        pass

    system.run()
    assert sorted(went_on) == [1, 2, 3]
    assert not ran_out


def test_a_loop_with_a_new_task_for_each_round_sleeps_longer_once():
    woke = []
    system = System("rounds")
    system.add(SQLite("db", SCHEMA))

    @system.service("worker", replicas=2)
    def worker(env):
        async def pause():
            await asyncio.sleep(2)

        async def main():
            for _ in range(4):
                await asyncio.wait_for(pause(), 10)
                if env.incarnation.replica == 2:
                    woke.append(env.now_ms())

        env.main(main)

    @system.entry(examples=["i1"])
    def enter(env, item):
        pass

    system.run()
    assert woke == [2_370, 4_370, 6_370, 8_370]


def shop(*, sends_first):
    """Orders wait in an outbox; two relays on asyncio send them."""
    aiosqlite = pytest.importorskip("aiosqlite")
    system = System("relays")
    bus = system.add(Kafka("bus", topics={"placed": 2}))
    store = system.add(SQLite("db", SCHEMA, url=AT))
    bank = system.add(Gateway("bank"))

    @system.service("relay", replicas=2, runtime="asyncio")
    def relay(env):
        publish = env.publisher(bus)

        async def loop():
            async with aiosqlite.connect(AT) as db:
                while True:
                    await asyncio.sleep(5)
                    found = await db.execute("SELECT id FROM outbox WHERE sent = 0 ORDER BY id")
                    for (order,) in await found.fetchall():
                        if sends_first:
                            await publish("placed", {"id": order}, key=order)
                        await db.execute("UPDATE outbox SET sent = 1 WHERE id = ?", (order,))
                        await db.commit()
                        if not sends_first:
                            await publish("placed", {"id": order}, key=order)

        env.main(loop)

    @system.service("payments")
    def payments(env):
        client = env.client(bank)

        def on_placed(order):
            client.charge(order["id"], 500, key=order["id"])

        env.consume(bus, "placed", on_placed)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        db = env.connect(store)
        with db:
            db.execute("INSERT INTO outbox (id) VALUES (?)", (order["id"],))

    return system


def test_without_faults_one_of_two_relays_sends():
    for sends_first in (True, False):
        calm = shop(sends_first=sends_first).run()
        assert len(list(calm.history.of("publish"))) == 1


@pytest.mark.parametrize(
    ("sends_first", "kinds"), [(True, []), (False, ["effect lost", "message lost"])]
)
def test_a_relay_that_dies_in_between_is_not_made_up_for_by_its_twin(sends_first, kinds):
    operation = "relay.loop/db.commit"
    run = shop(sends_first=sends_first).run(
        None, Schedule([Crash(Site(operation, "after", entity=0))])
    )
    assert any(run.history.of("crash"))
    assert [one.kind for one in idempotent().findings(run.evidence())] == kinds
