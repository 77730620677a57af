"""Dead letters that are put back days later, on each broker: with nothing claimed, too."""

from __future__ import annotations

import pytest

from chaosharness import explore
from chaosharness.search.target import load_target

BROKEN = [f"replayed_over_newer_on_{one}" for one in ("sqs", "rabbitmq", "kafka", "nats", "redis")]
RIGHT = ["sqs", "rabbitmq", "kafka", "nats", "redis"]


def loaded(name, *, claimed):
    system = load_target(f"models.dead_letters.board:{name}")
    if not claimed:
        system.properties.clear()
    return system


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("claimed", [False, True], ids=["nothing claimed", "with its claims"])
def test_a_dead_letter_that_is_put_back_over_what_is_newer_takes_one_fault(name, claimed):
    [found] = explore(
        loaded(name, claimed=claimed), faults_max=1, stop_at_first=True
    ).counterexamples
    assert len(found.schedule) == 1
    if not claimed:
        assert "value=(number=1, word=placed)" in found.findings[0].summary


@pytest.mark.parametrize("product", RIGHT)
@pytest.mark.parametrize("claimed", [False, True], ids=["nothing claimed", "with its claims"])
def test_a_board_that_compares_numbers_holds(product, claimed):
    system = loaded(f"numbered_on_{product}", claimed=claimed)
    campaign = explore(system, faults_max=1, runs_max=10_000)
    assert campaign.result == "holds", campaign.sentences()
    assert not campaign.questions
