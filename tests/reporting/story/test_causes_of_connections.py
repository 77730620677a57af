"""Two handlers on one connection: what one had written, the other's rollback undid."""

import pytest

from chaosharness import (
    Pause,
    RabbitMQ,
    Schedule,
    Site,
    SQLite,
    System,
    assumed,
    certify,
)
from chaosharness.reporting import to_text
from chaosharness.reporting.story.causes.connection import one_connection
from tests.reporting.story.tales import Tale, case, of_the_end

TABLE = "CREATE TABLE half (id TEXT, what TEXT, PRIMARY KEY (id, what))"


def told(*, store="db", who="", raises=False, commits=False, again=False):
    """One handler writes, another rolls back; what was written is gone."""
    tale = Tale()
    first = tale.deliver(tale.publish("paid"))
    second = tale.deliver(tale.publish("packed"), who or "pay#1")
    wrote = tale.write("half", first)
    if commits:
        tale.commit(wrote)
    tale.rollback(second, store)
    tale.raised(second)
    if again:
        tale.keep("half", first)
    if raises:
        tale.raised(wrote)
    else:
        tale.handled(wrote)
    here = tale.end(half=[])
    right = Tale()
    right.handled(right.keep("half", right.deliver(right.publish("paid"))))
    return one_connection(case(here, of_the_end(here), right.end(half=[{"id": "o1"}])))


def test_what_anothers_rollback_undid_is_told():
    found = told()
    assert found.kind == "connection"
    assert "use one connection to db at the same time" in found.words


@pytest.mark.parametrize(
    "near",
    [
        {"store": "other"},  # another database
        {"who": "post#1"},  # another process
        {"raises": True},  # who wrote knows of it, and has failed
        {"commits": True},  # it was done
    ],
    ids=str,
)
def test_another_connection_or_a_write_that_failed_is_not(near):
    assert told(**near) is None


def join(*, own=False, **options):
    """Return a service of two handlers, which share a connection unless each has its own."""
    system = System("join")
    bus = system.add(RabbitMQ("bus", {"paid": "classic", "packed": "classic"}))
    store = system.add(SQLite("db", TABLE))

    @system.service("join")
    def serve(env):
        shared = env.connect(store)

        def keep(db, order, what):
            with db:
                db.execute("BEGIN IMMEDIATE")
                db.execute("INSERT INTO half VALUES (?, ?) ON CONFLICT DO NOTHING", (order, what))

        paid, packed = (env.connect(store), env.connect(store)) if own else (shared, shared)

        def on_paid(order: str):
            keep(paid, order, "paid")

        def on_packed(order: str):
            keep(packed, order, "packed")

        env.consume(bus, "paid", on_paid, **options)
        env.consume(bus, "packed", on_packed, **options)

    @system.entry(examples=["o1"])
    def place(env, order):
        publish = env.publisher(bus)
        publish("paid", order)
        publish("packed", order)

    return system


STALL = Schedule([Pause(Site("join.on_paid/db.insert half", "after"), lasting=900)])


def test_two_threads_on_one_connection_are_told_in_words():
    system = join()
    found = certify(system, faults=1, kinds=[Pause], properties=assumed(system))
    [one] = found.counterexamples
    text = " ".join(to_text(one).split())
    assert "use one connection to db at the same time" in text
    assert "causes.md#one-connection-for-two" in text


@pytest.mark.parametrize("options", [{"own": True}, {"connection": "one"}], ids=str)
def test_a_connection_each_or_one_thread_for_both_is_right(options):
    system = join(**options)
    found = certify(system, faults=1, kinds=[Pause], properties=assumed(system))
    assert found.counterexamples == ()
    assert system.run(schedule=STALL).ending.verdict == "quiet"
