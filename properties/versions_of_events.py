"""Events with versions: what old consumers make of new events, and new ones of old events."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chaosharness import (
    NewEvent,
    OldEvent,
    Redeploy,
    Schedule,
    Site,
    System,
    explore,
    no_money_dropped,
    smallest,
)
from chaosharness.faults import Fault
from models.schemas import currencies, discounts, renames
from properties import broken_by, kept_by

WRITES = "schemas.write orders"
CAUGHT: list[tuple[Callable[[], System], str, Fault]] = [
    (
        discounts.discount_of_its_own,
        "no money dropped",
        Redeploy(Site("payments/start", entity=0)),
    ),
    (
        discounts.reads_and_writes,
        "no money dropped",
        Redeploy(Site("pricing/start", entity=0)),
    ),
    (
        renames.default_for_a_rename,
        "no money dropped",
        Redeploy(Site("desk/start", entity=0)),
    ),
    (
        currencies.none_is_no_currency,
        "every event is readable",
        OldEvent(Site(f"client.place/{WRITES}")),
    ),
    (
        renames.widened,
        "every event is readable",
        NewEvent(Site(f"client.place/{WRITES}")),
    ),
]
RIGHT = [discounts.net, discounts.passes_on, renames.alias, renames.narrow, currencies.euro_before]


@pytest.mark.parametrize(("twin", "claim", "fault"), CAUGHT)
def test_a_twin_is_caught_by_one_fault_with_nothing_claimed(
    twin: Callable[[], System], claim: str, fault: Fault
) -> None:
    found = smallest(twin(), faults_max=1)
    assert found is not None
    assert found.property == claim
    assert len(found.schedule.faults) == 1
    with pytest.raises(AssertionError, match=claim):
        twin().run(None, Schedule([fault])).check()


def test_who_is_never_upgraded_is_caught_in_calm_by_the_name_of_the_field() -> None:
    claim = no_money_dropped(fields=["discount_cents"])
    assert broken_by(discounts.never_upgraded(), claim) == Schedule([])
    assert kept_by(discounts.passes_on(), claim)


@pytest.mark.parametrize("right", RIGHT)
def test_the_right_ones_are_silent_under_every_single_fault(right: Callable[[], System]) -> None:
    campaign = explore(right(), faults_max=1, runs_max=10_000)
    assert campaign.coverage.complete
    assert [one.name for one in campaign.standings if one.result == "violated"] == []
    assert any(one.tested for one in campaign.standings if one.name == "no money dropped")
