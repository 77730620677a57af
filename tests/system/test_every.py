"""`env.every`: a function that is called again and again, in every colour."""

from itertools import count
from typing import Any

import pytest

from chaosharness import Books, Crash, KeyValue, Schedule, Site, SQLite, System
from chaosharness.errors import InvalidDefinition

RUNTIMES = [None, "ports", "asyncio", "trio"]
SCHEMA = "CREATE TABLE jobs (id TEXT PRIMARY KEY, due_ms INTEGER, ran_ms INTEGER);"


def ticking(make: Any, *, runtime: Any = None, seconds: Any = 30, **options: Any) -> System:
    """Return a system with a timer; `make(env, db, done)` returns what it calls."""
    system = System("ticking")
    store, done = system.add(SQLite("db", SCHEMA)), system.add(KeyValue("done"))

    @system.service("worker", runtime=runtime)
    def worker(env):
        env.every(seconds, make(env, env.connect(store), env.connect(done)), **options)

    @system.entry(examples=["j1"])
    def submit(env, job):
        db = env.connect(store)
        with db:
            db.execute("INSERT INTO jobs VALUES (?, ?, NULL)", (job, env.now_ms() + 7_200_000))

    return system


def run_due(env, db):
    """Run what is due."""
    due = "SELECT id FROM jobs WHERE ran_ms IS NULL AND due_ms <= ?"
    for (job,) in db.execute(due, (env.now_ms(),)).fetchall():
        with db:
            db.execute("UPDATE jobs SET ran_ms = ? WHERE id = ?", (env.now_ms(), job))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_scheduled_job_runs_when_it_is_due(runtime):
    def make(env, db, done):
        def tick():
            run_due(env, db)

        async def tick_async():
            run_due(env, db)

        return tick if runtime is None else tick_async

    run = ticking(make, runtime=runtime).run()
    [job] = Books(run.history).rows("db", "jobs")
    assert 7_200_000 <= job["ran_ms"] <= 7_230_000
    assert run.ending.verdict == "quiet"
    assert {event.operation for event in run.history if event.kind == "sleep"} == {
        f"worker.{'tick' if runtime is None else 'tick_async'}/sleep"
    }


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_job_that_finds_nothing_comes_to_rest_after_one_round(runtime):
    def make(env, db, done):
        def tick():
            db.execute("SELECT id FROM jobs WHERE due_ms < 0").fetchall()

        async def tick_async():
            tick()

        return tick if runtime is None else tick_async

    run = ticking(make, runtime=runtime).run()
    assert run.ending.verdict == "quiet"
    assert run.ending.ran_on == ()
    assert [*run.history][-1].at_ms <= 60_000


class Batch:
    """Writes at the fifth call."""

    def __init__(self, done):
        self.done, self.calls = done, 0

    def tick(self):
        self.calls += 1
        if self.calls == 5:
            self.done.put("it", "done")


def test_what_the_function_holds_is_its_state():
    run = ticking(lambda env, db, done: Batch(done).tick).run()
    assert Books(run.history).values("done") == {"it": "done"}
    assert run.ending.verdict == "quiet"


def test_a_job_that_writes_each_time_is_declared_as_background():
    def make(env, db, done):
        beats = count(1)
        return lambda: done.put("beats", next(beats))

    assert ticking(make).run().ending.verdict == "budget"
    assert ticking(make, background=True).run().ending.verdict == "quiet"


def test_a_job_goes_on_after_a_crash():
    def make(env, db, done):
        def tick():
            run_due(env, db)

        return tick

    crash = Schedule([Crash(Site("worker.tick/sleep", "after", 0, 3))])
    run = ticking(make).run(None, crash)
    assert not run.unused
    [job] = Books(run.history).rows("db", "jobs")
    assert job["ran_ms"] >= 7_200_000


def test_a_job_that_raises_is_the_end_of_its_process():
    def make(env, db, done):
        def tick():
            db.execute("SELECT 1")
            raise ValueError("no")

        return tick

    ending = ticking(make).run().ending
    assert ending.verdict == "stuck"
    assert "worker.tick raised ValueError: no at tests/system/test_every.py:" in ending.reason


@pytest.mark.parametrize("seconds", [0, -1, "5", None])
def test_a_pause_is_more_than_nothing(seconds):
    with pytest.raises(InvalidDefinition, match="every needs a number of seconds above 0"):
        ticking(lambda env, db, done: lambda: None, seconds=seconds).run()


def test_what_is_called_is_a_function():
    with pytest.raises(InvalidDefinition, match="has a timer with 5"):
        ticking(lambda env, db, done: 5).run()
