"""No refund without a charge, and none for more than was charged."""

from __future__ import annotations

from collections.abc import Callable

from chaosharness import (
    LostReply,
    LostRequest,
    Schedule,
    Site,
    never_compensates_what_did_not_happen,
)
from models.order import broken
from properties import broken_by

NO_MORE = never_compensates_what_did_not_happen({"charge": "refund"})


def test_a_refund_that_is_tried_again_is_a_second_refund() -> None:
    lost = LostReply(Site("payments.on_order/bank.refund", "after"))
    assert broken_by(broken.compensation_not_idempotent(), NO_MORE) == Schedule([lost])


def test_an_outcome_that_is_unknown_is_compensated() -> None:
    lost = LostRequest(Site("payments.on_order/bank.charge"))
    assert broken_by(broken.compensates_an_unknown_outcome(), NO_MORE) == Schedule([lost])


def test_the_right_flow_refunds_what_it_charged(holds: Callable[[str], bool]) -> None:
    assert holds("never compensates what did not happen")
