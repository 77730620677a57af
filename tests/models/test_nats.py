"""The models on JetStream: right under every single fault, and broken with no claim at all."""

from __future__ import annotations

import pytest

from chaosharness import explore
from chaosharness.search.target import load_target

RIGHT = ["desk:desk", "desk:deaths_are_taken_up", "view:ordered", "view:one_at_a_time"]
IN_TIME = "desk:window_longer_than_the_retry"
"""Right as long as nothing outlasts the window: so under each fault alone."""

BROKEN = {
    "desk:ack_wait_shorter_than_the_handler": 0,
    "desk:no_message_id": 1,
    "desk:window_shorter_than_the_retry": 1,
    "desk:acknowledged_before_the_work": 1,
    "desk:terminated_at_any_error": 1,
    "desk:no_dead_letters": 1,
    "view:assumes_the_order_of_the_stream": 1,
}


def loaded(target):
    return load_target(f"models.nats.{target}")


@pytest.mark.parametrize("target", [*RIGHT, IN_TIME])
@pytest.mark.parametrize("claims", ["nothing claimed", "with its claims"])
def test_the_right_one_holds_under_every_single_fault(target, claims):
    system = loaded(target)
    if claims == "nothing claimed":
        system.properties.clear()
    campaign = explore(system, faults_max=1, runs_max=10_000)
    assert campaign.result == "holds", campaign.sentences()


@pytest.mark.parametrize("target", BROKEN)
@pytest.mark.parametrize("claims", ["nothing claimed", "with its claims"])
def test_a_broken_one_takes_so_many_faults(target, claims):
    system = loaded(target)
    if claims == "nothing claimed":
        system.properties.clear()
    faults = BROKEN[target]
    found = explore(system, faults_max=1, stop_at_first=True).counterexamples
    assert [len(one.schedule) for one in found] == [faults]


@pytest.mark.parametrize("target", RIGHT)
@pytest.mark.parametrize("claims", ["nothing claimed", "with its claims"])
def test_the_right_one_holds_under_random_schedules(target, claims):
    system = loaded(target)
    if claims == "nothing claimed":
        system.properties.clear()
    campaign = explore(system, mode="random", faults_max=4, runs_max=300, seed=5)
    assert campaign.result == "holds", campaign.sentences()


@pytest.mark.slow
@pytest.mark.parametrize("target", RIGHT)
def test_the_right_one_holds_under_every_pair_of_faults(target):
    system = loaded(target)
    system.properties.clear()
    campaign = explore(system, faults_max=2, runs_max=400_000, mode="small-first", thorough=True)
    assert campaign.result == "holds", campaign.sentences()
