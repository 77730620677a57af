"""Queues of RabbitMQ: heartbeats nobody answers, requeues, retry queues, replays, lost confirms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest

from chaosharness import (
    BrokerAlarm,
    FailedCommit,
    LostReply,
    LostRequest,
    Schedule,
    Site,
    System,
    idempotent,
    never_charged_twice,
    never_stuck,
)
from chaosharness.checkers import Property
from chaosharness.faults import Fault
from models.rabbit import alarms, dispatch, outbox, prices, reports
from properties import broken_by, kept_by

PAYMENT_LATE = LostRequest(Site("till.on_order/bus.publish tasks"))
COMMIT = Site("shop.on_price/shop-db.commit", message="1 of client.announce/bus.publish prices")
CAUGHT: list[tuple[Callable[[], System], Property, list[Fault]]] = [
    (reports.blocked_heartbeats, never_stuck(), []),
    (dispatch.requeue_that_starves, never_stuck(), [PAYMENT_LATE]),
    (prices.retry_queue_breaks_order, idempotent(), [FailedCommit(COMMIT)]),
    (prices.dead_letters_over_newer_state, idempotent(), [FailedCommit(COMMIT)]),
    (
        outbox.lost_confirm_and_double_publish,
        never_charged_twice("bank"),
        [LostRequest(Site("relay.on_batch/bus.publish orders", attempt=2))],
    ),
    (outbox.range_read_as_one, never_charged_twice("bank"), []),
    (
        alarms.takes_silence_for_a_no,
        alarms.who_is_paid_back_has_no_ticket(),
        [LostReply(Site("till.on_order/bus.publish prints", "after"))],
    ),
]


@pytest.mark.parametrize(("twin", "claim", "faults"), CAUGHT)
def test_a_twin_is_caught_at_its_least_faults(
    twin: Callable[[], System], claim: Property, faults: list[Fault]
) -> None:
    assert broken_by(twin(), claim) == Schedule(faults)


def test_a_lost_confirm_alone_is_enough() -> None:
    lost = Schedule([LostReply(Site("relay.on_batch/bus.publish orders", "after"))])
    run = outbox.lost_confirm_and_double_publish().run(None, lost)
    with pytest.raises(AssertionError, match="charged twice"):
        run.check(never_charged_twice("bank"))
    outbox.outbox().run(None, lost).check(never_charged_twice("bank"))


def test_an_alarm_that_outlasts_a_publisher_s_patience_is_enough() -> None:
    """What it wrote is read when the alarm is over, and it has published again by then."""
    site = Site("relay.on_batch/bus.publish orders")
    alarm = Schedule([BrokerAlarm(site, lasting=60_000)])
    run = outbox.lost_confirm_and_double_publish().run(None, alarm)
    with pytest.raises(AssertionError, match="charged twice"):
        run.check(never_charged_twice("bank"))
    outbox.outbox().run(None, alarm).check(never_charged_twice("bank"))


@pytest.mark.parametrize(
    "right", [reports.reports, dispatch.dispatch, dispatch.requeue_beside_others, prices.prices]
)
@pytest.mark.parametrize("claim", [idempotent(), never_stuck()])
def test_the_right_ones_keep_each_claim(right: Callable[[], System], claim: Property) -> None:
    assert kept_by(right(), claim)


def test_the_right_relay_charges_once() -> None:
    assert kept_by(outbox.outbox(), never_charged_twice("bank"))


@pytest.mark.parametrize("lasting", [60_000, "long"])
def test_an_alarm_is_enough_to_take_silence_for_a_no(lasting: int | Literal["long"]) -> None:
    claim = alarms.who_is_paid_back_has_no_ticket()
    site = Site("till.on_order/bus.publish prints")
    alarm = Schedule([BrokerAlarm(site, lasting=lasting)])
    with pytest.raises(AssertionError, match="who is paid back has no ticket"):
        alarms.takes_silence_for_a_no().run(None, alarm).check(claim)
    alarms.tickets().run(None, alarm).check(claim)


def test_who_publishes_again_keeps_the_claim() -> None:
    assert kept_by(alarms.tickets(), alarms.who_is_paid_back_has_no_ticket())
