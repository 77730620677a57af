"""Several orders in turns: deterministic, with exact levels, and nothing is lost by it."""

import sqlite3
import time
from contextlib import suppress

import pytest

from chaosharness import (
    Budget,
    Crash,
    ErrorReply,
    Kafka,
    Schedule,
    SQLite,
    StoreOutage,
    System,
    check,
    explore,
    replay,
)
from chaosharness.kernel import world
from chaosharness.search import exploration
from chaosharness.search.marks import Marks, Sight
from chaosharness.search.news import News
from chaosharness.search.odds import CAP, DOES, FLOOR, Odds, does, learned, likely_first, row_of
from chaosharness.search.portfolio import DENSE_MIN, Portfolio
from chaosharness.search.sites import candidates
from chaosharness.search.small_first import SmallFirst
from tests.search.boxes import at_most, boxes, drive, put
from tests.search.planted import EXAMPLES, never_charged_twice, one, right, three, two

KINDS = (ErrorReply, Crash)


def sets_of(runs, faults_max):
    """Return the sets of faults that struck, of so many at most.

    A fault that found no site changes nothing: the run is that of the others.
    """
    found = {Schedule(one for one in run.schedule if one not in run.unused) for run in runs}
    return {schedule for schedule in found if 0 < len(schedule) <= faults_max}


def proposed(runs):
    """Return the sets that small-first proposed and that struck."""
    return {run.schedule for run in runs if run.schedule.faults and not run.unused}


def test_calm_first_then_the_same_schedules_for_the_same_seed_and_others_for_another():
    def schedules(seed):
        return [run.schedule for run in drive(Portfolio(seed=seed), one(), runs_max=80)]

    assert schedules(0)[0] == Schedule()
    assert schedules(0) == schedules(0)
    assert schedules(0) != schedules(1)


@pytest.mark.parametrize("at_once", [1, 32])
@pytest.mark.parametrize("faults_max", [1, 2, 3])
def test_the_levels_are_those_of_small_first(faults_max, at_once):
    system = boxes("a", "b")
    small, all_of_it = SmallFirst(faults_max=faults_max), Portfolio(faults_max=faults_max)
    plain = drive(small, system)
    runs = drive(all_of_it, system, at_once=at_once)
    assert all_of_it.levels() == small.levels()
    assert all(level.complete for level in all_of_it.levels())
    assert proposed(plain) <= sets_of(runs, faults_max)


def test_the_levels_are_exact_on_a_real_broker_too():
    small, all_of_it = SmallFirst(faults_max=2), Portfolio(faults_max=2)
    plain = drive(small, two(), items=EXAMPLES[:1])
    runs = drive(all_of_it, two(), items=EXAMPLES[:1], at_once=32)
    assert all_of_it.tried > 100, "chance took part"
    assert all_of_it.levels() == small.levels()
    assert proposed(plain) <= sets_of(runs, 2)


def test_a_set_that_chance_met_is_not_run_again():
    system = boxes("a", "b")
    planner = Portfolio(faults_max=1, kinds=KINDS)
    planner.observe(Sight(system.run(None, planner.propose())))
    first = Crash(put("b", "after"))
    never = ErrorReply(put("b", "before", attempt=9))  # finds no site: the run is that of `first`
    planner.observe(Sight(system.run(None, Schedule([first, never]))))
    runs = drive(planner, system)
    assert Schedule([first]) not in {run.schedule for run in runs}
    assert planner.levels()[1].complete


def test_schedules_by_chance_have_many_faults():
    planner = Portfolio()
    runs = drive(planner, one(), runs_max=100)
    dense = [run for run in runs if len(run.schedule) > 2]
    assert planner.tried == len(dense) > 20
    assert min(len(run.schedule) for run in dense) >= DENSE_MIN


