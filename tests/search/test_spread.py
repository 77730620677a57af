from chaosharness import Crash, ErrorReply, Schedule, Site
from chaosharness.search.marks import Sight
from chaosharness.search.sites import cell_of
from chaosharness.search.spread import Spread
from models.order.events import Order
from models.order.right import order_flow
from tests.strategies.shops import CHARGE, REFUND, shop


def play(system, planner, runs_max=1_000, items=None):
    """Run whatever a planner proposes; return the runs."""
    runs = []
    while len(runs) < runs_max and (schedule := planner.propose()) is not None:
        runs.append(system.run(items, schedule))
        planner.observe(Sight(runs[-1]))
    assert len(runs) < runs_max
    return runs


def struck(runs):
    return {cell_of(one) for run in runs for one in run.schedule if one not in run.unused}


def test_calm_comes_first_and_once():
    runs = play(shop(), Spread())
    assert runs[0].schedule == Schedule()
    assert Schedule() not in [run.schedule for run in runs[1:]]


def test_every_kind_strikes_at_every_operation_of_the_calm_run():
    system = shop()
    runs = play(system, Spread())
    assert ("after", CHARGE, "crash") in struck(runs)
    assert ("before", CHARGE, "error reply") in struck(runs)
    singles = [run for run in runs if len(run.schedule) == 1]
    assert struck(singles) >= {
        cell for cell in struck(runs) if cell[1] in system.calm().surfaces
    } - {cell for cell in struck(runs) if cell[2] == "poison"}


def test_nothing_is_tried_twice():
    schedules = [run.schedule for run in play(shop(), Spread())]
    assert len(schedules) == len(set(schedules))


def test_kinds_take_turns():
    kinds = [type(one) for run in play(shop(), Spread()) for one in run.schedule if run.schedule]
    assert Crash in kinds[:12]


def test_what_has_an_effect_in_the_world_outside_goes_first():
    schedules = [run.schedule for run in play(shop(), Spread())]
    first = [fault.site.operation for schedule in schedules[1:8] for fault in schedule]
    assert set(first) == {CHARGE}


def test_what_only_a_fault_brings_about_is_struck_together_with_it():
    runs = play(shop(), Spread())
    [pair] = [
        run.schedule
        for run in runs
        if Crash(Site(REFUND, "after")) in run.schedule and not run.unused
    ]
    assert len(pair) == 2
    assert any(type(one) is ErrorReply for one in pair)


def test_with_one_fault_at_most_there_are_no_pairs():
    assert max(len(run.schedule) for run in play(shop(), Spread(faults_max=1))) == 1


def test_planners_that_share_what_they_covered_do_not_repeat_it():
    system, covered = shop(), set()
    play(system, Spread(covered=covered))
    again = play(system, Spread(covered=covered))
    assert len(again) < 5


def test_what_was_declined_in_one_workload_is_not_covered_in_another_where_it_is_paid():
    system, covered = order_flow(), set()
    struck_at = ("after", "payments.on_order/bank.charge", "crash")
    declined = [Order("o1", "book", 1_000_000)]
    assert struck_at in struck(play(system, Spread(faults_max=1, covered=covered), items=declined))
    paid = [Order("o1", "book", 500)]
    assert struck_at in struck(play(system, Spread(faults_max=1, covered=covered), items=paid))
    assert struck_at not in struck(play(system, Spread(faults_max=1, covered=covered), items=paid))


def test_it_gives_up_when_calm_is_never_run():
    planner = Spread()
    proposed = [planner.propose() for _ in range(10)]
    assert proposed[0] == Schedule()
    assert proposed[-1] is None
