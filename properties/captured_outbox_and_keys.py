"""An outbox that change capture reads, and idempotency keys: what each promises, how long."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chaosharness import (
    Crash,
    Delay,
    FailedCommit,
    LostReply,
    Property,
    Schedule,
    Site,
    System,
    explore,
    idempotent,
    never_charged_twice,
    smallest,
)
from chaosharness.faults import Fault
from models.kafka import capture, retries
from models.rabbit import keys

TWICE = never_charged_twice("bank")
IN_STEP = capture.tables().properties[0]
ONCE = keys.PAID_ONCE
CAUGHT: list[tuple[Callable[[], System], Property, Fault]] = [
    (
        capture.repeats_after_a_restart,
        TWICE,
        Crash(Site("connector.capture/bus.publish outbox", "after", entity=0)),
    ),
    (
        capture.tables_out_of_step,
        IN_STEP,
        Delay(
            Site(
                "bus.orders/deliver to orders",
                entity=0,
                message="1 of connector.capture/bus.publish orders",
            ),
            lasting="timeout",
        ),
    ),
    (
        retries.retry_topic_breaks_order,
        retries.AT_ITS_LATEST,
        FailedCommit(Site("shop.on_price/shop-db.commit")),
    ),
    (
        keys.first_still_runs,
        ONCE,
        Delay(Site("desk.on_order/till.pay"), lasting="timeout"),
    ),
    (keys.with_other_arguments, ONCE, Crash(Site("desk.on_order/bus.ack", "after"))),
    (keys.after_its_window, ONCE, LostReply(Site("desk.on_order/till.pay", "after"))),
]
RIGHT: list[tuple[Callable[[], System], Property]] = [
    (capture.outbox, TWICE),
    (capture.tables, IN_STEP),
    (retries.retries, retries.AT_ITS_LATEST),
    (keys.keys, ONCE),
    (keys.keys_for_a_week, ONCE),
]


@pytest.mark.parametrize(("twin", "claim", "fault"), CAUGHT)
def test_a_twin_breaks_its_claim_by_one_fault(
    twin: Callable[[], System], claim: Property, fault: Fault
) -> None:
    twin().run().check(claim)
    found = smallest(twin(), claim, faults_max=1)
    assert found is not None
    assert len(found.schedule.faults) == 1
    run = twin().run(None, Schedule([fault]))
    assert run.unused == ()
    with pytest.raises(AssertionError):
        run.check(claim)


@pytest.mark.parametrize("twin", [twin for twin, _, _ in CAUGHT])
def test_a_twin_is_named_with_nothing_claimed_by_one_fault_at_most(
    twin: Callable[[], System],
) -> None:
    found = smallest(twin(), idempotent(ignore=["prices-retry"]), faults_max=1)
    assert found is not None
    assert len(found.schedule.faults) <= 1


@pytest.mark.parametrize(("right", "claim"), RIGHT)
def test_the_right_ones_keep_their_claim_and_what_nobody_claimed(
    right: Callable[[], System], claim: Property
) -> None:
    claims = [claim, idempotent(ignore=["prices-retry"])]
    campaign = explore(right(), properties=claims, faults_max=1, runs_max=10_000)
    assert campaign.coverage.complete
    assert [one.result for one in campaign.standings] == ["holds", "holds"]
