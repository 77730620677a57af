"""Rows that go after a while: a job cuts the inbox, or moves what is done to an archive."""

import time

import pytest

from chaosharness import Kafka, SQLite, System, idempotent
from chaosharness.faults import Crash, FailedCommit, Pause
from tests.checkers.outcomes.sweep import groups, sweep

TRIED_AGAIN = {"on_error": "dead-letter", "retries_max": 60}
INBOX = """
CREATE TABLE inbox (id TEXT PRIMARY KEY, at REAL);
CREATE TABLE account (name TEXT PRIMARY KEY, cents INT);
INSERT INTO account VALUES ('ann', 0);
"""
ARCHIVE = """
CREATE TABLE live (id TEXT PRIMARY KEY, state TEXT, at REAL);
CREATE TABLE old (id TEXT PRIMARY KEY, state TEXT);
"""


def worker(schema, handled, job, **main):
    """One that handles messages, and does a job each half minute."""
    system = System("worker")
    bus, store = system.add(Kafka("bus", topics={"in": 1})), system.add(SQLite("db", schema))

    @system.service("worker")
    def build(env):
        db, own = env.connect(store), env.connect(store)

        def on_message(one: dict):
            with db:
                handled(db, one)

        def loop():
            while True:
                env.sleep(30)
                job(own)

        env.consume(bus, "in", on_message, **TRIED_AGAIN)
        env.main(loop, **main)

    @system.entry(examples=[{"id": "m1", "cents": 5}, {"id": "m2", "cents": 7}])
    def send(env, one):
        env.publisher(bus)("in", one, key=one["id"])

    return system


def with_inbox(*, kept_s):
    def handled(db, one):
        new = "INSERT OR IGNORE INTO inbox VALUES (?, ?)"
        if db.execute(new, (one["id"], time.time())).rowcount:
            db.execute("UPDATE account SET cents = cents + ?", (one["cents"],))

    def cut(own):
        with own:
            own.execute("DELETE FROM inbox WHERE at < ?", (time.time() - kept_s,))

    return worker(INBOX, handled, cut, background=True)


def with_archive(*, together, **main):
    def handled(db, one):
        if not db.execute("SELECT 1 FROM old WHERE id = ?", (one["id"],)).fetchone():
            new = "INSERT OR IGNORE INTO live VALUES (?, 'done', ?)"
            db.execute(new, (one["id"], time.time()))

    def move(own):
        due = "SELECT id, state FROM live WHERE at < ?"
        for row in own.execute(due, (time.time() - 120,)).fetchall():
            with own:
                own.execute("DELETE FROM live WHERE id = ?", row[:1])
                if together:
                    own.execute("INSERT INTO old VALUES (?, ?)", row)
            if not together:
                with own:
                    own.execute("INSERT INTO old VALUES (?, ?)", row)

    return worker(ARCHIVE, handled, move, **main)


def test_an_inbox_that_is_cut_too_soon_is_told_by_the_sum_and_by_nothing_else():
    found = sweep(with_inbox(kept_s=60), kinds=(Pause, FailedCommit))
    assert groups(found) == {("row differs", "db.account.cents+")}
    assert not [one.summary for one in found if "has cents=12" in one.summary]  # that is right


@pytest.mark.parametrize("kept_s", [1_200, 604_800])
def test_an_inbox_that_is_cut_late_is_silent(kept_s):
    assert not sweep(with_inbox(kept_s=kept_s), kinds=(Pause, FailedCommit))


def test_what_a_job_moves_away_is_not_more_at_once():
    assert not idempotent().findings(with_archive(together=True, background=True).run().evidence())


def test_what_is_moved_in_two_steps_is_lost_between_them():
    assert sweep(with_archive(together=False), kinds=Crash)
    assert not sweep(with_archive(together=True), kinds=Crash)
