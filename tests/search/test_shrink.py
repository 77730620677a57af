"""From many faults to the fewest, from many items to one plain one; each step checked."""

import pytest

from chaosharness import (
    Crash,
    Delay,
    ErrorReply,
    LostReply,
    LostRequest,
    Pause,
    Property,
    Rebalance,
    Schedule,
    Site,
    sometimes,
)
from chaosharness.checkers import Finding
from chaosharness.errors import InvalidDefinition, InvalidSchedule, Nondeterminism
from chaosharness.search.shrink import RUNS_MAX, common, shrink
from tests.search.boxes import at_most, boxes, put
from tests.search.planted import Order, counts_its_runs, never_charged_twice, one, shop, three, two

CHARGE = "payments.on_order/bank.charge"
COMMIT = "payments.on_order/bus.commit"


def of(schedule, *, system=None, items=None, property=never_charged_twice, **words):
    return shrink(system or one(), property, items, schedule, **words)


def test_one_fault_of_many_is_left():
    found = of(
        Schedule(
            [
                Delay(Site("bus.orders/deliver to payments", entity=2)),
                LostReply(Site(CHARGE, "after")),
                Pause(Site(CHARGE, "after", entity=2), lasting="long"),
                Rebalance(Site("bus.orders/deliver to payments")),
                Crash(Site(CHARGE, "after", entity=2, attempt=2), down="long"),
            ]
        )
    )
    assert found.schedule == Schedule([LostReply(Site(CHARGE, "after"))])
    assert found.items == ({"id": "o1", "cents": 500},)
    assert found.minimal
    assert found.findings[0].summary == "o1 was charged twice"
    assert found.shrunk_in <= RUNS_MAX


def test_a_claim_about_all_items_is_not_broken_by_leaving_one_out():
    def count(evidence):
        charges = len([*evidence.history.of("effect")])
        return [] if charges == 2 else [Finding(f"{charges} charges", (0,))]

    lost = Schedule([LostReply(Site(CHARGE, "after"))])
    found = of(lost, property=Property("two charges for two orders", count))
    assert found.schedule == lost
    assert len(found.items) == 2
    assert found.passing is not None


def test_two_faults_are_left_where_two_are_needed():
    system = two()
    schedule = Schedule(
        [
            Crash(Site(CHARGE, "after"), down="timeout"),
            LostRequest(Site("payments.on_order/book1.claim", attempt=2)),
            Crash(Site(CHARGE, "after", entity=2), down="long"),
            Delay(Site("client.place/bus.publish orders", entity=2)),
        ]
    )
    found = of(schedule, system=system)
    assert len(found.schedule) == 2
    assert found.minimal
    for fault in found.schedule:
        run = system.run([Order("o1", 500)], found.schedule.without(fault))
        assert not never_charged_twice.findings(run.evidence())


def test_three_faults_are_left_where_three_are_needed():
    schedule = Schedule(
        [
            LostReply(Site(CHARGE, "after")),
            ErrorReply(Site("payments.on_order/book1.claim", attempt=2)),
            ErrorReply(Site("payments.on_order/book2.claim", attempt=2)),
            Rebalance(Site(COMMIT)),
            Pause(Site(CHARGE, "after", entity=2), lasting="next"),
        ]
    )
    found = of(schedule, system=three())
    assert len(found.schedule) == 3
    assert found.minimal
    assert found.shrunk_in <= RUNS_MAX


def test_a_bug_without_any_fault_needs_none():
    found = of(Schedule([Crash(put("a", "after"))]), system=boxes("a"), property=at_most("a", 0))
    assert found.schedule == Schedule()
    assert found.minimal
    assert found.passing is None


def test_an_item_that_is_not_needed_goes_and_the_faults_are_renumbered():
    items = [Order("x1", 1), Order("x2", 2), Order("x3", 3)]
    schedule = Schedule([LostReply(Site(CHARGE, "after", entity=3))])
    found = of(schedule, items=items)
    assert found.schedule == Schedule([LostReply(Site(CHARGE, "after"))])
    assert len(found.items) == 1


def test_items_become_the_plain_examples():
    items = [Order("Zoë O'Hara ✓", 2**31)]
    found = of(Schedule([LostReply(Site(CHARGE, "after"))]), items=items)
    assert found.items == ({"id": "o1", "cents": 500},)


