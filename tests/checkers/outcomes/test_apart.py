"""What is gathered for a while is sent in two where an item comes late, whatever a while is."""

import time

import pytest

from chaosharness import Delay, External, Kafka, Pause, Schedule, Site, SQLite, System, explore
from tests.checkers.outcomes.sweep import sweep

SCHEMA = "CREATE TABLE news (id TEXT PRIMARY KEY, mailed INTEGER DEFAULT 0);"


class Mailer:
    """Sends a mail once for each key."""

    def __init__(self):
        self.sent = set()

    def send(self, to, about, key=None):
        if key in self.sent:
            return External.unchanged(None)
        if key is not None:
            self.sent.add(key)
        return None


def gathering(seconds, *, keyed=True):
    """A job that mails what has come since the last time."""
    system = System("gathering")
    bus = system.add(Kafka("bus", topics={"news": 1}))
    mailer, db = system.add(External("mailer", Mailer)), system.add(SQLite("db", SCHEMA))

    @system.service("gathering")
    def build(env):
        book, mail = env.connect(db), env.client(mailer)

        def on_news(one):
            with book:
                book.execute("INSERT OR IGNORE INTO news (id) VALUES (?)", (one["id"],))

        def job():
            while True:
                time.sleep(seconds)
                rows = book.execute("SELECT id FROM news WHERE mailed = 0 ORDER BY id").fetchall()
                if about := ",".join(row[0] for row in rows):
                    mail.send("anna", about, key=about if keyed else None)
                    with book:
                        for row in rows:
                            book.execute("UPDATE news SET mailed = 1 WHERE id = ?", row)

        env.consume(bus, "news", on_news, on_error="dead-letter", retries_max=20)
        env.main(job)

    @system.entry(examples=[{"id": "n1"}, {"id": "n2"}])
    def tell(env, one):
        env.publisher(bus)("news", one, key="anna")

    return system


@pytest.mark.parametrize("seconds", [60, 3_600, 4_000])
def test_news_that_come_after_the_mail_are_in_the_next_one(seconds):
    system = gathering(seconds)
    late = Delay(Site("client.tell/bus.publish news"), lasting=seconds * 1_800)
    run = system.run(None, Schedule([late]))
    assert [event.data["about"] for event in run.history.of("effect")] == ["n2", "n1"]
    campaign = explore(system, faults_max=1, kinds=[Delay, Pause])
    assert not campaign.counterexamples


def test_a_mail_that_is_sent_twice_is_told():
    assert any("mailer did send" in one.summary for one in sweep(gathering(3_600, keyed=False)))
