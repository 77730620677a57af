"""What was taken back, given up or late: told as what it is, and not where it is right."""

import pytest

from chaosharness import (
    Budget,
    Crash,
    ErrorReply,
    LostRequest,
    Schedule,
    Site,
    StoreOutage,
    assumed,
)
from tests.checkers.outcomes.field import givenup
from tests.checkers.outcomes.sweep import sweep


def found(system, *faults):
    """Return what is told of one run, the worst first, each with its group."""
    run = system.run(None, Schedule(faults))
    assert not run.unused
    evidence = run.evidence()
    return {one.group: one.summary for claim in assumed(system) for one in claim.findings(evidence)}


def test_what_is_taken_back_without_faults_and_stands_is_half_done():
    no = ErrorReply(Site("checkout.on_checkout/provider.refund", entity=2))
    told = found(givenup.checkout(False), no)
    words = "item 2 (o-2) ends with provider.charge(cents=700, key=o-2, who=bob) standing, "
    words += "which is taken back without faults"
    assert told["half done", "provider.charge"] == words
    assert not found(givenup.checkout(True), no)


def test_a_timer_that_decides_while_a_request_of_its_own_is_on_its_way_is_asked_about():
    system = givenup.voided(True)
    for fault in (
        Crash(Site("pay.on_payment/handle", entity=1), down="timeout"),
        LostRequest(Site("orders.on_order/bus.publish payments", entity=1)),
    ):
        assert {kind for kind, _ in found(system, fault)} <= {"timer"}
    lost = LostRequest(Site("orders.on_order/bus.publish payments", entity=1))
    assert found(system, lost).keys() == {("timer", "db.orders")}
    assert ("row differs", "db.orders.state") in found(givenup.voided(False), lost)


def test_a_client_that_gave_up_was_told_no_by_a_store_as_well():
    outage = StoreOutage(Site("worker.main/db.commit", entity=0), lasting="timeout")
    assert not found(givenup.payouts(True), outage)


def test_payouts_without_a_name_are_made_twice():
    crash = Crash(Site("worker.main/provider.charge", "after", entity=0))
    assert ("effect twice", "provider.charge") in found(givenup.payouts(False), crash)
    assert not found(givenup.payouts(True), crash)


@pytest.mark.parametrize("down", ["next", "timeout", "long"])
def test_a_change_just_before_the_calm_ends_does_not_make_the_run_restless(down):
    crash = Crash(Site("billing.tick/provider.charge", entity=0), down=down)
    assert not found(givenup.daily(True), crash)


def test_what_changes_at_each_round_still_never_comes_to_rest():
    system = givenup.daily(True)
    system.budget = Budget(calm_ms=80_000_000)  # the second day is not due yet
    assert system.run().ending.verdict == "quiet"
    store = system.resources["db"]

    @system.service("counter")
    def counter(env):
        db = env.connect(store)

        def count():
            with db:
                db.execute("INSERT INTO plan VALUES (?, 'never', 0)", (f"n-{env.now_ms()}",))

        env.every(900, count)

    assert system.run().ending.verdict == "budget"


def test_daily_marks_are_made_after_the_charge():
    lost = {one.group for one in sweep(givenup.daily(False), kinds=ErrorReply)}
    assert lost == {("half done", "provider.charge")}
    assert sweep(givenup.daily(True), kinds=(ErrorReply, Crash), every=3) == []
