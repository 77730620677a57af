"""A worker that takes rows by a pool of asyncpg's, with the pool's own defaults."""

import asyncio

import pytest

pytest.importorskip("asyncpg")
pytest.importorskip("psycopg")

import asyncpg

from chaosharness import PostgreSQL, System
from tests.adapters.databases.servers import SERVER, needs_postgresql

pytestmark = pytest.mark.real_broker

SCHEMA = "CREATE TABLE jobs (id text PRIMARY KEY, state text NOT NULL DEFAULT 'new')"
DSN = "postgresql://app@db.internal/jobs"
NEXT = "SELECT id FROM jobs WHERE state = 'new' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"


async def work():
    async with asyncpg.create_pool(DSN, min_size=1, max_size=4) as pool:
        while True:
            async with pool.acquire() as db, db.transaction():
                job = await db.fetchval(NEXT)
                await db.execute("UPDATE jobs SET state = 'done' WHERE id = $1", job)
            if job is None:
                await asyncio.sleep(5)


def test_a_worker_whose_pool_counts_idle_time_comes_to_rest():
    needs_postgresql()
    system = System("jobs")
    system.add(PostgreSQL("db", SCHEMA, server=SERVER))
    system.service("worker", replicas=2)(lambda env: env.main(work))

    @system.entry(examples=["j1", "j2"])
    async def ask(env, job):
        connection = await asyncpg.connect(DSN)
        await connection.execute("INSERT INTO jobs (id) VALUES ($1) ON CONFLICT DO NOTHING", job)
        await connection.close()

    run = system.run()
    assert run.ending.verdict == "quiet"
    assert run.ending.ran_on == ()
