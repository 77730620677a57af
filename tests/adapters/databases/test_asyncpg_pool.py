"""A worker that takes rows by a pool of asyncpg's, with the pool's own defaults."""

import asyncio
from functools import partial

import pytest

pytest.importorskip("asyncpg")
pytest.importorskip("psycopg")

import asyncpg

from chaosharness import Books, Pause, PostgreSQL, Schedule, Site, System
from tests.adapters.databases.servers import SERVER, needs_postgresql

pytestmark = pytest.mark.real_broker

SCHEMA = "CREATE TABLE jobs (id text PRIMARY KEY, state text NOT NULL DEFAULT 'new')"
DSN = "postgresql://app@db.internal/jobs"
NEXT = "SELECT id FROM jobs WHERE state = 'new' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"


async def work(**options):
    async with asyncpg.create_pool(DSN, min_size=1, max_size=4, **options) as pool:
        while True:
            try:
                async with pool.acquire() as db, db.transaction():
                    job = await db.fetchval(NEXT)
                    await db.execute("UPDATE jobs SET state = 'done' WHERE id = $1", job)
            except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                job = None
            if job is None:
                await asyncio.sleep(5)


def jobs(**options):
    needs_postgresql()
    system = System("jobs")
    system.add(PostgreSQL("db", SCHEMA, server=SERVER))
    replicas = 1 if options else 2
    system.service("worker", replicas=replicas)(lambda env: env.main(partial(work, **options)))

    @system.entry(examples=["j1", "j2"])
    async def ask(env, job):
        connection = await asyncpg.connect(DSN)
        await connection.execute("INSERT INTO jobs (id) VALUES ($1) ON CONFLICT DO NOTHING", job)
        await connection.close()

    return system


def test_a_worker_whose_pool_counts_idle_time_comes_to_rest():
    run = jobs().run()
    assert run.ending.verdict == "quiet"
    assert run.ending.ran_on == ()


def test_a_query_whose_time_is_over_asks_to_be_cancelled_and_is_done_later():
    late = Pause(Site("worker.work/db.update jobs", "before", 0), lasting=30_000)
    run = jobs(command_timeout=2).run(["j1"], Schedule([late]))
    assert run.ending.verdict == "quiet"
    assert not run.unused
    assert Books(run.history).rows("db", "jobs") == [{"id": "j1", "state": "done"}]