def test_a_value_that_is_needed_stays():
    def judge(evidence):
        charges = evidence.history.of("effect")
        return [Finding("too much", (e.index,), e.entity) for e in charges if e.data["cents"] > 900]

    items = [Order("x1", 1), Order("x2", 1000), Order("x3", 3)]
    found = of(Schedule([Delay(Site(CHARGE))]), items=items, property=Property("cheap", judge))
    assert found.items == ({"id": "x2", "cents": 1000},)
    assert found.schedule == Schedule()


def test_options_and_kinds_become_milder_and_attempts_earlier():
    found = of(
        Schedule([Crash(put("a", "after", attempt=2), down="long"), ErrorReply(put("b"))]),
        system=boxes("a", "b"),
        property=at_most("a", 1),
    )
    assert found.schedule == Schedule([ErrorReply(put("b"))])
    found = of(
        Schedule([Crash(put("a", "after"), down="long")]),
        system=boxes("a"),
        property=at_most("a", 1),
    )
    assert found.schedule == Schedule([Crash(put("a", "after"))])


def test_a_fault_at_a_second_attempt_moves_up_when_the_first_is_gone():
    schedule = Schedule([ErrorReply(Site(CHARGE)), LostReply(Site(CHARGE, "after", attempt=2))])
    assert of(schedule).schedule == Schedule([LostReply(Site(CHARGE, "after"))])


def test_the_same_property_stays_broken():
    system = boxes("a", "b")
    schedule = Schedule([Crash(put("a", "after")), Crash(put("b", "after"))])
    assert of(schedule, system=system, property=at_most("b", 1)).schedule == Schedule(
        [Crash(put("b", "after"))]
    )
    needs_both = of(schedule, system=system, property=at_most("a", 2))
    assert len(needs_both.schedule) == 2


def test_the_nearest_run_that_passes_is_kept():
    found = of(Schedule([LostReply(Site(CHARGE, "after"))]))
    assert found.passing is not None
    assert not any(event.kind == "fault" for event in found.passing)
    assert common(found.passing, found.history) > 5


def test_the_run_at_hand_saves_one():
    system = one()
    schedule = Schedule([LostReply(Site(CHARGE, "after"))])
    run = system.run(None, schedule)
    with_run = of(schedule, system=system, run=run, found_after=12, target="shops:one")
    without = of(schedule, system=system)
    assert with_run.shrunk_in == without.shrunk_in - 1
    assert (with_run.found_after, with_run.target) == (12, "shops:one")
    assert with_run.digest == without.digest == with_run.history.digest()


def test_shrinking_twice_gives_the_same():
    schedule = Schedule([LostReply(Site(CHARGE, "after")), Rebalance(Site(COMMIT, entity=2))])
    assert of(schedule).encode() == of(schedule).encode()


def test_what_was_shrunk_shrinks_to_itself():
    first = of(Schedule([Crash(Site(CHARGE, "after"), down="long"), Rebalance(Site(COMMIT))]))
    again = of(first.schedule, items=[Order("o1", 500)])
    assert again.schedule == first.schedule
    assert again.items == first.items


def test_many_faults_that_are_all_needed_stay():
    faults = [ErrorReply(put("b", attempt=attempt)) for attempt in range(1, 6)]
    found = of(Schedule(faults), system=boxes("a", "b"), property=at_most("a", 5))
    assert found.schedule == Schedule(faults)
    assert found.minimal


def test_a_schedule_that_breaks_nothing_cannot_be_shrunk():
    with pytest.raises(InvalidSchedule, match="'never charged twice' holds under Schedule"):
        of(Schedule([LostReply(Site(CHARGE, "after"))]), system=shop(keys=True))


def test_sometimes_is_not_for_one_schedule():
    with pytest.raises(InvalidDefinition, match="no single schedule breaks it"):
        of(Schedule(), property=sometimes("a crash", lambda history: False))


def test_a_system_with_a_memory_is_told_so():
    seen = Property("never", lambda evidence: [Finding("it ran")])
    with pytest.raises(Nondeterminism, match="event 2 differs"):
        of(Schedule(), system=counts_its_runs(), property=seen)


def test_the_calm_run_is_made_once_however_often_a_property_asks():
    def judge(evidence):
        assert len({id(evidence.calm()) for _ in range(50)}) == 1
        return never_charged_twice.judge(evidence)

    asking = Property("asks again and again", judge)
    schedule = Schedule([LostReply(Site(CHARGE, "after"))])
    assert of(schedule, property=asking).shrunk_in <= of(schedule).shrunk_in + 2
