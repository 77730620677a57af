"""The end of trouble is news: a loop that went round in vain meanwhile goes round once more."""

import pytest

from chaosharness import (
    Books,
    Crash,
    Kafka,
    LostReply,
    NetworkPartition,
    RemoteError,
    Schedule,
    Site,
    SQLite,
    System,
)


def transfers() -> System:
    """A table of transfers, and a job that books what is open at another service, by keys."""
    system = System("transfers")
    books = "CREATE TABLE booked (key TEXT PRIMARY KEY)"
    bank = system.add(SQLite("bank", books))
    mine = system.add(SQLite("mine", "CREATE TABLE transfers (id TEXT PRIMARY KEY, state TEXT)"))

    @system.service("accounts")
    def accounts(env):
        db = env.connect(bank)

        def book(key: str) -> None:
            with db:
                db.execute("INSERT OR IGNORE INTO booked VALUES (?)", (key,))

        env.serve("book", book)

    @system.service("transfers")
    def jobs(env):
        db = env.connect(mine)

        def work() -> None:
            for (key,) in db.execute("SELECT id FROM transfers WHERE state = 'new'").fetchall():
                try:
                    env.call("accounts", "book", key)
                except (RemoteError, OSError):
                    continue
                with db:
                    db.execute("UPDATE transfers SET state = 'done' WHERE id = ?", (key,))

        env.every(5, work)

    @system.entry(examples=["t1", "t2"])
    def order(env, key):
        db = env.connect(mine)
        with db:
            db.execute("INSERT OR IGNORE INTO transfers VALUES (?, 'new')", (key,))

    return system


@pytest.mark.parametrize(
    "fault",
    [
        Crash(Site("accounts.book/bank.commit", "after", 0), down=27_000),
        NetworkPartition(Site("transfers.work/accounts.book", "before", 0), lasting=47_000),
    ],
)
def test_a_job_that_was_refused_meanwhile_goes_round_again(fault: Crash | NetworkPartition):
    run = transfers().run(None, Schedule([fault]))
    assert not run.unused
    rows = Books(run.history).rows("mine", "transfers")
    assert [row["state"] for row in rows] == ["done", "done"]


def test_a_round_in_which_a_fault_strikes_is_not_the_last():
    call = "transfers.work/accounts.book"
    faults = [LostReply(Site(call, "after", 0, attempt)) for attempt in (1, 3)]
    run = transfers().run(None, Schedule(faults))
    rows = Books(run.history).rows("mine", "transfers")
    assert [row["state"] for row in rows] == ["done", "done"]
    assert not run.unused


def test_a_handler_that_never_returns_is_stuck_whatever_its_process_settles():
    """It goes round for ever beside another, whose messages are acknowledged all the time."""
    system = System("waits")
    bus = system.add(Kafka("bus", topics={"slow": 1, "fast": 1}))

    @system.service("worker")
    def worker(env):
        def on_slow(_: dict) -> None:
            while True:
                env.sleep(60)

        env.consume(bus, "slow", on_slow)
        env.consume(bus, "fast", lambda message: None)

    @system.entry(examples=[{"id": "a"}])
    def send(env, one):
        publish = env.publisher(bus)
        publish("slow", one)
        env.sleep(5)
        publish("fast", one)

    ending = system.run().ending
    assert ending.verdict == "stuck"
    assert ending.reason.startswith("worker.on_slow")
