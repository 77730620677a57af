"""What was committed is announced: no order and no charge is kept secret."""

from __future__ import annotations

from collections.abc import Callable

from chaosharness import ErrorReply, NetworkPartition, Schedule, Site, announced
from models.order import broken
from properties import broken_by

CHARGES = announced("payment-db", "charges", "paid", key="order_id")


def test_committed_and_never_published() -> None:
    refused = ErrorReply(Site("payments.on_order/bus.publish paid"))
    assert broken_by(broken.committed_and_never_published(), CHARGES) == Schedule([refused])


def test_a_relay_that_ends_at_its_first_error() -> None:
    """Neither the handler nor either relay reaches the broker; the handler is not asked again."""
    cut = NetworkPartition(Site("payments.on_order/bus.publish paid"), lasting=40_500)
    assert broken_by(broken.relay_ends_at_the_first_error(), CHARGES) == Schedule([cut])


def test_the_right_flow_announces_orders_and_charges(holds: Callable[[str], bool]) -> None:
    assert holds("order-db.orders is announced on orders")
    assert holds("payment-db.charges is announced on paid")
