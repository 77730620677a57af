"""Loops at rest go round for nothing while others wait: those rounds are skipped, and no other."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import trio

from chaosharness import (
    External,
    Gateway,
    Kafka,
    NetworkPartition,
    Pause,
    Schedule,
    Site,
    SQLite,
    System,
    explore,
)

HOUR = NetworkPartition(Site("pay.on_order/bank.charge"), lasting=3_600_000)


def shop(relay_of, *, slow_s=0.0):
    """A handler that calls a bank, and a loop beside it that looks into an outbox."""
    system = System("shop")
    bus = system.add(Kafka("bus", topics={"orders": 1, "paid": 1}))
    db = system.add(SQLite("db", schema="CREATE TABLE outbox (id TEXT PRIMARY KEY)"))
    bank = system.add(Gateway("bank"))

    @system.service("pay")
    def pay(env):
        connection, client = env.connect(db), env.client(bank)
        publish = env.publisher(bus)
        seen = {}

        def on_order(order):
            if slow_s:
                time.sleep(slow_s)
            client.charge(order["id"], 500, key=order["id"])
            seen[order["id"]] = True
            with connection:
                connection.execute("INSERT OR IGNORE INTO outbox VALUES (?)", (order["id"],))

        env.consume(bus, "orders", on_order)
        env.main(relay_of(env, connection, publish, seen))

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def relay(env, connection, publish, seen):
    def run():
        while True:
            for (order,) in connection.execute("SELECT id FROM outbox").fetchall():
                publish("paid", {"order": order}, key=order)
                with connection:
                    connection.execute("DELETE FROM outbox WHERE id = ?", (order,))
            time.sleep(0.5)

    return run


def reads(run):
    return [event.at_ms for event in run.history.of("read")]


def published(run):
    return [event.at_ms for event in run.history.of("publish") if event.data.get("topic") == "paid"]


def test_an_hour_of_waiting_is_no_seven_thousand_rounds():
    run = shop(relay).run(schedule=Schedule([HOUR]))
    assert run.ending.verdict == "quiet"
    assert run.history[-1].at_ms > 300_000  # trouble ends with the chaos at the latest
    assert len(reads(run)) < run.history[-1].at_ms / 500 / 3
    assert len(published(run)) == 1


def test_what_comes_meanwhile_is_seen_at_the_next_beat():
    run = shop(relay, slow_s=100.2).run()
    committed = next(event.at_ms for event in run.history.of("commit"))
    assert committed > 100_200
    (sent,) = published(run)
    assert sent % 500 < 50  # on its beat, whatever was skipped
    assert 0 <= sent - committed <= 500
    assert len(reads(run)) < 20


def test_so_is_what_only_memory_knows():
    """A flag that a handler sets changes nothing that a broker or a store would see."""

    def watch(env, connection, publish, seen):
        def run():
            told = set()
            while True:
                for order in [one for one in seen if one not in told]:
                    told.add(order)
                    env.note("seen", order=order)
                time.sleep(1)

        return run

    run = shop(watch, slow_s=200.0).run()
    (noted,) = [event.at_ms for event in run.history.of("note")]
    charged = next(event.at_ms for event in run.history.of("effect"))
    assert 0 <= noted - charged <= 1_050
    assert sum(event.kind == "wake" for event in run.history) < 20


def test_a_loop_that_counts_its_rounds_is_not_skipped():
    def counter(env, connection, publish, seen):
        def run():
            rounds = 0
            while True:
                rounds += 1
                if rounds == 90:
                    env.note("ninety")
                time.sleep(1)

        return run

    run = shop(counter, slow_s=200.0).run()
    (noted,) = [event.at_ms for event in run.history.of("note")]
    assert noted == 89_000


def test_nor_is_one_that_reads_a_clock():
    def alarm(env, connection, publish, seen):
        def run():
            began = time.monotonic()
            rung = False
            while True:
                if not rung and time.monotonic() - began > 77:
                    rung = True
                    env.note("rung")
                time.sleep(1)

        return run

    run = shop(alarm, slow_s=200.0).run()
    (noted,) = [event.at_ms for event in run.history.of("note")]
    assert noted == 78_000


def test_a_fault_strikes_at_each_round_that_a_run_has_shown():
    system = shop(relay, slow_s=100.0)
    polled = "pay.run/db.select outbox"
    attempts = max(times for (place, *_), times in system.run().attempts.items() if place == polled)
    assert 2 < attempts < 12
    for attempt in range(1, attempts + 1):
        pause = Schedule([Pause(Site(polled, "before", 0, attempt), lasting="next")])
        assert system.run(schedule=pause).unused == ()


def test_a_fault_that_finds_no_site_changes_nothing():
    system = shop(relay, slow_s=100.0)
    late = Schedule([Pause(Site("pay.run/db.select outbox", "before", 0, 150), lasting="next")])
    run = system.run(schedule=late)
    assert len(run.unused) == 1
    assert run.digest() == system.run().digest()


def test_two_that_poll_stay_on_their_beats():
    def both(env, connection, publish, seen):
        def other():
            while True:
                connection.execute("SELECT count(*) FROM outbox").fetchone()
                time.sleep(0.7)

        threading.Thread(target=other, daemon=True).start()
        return relay(env, connection, publish, seen)

    run = shop(both, slow_s=100.0).run()
    assert run.ending.verdict == "quiet"
    beats = {event.at_ms % 700 for event in run.history.of("read") if "count" in str(event.data)}
    assert len(beats) <= 2
    assert len(reads(run)) < 40
    (sent,) = published(run)
    assert sent < 101_000


def polls(runtime, tasks):
    """As many tasks of a runtime that poll beside a handler that takes its time."""
    system = System("polls")
    bus = system.add(Kafka("bus", topics={"orders": 1}))

    @system.service("pay", runtime=runtime.__name__)
    def pay(env):
        async def on_order(order):
            await runtime.sleep(200)
            env.note("handled")

        async def poll(every_s):
            while True:
                env.note("polled")
                await runtime.sleep(every_s)

        async def main():
            if runtime is trio:
                async with trio.open_nursery() as nursery:
                    for number in range(tasks):
                        nursery.start_soon(poll, 1 + number / 2)
            else:
                await asyncio.gather(*[poll(1 + number / 2) for number in range(tasks)])

        env.consume(bus, "orders", on_order)
        env.main(main)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


@pytest.mark.parametrize("runtime", [asyncio, trio])
@pytest.mark.parametrize("tasks", [1, 2, 3])
def test_tasks_that_poll_are_quiet_and_nothing_comes_late(runtime, tasks):
    run = polls(runtime, tasks).run()
    assert run.ending.verdict == "quiet"
    (handled,) = [event.at_ms for event in run.history.of("note") if "handled" in str(event.data)]
    assert handled == 200_001


def in_threads(loops, *, slow_s=200.0):
    """A handler that takes its time, and loops beside it that ask the database in threads."""
    system = System("in threads")
    bus = system.add(Kafka("bus", topics={"orders": 1, "paid": 1}))
    db = system.add(SQLite("db", schema="CREATE TABLE outbox (id TEXT PRIMARY KEY)"))
    flag = {"set": False}

    @system.service("pay", runtime="asyncio")
    def pay(env):
        connection = env.connect(db)

        async def on_order(order):
            await asyncio.sleep(slow_s)
            flag["set"] = True

        env.consume(bus, "orders", on_order)
        env.main(partial(loops[0], env, connection, flag))

    for number, loop in enumerate(loops[1:]):

        @system.service(f"other-{number}", runtime="asyncio")
        def other(env, loop=loop):
            connection = env.connect(db)
            env.main(partial(loop, env, connection, flag))

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def asks(connection):
    return connection.execute("SELECT id FROM outbox").fetchall()


async def polls_in_a_thread(env, connection, flag):
    while True:
        await asyncio.to_thread(asks, connection)
        await asyncio.sleep(1)


async def counts_in_a_thread(env, connection, flag):
    for _ in range(90):
        await asyncio.to_thread(asks, connection)
        await asyncio.sleep(1)
    env.note("ninety")


async def watches_in_a_thread(env, connection, flag):
    told = False
    while True:
        await asyncio.to_thread(asks, connection)
        if flag["set"] and not told:
            told = True
            env.note("seen")
        await asyncio.sleep(1)


@pytest.mark.parametrize("many", [1, 2, 3])
def test_a_round_that_goes_through_threads_is_one_round(many):
    run = in_threads([polls_in_a_thread] * many).run()
    assert run.ending.verdict == "quiet"
    assert len(reads(run)) < 20 * many


def test_one_beside_them_that_counts_its_rounds_is_not_skipped():
    run = in_threads([polls_in_a_thread, counts_in_a_thread]).run()
    (noted,) = [event.at_ms for event in run.history.of("note")]
    assert noted == 90_000


def test_what_a_handler_leaves_in_memory_is_seen_by_rounds_through_threads():
    run = in_threads([watches_in_a_thread, polls_in_a_thread]).run()
    (noted,) = [event.at_ms for event in run.history.of("note")]
    assert 200_000 <= noted <= 201_050
    assert len(reads(run)) < 40


def by_a_pool(loops, *, slow_s=200.0):
    """A handler that takes its time, and plain loops beside it, each in a service of its own."""
    system = System("by a pool")
    bus = system.add(Kafka("bus", topics={"orders": 1}))
    db = system.add(SQLite("db", schema="CREATE TABLE outbox (id TEXT PRIMARY KEY)"))

    @system.service("pay")
    def pay(env):
        env.consume(bus, "orders", lambda order: time.sleep(slow_s))

    for number, loop in enumerate(loops):

        @system.service(f"loop-{number}")
        def service(env, loop=loop):
            env.main(partial(loop, env, env.connect(db)))

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def submits(env, connection):
    with ThreadPoolExecutor(2) as pool:
        while True:
            asked = pool.submit(asks, connection)
            asked.result()
            time.sleep(1)


def starts_a_thread(env, connection):
    while True:
        thread = threading.Thread(target=asks, args=(connection,))
        thread.start()
        thread.join()
        time.sleep(1)


def hands_to(worker):
    """A loop that hands the same to a thread each second, by a queue."""

    def loop(env, connection):
        todo = queue.Queue()
        threading.Thread(target=worker, args=(env, connection, todo), daemon=True).start()
        while True:
            todo.put("look")
            time.sleep(1)

    return loop


def looks_when_told(env, connection, todo):
    while True:
        todo.get()
        asks(connection)


def counts_what_it_is_told(env, connection, todo):
    told = 0
    while True:
        todo.get()
        asks(connection)
        told += 1
        if told == 91:
            env.note("ninety-one")


def reads_the_clock_when_told(env, connection, todo):
    began = time.monotonic()
    while True:
        todo.get()
        asks(connection)
        if time.monotonic() - began > 89.5:
            env.note("ninety seconds")
            began = float("inf")


def waits_until_it_has_looked(env, connection):
    todo = queue.Queue()

    def work():
        while True:
            todo.get()
            asks(connection)
            todo.task_done()

    threading.Thread(target=work, daemon=True).start()
    while True:
        todo.put("look")
        todo.join()
        time.sleep(1)


@pytest.mark.parametrize("many", [1, 2, 3])
@pytest.mark.parametrize(
    "loop", [submits, starts_a_thread, hands_to(looks_when_told), waits_until_it_has_looked]
)
def test_a_round_that_goes_through_a_pool_or_a_thread_is_one_round(loop, many):
    run = by_a_pool([loop] * many).run()
    assert run.ending.verdict == "quiet"
    assert len(reads(run)) < 20 * many


@pytest.mark.parametrize("worker", [counts_what_it_is_told, reads_the_clock_when_told])
def test_who_is_woken_in_each_round_and_goes_on_to_something_else_is_not_skipped(worker):
    run = by_a_pool([submits, hands_to(worker)]).run()
    (noted,) = [event.at_ms for event in run.history.of("note")]
    assert noted == 90_000


def waits_until_it_is_done(env, connection):
    todo = queue.Queue()

    def work():
        done = 0
        while True:
            todo.get()
            done += 1
            if done == 91:
                env.note("ninety-one")
            todo.task_done()

    threading.Thread(target=work, daemon=True).start()
    while True:
        todo.put(True)
        todo.join()
        time.sleep(1)


def test_who_waits_until_others_are_done_has_gone_round_as_they_have():
    run = by_a_pool([waits_until_it_is_done]).run()
    (noted,) = [event.at_ms for event in run.history.of("note")]
    assert noted == 90_000


def test_so_it_is_where_a_third_party_is_asked_in_each_round():
    """Its answer takes time: the round goes on as by itself, and is none of a loop at rest."""
    system = System("shop")
    bank = system.add(External("bank", Bank, reads=("balance",)))

    @system.service("relay")
    def relay(env):
        client, todo = env.client(bank), queue.Queue()

        def work():
            done = 0
            while True:
                todo.get()
                done += 1
                if done == 91:
                    env.note("ninety-one")
                todo.task_done()

        def run():
            threading.Thread(target=work, daemon=True).start()
            while True:
                client.balance()
                todo.put(True)
                todo.join()
                time.sleep(1)

        env.main(run)

    @system.service("late")
    def late(env):
        def run():
            time.sleep(300)
            env.note("late")

        env.main(run)

    @system.entry(examples=["i1"])
    def place(env, item):
        pass

    run = system.run()
    assert len([*run.history.of("note")]) == 2


class Bank:
    """A third party that tells what there is."""

    def balance(self):
        return 0


def test_the_search_finds_what_a_relay_loses():
    def loses(env, connection, publish, seen):
        def run():
            while True:
                row = connection.execute("SELECT id FROM outbox").fetchone()
                if row:
                    with connection:
                        connection.execute("DELETE FROM outbox WHERE id = ?", row)
                    publish("paid", {"order": row[0]}, key=row[0])
                time.sleep(0.5)

        return run

    found = explore(shop(loses), faults_max=1, runs_max=200)
    assert any("paid" in str(one.findings[0].summary) for one in found.counterexamples)
