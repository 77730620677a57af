"""Whoever is told that his order is cancelled gets his money back."""

from __future__ import annotations

from collections.abc import Callable

from chaosharness import ErrorReply, Schedule, Site
from models.order import broken
from models.order.claims import refunded
from properties import broken_by


def test_a_refund_that_is_refused_and_not_tried_again() -> None:
    refused = ErrorReply(Site("payments.on_order/bank.refund"))
    twin = broken.compensation_fails_and_is_not_tried_again()
    assert broken_by(twin, refunded()) == Schedule([refused])


def test_the_right_flow_refunds(holds: Callable[[str], bool]) -> None:
    assert holds("compensation is complete")
