"""How far a table was read is a number that the database dealt out: a repeat may use some up."""

import time

import pytest

from chaosharness import External, Kafka, PostgreSQL, SQLite, System
from tests.adapters.databases.servers import needs_postgresql
from tests.checkers.outcomes.sweep import groups, sweep

SCHEMA = """
CREATE TABLE news (seq {number}, id TEXT UNIQUE);
CREATE TABLE mark (k INT PRIMARY KEY, seq INT);
INSERT INTO mark VALUES (1, 0);
"""

NUMBERS = {
    SQLite: ("INTEGER PRIMARY KEY AUTOINCREMENT", "?"),
    PostgreSQL: ("BIGSERIAL PRIMARY KEY", "%s"),
}


class Mailer:
    """Sends a mail once for each key."""

    def __init__(self):
        self.sent = set()

    def send(self, about, key):
        if key in self.sent:
            return External.unchanged(None)
        return self.sent.add(key)


def digest(make=SQLite, *, sends_first: bool) -> System:
    """A job that mails all rows behind a mark, and moves the mark after that, or before."""
    system = System("digest")
    bus = system.add(Kafka("bus", topics={"news": 1}))
    number, given = NUMBERS[make]
    store = system.add(make("db", SCHEMA.format(number=number)))
    mailer = system.add(External("mailer", Mailer))

    @system.service("digest")
    def build(env):
        db, job_db, mail = env.connect(store), env.connect(store), env.client(mailer)

        def on_news(one):
            new = f"INSERT INTO news (id) VALUES ({given}) ON CONFLICT DO NOTHING"
            db.execute(new, (one["id"],))
            db.commit()

        def job():
            while True:
                time.sleep(600)
                [mark] = job_db.execute("SELECT seq FROM mark").fetchone()
                behind = f"SELECT seq, id FROM news WHERE seq > {given} ORDER BY seq"
                rows = job_db.execute(behind, (mark,)).fetchall()
                job_db.commit()
                for sends in (sends_first, not sends_first) if rows else ():
                    if sends:
                        for _, about in rows:
                            mail.send(about, key=about)
                    else:
                        job_db.execute(f"UPDATE mark SET seq = {given}", (rows[-1][0],))
                        job_db.commit()

        env.consume(bus, "news", on_news, on_error="dead-letter", retries_max=20)
        env.main(job)

    @system.entry(examples=[{"id": "n1"}, {"id": "n2"}])
    def tell(env, one):
        env.publisher(bus)("news", one, key="anna")

    return system


@pytest.mark.parametrize("make", [SQLite, PostgreSQL], ids=["sqlite", "postgresql"])
def test_a_mark_behind_a_number_that_nobody_has_is_no_difference(make):
    if make is PostgreSQL:
        needs_postgresql()
    assert sweep(digest(make, sends_first=True), every=1 if make is SQLite else 3) == []


def test_a_mark_that_goes_past_what_was_never_sent_is_told():
    assert ("effect lost", "mailer.send") in groups(sweep(digest(sends_first=False)))


NOTES = "CREATE TABLE notes (id INT PRIMARY KEY, n INT)"


@pytest.mark.parametrize(
    ("make", "schema"),
    [
        (SQLite, "CREATE TABLE notes (id INTEGER PRIMARY KEY -- no AUTOINCREMENT\n, n INT)"),
        (PostgreSQL, f"{NOTES}; CREATE SEQUENCE s MAXVALUE 9"),
        (PostgreSQL, f"{NOTES}; CREATE SEQUENCE down INCREMENT -1"),
    ],
    ids=["a comment", "few numbers", "downwards"],
)
def test_a_schema_that_deals_no_more_numbers_is_left_as_it_is(make, schema):
    if make is PostgreSQL:
        needs_postgresql()
    system = System("notes")
    store = system.add(make("db", schema))
    given = NUMBERS[make][1]

    @system.entry(examples=[1, 2])
    def note(env, number):
        db = env.connect(store)
        db.execute(f"INSERT INTO notes VALUES ({given}, 7)", (number,))
        db.commit()

    assert store.deals_numbers
    assert sweep(system) == []
