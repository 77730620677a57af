"""A commit that failed and that nobody minded, beside its near misses."""

import pytest

from chaosharness import FailedCommit, Kafka, Schedule, Site, SQLite, System, explore
from chaosharness.reporting import to_text
from tests.reporting.story.tales import Tale, cause, kind, of_the_end

FAILED = {"error": "OperationalError: database or disk is full"}


def committing(*, fails=True, raises=False, again=False, elsewhere=False, left=None):
    tale = Tale()
    got = tale.deliver(tale.publish())
    wrote = tale.write("mails", got)
    if fails:
        tale.fault(wrote, "failed commit")
        tale.rollback(wrote)
        tale.commit(wrote, **FAILED)
    else:
        tale.commit(wrote)
    if again:
        tale.keep("mails", got)
    if elsewhere:
        tale.keep("mails", tale.deliver(tale.publish()))
    if raises:
        tale.raised(got)
    else:
        tale.handled(got)
    rows = [{"who": "ada"}] if not fails or again or elsewhere else []
    return tale.end(mails=rows if left is None else left)


def test_a_failed_commit_that_nobody_minded_is_told():
    history = committing()
    found = cause(history, of_the_end(history), committing(fails=False))
    assert found.kind == "swallowed"
    assert found.words == (
        "pay.on was told that its commit had failed (what it wrote to db.mails was rolled back), "
        "did not raise, and returned: the message is done with, and nobody writes that again."
    )


@pytest.mark.parametrize(
    "words",
    [
        {"raises": True},
        {"again": True},
        {"elsewhere": True},
        {"left": [{"who": "ada"}]},  # what is missing is something else
    ],
)
def test_its_near_misses_are_not(words):
    history = committing(**words)
    assert kind(history, of_the_end(history), committing(fails=False)) != "swallowed"


def mailer(*, minds):
    system = System("mailer")
    bus = system.add(Kafka("bus", topics={"signups": 1}))
    db = system.add(SQLite("db", "CREATE TABLE mails (who TEXT PRIMARY KEY)"))

    @system.service("mailer")
    def service(env):
        connection = env.connect(db)

        def on_signup(signup):
            try:
                with connection:
                    connection.execute("INSERT OR IGNORE INTO mails VALUES (?)", (signup["who"],))
            except Exception:
                if minds:
                    raise

        env.consume(bus, "signups", on_signup, on_unreadable="dead-letter")

    @system.entry(examples=[{"who": "ada"}])
    def sign_up(env, item):
        env.publisher(bus)("signups", item)

    return system


def test_a_real_one_is_told_and_its_right_twin_is_silent():
    [found] = explore(mailer(minds=False), kinds=[FailedCommit], faults_max=1).counterexamples
    assert found.schedule == Schedule([FailedCommit(Site("mailer.on_signup/db.commit"))])
    told = " ".join(to_text(found).split())
    assert "was told that its commit had failed (what it wrote to db.mails was rolled" in told
    assert "let the error of a commit out of the handler" in told
    assert explore(mailer(minds=True), kinds=[FailedCommit], faults_max=1).counterexamples == ()
