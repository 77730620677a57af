"""A campaign: what it finds, when it ends, and what it says it covered."""

import json
import re

import pytest

from chaosharness import (
    Budget,
    Crash,
    Duplicate,
    ErrorReply,
    Kafka,
    KeyValue,
    Property,
    Queue,
    RabbitMQ,
    Schedule,
    Site,
    System,
    certify,
    check,
    explore,
    sometimes,
)
from chaosharness.campaign import Campaign, Coverage, Level
from chaosharness.checkers import Finding
from chaosharness.errors import InvalidDefinition, Nondeterminism, NothingProved
from chaosharness.reporting import summary
from tests.search.boxes import at_most, boxes, put, puts
from tests.search.planted import (
    EXAMPLES,
    counts_its_runs,
    never_charged_twice,
    one,
    right,
    shop,
    three,
    two,
)

CHARGE = "payments.on_order/bank.charge"
KINDS = (ErrorReply, Crash)


def standing(campaign, name):
    return next(one for one in campaign.standings if one.name == name)


# ---- what it finds


def test_the_smallest_schedule_of_a_bug_of_one_fault():
    campaign = explore(one(), mode="small-first")
    assert campaign.result == "violated"
    (found,) = campaign.counterexamples
    assert found.schedule == Schedule([Duplicate(Site("client.place/bus.publish orders"))])
    assert found.items == ({"id": "o1", "cents": 500},)
    assert found.minimal
    assert standing(campaign, "never charged twice").result == "violated"


@pytest.mark.parametrize(("make", "faults"), [(one, 1), (two, 2), (three, 3)])
def test_a_bug_of_so_many_faults_is_found_after_all_smaller_schedules(make, faults):
    limit = 100_000
    campaign = explore(
        make(), items=EXAMPLES[:1], faults_max=faults, runs_max=limit, mode="small-first"
    )
    (found,) = campaign.counterexamples
    assert len(found.schedule) == faults
    assert all(level.complete for level in campaign.coverage.levels[:faults])


@pytest.mark.parametrize("mode", ["random", "guided"])
def test_chance_finds_it_too(mode):
    campaign = explore(one(), mode=mode, faults_max=4, seed=3)
    assert campaign.result == "violated"
    assert len(campaign.counterexamples[0].schedule) == 1


def test_each_property_is_shrunk_on_its_own_and_judged_on():
    system = boxes("a", "b")
    properties = [at_most("a", 1), at_most("b", 1), at_most("b", 9)]
    campaign = explore(system, properties=properties, kinds=KINDS, faults_max=1, mode="small-first")
    assert [found.property for found in campaign.counterexamples] == ["a at most 1", "b at most 1"]
    assert campaign.counterexamples[0].schedule == Schedule([ErrorReply(put("b"))])
    assert campaign.counterexamples[1].schedule == Schedule([Crash(put("b", "after"))])
    first, second, third = campaign.standings
    assert first.judged == second.judged == third.judged == campaign.searched == 9
    assert 0 < first.broken_in < second.broken_in < third.judged
    assert third.broken_in == 0
    assert (third.result, campaign.result) == ("holds", "violated")


def test_it_ends_when_every_property_is_broken():
    campaign = explore(one(), faults_max=2)
    assert campaign.searched == campaign.counterexamples[0].found_after < 30


def test_it_stops_at_the_first_if_asked():
    properties = [at_most("a", 1), at_most("b", 1)]
    campaign = explore(boxes("a", "b"), properties=properties, kinds=KINDS, stop_at_first=True)
    assert len(campaign.counterexamples) == 1


def test_a_system_that_claims_nothing_is_judged_by_what_is_assumed_of_any():
    system = shop()
    system.properties.clear()
    campaign = explore(system, faults_max=1)
    assert campaign.result == "violated"
    assert any(found.assumption for found in campaign.counterexamples)


# ---- when it holds, and when that is unknown


def test_a_right_system_holds_and_the_coverage_is_stated():
    campaign = explore(right(), items=EXAMPLES[:1])
    assert campaign.result == "holds"
    assert campaign.reasons == ()
    one_, two_ = campaign.coverage.levels[1:]
    assert one_.complete and two_.complete
    assert str(one_).startswith("all 1-fault schedules, all options")
    assert str(one_).endswith(f": {one_.tried} of {one_.tried}")
    assert str(two_).startswith("all 2-fault schedules, mildest options")
    assert campaign.searched >= 1 + one_.tried + two_.tried
    claim = standing(campaign, "never charged twice")
    assert 300 < claim.tested < claim.judged == campaign.searched  # behind a poison: no charge


