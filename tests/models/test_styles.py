"""One business in three styles: same participants, workload and claims; right and broken."""

import pytest

from chaosharness import Redeliver, Schedule, Site, explore
from chaosharness.checkers import event_graph
from chaosharness.search.comparison import compared, ends_of, new_step_of
from models.styles import broken, right

STYLES = ("choreography", "orchestration", "hybrid")
PAID_BY = {"choreography": "orders", "orchestration": "payment", "hybrid": "payment"}


def histories():
    return {style: getattr(right, style)().calm().history for style in STYLES}


def test_all_do_the_same_for_the_same_orders():
    done = {
        style: sorted((e.actor, e.data["method"], e.data["order"]) for e in history.of("effect"))
        for style, history in histories().items()
    }
    assert done["choreography"] == done["orchestration"] == done["hybrid"]
    assert ends_of(histories().values()) == ("bank.charge", "post.send")


def test_they_claim_the_same_but_for_the_boundary():
    names = {style: {one.name for one in getattr(right, style)().properties} for style in STYLES}
    assert names["choreography"] == names["hybrid"]
    assert names["hybrid"] - names["orchestration"] == {
        "side effects never touch the critical path"
    }


@pytest.mark.parametrize("style", STYLES)
def test_a_charge_without_a_key_is_caught_in_each_style(style):
    again = Redeliver(Site(f"bus.{PAID_BY[style]}/deliver to payment", "after"))
    for module, wrong in ((right, False), (broken, True)):
        system = getattr(module, style)()
        evidence = system.run(None, Schedule([again])).evidence()
        found = {one.name for one in system.properties if one.findings(evidence)}
        assert found == ({"never twice: bank.charge"} if wrong else set())


def test_where_a_new_step_must_go():
    places = {
        style: new_step_of(event_graph(history), "bank.charge", "courier.ship").services
        for style, history in histories().items()
    }
    assert places == {
        "choreography": ("stock",),
        "orchestration": ("orchestrator",),
        "hybrid": ("orchestrator",),
    }


def test_the_next_one_must_hear_something_else_where_nobody_is_in_between():
    history = right.choreography().calm().history
    assert new_step_of(event_graph(history), "warehouse.reserve", "courier.ship").services == (
        "delivery",
    )
    assert new_step_of(event_graph(history), "post.send", "bank.charge").way == ()


@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES)
def test_the_right_one_survives_every_single_fault(style):
    found = compared(getattr(right, style)(), runs_max=10_000)
    assert {one.outcome for one in found.survival.values()} <= {"survives", "nowhere"}


def test_a_budget_shows_what_it_did_not_try():
    assert explore(right.hybrid(), faults_max=1, runs_max=3).result == "unknown"
