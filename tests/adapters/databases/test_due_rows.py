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
SCHEMA = """
CREATE TABLE jobs (id int PRIMARY KEY, run_at timestamptz, state text DEFAULT 'open',
                   made timestamptz DEFAULT now());
CREATE VIEW ready AS SELECT id FROM jobs WHERE state = 'open' AND run_at <= now();
CREATE VIEW ready_ids AS SELECT id FROM ready;
CREATE VIEW old AS SELECT id FROM jobs WHERE state = 'open'
    AND run_at <= now() - interval '100 seconds';
CREATE FUNCTION is_due(due timestamptz) RETURNS bool LANGUAGE sql STABLE
    AS 'SELECT due <= now()';
CREATE FUNCTION claim() RETURNS SETOF int LANGUAGE plpgsql AS $$
    BEGIN
        RETURN QUERY UPDATE jobs SET state = 'claimed'
            WHERE state = 'open' AND run_at <= now() RETURNING id;
    END $$;
"""


LATER = (JOB.format(due="now() + interval '100 seconds'"),)


@pytest.fixture(scope="module")
def db():
    needs_postgresql()
    return PostgreSQL("db", SCHEMA, server=SERVER)


def asked(connection, ask):
    """Return what a statement finds; of a cursor at the server where it says so."""
    if ask[0] == "at the server":
        with connection.transaction(), connection.cursor("found") as cursor:
            return cursor.execute(*ask[1:]).fetchall()
    return connection.execute(*ask).fetchall()


def jobs(db, put, ask, *, migrate=None):
    """A loop that asks each second for what is due; a job is put aside for a hundred seconds."""
    system = System("jobs")
    system.add(db)

    @system.service("worker")
    def worker(env):
        def run():
            with psycopg.connect(DSN, autocommit=True) as connection:
                if migrate:
                    connection.execute(migrate)
                while True:
                    if asked(connection, ask):
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
        (LATER, ("SELECT id FROM ready_ids",)),
        ((JOB.format(due="now()"),), ("SELECT id FROM old",)),
        (LATER, ("SELECT id FROM jobs WHERE state = 'open' AND is_due(run_at)",)),
        (LATER, ("SELECT * FROM claim()",)),
        (LATER, (DUE.format(now="'now'::timestamptz"),)),
        (LATER, (DUE.format(now="timestamptz 'now'"),)),
        (LATER, ("at the server", DUE.format(now="now()"))),
    ],
)
def test_a_row_that_is_due_later_is_waited_for(db, put, ask):
    run = jobs(db, put, ask).run()
    (noted,) = run.history.of("note")
    assert 100_000 <= noted.at_ms <= 101_100
    assert run.ending.verdict == "quiet"


def test_who_does_not_ask_for_the_time_comes_to_rest(db):
    """Columns that are filled in with the time are in nearly every table."""
    run = jobs(db, LATER, ("SELECT id FROM jobs WHERE state = 'none'",)).run()
    assert run.ending.verdict == "quiet"
    assert run.ending.ran_on == ()
    assert run.history[-1].at_ms <= 3_000


def test_a_view_that_is_made_later_asks_too(db):
    """As a migration makes it, while the system runs."""
    view = "CREATE OR REPLACE VIEW later AS SELECT id FROM ready"
    run = jobs(db, LATER, ("SELECT id FROM later",), migrate=view).run()
    (noted,) = run.history.of("note")
    assert 100_000 <= noted.at_ms <= 101_100


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
