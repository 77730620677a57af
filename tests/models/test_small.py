"""The small models: right in calm and under every single fault, put to the test, and broken."""

from __future__ import annotations

import pytest

from chaosharness import explore
from chaosharness.search.target import load_target

RIGHT = ["tickets:tickets", "cashier:cashier", "trip:trip", "watchers:watchers", "wallet:wallet"]
BROKEN = {
    "tickets:cancelled_is_not_undone": 1,
    "cashier:moves_on_after_a_timeout": 1,
    "cashier:falls_back_after_an_unknown_outcome": 2,
    "trip:undoes_in_the_order_of_doing": 0,
    "trip:commits_before_it_works": 1,
    "watchers:undercut_each_other_for_ever": 0,
    "wallet:counts_in_python": 1,
}


@pytest.mark.parametrize("target", RIGHT)
def test_the_right_one_holds_under_every_single_fault(target):
    campaign = explore(load_target(f"models.small.{target}"), faults_max=1, runs_max=10_000)
    assert campaign.result == "holds", campaign.sentences()


@pytest.mark.parametrize(("target", "faults"), BROKEN.items())
def test_a_broken_one_takes_so_many_faults(target, faults):
    system = load_target(f"models.small.{target}")
    found = explore(system, faults_max=2, stop_at_first=True).counterexamples
    assert [len(one.schedule) for one in found] == [faults]


def test_the_canary_fails_at_once():
    campaign = explore(load_target("models.canary:canary"))
    assert campaign.result == "violated"
    assert campaign.searched == 1