def test_a_budget_that_ran_out_makes_it_unknown():
    campaign = explore(right(), runs_max=30)
    assert campaign.result == "unknown"
    assert "the budget of 30 runs was spent; 1-fault schedules" in campaign.reasons[0]
    assert campaign.searched == 30
    assert standing(campaign, "never charged twice").result == "unknown"


def test_a_sometimes_that_was_never_reached_makes_it_unknown():
    refund = sometimes("an order is refunded", lambda history: False)
    charge = sometimes("an order is charged", lambda history: any(history.of("effect")))
    campaign = explore(right(), properties=[refund, charge], faults_max=1)
    assert campaign.result == "unknown"
    assert campaign.reasons == (f"an order is refunded: never reached in {campaign.searched} runs",)
    assert [one_.result for one_ in campaign.standings] == ["unknown", "holds"]


def test_a_property_that_was_never_put_to_the_test_makes_it_unknown():
    vacuous = Property("refunds", lambda evidence: [], tested=lambda evidence: False)
    campaign = explore(right(), properties=[vacuous], faults_max=1)
    assert campaign.result == "unknown"
    assert f"refunds: never put to the test in {campaign.searched} runs" in campaign.reasons


def test_no_property_at_all_is_no_result():
    campaign = explore(right(), properties=[], faults_max=0)
    assert (campaign.result, campaign.reasons) == (
        "unknown",
        ("no property was given: nothing was judged",),
    )


def test_certify_goes_to_the_end():
    campaign = certify(boxes("a", "b"), properties=[at_most("a", 99)], faults=3, kinds=KINDS)
    assert campaign.result == "holds"
    assert [level.complete for level in campaign.coverage.levels] == [True] * 4


def test_certify_with_all_options_has_more_pairs():
    words = {"properties": [at_most("a", 99)], "kinds": KINDS}
    mild = certify(boxes("a", "b"), **words)
    every = certify(boxes("a", "b"), options="all", **words)
    assert mild.coverage.levels[2].total < every.coverage.levels[2].total
    assert str(every.coverage.levels[2]).startswith("all 2-fault schedules, all options: ")


def test_a_soak_that_found_nothing_says_what_it_rules_out():
    campaign = explore(right(), mode="random", faults_max=3, runs_max=301)
    assert campaign.result == "holds"
    assert "300 random schedules of up to 3 faults" in campaign.sentences()
    assert "fewer than 1 in 100 such random schedules" in campaign.coverage.rules_out(300)


# ---- what else it says


def test_runs_that_do_not_become_quiet_are_seen_although_no_property_says_so():
    system = System("loop", budget=Budget(hops_max=5))
    bus = system.add(Kafka("bus", {"ping": 1}))

    @system.service("echo")
    def echo(env):
        def on_ping(value):
            env.publisher(bus)("ping", value, key="k")

        env.consume(bus, "ping", on_ping)

    @system.entry(examples=[1])
    def begin(env, item):
        env.publisher(bus)("ping", item, key="k")

    fine = Property("fine", lambda evidence: [])
    campaign = explore(system, properties=[fine], faults_max=1, runs_max=20)
    assert campaign.troubles[0].verdict == "budget"
    assert "an event cycle: ping → ping" in campaign.troubles[0].reason
    assert campaign.troubles[0].schedule == "Schedule()"
    assert sum(trouble.times for trouble in campaign.troubles) == 20


def test_the_table_of_sites_and_kinds():
    claims = [at_most("a", 9)]
    campaign = explore(boxes("a"), properties=claims, faults_max=1, kinds=KINDS, mode="small-first")
    coverage = campaign.coverage
    assert coverage.cells == {
        ("before", "worker.work/a.put", "error reply"): 1,
        ("after", "worker.work/a.put", "crash"): 3,
    }
    assert coverage.kinds() == ("error reply", "crash")
    assert coverage.operations() == (
        ("before", "worker.work/a.put"),
        ("after", "worker.work/a.put"),
    )
    assert coverage.never_struck() == ()
    assert ("after", "worker.work/a.put", "pause") in coverage.equivalent


