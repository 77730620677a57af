"""The claims of the order saga by orchestration: which twins break them, and by what."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chaosharness import (
    Delay,
    LostReply,
    LostRequest,
    Pause,
    Property,
    Redeliver,
    Schedule,
    Site,
    System,
    explore,
)
from chaosharness.faults import Fault
from models.saga import broken
from models.saga.right import GOOD, OUT_OF_STOCK, UNDELIVERABLE, order_saga
from properties import broken_by

CHARGE = "payment.on_command/bank.charge"
CHARGED = (
    "1 of payment.on_command/rabbit.publish replies from "
    "1 of orchestrator.on_order/rabbit.publish payment"
)
LATE = Delay(Site("rabbit.payment/deliver to payment"), lasting="timeout")

CAUGHT = [
    (
        broken.answer_not_recorded,
        "stock is conserved",
        LostReply(Site("orchestrator.on_reply/rabbit.publish stock", "after")),
    ),
    (
        broken.two_orchestrators_resume,
        "stock is conserved",
        Pause(
            Site(
                "orchestrator.on_reply/saga-db.commit",
                "after",
                message="1 of payment.on_command/rabbit.publish replies",
            ),
            lasting=1_620_000,
        ),
    ),
    (
        broken.refunds_the_unknown,
        "never compensates what did not happen",
        LostRequest(Site(CHARGE)),
    ),
    (
        broken.any_reply_will_do,
        "parcels are conserved",
        Redeliver(Site("rabbit.replies/deliver to orchestrator", "after", message=CHARGED)),
    ),
    (
        broken.timeout_compensates_and_late_success_arrives,
        "money is conserved",
        LostRequest(Site("orchestrator.on_order/rabbit.publish payment")),
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


def test_a_late_delivery_is_enough_for_a_late_success() -> None:
    system = broken.timeout_compensates_and_late_success_arrives()
    run = system.run(None, Schedule([LATE]))
    assert claim(system, "money is conserved").findings(run.evidence())


@pytest.mark.parametrize(
    "order",
    [
        pytest.param(GOOD, marks=pytest.mark.slow, id="book"),
        pytest.param(OUT_OF_STOCK, marks=pytest.mark.slow, id="unicorn"),  # charged, refunded
        pytest.param(UNDELIVERABLE, marks=pytest.mark.slow, id="lamp"),
    ],
)
def test_the_right_saga_keeps_every_claim_under_every_single_fault(order: object) -> None:
    campaign = explore(order_saga(examples=[order]), faults_max=1, runs_max=10_000)  # type: ignore[list-item]
    assert campaign.coverage.complete
    assert [one.name for one in campaign.standings if one.result == "violated"] == []


def test_each_claim_is_put_to_the_test() -> None:
    campaign = explore(order_saga(), faults_max=1, runs_max=100)
    assert [one.name for one in campaign.standings if not one.tested] == []
