"""The models on Redis Streams: right under every single fault, and broken with no claim at all."""

from __future__ import annotations

import pytest

from chaosharness import explore
from chaosharness.search.target import load_target

RIGHT = ["till:till", "loop:loop"]
BROKEN = {
    "till:nobody_claims": 1,
    "till:acknowledged_before_the_work": 1,
    "till:nothing_is_pending": 1,
    "till:trimmed_before_it_is_claimed": 1,
    "till:claimed_while_it_works": 0,
    "loop:name_of_each_start": 1,
    "loop:dead_consumers_deleted": 1,
}


def loaded(target):
    return load_target(f"models.redis_streams.{target}")


@pytest.mark.parametrize("target", RIGHT)
@pytest.mark.parametrize("claims", ["nothing claimed", "with its claims"])
def test_the_right_one_holds_under_every_single_fault_and_random_ones(target, claims):
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
