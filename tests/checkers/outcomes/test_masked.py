"""What may differ hides nothing beside it: twins whose bug stands where something is left out.

Nothing is claimed of any of them.
"""

import pytest

from chaosharness import Kafka, SQLite, System, assumed, explore
from tests.checkers.outcomes.field import masked
from tests.checkers.outcomes.sweep import sweep

MASKED = {
    "a balance named as a lock's number": (masked.credits, "row differs", "db.plans."),
    "a holding named as a place": (masked.holdings, "row differs", "db.fund."),
    "a charge whose amount is drawn": (masked.fees, "effect twice", "cards.pay"),
    "an event that is published, too": (masked.event_store, "row too many", "db.events"),
    "an order to pay in an outbox": (masked.commands, "effect twice", "cards.pay"),
    "a parcel that comes late": (masked.gathered, "half done", "mail.send"),
}
RUNS = 250


def _slow(build):
    return [pytest.mark.slow] if build is masked.event_store else []


@pytest.mark.parametrize(
    "build",
    [pytest.param(one[0], marks=_slow(one[0]), id=name) for name, one in MASKED.items()],
)
def test_the_right_one_is_neither_accused_nor_asked_about(build):
    system = build(True)
    campaign = explore(system, properties=assumed(system), faults_max=1, runs_max=RUNS)
    assert not campaign.unproved
    assert [one.findings[0].summary for one in campaign.counterexamples] == []
    assert campaign.questions == ()


@pytest.mark.parametrize(("build", "kind", "place"), MASKED.values(), ids=MASKED)
def test_its_twin_is_named_by_one_fault(build, kind, place):
    system = build(False)
    campaign = explore(system, properties=assumed(system), faults_max=1, runs_max=RUNS)
    found = {one.findings[0].group: len(one.schedule) for one in campaign.counterexamples}
    named = [size for (what, where), size in found.items() if what == kind and place in where]
    assert named == [1], found


def counting(words: str, value: str) -> System:
    """A job whose row is written at each attempt, with a number under the name of a counter."""
    system = System("counting")
    bus = system.add(Kafka("bus", topics={"jobs": 1}))
    store = system.add(SQLite("db", f"CREATE TABLE jobs(id TEXT PRIMARY KEY, {words} INT)"))

    @system.service("worker", replicas=2)
    def worker(env):
        db = env.connect(store)

        def on_job(job: dict):
            with db:
                db.execute(f"INSERT OR IGNORE INTO jobs VALUES (?, {value})", (job["id"],))
                db.execute(f"UPDATE jobs SET {words} = {words} + 1 WHERE id = ?", (job["id"],))

        env.consume(bus, "jobs", on_job, on_error="dead-letter", retries_max=60)

    @system.entry(examples=[{"id": "j1"}, {"id": "j2"}])
    def submit(env, job):
        env.publisher(bus)("jobs", job, key=job["id"])

    return system


@pytest.mark.parametrize("words", ["fencing_token", "version", "attempts", "lease_no"])
def test_a_number_that_counts_what_was_done_may_differ_still(words):
    assert sweep(counting(words, "0")) == []


def test_a_number_that_counts_and_does_not_say_so_is_compared():
    assert {one.kind for one in sweep(counting("n", "0"))} == {"row differs"}


def test_a_number_that_a_loop_counts_may_differ_still():
    """A leader renews its lease while it works: how often, is a matter of how long it takes."""
    system = System("leader")
    bus = system.add(Kafka("bus", topics={"jobs": 1}))
    tables = "CREATE TABLE lease(name TEXT PRIMARY KEY, version INT); "
    tables += "INSERT INTO lease VALUES('leader', 0); "
    tables += "CREATE TABLE jobs(id TEXT PRIMARY KEY, state TEXT)"
    store = system.add(SQLite("db", tables))

    @system.service("leader")
    def leader(env):
        db = env.connect(store)

        def on_job(job: dict):
            with db:
                db.execute("INSERT OR IGNORE INTO jobs VALUES (?, 'open')", (job["id"],))
            env.sleep(5 * job["rounds"])
            with db:
                db.execute("UPDATE jobs SET state = 'done' WHERE id = ?", (job["id"],))

        def renew():
            if db.execute("SELECT 1 FROM jobs WHERE state = 'open'").fetchone():
                with db:
                    db.execute("UPDATE lease SET version = version + 1")

        env.consume(bus, "jobs", on_job, on_error="dead-letter", retries_max=60)
        env.every(5, renew)

    @system.entry(examples=[{"id": "j1", "rounds": 30}, {"id": "j2", "rounds": 2}])
    def submit(env, job):
        env.publisher(bus)("jobs", job, key=job["id"])

    assert sweep(system) == []
