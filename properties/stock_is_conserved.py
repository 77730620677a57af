"""Every piece is in stock or at a customer who has paid for it."""

from __future__ import annotations

from collections.abc import Callable

from chaosharness import Delay, FailedCommit, Pause, Schedule, Site
from models.order import broken
from models.order.claims import stock
from properties import broken_by


def test_the_key_is_stored_after_the_effect() -> None:
    """The effect is committed, and the second commit, which remembers it, fails."""
    fails = FailedCommit(Site("inventory.on_order/stock-db.commit", attempt=2))
    assert broken_by(broken.key_stored_after_the_effect(), stock()) == Schedule([fails])


def test_two_replicas_check_and_then_set() -> None:
    """The first stalls between the two for so long that the group takes its messages away."""
    stalls = Pause(Site("inventory.on_order/stock-db.select inbox", "after"), lasting=270_000)
    assert broken_by(broken.check_then_set_race(), stock()) == Schedule([stalls])


def test_a_cancellation_overtakes_its_order() -> None:
    twin = broken.compensation_overtakes_forward_step()
    placed = "1 of orders.on_checkout/bus.publish orders"
    fails = FailedCommit(Site("inventory.on_order/stock-db.commit", message=placed))
    assert broken_by(twin, stock()) == Schedule([fails])


def test_a_delivery_that_is_late_is_enough_for_it() -> None:
    twin = broken.compensation_overtakes_forward_step()
    late = Delay(Site("bus.orders/deliver to inventory"), lasting="timeout")
    assert stock().findings(twin.run(None, Schedule([late])).evidence())


def test_the_right_flow_conserves_stock(holds: Callable[[str], bool]) -> None:
    assert holds("stock is conserved")
