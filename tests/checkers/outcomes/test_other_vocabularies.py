"""A job that is given up in silence is named, whatever words, numbers or times its row has."""

import pytest

from chaosharness import (
    External,
    Kafka,
    NetworkPartition,
    Schedule,
    Site,
    SQLite,
    System,
    idempotent,
)

NO_ANSWER = (ConnectionError, TimeoutError)


class Api:
    def __init__(self):
        self.done = set()

    def push(self, job):
        if job in self.done:
            return External.unchanged("ok")
        self.done.add(job)
        return "ok"


def given_up(column, waiting, done, *, writes=""):
    """A job is tried three times, and then left, or `writes` says that it has failed."""
    system = System("given up")
    bus = system.add(Kafka("bus", topics={"jobs": 1}))
    schema = f"CREATE TABLE jobs (id TEXT PRIMARY KEY, {column}, failed_at REAL, tries INT)"
    store, api = system.add(SQLite("db", schema)), system.add(External("api", Api))
    name = column.partition(" ")[0]

    @system.service("jobs")
    def jobs(env):
        db, own, client = env.connect(store), env.connect(store), env.client(api)

        def on_job(job: dict):
            with db:
                new = f"INSERT OR IGNORE INTO jobs (id, {name}, tries) VALUES (?, {waiting}, 0)"
                db.execute(new, (job["id"],))

        def step():
            due = f"SELECT id, tries FROM jobs WHERE {name} IS {waiting} AND tries < 3"
            for one, tries in own.execute(due).fetchall():
                change = f"{name} = {done}"
                try:
                    client.push(one)
                except NO_ANSWER:
                    change = f"tries = {tries + 1}"
                    if tries == 2 and writes:
                        change += f", {writes}"
                with own:
                    own.execute(f"UPDATE jobs SET {change} WHERE id = ?", (one,))

        def loop():
            while True:
                step()
                env.sleep(1)

        env.consume(bus, "jobs", on_job, on_error="dead-letter", retries_max=60)
        env.main(loop)

    @system.entry(examples=[{"id": "j1"}, {"id": "j2"}])
    def put(env, job):
        env.publisher(bus)("jobs", job, key=job["id"])

    return system


def found_in(system):
    unreached = Schedule([NetworkPartition(Site("jobs.loop/api.push", entity=0))])
    return [str(one) for one in idempotent().findings(system.run(None, unreached).evidence())]


@pytest.mark.parametrize(
    ("waiting", "done"),
    [("'offen'", "'erledigt'"), ("'en attente'", "'fini'"), ("'JOB_STATE_7'", "'JOB_STATE_8'")],
)
def test_a_word_that_it_says_while_somebody_is_at_it(waiting, done):
    said = " ".join(found_in(given_up("state TEXT", waiting, done)))
    assert f"ends as {waiting} in db.jobs, where nobody is at it any more" in said


@pytest.mark.parametrize("word", ["'fehlgeschlagen'", "'tot'"])
def test_another_word_is_an_end(word):
    assert not found_in(given_up("state TEXT", "'offen'", "'erledigt'", writes=f"state = {word}"))


@pytest.mark.parametrize(
    ("column", "waiting", "done"), [("state INT", "0", "1"), ("pushed_at REAL", "NULL", "5.5")]
)
def test_without_words_it_is_asked_unless_the_row_says_otherwise(column, waiting, done):
    [first, *_] = found_in(given_up(column, waiting, done))
    assert "which was refused: may it be missing?" in first
    name = column.partition(" ")[0]
    says = f"{name} = 9" if waiting == "0" else "failed_at = 7.5"
    assert not found_in(given_up(column, waiting, done, writes=says))