def test_what_was_possible_and_never_happened_is_named():
    campaign = explore(
        boxes("a"), properties=[at_most("a", 9)], faults_max=1, runs_max=2, mode="small-first"
    )
    assert ("after", "worker.work/a.put", "crash") in campaign.coverage.never_struck()


def test_a_campaign_is_the_same_each_time_byte_for_byte():
    texts = {json.dumps(explore(two(), runs_max=300).to_json()) for _ in range(2)}
    assert len(texts) == 1


def test_progress_is_told_after_each_run():
    told = []
    explore(one(), runs_max=50, on_progress=told.append)
    assert [one_.runs for one_ in told] == list(range(1, len(told) + 1))
    assert told[0].faults == 0 and told[1].faults > 0
    assert told[-1].broken == ("never charged twice",)
    assert {one_.runs_max for one_ in told} == {50}


def test_a_known_counterexample_is_run_first():
    known = explore(two(), items=EXAMPLES[:1]).counterexamples[0]
    campaign = explore(two(), runs_max=1, regressions=[known])
    assert campaign.result == "violated"
    assert campaign.counterexamples[0].schedule == known.schedule
    assert campaign.counterexamples[0].found_after == 1


def test_a_known_counterexample_that_is_fixed_costs_one_run():
    known = explore(one(), items=EXAMPLES[:1]).counterexamples[0]
    campaign = explore(right(), faults_max=0, regressions=[known])
    assert (campaign.result, campaign.searched) == ("holds", 2)


def test_a_counterexample_of_another_system_is_left_alone():
    known = explore(two(), items=EXAMPLES[:1]).counterexamples[0]
    campaign = explore(shop(keys=True, name="other"), faults_max=0, regressions=[known])
    assert campaign.searched == 1


# ---- mistakes


def test_a_property_that_raises_is_a_mistake_of_the_property():
    broken = Property("broken", lambda evidence: 1 / 0)
    with pytest.raises(InvalidDefinition, match="'broken' raised ZeroDivisionError"):
        explore(right(), properties=[broken])


def test_a_property_whose_tested_raises_says_so():
    broken = Property("broken", lambda evidence: [], tested=lambda evidence: 1 / 0)
    with pytest.raises(InvalidDefinition, match="'tested' of the property 'broken' raised Zero"):
        explore(right(), properties=[broken])


def test_a_system_with_a_memory_is_found_out_before_anything_else():
    with pytest.raises(Nondeterminism, match="event 2 differs"):
        explore(counts_its_runs())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            {"mode": "clever"},
            "no search mode 'clever'; there are: portfolio, small-first, lineage, random, guided",
        ),
        ({"faults_max": -1}, "faults_max must be a whole number from 0, not -1"),
        ({"faults_max": 0, "mode": "random"}, "faults_max must be a whole number from 1, not 0"),
        ({"runs_max": 0}, "runs_max must be a whole number from 1, not 0"),
        ({"runs_max": 1.5}, "runs_max must be a whole number from 1, not 1.5"),
        ({"properties": [at_most]}, "is not a property"),
        ({"properties": [never_charged_twice] * 2}, "two properties of 'shop' are named"),
    ],
)
def test_wrong_arguments_are_said(words, message):
    with pytest.raises(InvalidDefinition, match=message):
        explore(one(), **words)


# ---- the words of coverage


def test_what_a_level_says():
    words = {"faults": 2, "options": "mildest options"}
    assert str(Level(tried=3, total=3, complete=True, **words)) == (
        "all 2-fault schedules, mildest options: 3 of 3"
    )
    assert str(Level(tried=1_588, total=14_203, complete=False, **words)) == (
        "2-fault schedules, mildest options: 1,588 of about 14,203"
    )
    assert str(Level(tried=5, total=20_000, complete=False, more=True, **words)) == (
        "2-fault schedules, mildest options: 5 of more than 20,000"
    )
    assert str(Level(tried=0, total=None, complete=False, **words)) == (
        "2-fault schedules, mildest options: not begun"
    )


def test_what_clean_runs_rule_out():
    done = Level(faults=1, tried=4, total=4, complete=True)
    begun = Level(faults=2, tried=4, total=9, complete=False)
    assert Coverage(levels=(done, begun)).rules_out(9).startswith("no schedule of one fault")
    assert Coverage(levels=(begun,)).rules_out(9) == "nothing yet: too few runs"
    assert Coverage(random=2, faults_max=1).rules_out(2) == "nothing yet: too few runs"


