"""What is due long from now, or after many rounds: it is reached, and not round by round."""

import asyncio
import time

import pytest
import trio

from chaosharness import Crash, Kafka, Schedule, Site, SQLite, System, assumed

HOURS_MS = 3_600_000
ORDERS = [{"id": "o1"}]
TRIED_AGAIN = {"on_error": "dead-letter", "retries_max": 50}


def shop(table: str) -> tuple[System, Kafka, SQLite]:
    system = System("later")
    bus = system.add(Kafka("bus", topics={"orders": 1}))
    db = system.add(SQLite("db", f"CREATE TABLE jobs ({table});"))

    @system.entry(examples=ORDERS)
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system, bus, db


def jobs_of(run):
    [state] = run.history.of("state")
    return state.data["tables"]["jobs"]


# ---- rows that are due in some hours


def due_later(hours: float, *, way: str, replicas: int = 1) -> System:
    """A row is due in some hours; a loop looks for it each second."""
    system, bus, db = shop("id TEXT PRIMARY KEY, due_ms INTEGER, done_ms INTEGER")

    runtime = "trio" if way == "trio" else None

    @system.service("jobs", replicas=replicas, runtime=runtime)
    def jobs(env):
        one, two = env.connect(db), env.connect(db)

        def on_order(order: dict):
            with one:
                row = (order["id"], env.now_ms() + int(hours * HOURS_MS))
                one.execute("INSERT OR IGNORE INTO jobs VALUES (?, ?, NULL)", row)

        def tick():
            due = "SELECT id FROM jobs WHERE done_ms IS NULL AND due_ms <= ?"
            for (name,) in two.execute(due, (env.now_ms(),)).fetchall():
                with two:
                    done = "UPDATE jobs SET done_ms = ? WHERE id = ? AND done_ms IS NULL"
                    two.execute(done, (env.now_ms(), name))

        def loop():
            while True:
                tick()
                env.sleep(1)

        async def with_asyncio():
            while True:
                tick()
                await asyncio.sleep(1)

        async def with_trio():
            while True:
                tick()
                await trio.sleep(1)

        env.consume(bus, "orders", on_order, **TRIED_AGAIN)
        if way == "every":
            env.every(1, tick)
        else:
            env.main({"plain": loop, "asyncio": with_asyncio, "trio": with_trio}[way])

    return system


@pytest.mark.parametrize("way", ["plain", "every", "asyncio", "trio"])
def test_a_row_that_is_due_in_eight_hours_is_done_in_time(way):
    run = due_later(8, way=way).run()
    [job] = jobs_of(run)
    assert 0 <= job["done_ms"] - job["due_ms"] <= 1_000
    assert len(run.history.raw) < 10_000  # 28,800 rounds are 57,600 events and more


def test_so_it_is_where_two_processes_look():
    [job] = jobs_of(due_later(8, way="plain", replicas=2).run())
    assert 0 <= job["done_ms"] - job["due_ms"] <= 1_000


def test_what_is_done_in_time_is_done_in_time_after_a_crash():
    system = due_later(8, way="plain")
    for phase in ("before", "after"):
        schedule = Schedule([Crash(Site("jobs.on_order/db.commit", phase), down="long")])
        run = system.run(None, schedule)
        [job] = jobs_of(run)
        assert 0 <= job["done_ms"] - job["due_ms"] <= 2_000
        assert [found for one in assumed(system) for found in one.findings(run.evidence())] == []


def test_rounds_that_change_something_are_not_skipped():
    system, bus, db = shop("id TEXT PRIMARY KEY, due_ms INTEGER, looks INTEGER")

    @system.service("jobs")
    def jobs(env):
        one, two = env.connect(db), env.connect(db)

        def on_order(order: dict):
            with one:
                row = (order["id"], env.now_ms() + HOURS_MS)
                one.execute("INSERT OR IGNORE INTO jobs VALUES (?, ?, 0)", row)

        def tick():
            with two:
                two.execute("UPDATE jobs SET looks = looks + 1 WHERE due_ms > ?", (env.now_ms(),))

        env.consume(bus, "orders", on_order, **TRIED_AGAIN)
        env.every(1, tick)

    [job] = jobs_of(system.run())
    assert 3_590 <= job["looks"] <= 3_601


# ---- rounds that are counted


def counting(limit: int, *, way: str) -> System:
    """Store what came once nothing has come for so many rounds."""
    system, bus, db = shop("id TEXT PRIMARY KEY")

    @system.service("jobs")
    def jobs(env):
        conn = env.connect(db)

        def store(records):
            with conn:
                for record in records:
                    row = (record.value["id"],)
                    conn.execute("INSERT OR IGNORE INTO jobs VALUES (?)", row)

        def loop():
            consumer = env.consumer(bus, "orders")
            idle, batch = 0, []
            while True:
                new = list(consumer.poll(timeout_s=0.1))
                batch += new
                idle = 0 if new else idle + 1
                if way == "for":
                    for _ in range(limit):
                        env.sleep(0.5)
                    idle = limit
                if batch and idle >= limit:
                    store(batch)
                    consumer.commit()
                    batch = []
                if way == "clock":
                    time.time()
                env.sleep(0.5)

        env.main(loop)

    return system


@pytest.mark.parametrize("way", ["counter", "for", "clock"])
@pytest.mark.parametrize("limit", [50, 150, 400])
def test_a_loop_that_counts_its_rounds_gets_to_its_number(way, limit):
    run = counting(limit, way=way).run()
    assert jobs_of(run) == [{"id": "o1"}], run.ending


def test_what_counts_further_is_said_to():
    run = counting(5_000, way="counter").run()
    assert jobs_of(run) == []
    [line] = run.ending.ran_on
    assert line.place == "jobs.loop"
    assert line.why in ("counts", "holds messages")
