"""Small schedules first: which are proposed, each once, and that the levels are exact."""

from itertools import combinations

import pytest

from chaosharness import Crash, ErrorReply, Pause, Rebalance, Schedule
from chaosharness.search.marks import Sight
from chaosharness.search.sites import Catalogue
from chaosharness.search.small_first import SmallFirst
from chaosharness.strategies.sizes import option_of
from tests.search.boxes import boxes, drive, put
from tests.search.planted import EXAMPLES, two

KINDS = (ErrorReply, Crash)


def texts(planner):
    return [str(level) for level in planner.levels()]


def test_calm_comes_first_then_every_single_fault_the_milder_options_first():
    runs = drive(SmallFirst(faults_max=1, kinds=KINDS), boxes("a"))
    assert [run.schedule for run in runs] == [
        Schedule(),
        Schedule([ErrorReply(put("a"))]),
        Schedule([Crash(put("a", "after"))]),
        Schedule([Crash(put("a", "after"), down="timeout")]),
        Schedule([Crash(put("a", "after"), down="long")]),
    ]


def test_singles_counted_by_hand():
    planner = SmallFirst(faults_max=1, kinds=KINDS)
    drive(planner, boxes("a", "b"))
    # an error before each box, a crash after each box with three values of 'down'
    assert texts(planner) == [
        "the calm run: 1 of 1",
        "all 1-fault schedules, all options: 8 of 8",
    ]


def test_pairs_counted_by_hand():
    planner = SmallFirst(faults_max=2, kinds=KINDS)
    drive(planner, boxes("a", "b"))
    # At sites of the calm run, one fault at a and one at b: 4. (A box that refused is not
    # filled, so an error before it and a crash after it never meet.) After a fault at a, a
    # comes again: 2 faults more for each of 2. After one at b, a and b do: 4 for each of 2.
    assert texts(planner)[2] == "all 2-fault schedules, mildest options: 16 of 16"


def struck_sets(system, universe, faults):
    """Return the sets of so many faults that all strike: by running them all."""
    found = set()
    for some in combinations(universe, faults):
        if len({(fault.site, type(fault)) for fault in some}) == faults:
            schedule = Schedule(some)
            if not system.run(None, schedule).unused:
                found.add(schedule)
    return found


@pytest.mark.parametrize(("options", "faults_max"), [("mildest", 3), ("all", 2)])
def test_no_schedule_is_left_out_that_brute_force_finds(options, faults_max):
    system = boxes("a", "b")
    planner = SmallFirst(faults_max=faults_max, options=options, kinds=KINDS)
    runs = drive(planner, system)
    universe = [
        fault
        for box in ("a", "b")
        for attempt in range(1, faults_max + 2)
        for fault in (
            ErrorReply(put(box, "before", attempt)),
            *(Crash(put(box, "after", attempt), down=down) for down in Crash.options),
        )
    ]
    for faults in range(1, faults_max + 1):
        every = options == "all" or faults == 1
        wanted = [fault for fault in universe if every or option_of(fault) == 0]
        expected = struck_sets(system, wanted, faults)
        ran = {run.schedule for run in runs if len(run.schedule) == faults and not run.unused}
        assert ran == expected
        level = planner.levels()[faults]
        assert (level.tried, level.total, level.complete) == (len(expected), len(expected), True)


def test_no_pair_is_left_out_on_a_real_broker():
    system = two()
    kinds = (Rebalance, Crash, ErrorReply)
    planner = SmallFirst(faults_max=2, kinds=kinds)
    runs = drive(planner, system, items=EXAMPLES[:1])
    catalogue = Catalogue(kinds=kinds)
    reached = {}
    for run in runs:
        catalogue.learn(Sight(run))
        for place, times in run.attempts.items():
            reached[place] = max(times, reached.get(place, 0))
    universe = [
        fault
        for place, times in reached.items()
        for fault in catalogue.all_at(place, times)
        if option_of(fault) == 0
    ]
    expected = set()
    for pair in combinations(universe, 2):
        if not system.run(EXAMPLES[:1], Schedule(pair)).unused:
            expected.add(Schedule(pair))
    ran = {run.schedule for run in runs if len(run.schedule) == 2 and not run.unused}
    assert len(expected) > 40
    assert ran == expected


def test_each_schedule_is_proposed_once():
    runs = drive(SmallFirst(faults_max=3, kinds=KINDS), boxes("a", "b"))
    assert len({run.schedule for run in runs}) == len(runs)


