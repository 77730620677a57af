"""The models on SQS and Lambda: right under every single fault, and broken with no claim at all."""

from __future__ import annotations

import pytest

from chaosharness import explore
from chaosharness.search.target import load_target

RIGHT = [
    "till:till",
    "desk:desk",
    "desk:window_longer_than_the_retry",
    "keeper:keeper",
    "board:board",
    "board:last_word_wins",
    "router:router",
    "till:bounded",
]
BROKEN = {
    "till:partial_response_missing": 1,
    "desk:visibility_shorter_than_the_handler": 0,
    "desk:window_shorter_than_the_retry": 1,
    "keeper:own_write_taken_for_another": 1,
    "keeper:in_progress_for_ever": 1,
    "board:last_word_wins.weaker.standard": 1,
    "router:failed_entries_unread": 1,
    "router:key_from_the_event_id": 1,
    "changes:key_from_the_call": 1,
    "changes:given_up_after_two": 1,
}


def loaded(target):
    return load_target(f"models.aws.{target}")


@pytest.mark.parametrize("target", RIGHT)
@pytest.mark.parametrize("claims", ["nothing claimed", "with its claims"])
def test_the_right_one_holds_under_every_single_fault(target, claims):
    system = loaded(target)
    if claims == "nothing claimed":
        system.properties.clear()
    campaign = explore(system, faults_max=1, runs_max=10_000)
    assert campaign.result == "holds", campaign.sentences()


def test_the_board_holds_on_the_weakest_queue():
    campaign = explore(loaded("board:board.weaker.standard"), faults_max=1, runs_max=10_000)
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
