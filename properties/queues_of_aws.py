"""Queues of AWS: leases that end too early, ids that are forgotten, failures nobody reads."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chaosharness import (
    ErrorReply,
    LostReply,
    Schedule,
    Site,
    System,
    idempotent,
    never_charged_twice,
    never_stuck,
)
from chaosharness.checkers import Property
from models.aws import desk, till
from properties import broken_by, kept_by

CAUGHT = [
    (
        till.partial_response_missing,
        idempotent(),
        [ErrorReply(Site("till.handler/bank.charge"))],
    ),
    (desk.visibility_shorter_than_the_handler, never_stuck(), []),
    (
        desk.window_shorter_than_the_retry,
        never_charged_twice("bank"),
        [LostReply(Site("front.on_order/bus.publish charges.fifo", "after"))],
    ),
]


@pytest.mark.parametrize(("twin", "claim", "faults"), CAUGHT)
def test_a_twin_is_caught_at_its_least_faults(
    twin: Callable[[], System], claim: Property, faults: list[ErrorReply | LostReply]
) -> None:
    assert broken_by(twin(), claim) == Schedule(faults)


@pytest.mark.parametrize("right", [till.till, desk.desk])
@pytest.mark.parametrize("claim", [idempotent(), never_charged_twice("bank"), never_stuck()])
def test_the_right_ones_keep_each_claim(right: Callable[[], System], claim: Property) -> None:
    assert kept_by(right(), claim)
