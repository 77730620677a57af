"""One kind of fault at many places at once: what is in a sweep, and what it must not be."""

from benchmarks.gallery import exhibits
from chaosharness import Crash, Pause, Schedule
from chaosharness.search.likely_first import LikelyFirst
from chaosharness.search.marks import Sight
from chaosharness.search.plan import portfolio
from chaosharness.search.portfolio import Portfolio
from chaosharness.search.shrink import shrink
from chaosharness.search.sites import candidates
from chaosharness.search.sweeps import SWEPT_MAX, _places
from chaosharness.strategies.drawing import Deck, places
from tests.search.boxes import drive
from tests.search.planted import EXAMPLES, two


def sweeps_of(system, items=None):
    books = LikelyFirst()
    books.observe(Sight(system.run(items, Schedule())))
    return [*books.sweeps()]


def handler_of(fault):
    return fault.site.operation.partition("/")[0]


def test_a_sweep_has_one_kind_of_one_length_and_one_operation_of_each_handler():
    sweeps = sweeps_of(two(), EXAMPLES)
    assert len(sweeps) == len(set(sweeps)) > 20
    for sweep in sweeps:
        assert 1 < len(sweep) <= SWEPT_MAX
        assert len({(type(one), one.option, one.site.phase) for one in sweep}) == 1
        assert len({getattr(one, one.length_name, None) for one in sweep}) == 1
        where = {(handler_of(one), one.site.operation) for one in sweep}
        assert len(where) == len({handler for handler, _ in where})


def test_a_sweep_strikes_every_item_and_every_attempt_that_calm_reaches():
    system = two()
    calm = system.run(EXAMPLES)
    crashes = [
        sweep
        for sweep in sweeps_of(system, EXAMPLES)
        if {(type(one), one.option) for one in sweep} == {(Crash, "long")}
        and any(one.site.operation == "payments.on_order/bank.charge" for one in sweep)
    ]
    (after,) = crashes
    there = {(one.site.entity, one.site.attempt) for one in after}
    reached = {key[1]: times for key, times in calm.attempts.items() if key[0].endswith("charge")}
    assert there == {
        (item, attempt) for item, times in reached.items() for attempt in range(1, times + 1)
    }
    assert {item for item, _ in there} == {1, 2}


def test_the_operations_of_a_handler_that_do_the_same_are_in_sweeps_of_their_own():
    spots = [("a.on/db.select x", 2, "", 1), ("a.on/db.select y", 1, "", 1), ("a.on/go", 1, "", 1)]
    what = {"a.on/db.select x": "read", "a.on/db.select y": "read"}
    assert _places(spots, what) == [(spots[1], 2), (spots[2], 1), (spots[0], 1)]


def test_a_place_that_another_one_of_its_handler_would_hide_is_found_and_made_single():
    """Paused after both selects of its handler, the second consumer never comes to the race."""
    (exhibit,) = [one for one in exhibits() if one.name == "order.check_then_set_race"]
    system, claim = exhibit.system()
    calm = system.run()
    pauses = [
        one
        for one in candidates(calm)
        if type(one) is Pause and one.option == "long" and ".select " in one.site.operation
    ]
    assert not claim.findings(system.run(None, Schedule(pauses)).evidence())
    breaking = [
        sweep
        for sweep in sweeps_of(system)
        if sweep.faults[0].kind == "pause"
        and ".select " in sweep.faults[0].site.operation
        and claim.findings(system.run(None, sweep).evidence())
    ]
    assert breaking
    found = shrink(system, claim, None, breaking[0])
    assert len(found.schedule) == 1
    assert found.minimal


def test_sweeps_are_no_draws_by_chance_and_there_are_none_where_none_are_wanted():
    def swept(planner):
        runs = drive(planner, two(), items=EXAMPLES, runs_max=60)
        known = set(sweeps_of(two(), EXAMPLES))
        return [run for run in runs if run.schedule in known], planner.tried

    sweeps, by_chance = swept(Portfolio())
    assert len(sweeps) >= 10
    assert by_chance + len(sweeps) <= 60
    assert swept(Portfolio(sweeping=False))[0] == []
    assert swept(Portfolio(faults_max=0))[0] == []


def test_a_test_of_hypothesis_is_proposed_no_more_faults_than_it_draws():
    system = two()
    deck = Deck(places(system), faults_max=4, system=system)
    lead = portfolio(deck)[0].planner
    runs = drive(lead, two(), items=EXAMPLES, runs_max=60)
    assert max(len(run.schedule) for run in runs) <= 4
