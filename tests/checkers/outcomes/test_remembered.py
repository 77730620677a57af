"""A verdict that is remembered is the one that would be worked out anew, events and all."""

import time

from chaosharness import Delay, Kafka, Schedule, Site, SQLite, System, idempotent
from chaosharness.checkers.outcomes.differences import Comparison
from chaosharness.checkers.outcomes.judge import Judge
from chaosharness.checkers.outcomes.verdict import Verdict
from models.small import trip
from tests.checkers.tales import single_faults


def test_what_is_remembered_is_what_would_be_found_anew(monkeypatch):
    system, claim, remembered = trip.commits_before_it_works(), idempotent(), []
    worked_out = Judge._wrong

    def compared(judge, verdict):
        known = judge._known.get(verdict.key())
        found = worked_out(judge, verdict)
        if known is not None:
            anew = Verdict(judge.clean, judge.composition, verdict.history, verdict.faults)
            assert (found, verdict.nearest) == (anew.wrong(), anew.nearest)
            remembered.append(verdict)
        return found

    monkeypatch.setattr(Judge, "_wrong", compared)
    for fault in single_faults(system.run()):
        claim.findings(system.run(None, Schedule([fault])).evidence())
    assert len(remembered) >= 5


def test_what_came_out_before_is_not_held_against_the_calm_run_again(monkeypatch):
    system, claim = trip.commits_before_it_works(), idempotent()
    compared = Comparison.differences
    times = []

    def counted(*arguments):
        times.append(arguments)
        return compared(*arguments)

    monkeypatch.setattr(Comparison, "differences", counted)
    once_more = 0
    for fault in single_faults(system.run()):
        first = claim.findings(system.run(None, Schedule([fault])).evidence())
        so_far = len(times)
        again = claim.findings(system.run(None, Schedule([fault])).evidence())
        assert again == first
        if first:
            assert len(times) == so_far
            once_more += 1
    assert times and once_more >= 5


def numbered():
    """A view of an order in numbers, 1 for paid and 2 for shipped; what is shipped late is no news.

    So it may end with 1 since `paid` came over `shipped`, or since `shipped` came too late.
    """
    system = System("numbered")
    bus = system.add(Kafka("bus", topics={"paid": 1, "shipped": 1}))
    db = system.add(SQLite("db", "CREATE TABLE orders (id TEXT PRIMARY KEY, state INTEGER);"))

    @system.service("view")
    def build(env):
        book, begun = env.connect(db), time.time()

        def becomes(state):
            def handle(order):
                if state == 2 and time.time() > begun + 60:
                    return
                with book:
                    book.execute(
                        "INSERT OR REPLACE INTO orders VALUES (?, ?)", (order["id"], state)
                    )

            return handle

        env.consume(bus, "paid", becomes(1), on_error="dead-letter")
        env.consume(bus, "shipped", becomes(2), on_error="dead-letter")

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        publish = env.publisher(bus)
        publish("paid", order, key=order["id"])
        publish("shipped", order, key=order["id"])

    return system


def test_what_was_written_last_is_part_of_what_is_remembered():
    paid, shipped = (
        Schedule([Delay(Site(f"bus.{topic}/deliver to view"), lasting=lasting)])
        for topic, lasting in (("paid", 30_000), ("shipped", 300_000))
    )

    def places(system, schedule):
        return {one.group for one in idempotent().findings(system.run(None, schedule).evidence())}

    over, too_late = places(numbered(), paid), places(numbered(), shipped)
    assert over == {("row differs", "db.orders.state-")}
    assert too_late == {("swallowed", "bus.shipped")}
    system = numbered()
    assert places(system, paid) == over
    assert places(system, shipped) == too_late
