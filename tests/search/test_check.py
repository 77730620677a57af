"""One call for people who know nothing: `check`, and `smallest`."""

import warnings

import pytest

from chaosharness import (
    Crash,
    Property,
    Schedule,
    assumed,
    chaos_test,
    check,
    explore,
    never_stuck,
    smallest,
    sometimes,
)
from chaosharness.checkers.property import violation_class
from chaosharness.errors import InvalidDefinition, NothingProved, PropertyViolated
from tests.search.boxes import at_most, boxes
from tests.search.planted import EXAMPLES, never_charged_twice, one, right, two


def test_check_raises_what_is_broken_with_the_smallest_schedule():
    with pytest.raises(violation_class("never charged twice")) as caught:
        check(one())
    text = str(caught.value)
    assert text.splitlines()[0] == "never charged twice: o1 was charged twice"
    assert "Smallest schedule (1 fault, found after " in text
    lost = "Schedule((LostReply(Site('payments.on_order/bank.charge', 'after')),))"
    assert lost in text
    assert "Workload: [{'cents': 500, 'id': 'o1'}]" in text


def test_the_violation_carries_what_there_is_to_know():
    with pytest.raises(PropertyViolated) as caught:
        check(one())
    violation = caught.value
    assert violation.property is never_charged_twice
    assert violation.findings[0].summary == "o1 was charged twice"
    assert len(violation.run.schedule) == 1
    assert violation.run.digest() == violation.counterexample.digest
    assert isinstance(violation, AssertionError)


def test_check_returns_nothing_if_all_holds():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check(right(), items=EXAMPLES[:1]) is None


def test_check_warns_if_its_budget_was_not_enough():
    with pytest.warns(UserWarning, match=r"shop: nothing broke, but the budget of 40 runs .*Raise"):
        check(right(), runs_max=40)


def test_a_claim_that_nothing_tested_is_not_kept():
    vacuous = Property("refunds are paid", lambda evidence: [], tested=lambda evidence: False)
    with pytest.raises(NothingProved, match="never put to the test, in"):
        check(right(), properties=[vacuous], faults_max=1)


def test_what_is_only_assumed_need_not_be_put_to_the_test():
    system = boxes("a")
    assert not system.properties
    check(system, faults_max=1)
    unused = explore(system, properties=assumed(boxes("a")), faults_max=1)
    assert any(not one_.tested for one_ in unused.standings)
    assert unused.reasons == ()


def test_a_sometimes_that_was_never_reached_fails():
    refund = sometimes("a refund happens", lambda history: False)
    with pytest.raises(violation_class("a refund happens"), match="never reached in"):
        check(right(), properties=[refund], faults_max=1)


def test_smallest_returns_the_counterexample():
    found = smallest(two(), items=EXAMPLES[:1])
    assert found is not None
    assert len(found.schedule) == 2
    assert found.minimal


def test_smallest_returns_none_where_there_is_none():
    assert smallest(right(), items=EXAMPLES[:1], faults_max=1) is None


def test_smallest_judges_the_property_that_is_asked_for():
    system = boxes("a", "b")
    system.claim(at_most("b", 1))
    assert smallest(system).property == "b at most 1"
    assert smallest(system, at_most("a", 0)).schedule == Schedule()


@pytest.mark.parametrize("seed", range(5))
def test_smallest_by_chance(seed):
    found = smallest(one(), mode="random", faults_max=5, seed=seed)
    assert len(found.schedule) == 1


@pytest.mark.parametrize(
    ("slip", "words"),
    [
        (lambda: explore(right(), kinds=Crash), "kinds must be several"),
        (lambda: explore(right(), kinds=["crash"]), "is no kind of fault"),
        (lambda: check(right(), properties=never_stuck()), "put it in brackets"),
        (lambda: check(right), r"system must be a System; call what makes it: right\(\)"),
    ],
)
def test_a_slip_at_the_call_is_one_sentence(slip, words):
    with pytest.raises(InvalidDefinition, match=words):
        slip()


def test_what_the_body_of_a_chaos_test_returns_is_no_claim():
    @chaos_test(right(), runs=3)
    def body(run):
        return run.ending.verdict == "stuck"

    with pytest.raises(InvalidDefinition, match="write assert"):
        body()
