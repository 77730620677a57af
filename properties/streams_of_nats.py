"""Streams of NATS: leases that end too early, ids that are forgotten, deaths nobody hears of."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chaosharness import (
    ErrorReply,
    LostReply,
    NetworkPartition,
    Schedule,
    Site,
    System,
    idempotent,
    never_charged_twice,
    never_stuck,
    nothing_acknowledged_lost,
)
from chaosharness.checkers import Property
from chaosharness.faults import Fault
from models.nats import desk, view
from properties import broken_by, kept_by

WANTED = Site("front.on_order/bus.publish charges.wanted", "after")
FIRST = "1 of client.change/bus.publish orders.o1"

CAUGHT: list[tuple[Callable[[], System], Property, list[Fault]]] = [
    (desk.ack_wait_shorter_than_the_handler, never_charged_twice("bank"), []),
    (desk.no_message_id, never_charged_twice("bank"), [LostReply(WANTED)]),
    (desk.window_shorter_than_the_retry, never_charged_twice("bank"), [LostReply(WANTED)]),
    (
        desk.acknowledged_before_the_work,
        idempotent(),
        [ErrorReply(Site("billing.on_charge/bank.charge"))],
    ),
    (
        desk.terminated_at_any_error,
        nothing_acknowledged_lost(),
        [ErrorReply(Site("billing.on_charge/bank.charge"))],
    ),
    (
        desk.no_dead_letters,
        nothing_acknowledged_lost(),
        [NetworkPartition(Site("billing.on_charge/bank.charge"), lasting=108_000)],
    ),
    (
        view.assumes_the_order_of_the_stream,
        idempotent(),
        [LostReply(Site("bus.view/deliver to view", "after", message=FIRST))],
    ),
]


@pytest.mark.parametrize(("twin", "claim", "faults"), CAUGHT)
def test_a_twin_is_caught_at_its_least_faults(
    twin: Callable[[], System], claim: Property, faults: list[Fault]
) -> None:
    assert broken_by(twin(), claim) == Schedule(faults)


@pytest.mark.parametrize(
    "right", [desk.desk, desk.deaths_are_taken_up, view.ordered, view.one_at_a_time]
)
@pytest.mark.parametrize("claim", [idempotent(), never_stuck(), nothing_acknowledged_lost()])
def test_the_right_ones_keep_each_claim(right: Callable[[], System], claim: Property) -> None:
    assert kept_by(right(), claim)