@pytest.mark.parametrize("make", [one, two, right])
@pytest.mark.parametrize("faults_max", [1, 2])
def test_what_small_first_finds_is_found_and_holds_stays_holds_within_the_same_budget(
    make, faults_max
):
    words = {"items": EXAMPLES[:1], "faults_max": faults_max}
    whole = explore(make(), mode="small-first", runs_max=100_000, **words)
    campaign = explore(make(), runs_max=whole.searched, **words)
    assert campaign.result == whole.result
    assert {found.property for found in campaign.counterexamples} == {
        found.property for found in whole.counterexamples
    }
    if whole.result == "holds":
        assert campaign.coverage.levels == whole.coverage.levels


@pytest.mark.parametrize("seed", range(5))
def test_more_faults_than_were_asked_for_are_no_finding(seed):
    campaign = explore(two(), items=EXAMPLES[:1], faults_max=1, seed=seed, runs_max=1_000)
    assert (campaign.result, campaign.counterexamples) == ("holds", ())
    assert campaign.standings[0].broken_in == 0
    for sentence in campaign.beyond:
        assert sentence.startswith("never charged twice breaks under 2 faults, more than the 1")


def test_it_says_so_where_it_met_that():
    campaign = explore(three(), faults_max=2, seed=0, runs_max=600, thorough=True)
    assert campaign.result == "unknown"
    (sentence,) = campaign.beyond
    assert "breaks under 3 faults, more than the 2 that were asked for: Schedule(" in sentence
    assert f"beyond what was asked: {sentence}" in campaign.sentences()


# ---- when to stop


def test_a_search_that_found_something_ends_when_nothing_new_comes():
    properties = [at_most("a", 1), at_most("b", 9)]
    campaign = explore(boxes("a", "b", "c", "d"), properties=properties, faults_max=3)
    (found,) = campaign.counterexamples
    assert campaign.ended == "quiet"
    assert campaign.searched == found.found_after + 100
    assert "stopped after 100 runs without anything new" in campaign.reasons[0]
    assert [one.result for one in campaign.standings] == ["violated", "unknown"]


