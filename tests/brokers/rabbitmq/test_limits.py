"""A queue that puts messages aside by a limit of its own, and the count that ends a run."""

import pytest

from chaosharness import Budget, Crash, Queue, RabbitMQ, Schedule, Site, SQLite, System, assumed

CRASH = Schedule([Crash(Site("worker.on_order/db.commit", "after"))])


def inserting(limit: int, budget: Budget, *, once: str) -> System:
    """A handler that inserts a row: `once` is what it says of one that is there."""
    system = System("inserting", budget=budget)
    queues = {"in": Queue("quorum", delivery_limit=limit, dead_letter="parked"), "parked": Queue()}
    bus = system.add(RabbitMQ("bus", queues=queues))
    db = system.add(SQLite("db", "CREATE TABLE done (id TEXT PRIMARY KEY);"))

    @system.service("worker")
    def worker(env):
        conn = env.connect(db)

        def on_order(order: dict):
            with conn:
                conn.execute(f"INSERT {once} INTO done VALUES (?)", (order["id"],))

        env.consume(bus, "in", on_order, on_error="requeue")

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("in", order)

    return system


def told(system: System) -> set[str]:
    evidence = system.run(None, CRASH).evidence()
    return {found.kind for claim in assumed(system) for found in claim.findings(evidence)}


@pytest.mark.parametrize("limit", [19, 20, 21, 30])
def test_what_the_limit_of_a_queue_puts_aside_is_in_nobodys_way(limit):
    """Not "in the way for ever", though the run would be over at as many deliveries."""
    system = inserting(limit, Budget(deliveries_max=20), once="")
    run = system.run(None, CRASH)
    assert [event.data["reason"] for event in run.history.of("dead")] == ["delivery_limit"]
    assert run.ending.verdict == "quiet"
    assert told(system) == {"put aside"}


def test_what_has_no_limit_is_called_off():
    system = inserting(-1, Budget(deliveries_max=20), once="")
    assert "handed out one message 41 times" in system.run(None, CRASH).ending.reason


def test_what_is_stored_once_never_comes_so_far():
    assert told(inserting(20, Budget(deliveries_max=20), once="OR IGNORE")) == set()
