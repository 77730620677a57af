"""The claims of sagas that the native orchestrator runs: which twins break them, and by what."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chaosharness import (
    ErrorReply,
    LostReply,
    LostRequest,
    Pause,
    Property,
    Schedule,
    Site,
    System,
    explore,
)
from chaosharness.faults import Fault
from models.saga_engine import broken, commands, right
from properties import broken_by

CHARGE = "orchestrator.on_order/bank.charge"

CAUGHT = [
    (broken.answer_not_recorded, "money is conserved", LostReply(Site(CHARGE, "after"))),
    (
        broken.two_orchestrators_resume,
        "points are conserved",
        Pause(Site("orchestrator.on_order/saga-db.commit", "after"), lasting=1_620_000),
    ),
    (broken.refunds_the_unknown, "money is conserved", LostRequest(Site(CHARGE))),
    (
        broken.branch_succeeds_after_compensation,
        "money is conserved",
        ErrorReply(Site("payment.on_command/bank.charge")),
    ),
]


def claim(system: System, name: str) -> Property:
    """Return a claim of a system by its name."""
    found: Property = next(one for one in system.properties if one.name == name)
    return found


@pytest.mark.parametrize(("twin", "name", "fault"), CAUGHT)
def test_twins_and_the_smallest_schedule_that_tells(
    twin: Callable[[], System], name: str, fault: Fault
) -> None:
    system = twin()
    assert broken_by(system, claim(system, name)) == Schedule([fault])


@pytest.mark.parametrize("build", [right.build, commands.build])
def test_each_claim_is_put_to_the_test_and_kept(build: Callable[[], System]) -> None:
    campaign = explore(build(), faults_max=1, runs_max=60)
    assert [one.name for one in campaign.standings if not one.tested] == []
    assert [one.name for one in campaign.standings if one.result == "violated"] == []
