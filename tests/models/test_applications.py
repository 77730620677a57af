"""Whole applications, unmodified: right under every single fault, each slip found by one fault."""

from __future__ import annotations

import subprocess
import sys
import time

import httpx
import pytest

from chaosharness import (
    NetworkPartition,
    Schedule,
    Site,
    explore,
    idempotent,
    never_charged_twice,
    never_twice,
    smallest,
)
from chaosharness.search.target import load_target

RIGHT = [
    "checkout.system:checkout",
    "booking.system:booking",
    "billing.system:billing",
    "invoices.system:invoices",
    "charges.system:charges",
    "payouts.system:payouts",
    "refunds.system:refunds",
    "parcels.system:parcels",
    "shipments.system:shipments",
    "deposits.system:deposits",
]
BROKEN = [
    "checkout.system:no_key",
    "checkout.system:status_unchecked",
    "checkout.system:order_after_charge",
    "checkout.system:points_each_time",
    "checkout.system:marked_first",
    "booking.system:retried_post",
    "booking.system:silence_is_no",
    "booking.system:status_unchecked",
    "billing.system:commits_by_itself",
    "billing.system:never_flushed",
    "billing.system:keyless",
    "billing.system:skips_what_fails",
    "invoices.system:no_key",
    "invoices.system:auto_ack",
    "invoices.system:unconfirmed",
    "invoices.system:requeued",
    "charges.system:rejected",
    "charges.system:no_key",
    "charges.system:acknowledged_first",
    "payouts.system:commits_by_itself",
    "payouts.system:not_waited_for",
    "payouts.system:keyless",
    "payouts.system:passes_what_failed",
    "refunds.system:closes_behind_an_error",
    "refunds.system:commits_the_batch",
    "refunds.system:not_waited_for",
    "refunds.system:keyless",
    "parcels.system:keyless",
    "parcels.system:new_key",
    "parcels.system:acknowledged_first",
    "parcels.system:lost_with_its_process",
    "parcels.system:gives_up",
    "shipments.system:patient",
    "shipments.system:in_an_hour",
    "shipments.system:acknowledged_first",
    "shipments.system:told_without_a_key",
    "shipments.system:in_a_pool",
    "deposits.system:deletes_first",
    "deposits.system:deletes_what_failed",
    "deposits.system:keyless",
    "deposits.system:entries_unread",
]
DIGESTS = """
from chaosharness.search.target import load_target
from chaosharness import LostReply, Schedule, Site
for name, site in (("checkout", "checkout.create_order/bank.charge"),
                   ("booking", "booking.create_booking/hotel.reserve"),
                   ("invoices", "charging.on_order/bank.charge"),
                   ("charges", "charging.on_order/bank.charge"),
                   ("payouts", "payouts.run/bank.charge"),
                   ("refunds", "refunds.run/bank.charge"),
                   ("deposits", "deposits.run/bank.charge"),
                   ("parcels", "workers.charge/bank.charge"),
                   ("shipments", "workers.charge/bank.charge")):
    system = load_target(f"models.applications.{name}.system:{name}")
    for schedule in (Schedule(), Schedule([LostReply(Site(site, "after"))])):
        print(system.run(None, schedule).digest(), system.run(None, schedule).digest())
"""


def loaded(target):
    return load_target(f"models.applications.{target}")


SLOW = {
    "deposits.system:deposits",
    "charges.system:charges",
    "charges.system:rejected",
    "charges.system:no_key",
    "charges.system:acknowledged_first",
    "invoices.system:invoices",
    "invoices.system:requeued",
    "parcels.system:parcels",
    "parcels.system:keyless",
    "parcels.system:lost_with_its_process",
    "parcels.system:gives_up",
    "shipments.system:shipments",
    "shipments.system:in_an_hour",
    "shipments.system:in_a_pool",
    "checkout.system:checkout",
    "checkout.system:marked_first",
    "checkout.system:no_key",
    "checkout.system:order_after_charge",
    "shipments.system:acknowledged_first",
    "shipments.system:told_without_a_key",
}


def marked(targets):
    """Return targets as parameters: those that take seconds are slow."""
    slow = pytest.mark.slow
    return [pytest.param(one, marks=slow) if one in SLOW else one for one in targets]


@pytest.mark.parametrize("target", marked(RIGHT))
def test_the_right_one_holds_under_every_single_fault_of_one_item(target):
    system = loaded(target)
    campaign = explore(system, items=system.examples[:1], faults_max=1, runs_max=2_000)
    assert campaign.result == "holds", campaign.sentences()


@pytest.mark.slow
@pytest.mark.parametrize("target", RIGHT)
def test_the_right_one_holds_under_every_single_fault(target):
    campaign = explore(loaded(target), faults_max=1, runs_max=10_000, thorough=True)
    assert campaign.result == "holds", campaign.sentences()


@pytest.mark.parametrize("target", marked(BROKEN))
def test_a_slip_is_found_by_one_fault_with_nothing_claimed(target):
    found = smallest(loaded(target), faults_max=1, runs_max=500)
    assert found is not None
    assert len(found.schedule) == 1


@pytest.mark.slow
def test_a_callback_that_misses_its_heartbeats_is_found_without_any_fault():
    found = smallest(loaded("invoices.system:slow"), faults_max=1, runs_max=500)
    assert found is not None
    assert len(found.schedule) == 0
    assert "StreamLostError" in found.findings[0].summary


@pytest.mark.parametrize(
    ("target", "claim"),
    [
        ("checkout.system:no_key", never_charged_twice()),
        ("booking.system:retried_post", never_twice("hotel", "add")),
        ("booking.system:silence_is_no", idempotent()),
    ],
)
def test_a_slip_is_found_by_one_fault_with_its_claim(target, claim):
    system = loaded(target)
    found = smallest(system, claim, items=system.examples[:1], faults_max=1, runs_max=500)
    assert found is not None
    assert len(found.schedule) == 1


def test_runs_are_the_same_in_every_process():
    def digests(seed):
        return subprocess.run(
            [sys.executable, "-c", DIGESTS],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout

    first = digests("1")
    assert first == digests("2")
    assert all(line.split()[0] == line.split()[1] for line in first.splitlines())


def test_two_customers_who_give_up_leave_what_is_nobody_s_as_without_them():
    """The points of bob are nobody's row: that he has none says nothing about the order of ann."""
    system = loaded("checkout.system:checkout")

    def customer(env, order):
        for wait_s in (1, 10, 60):
            try:
                url = "https://checkout.example/orders"
                httpx.post(url, json=order, timeout=30).raise_for_status()
                return
            except httpx.HTTPError:
                time.sleep(wait_s)

    system._entry = customer
    cut = NetworkPartition(Site("checkout.create_order/bank.charge"), lasting=540_000)
    run = system.run(None, Schedule([cut]))
    assert sum(one.kind == "effect" for one in run.history) == 0
    run.check()