def test_a_campaign_reads_as_a_few_lines():
    campaign = explore(boxes("a"), properties=[at_most("a", 9)], faults_max=1, kinds=KINDS)
    assert isinstance(campaign, Campaign)
    assert campaign.sentences() == (
        "boxes: every property holds after 5 runs",
        "all 1-fault schedules, all options: 4 of 4",
        "1 random schedule of up to 12 faults",
        "faults at operations: 2 of 2 struck",
        "trouble lasted until the next event, past the next timeout and past every timeout",
        "no schedule of one fault at the sites of this workload breaks it "
        "(of the faults and options searched)",
    )


def test_findings_may_point_nowhere():
    vague = Property(
        "vague", lambda evidence: [Finding("no")] if puts(evidence.history, "a") else []
    )
    campaign = explore(boxes("a"), properties=[vague])
    assert campaign.counterexamples[0].schedule == Schedule()


def test_a_system_that_is_never_quiet_in_calm_is_mended_first():
    system = System("restless", budget=Budget(calm_ms=60_000))

    @system.service("clock")
    def clock(env):
        def tick():
            ticks = 0
            while True:
                ticks += 1
                store.put("ticks", ticks)
                env.sleep(1)

        store = env.connect(kv)
        env.main(tick)

    kv = system.add(KeyValue("kv"))
    system.entry(examples=[1])(lambda env, item: None)
    campaign = explore(system)
    assert [one.property for one in campaign.counterexamples] == ["never stuck"]
    assert campaign.searched == 1
    assert "the run without any fault never becomes quiet: mend that first" in campaign.reasons[0]
    assert "background=True" in campaign.counterexamples[0].assumption


def forgetful(*, fails):
    """A service whose handler fails for some items, whatever the faults."""
    system = System("forgetful")
    queues = {"orders": Queue("quorum", dead_letter="parked"), "parked": Queue()}
    bus = system.add(RabbitMQ("bus", queues=queues))

    @system.service("payments")
    def payments(env):
        def on_order(order):
            if order in fails:
                raise TypeError("Cursor can't be awaited")

        env.consume(bus, "orders", on_order, backoff_ms=0)

    @system.entry(examples=["o1", "o2"])
    def place(env, order):
        env.publisher(bus)("orders", order)

    return system


def test_what_fails_without_any_fault_is_told_and_breaks_nothing():
    campaign = explore(forgetful(fails=["o2"]), faults_max=0)
    assert campaign.result == "unknown"
    assert not campaign.counterexamples
    raised, aside = campaign.upset
    assert raised.startswith("payments.on_order raised TypeError: Cursor can't be awaited at ")
    assert "tests/search/test_explore.py:" in raised
    assert raised.endswith(", 21 times")
    assert aside == "a message was put aside in parked, once"
    assert "Without any fault, already\n  payments.on_order raised TypeError" in summary(campaign)
    assert explore(forgetful(fails=[]), faults_max=0).upset == ()


def test_where_no_handler_ever_ends_nothing_is_known():
    system = forgetful(fails=["o1", "o2"])
    campaign = explore(system, faults_max=0)
    assert campaign.result == "unknown"
    assert re.fullmatch(
        r"no handler came to its end, even without any fault: "
        r"payments.on_order raised TypeError: Cursor can't be awaited \(at tests/search/.*:\d+\)",
        campaign.reasons[0],
    )
    with pytest.raises(NothingProved, match="no handler came to its end"):
        check(system, faults_max=0)


def test_code_that_spins_without_any_fault_ends_the_search(monkeypatch):
    from chaosharness.handlers import sandbox

    monkeypatch.setattr(sandbox, "_IDLE", sandbox._Idle())
    sandbox._IDLE.sandboxes.append(sandbox.Sandbox(limit_s=0.2))
    system = System("spinner")
    bus = system.add(RabbitMQ("bus", queues=["orders"]))

    @system.service("worker")
    def worker(env):
        def on_order(order):
            while True:
                pass

        env.consume(bus, "orders", on_order)

    @system.entry(examples=["o1"])
    def place(env, order):
        env.publisher(bus)("orders", order)

    campaign = explore(system, faults_max=1)
    assert campaign.searched == 1
    assert [one.property for one in campaign.counterexamples] == ["never stuck"]
    assert any("at the calm run, which spins" in reason for reason in campaign.reasons)
