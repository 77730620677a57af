"""The order saga as a state machine: right, and with one planted bug each."""

import pytest

from chaosharness import Schedule, assumed, explore
from chaosharness.campaign import Campaign
from models.step_functions import broken, right


def examined(system: object) -> Campaign:
    return explore(system, properties=assumed(system), faults_max=1)  # type: ignore[arg-type]


def test_the_right_saga_is_silent_over_all_single_faults_with_nothing_claimed() -> None:
    campaign = examined(right.build())
    assert campaign.counterexamples == ()
    assert campaign.coverage.levels[0].complete


def test_the_right_saga_settles_under_all_single_faults() -> None:
    campaign = explore(right.build(), faults_max=1)
    assert campaign.counterexamples == ()


@pytest.mark.parametrize(
    ("twin", "kind", "place"),
    [
        (broken.key_of_attempt, "effect twice", "bank.charge"),
        (broken.timeout_not_retried, "effect lost", "courier.ship"),
    ],
)
def test_each_twin_is_named_at_one_fault_with_nothing_claimed(
    twin: object, kind: str, place: str
) -> None:
    campaign = examined(twin())  # type: ignore[operator]
    first = campaign.counterexamples[0]
    assert (first.findings[0].kind, first.findings[0].place) == (kind, place)
    assert len(first.schedule) == 1


def test_two_runs_of_one_schedule_are_the_same() -> None:
    shop = right.build()
    schedule = Schedule()
    digests = {shop.run(list(shop.examples), schedule).history.digest() for _ in range(2)}
    assert len(digests) == 1
