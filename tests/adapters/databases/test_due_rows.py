"""A loop that asks PostgreSQL whether a row is due is run on until it is: no run ends earlier."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

pytest.importorskip("psycopg")

import psycopg

from chaosharness import PostgreSQL, System
from chaosharness.handlers.clocks import _lengths_in
from tests.adapters.databases.servers import SERVER, needs_postgresql

pytestmark = pytest.mark.real_broker

DSN = "postgresql://app@db.shop.example/jobs"
JOB = "INSERT INTO jobs VALUES (1, {due}, 'open') ON CONFLICT DO NOTHING"
DUE = "SELECT id FROM jobs WHERE state = 'open' AND run_at <= {now}"
DONE = "UPDATE jobs SET state = 'done'"


@pytest.fixture(scope="module")
def db():
    needs_postgresql()
    schema = "CREATE TABLE jobs (id int PRIMARY KEY, run_at timestamptz, state text)"
    return PostgreSQL("db", schema, server=SERVER)


def jobs(db, put, ask):
    """A loop that asks each second for what is due; a job is put aside for a hundred seconds."""
    system = System("jobs")
    system.add(db)

    @system.service("worker")
    def worker(env):
        def run():
            with psycopg.connect(DSN, autocommit=True) as connection:
                while True:
                    if connection.execute(*ask).fetchall():
                        env.note("due")
                        connection.execute(DONE)
                    time.sleep(1)

        env.main(run)

    @system.entry(examples=[{"id": 1}])
    def place(env, order):
        with psycopg.connect(DSN) as connection:
            connection.execute(*put)

    return system


@pytest.mark.parametrize(
    ("put", "ask"),
    [
        ((JOB.format(due="now() + interval '100 seconds'"),), (DUE.format(now="now()"),)),
        ((JOB.format(due="now() + make_interval(secs => 100)"),), (DUE.format(now="now()"),)),
        (
            (JOB.format(due="now() + %s"), (timedelta(seconds=100),)),
            (DUE.format(now="CURRENT_TIMESTAMP"),),
        ),
        ((JOB.format(due="now() + %s::interval"), ("100 seconds",)), (DUE.format(now="now()"),)),
        ((JOB.format(due="now()"),), (DUE.format(now="now() - interval '1 min 40 sec'"),)),
        ((JOB.format(due="now()"),), (DUE.format(now="now() - %s"), (timedelta(seconds=100),))),
    ],
)
def test_a_row_that_is_due_later_is_waited_for(db, put, ask):
    run = jobs(db, put, ask).run()
    (noted,) = run.history.of("note")
    assert 100_000 <= noted.at_ms <= 101_100
    assert run.ending.verdict == "quiet"


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("now() - interval '10 minutes'", (600_000,)),
        ("now() - '1.5h'::interval", (5_400_000,)),
        ("make_interval(mins => 5, secs := 30)", (300_000, 30_000)),
        ("interval '00:20:05'", (1_205_000,)),
        ("SELECT '2030-01-01 00:10:00', o1 FROM t2 WHERE s = 5", ()),
    ],
)
def test_lengths_of_time_in_sql(text, lengths):
    assert _lengths_in(text) == lengths