@pytest.mark.parametrize("at_once", [2, 32])
def test_several_in_flight_are_the_same_schedules_and_the_same_levels(at_once):
    alone, together = (SmallFirst(faults_max=2) for _ in range(2))
    one_by_one = drive(alone, two(), items=EXAMPLES[:1])
    at_once = drive(together, two(), items=EXAMPLES[:1], at_once=at_once)
    assert [run.schedule for run in at_once] == [run.schedule for run in one_by_one]
    assert together.levels() == alone.levels()
    assert all(level.complete for level in together.levels())


def test_what_is_in_flight_is_left_and_a_level_waits_for_it():
    system = boxes("a")
    planner = SmallFirst(faults_max=1, kinds=KINDS)
    planner.observe(Sight(system.run(None, planner.propose())))
    singles = [planner.propose() for _ in range(4)]
    assert planner.propose() is None
    assert texts(planner)[1] == "1-fault schedules, all options: 0 of about 4"
    for schedule in reversed(singles):
        planner.observe(Sight(system.run(None, schedule)))
    assert planner.propose() is None
    assert texts(planner)[1] == "all 1-fault schedules, all options: 4 of 4"


def test_the_same_system_gives_the_same_schedules_in_the_same_order():
    first, second = (drive(SmallFirst(faults_max=2), two(), runs_max=300) for _ in range(2))
    assert [run.schedule for run in first] == [run.schedule for run in second]


def test_faults_that_found_no_site_are_not_counted():
    planner = SmallFirst(faults_max=2)
    system = two()
    runs = drive(planner, system, items=EXAMPLES[:1])
    counted = sum(level.tried for level in planner.levels())
    assert any(run.unused for run in runs)
    assert counted == sum(1 for run in runs if not run.unused)


def test_a_level_that_was_not_finished_says_how_much_is_left():
    system = boxes("a", "b")
    planner = SmallFirst(faults_max=2, kinds=KINDS)
    drive(planner, system, runs_max=4)
    assert texts(planner) == [
        "the calm run: 1 of 1",
        "1-fault schedules, all options: 3 of about 8",
        "2-fault schedules, mildest options: not begun",
    ]
    assert not planner.levels()[1].complete
    drive(planner, system)  # counting ahead has skipped nothing
    assert texts(planner)[1:] == [
        "all 1-fault schedules, all options: 8 of 8",
        "all 2-fault schedules, mildest options: 16 of 16",
    ]


def test_a_budget_that_is_just_enough_completes_the_level():
    planner = SmallFirst(faults_max=1, kinds=KINDS)
    drive(planner, boxes("a", "b"), runs_max=9)
    assert planner.levels()[1].complete


def test_a_proposal_that_nobody_ran_is_not_covered():
    system = boxes("a")
    planner = SmallFirst(faults_max=1, kinds=KINDS)
    planner.observe(Sight(system.run(None, planner.propose())))
    planner.propose()
    planner.forget()
    drive(planner, system)
    assert texts(planner)[1] == "1-fault schedules, all options: 3 of about 4"


def test_without_a_calm_run_there_is_nothing_to_propose():
    planner = SmallFirst()
    for _ in range(3):
        assert planner.propose() == Schedule()
        assert planner.propose() is None, "calm is alone in flight"
        planner.forget()
    assert planner.propose() is None
    assert texts(planner)[0] == "the calm run: 0 of 1"


def test_a_run_that_was_not_proposed_counts_and_is_not_run_again():
    system = boxes("a", "b")
    planner = SmallFirst(faults_max=1, kinds=KINDS)
    planner.observe(Sight(system.run(None, planner.propose())))
    planner.observe(Sight(system.run(None, Schedule([Crash(put("b", "after"))]))))
    runs = drive(planner, system)
    assert Schedule([Crash(put("b", "after"))]) not in {run.schedule for run in runs}
    assert texts(planner)[1] == "all 1-fault schedules, all options: 8 of 8"


def test_a_kind_that_equals_another_is_not_searched():
    runs = drive(SmallFirst(faults_max=1), boxes("a"))
    assert not any(isinstance(fault, Pause) for run in runs for fault in run.schedule)


def test_the_end_is_final():
    planner = SmallFirst(faults_max=0)
    drive(planner, boxes("a"))
    assert [planner.propose() for _ in range(2)] == [None, None]
    assert planner.levels()[0].complete
