"""The eight questions: right answers hold under every single fault, and broken ones fall."""

from __future__ import annotations

import pytest

from chaosharness import (
    Crash,
    Delay,
    ErrorReply,
    Schedule,
    Site,
    System,
    event_graph,
    explore,
    smallest,
    static_graph,
)
from chaosharness.checkers.property import Property
from models.questions import (
    call_chain,
    capacity,
    crash_after_charge,
    cycle,
    fan_out,
    join,
    refund,
    step_between,
)

QUICK = (
    refund.right,
    crash_after_charge.right,
    cycle.right,
    step_between.right,
    call_chain.right,
)
SLOW = (fan_out.right, join.right)


def unclaimed(system: System) -> System:
    """Return the system as those have it who claim nothing."""
    system.properties.clear()
    return system


def holds(system: System) -> bool:
    campaign = explore(system, faults_max=1, runs_max=10_000)
    assert campaign.coverage.complete
    return campaign.result == "holds"


@pytest.mark.parametrize(
    "build", [*QUICK, *(pytest.param(one, marks=pytest.mark.slow) for one in SLOW)]
)
def test_the_right_answer_holds_under_every_single_fault(build):
    assert holds(build())


@pytest.mark.slow
@pytest.mark.parametrize("build", [cycle.right, step_between.right, call_chain.right, *SLOW])
def test_the_right_answer_holds_where_nothing_is_claimed(build):
    assert holds(unclaimed(build()))


@pytest.mark.parametrize(
    ("build", "kinds"),
    [
        (refund.stock_tells_nobody, (ErrorReply,)),
        (crash_after_charge.charges_again, (Crash,)),
        (crash_after_charge.asks_before_it_charges, (Delay,)),
        (join.counts_in_memory, (Crash,)),
    ],
)
def test_a_broken_one_is_named_where_nothing_is_claimed(build, kinds):
    """By one fault."""
    found = explore(unclaimed(build()), kinds=kinds, faults_max=1, stop_at_first=True)
    assert [len(one.schedule) for one in found.counterexamples] == [1]


@pytest.mark.slow
def test_a_cycle_never_comes_to_rest_where_nothing_is_claimed():
    found = smallest(unclaimed(cycle.each_change_is_news()), faults_max=0)
    assert found is not None
    assert found.property == "never stuck"


def claim_of(system: System, name: str) -> Property:
    return next(one for one in system.properties if one.name.startswith(name))


@pytest.mark.parametrize(
    ("build", "name", "schedule"),
    [
        (cycle.each_change_is_news, "no event cycle", Schedule()),
        (join.counts_in_memory, "joins", Schedule()),
        (join.waits_for_ever, "every order hears", Schedule()),
        (call_chain.each_asks_the_next, "no call chain", Schedule()),
        (
            step_between.both_listen_to_paid,
            "cleared before",
            Schedule([ErrorReply(Site("clearance.on_paid/customs.clear"))]),
        ),
        (
            fan_out.one_dispatcher_calls_them_all,
            "side effects",
            Schedule([Delay(Site("mail.on_placed/post.send"))]),
        ),
    ],
)
def test_a_broken_one_breaks_its_claim_at_its_least_faults(build, name, schedule):
    system = build()
    claim = claim_of(system, name)
    assert not schedule.faults or not claim.findings(system.run().evidence())
    assert claim.findings(system.run(None, schedule).evidence())


def test_a_query_is_enough_against_a_crash_and_a_key_against_all():
    asks = crash_after_charge.asks_before_it_charges()
    assert explore(asks, kinds=[Crash], faults_max=1).result == "holds"


def test_the_circle_is_seen_before_anything_runs():
    for build in (cycle.right, cycle.each_change_is_news):
        [way] = static_graph(build()).possible_circles()
        assert [str(one) for one in way] == ["points", "tier"]
    broken = event_graph(cycle.each_change_is_news().run().history)
    assert len(broken.cycles()) == 1
    assert event_graph(cycle.right().run().history).cycles() == []


def test_the_graph_says_who_waits_for_whom():
    assert static_graph(fan_out.right()).leaks() == []
    called = {str(way[-1]) for way in static_graph(fan_out.one_dispatcher_calls_them_all()).leaks()}
    assert called == {f"{name}.placed" for name in fan_out.ASIDE}


def test_a_chain_is_seen_before_anything_runs():
    [chain] = static_graph(call_chain.each_asks_the_next()).chains()
    assert len(chain) == len(call_chain.CHECKS)
    assert static_graph(call_chain.right()).chains() == []


def test_a_store_that_is_away_runs_steps_twice_where_the_timeout_is_shorter():
    assert capacity.right().bears_the_load()
    assert capacity.right().run_twice(outage_s=5) == 0
    assert capacity.timeout_shorter_than_the_outage().run_twice(outage_s=5) > 0
    assert not capacity.too_few_shards().bears_the_load()
