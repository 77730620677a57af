"""Updates and local activities: the right account is silent, each slip is named by one fault."""

import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

from chaosharness import System, assumed, explore
from models.temporal import account


def test_the_right_account_is_silent_over_all_single_faults_with_nothing_claimed() -> None:
    system = account.build()
    campaign = explore(system, properties=assumed(system), faults_max=1)
    assert campaign.counterexamples == ()
    assert campaign.questions == ()
    assert campaign.coverage.levels[1].complete


@pytest.mark.parametrize("broken", [pytest.param(one, id=one.__name__) for one in account.BROKEN])
def test_a_slip_is_named_by_one_fault_with_nothing_claimed(broken: object) -> None:
    system = broken()  # type: ignore[operator]
    assert isinstance(system, System)
    campaign = explore(system, properties=assumed(system), faults_max=1)
    first = campaign.counterexamples[0]
    assert (first.findings[0].kind, first.findings[0].place) == ("effect twice", "bank.charge")
    assert len(first.schedule) == 1
