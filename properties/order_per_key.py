"""Of one order, what was said first is heard first."""

from __future__ import annotations

from collections.abc import Callable

from chaosharness import ErrorReply, Schedule, Site, order_per_key
from models.order import broken
from properties import broken_by


def test_a_cancellation_overtakes_its_order() -> None:
    """The order is tried again a second later, and there is the cancellation before it."""
    twin = broken.compensation_overtakes_forward_step()
    refused = ErrorReply(Site("inventory.on_order/bus.publish reserved"))
    assert broken_by(twin, order_per_key(["orders", "cancellations"])) == Schedule([refused])


def test_the_right_flow_keeps_the_order(holds: Callable[[str], bool]) -> None:
    assert holds("order per key on orders")
