"""Loops that only ask for the time go round for nothing while others are not through yet."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from functools import partial

import pytest
import trio

from chaosharness import SQLite, System

SCHEMA = """
CREATE TABLE outbox (id TEXT PRIMARY KEY);
CREATE TABLE beats (id TEXT PRIMARY KEY, at REAL);
CREATE TABLE jobs (id TEXT PRIMARY KEY, at_ms INTEGER)
"""
SETTINGS = {"minutes": 1.3}  # no text of the code says how long that is in seconds


def beside_a_scheduler(*loops, runtime=None, beat_s=60):
    """Loops, each in a service of its own, beside one that looks once a minute for what is due."""
    system = System("beside a scheduler")
    db = system.add(SQLite("db", schema=SCHEMA))

    for number, loop in enumerate(loops):

        @system.service(f"loop-{number}", runtime=runtime)
        def service(env, loop=loop):
            env.main(partial(loop, env, env.connect(db)))

    @system.service("scheduler")
    def scheduler(env):
        connection = env.connect(db)

        def run():
            while True:
                due = "SELECT id FROM jobs WHERE at_ms < ?"
                connection.execute(due, (time.time() * 1000,)).fetchall()
                time.sleep(beat_s)

        env.main(run)

    @system.entry(examples=["i1"])
    def place(env, item):
        pass

    return system


def asks(connection):
    return connection.execute("SELECT id FROM outbox").fetchall()


def polls_until_a_deadline(env, connection):
    while True:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and not asks(connection):
            time.sleep(0.5)
        time.sleep(0.5)


def takes_the_time(env, connection):
    while True:
        began = time.perf_counter()
        asks(connection)
        env_took = time.perf_counter() - began
        assert env_took >= 0
        time.sleep(0.5)


async def takes_the_time_under_asyncio(env, connection):
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        asks(connection)
        assert loop.time() >= began
        await asyncio.sleep(0.5)


async def takes_the_time_under_trio(env, connection):
    while True:
        began = trio.current_time()
        asks(connection)
        assert trio.current_time() >= began
        await trio.sleep(0.5)


LOOPS = [
    (polls_until_a_deadline, None),
    (takes_the_time, None),
    (takes_the_time_under_asyncio, "asyncio"),
    (takes_the_time_under_trio, "trio"),
]


@pytest.mark.parametrize("many", [1, 2, 3])
@pytest.mark.parametrize(("loop", "runtime"), LOOPS, ids=lambda one: getattr(one, "__name__", one))
def test_relays_beside_a_scheduler_go_round_as_often_as_it_does(loop, runtime, many):
    run = beside_a_scheduler(*[loop] * many, runtime=runtime).run()
    assert run.ending.verdict == "quiet"
    assert run.history[-1].at_ms >= 1_200_000  # twenty rounds of the scheduler, as before
    assert len(run.history) < 250 * many + 250
    assert len(run.ending.ran_on) == many + 1


def notes(run):
    return [event.at_ms for event in run.history.of("note")]


def counts_and_asks(env, connection):
    began = time.monotonic()
    for _ in range(900):
        asks(connection)
        assert time.monotonic() >= began
        time.sleep(1)
    env.note("nine hundred")


def counts_where_nobody_sees_it(env, connection):
    rounds = iter(range(900))
    while True:
        began = time.monotonic()
        asks(connection)
        assert time.monotonic() >= began
        if next(rounds, None) is None:
            env.note("nine hundred")
            return
        time.sleep(1)


def counts_by_a_generator(env, connection):
    rounds = (one for one in itertools.count())
    while True:
        began = time.monotonic()
        asks(connection)
        assert time.monotonic() >= began
        if next(rounds) == 900:
            env.note("nine hundred")
            return
        time.sleep(1)


@pytest.mark.parametrize(
    "loop", [counts_and_asks, counts_where_nobody_sees_it, counts_by_a_generator]
)
def test_one_that_counts_its_rounds_has_each_of_them_made(loop):
    run = beside_a_scheduler(loop, takes_the_time).run()
    assert notes(run) == [900_000]


def waits_for_a_time_that_nothing_shows(env, connection):
    until = time.monotonic() + SETTINGS["minutes"] ** 20  # 190 s
    until = until if env is None else str(until)
    while time.monotonic() < float(until):
        asks(connection)
        time.sleep(1)
    env.note("over")
    time.sleep(1)


def test_what_waits_for_a_time_that_nothing_shows_is_late_by_a_beat_of_the_others_at_most():
    run = beside_a_scheduler(waits_for_a_time_that_nothing_shows, takes_the_time).run()
    [noted] = notes(run)
    assert 190_000 <= noted <= 250_000
    assert run.ending.verdict == "quiet"


def beats_and_watches_in_one_process(env, connection):
    last = [time.monotonic()]

    def beat():
        while True:
            last[0] = time.monotonic()
            time.sleep(0.5)

    threading.Thread(target=beat, daemon=True).start()
    while True:
        if time.monotonic() - last[0] > 30:
            env.note("dead")
            return
        time.sleep(1)


def beats_into_a_table(env, connection):
    while True:
        with connection:
            connection.execute("INSERT OR REPLACE INTO beats VALUES ('a', ?)", (time.time(),))
        time.sleep(0.5)


def watches_a_table(env, connection):
    time.sleep(2)
    while True:
        [(at,)] = connection.execute("SELECT at FROM beats").fetchall()
        if time.time() - at > 30:
            env.note("dead")
            return
        time.sleep(1)


@pytest.mark.parametrize(
    "loops",
    [[beats_and_watches_in_one_process], [beats_into_a_table, watches_a_table]],
    ids=["memory", "table"],
)
def test_nobody_takes_a_heart_for_dead_whose_beats_were_skipped(loops):
    run = beside_a_scheduler(*loops).run()
    assert run.ending.verdict == "quiet"
    assert notes(run) == []


def waits_for_what_another_thread_does(env, connection):
    over = threading.Event()

    def work():
        until = time.monotonic() + SETTINGS["minutes"] ** 20
        until = str(until)
        while time.monotonic() < float(until):
            time.sleep(0.5)
        over.set()
        threading.Event().wait()

    threading.Thread(target=work, daemon=True).start()
    env.note("in time" if over.wait(200) else "too late")


def test_what_a_thread_of_the_same_process_waits_for_comes_in_time():
    run = beside_a_scheduler(waits_for_what_another_thread_does, beat_s=300).run()
    assert [event.data["what"] for event in run.history.of("note")] == ["in time"]


def comes_late(env, connection):
    time.sleep(1_000)
    with connection:
        connection.execute("INSERT INTO outbox VALUES ('o1')")


def sends(env, connection):
    while True:
        began = time.monotonic()
        if asks(connection):
            env.note("sent")
            with connection:
                connection.execute("DELETE FROM outbox")
        assert time.monotonic() >= began
        time.sleep(0.5)


def test_what_another_process_stores_is_seen_at_the_next_beat():
    run = beside_a_scheduler(comes_late, sends, takes_the_time).run()
    assert [1_000_000 <= at <= 1_000_500 for at in notes(run)] == [True]
