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


def test_the_right_saga_keeps_its_claims_under_all_single_faults() -> None:
    campaign = explore(right.build(), faults_max=1)
    assert campaign.counterexamples == ()
    assert all(standing.tested for standing in campaign.standings)


def test_money_is_kept_for_nothing_where_the_last_state_is_not_caught() -> None:
    campaign = explore(broken.last_state_not_caught(), faults_max=1)
    assert "money is conserved" in {one.property for one in campaign.counterexamples}


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
    system = twin()  # type: ignore[operator]
    shipped = system.examples[:1]  # the other is refunded, which shows a wrong key without faults
    campaign = explore(system, properties=assumed(system), items=shipped, faults_max=1)
    first = campaign.counterexamples[0]
    assert (first.findings[0].kind, first.findings[0].place) == (kind, place)
    assert len(first.schedule) == 1


def test_a_refund_under_another_key_than_the_charge_is_named_without_faults() -> None:
    first = examined(broken.key_of_attempt()).counterexamples[0]
    assert (first.findings[0].kind, first.findings[0].place) == ("half done", "bank.charge")
    assert len(first.schedule) == 0


def test_two_runs_of_one_schedule_are_the_same() -> None:
    shop = right.build()
    schedule = Schedule()
    digests = {shop.run(list(shop.examples), schedule).history.digest() for _ in range(2)}
    assert len(digests) == 1