def test_a_search_that_found_only_a_message_that_nobody_can_read_goes_on():
    """Whoever does not skip such a message has other mistakes as well."""
    system = System("projection")
    bus = system.add(Kafka("bus", topics={"orders": 2, "placed": 2, "shown": 2}))
    store = system.add(SQLite("db", "CREATE TABLE orders (id TEXT PRIMARY KEY)"))

    @system.service("relay")
    def relay(env):
        publish = env.publisher(bus)
        for topic, onto in (("orders", "placed"), ("placed", "shown")):
            env.consume(bus, topic, lambda o, onto=onto: publish(onto, o, key=o["id"]), group=topic)

    @system.service("board", replicas=2)
    def board(env):
        db = env.connect(store)

        def on_shown(order):
            with db:
                db.execute("INSERT OR IGNORE INTO orders VALUES (?)", (order["id"],))

        env.consume(bus, "shown", on_shown)

    @system.entry(examples=[{"id": "o1"}, {"id": "o2"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    campaign = explore(system, faults_max=1)
    assert {one.property for one in campaign.counterexamples} == {"poison blocks nobody"}
    assert campaign.searched > campaign.counterexamples[0].found_after + 100
    assert campaign.coverage.levels[1].complete


@pytest.mark.slow
def test_a_search_without_a_finding_ends_as_unknown_where_it_cannot_finish_its_level():
    campaign = explore(right(), faults_max=3, runs_max=2_000)
    assert (campaign.result, campaign.ended) == ("unknown", "quiet")
    assert campaign.searched < 2_000
    assert campaign.coverage.levels[1].complete
    assert "without anything new" in campaign.reasons[0]
    with pytest.warns(UserWarning, match="without anything new.*thorough=True"):
        check(right(), faults_max=3, runs_max=2_000)


def test_a_thorough_search_spends_its_budget():
    campaign = explore(right(), faults_max=3, runs_max=700, thorough=True)
    assert (campaign.result, campaign.ended, campaign.searched) == ("unknown", "budget", 700)


def test_a_search_ends_when_its_time_is_over():
    campaign = explore(right(), faults_max=3, seconds_max=0.000_001)
    assert (campaign.result, campaign.ended) == ("unknown", "time")
    assert "the time of 1e-06 s was over" in campaign.reasons[0]


def test_news_is_another_cause_once_there_is_one_and_any_new_fact_before():
    news = News()
    news.saw(Marks(facts=frozenset({("effect", "a", "", 1)})), 1, by_chance=False)
    news.saw(Marks(facts=frozenset({("effect", "a", "", 1)})), 50, by_chance=False)
    assert news.quiet_for(200, found=False) == 0
    assert news.quiet_for(201, found=False) == 200
    news.found(70)
    assert news.quiet_for(209, found=True) == 0
    assert news.quiet_for(210, found=True) == 140


def test_how_often_chance_still_meets_something_new():
    news = News()
    for run in range(60):
        fact = ("effect", f"place {run if run < 5 else 5}", "", 1)
        news.saw(Marks(facts=frozenset({fact})), run, by_chance=True)
        if run < 40:
            assert news.still_new() == ""
    assert news.still_new() == "chance still meets something new about every 12th run"


# ---- odds


def test_the_table_is_within_its_bounds_and_knows_every_kind_that_strikes():
    odds = learned()
    numbers = [number for row in odds.cells.values() for number in row.values()]
    assert all(isinstance(number, int) and FLOOR <= number <= CAP for number in numbers)
    assert {what for row in odds.cells.values() for what in row} <= {"", *DOES}
    for fault in candidates(one().run()):
        assert row_of(fault) in odds.cells


def test_likely_faults_come_first_and_are_spread():
    odds = Odds({"error reply before": {"": 5, "effect": 20}, "crash after, next": {"": 6}})
    system = boxes("a", "b")
    calm = system.run()
    faults = [fault for fault in candidates(calm, kinds=KINDS) if fault.option in (None, "next")]
    ordered = list(likely_first(faults, does(calm.history), odds))
    assert ordered == [
        ErrorReply(put("a")),
        ErrorReply(put("b")),  # a third of 20, since it is like the first
        Crash(put("a", "after")),
        Crash(put("b", "after")),
    ]
    assert set(ordered) == set(faults)


def test_a_fault_that_no_system_taught_is_not_last_of_all():
    assert Odds({}).of(ErrorReply(put("a")), "effect") == FLOOR


def test_a_bug_of_three_faults_is_found_small():
    campaign = explore(three(), properties=[never_charged_twice], faults_max=3)
    (found,) = campaign.counterexamples
    assert len(found.schedule) == 3


def endless():
    """A handler that tries again each millisecond while its store is away: a run of many events."""
    system = System("endless", budget=Budget(events_max=10_000_000))  # half a minute at the least
    bus = system.add(Kafka("bus", topics={"orders": 1}))
    db = system.add(SQLite("db", schema="CREATE TABLE done (id TEXT PRIMARY KEY)"))

    @system.service("worker")
    def worker(env):
        connection = env.connect(db)

        def on_order(order):
            while True:
                with suppress(sqlite3.OperationalError), connection:
                    connection.execute("INSERT OR REPLACE INTO done VALUES ('x')")
                    return
                time.sleep(0.001)

        env.consume(bus, "orders", on_order)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def searched_for(seconds_max, *, workers=1):
    return explore(
        endless(), kinds=[StoreOutage], faults_max=1, seconds_max=seconds_max, workers=workers
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_is_on_when_the_time_is_over_is_called_off(workers):
    campaign = searched_for(0.3, workers=workers)
    assert (campaign.result, campaign.ended) == ("unknown", "time")
    assert campaign.coverage.levels[0].complete  # the calm run was made


def test_what_would_take_too_long_to_make_smaller_is_kept_as_it_is(monkeypatch):
    """Each run of it may take as long as the one that found it, and there are many of them."""
    monkeypatch.setattr(exploration, "PATIENCE", 0)
    monkeypatch.setattr(world, "LOOK_EVERY", 1)
    campaign = explore(two(), properties=[never_charged_twice], faults_max=2, seconds_max=3600)
    (found,) = campaign.counterexamples
    assert (found.shrunk_in, len(found.findings)) == (0, 1)
    assert check_again(found)


def check_again(found):
    return replay(found, two(), properties=[never_charged_twice]).verdict == "failing"
