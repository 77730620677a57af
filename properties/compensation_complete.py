"""Whoever is told that his order is cancelled gets his money back."""

from __future__ import annotations

from collections.abc import Callable

from chaosharness import ErrorReply, LostReply, Schedule, Site, compensation_complete
from models.order import broken
from models.order.claims import refunded
from models.small import tickets
from properties import broken_by, kept_by


def test_a_refund_that_is_refused_and_not_tried_again() -> None:
    refused = ErrorReply(Site("payments.on_order/bank.refund"))
    twin = broken.compensation_fails_and_is_not_tried_again()
    assert broken_by(twin, refunded()) == Schedule([refused])


def test_what_was_cancelled_on_its_way_is_not_undone() -> None:
    """The money is refused while the seat has not answered: its task is cancelled."""
    lost = LostReply(Site("tickets.on_booking/office.reserve", "after"))
    seats = compensation_complete(tickets.UNDONE_BY)
    assert broken_by(tickets.cancelled_is_not_undone(), seats) == Schedule([lost])


def test_the_right_ticket_shop_gives_seats_back() -> None:
    assert kept_by(tickets.tickets(), compensation_complete(tickets.UNDONE_BY))


def test_the_right_flow_refunds(holds: Callable[[str], bool]) -> None:
    assert holds("compensation is complete")
