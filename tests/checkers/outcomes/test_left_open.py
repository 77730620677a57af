"""A loop that is refused again and again may not leave a job as if somebody were at it."""

import pytest

from chaosharness import External, NetworkPartition, RabbitMQ, SQLite, System, explore

NO_ANSWER = (ConnectionError, TimeoutError)
SCHEMA = "CREATE TABLE jobs (id TEXT PRIMARY KEY, state TEXT, tries INT, due INT);"


class Api:
    def __init__(self):
        self.done = set()

    def push(self, job, key):
        if key in self.done:
            return External.unchanged("ok")
        self.done.add(key)
        return "ok"


def backoff(*, after_three):
    """A job is tried again later; after three times for ever, or it fails, or it is left open."""
    system = System("backoff")
    bus = system.add(RabbitMQ("bus", queues=["jobs"]))
    store, api = system.add(SQLite("db", SCHEMA)), system.add(External("api", Api))

    @system.service("jobs")
    def jobs(env):
        db, own, client = env.connect(store), env.connect(store), env.client(api)
        later = "UPDATE jobs SET tries = tries + 1, due = ? WHERE id = ?"

        def on_job(job: dict):
            with db:
                new = "INSERT OR IGNORE INTO jobs VALUES (?, 'open', 0, ?)"
                db.execute(new, (job["id"], env.now_ms()))

        def step():
            due = "SELECT id, tries FROM jobs WHERE state = 'open' AND due <= ?"
            for one, tries in own.execute(due, (env.now_ms(),)).fetchall():
                state = "done"
                try:
                    client.push(one, key=one)
                except NO_ANSWER:
                    state = "open" if after_three == "goes on" or tries < 3 else after_three
                with own:
                    if state == "open" and (after_three == "goes on" or tries < 3):
                        own.execute(later, (env.now_ms() + 2_000, one))
                    elif state == "open":
                        own.execute(later, (1 << 60, one))
                    else:
                        own.execute("UPDATE jobs SET state = ? WHERE id = ?", (state, one))

        def loop():
            while True:
                step()
                env.sleep(1)

        env.consume(bus, "jobs", on_job, on_error="retry", on_unreadable="skip")
        env.main(loop)

    @system.entry(examples=[{"id": "j1"}, {"id": "j2"}])
    def put(env, job):
        env.publisher(bus)("jobs", job)

    return system


def found_in(system):
    campaign = explore(system, faults_max=1, kinds=[NetworkPartition])
    return [one.findings[0].summary for one in campaign.counterexamples]


def test_a_job_that_is_given_up_and_left_open_is_named():
    [found] = found_in(backoff(after_three="open"))
    assert "ends as 'open' in db.jobs, where nobody is at it any more" in found


@pytest.mark.parametrize("after_three", ["goes on", "failed"])
def test_who_tries_on_or_says_that_it_has_failed_is_silent(after_three):
    assert found_in(backoff(after_three=after_three)) == []
