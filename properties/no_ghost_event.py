"""Nothing is announced that was then rolled back."""

from __future__ import annotations

from collections.abc import Callable

from chaosharness import FailedCommit, Schedule, Site, no_ghost_event
from models.order import broken
from properties import broken_by


def test_published_and_then_rolled_back() -> None:
    """The last lamp is promised to the first order, and then goes to the second."""
    fails = FailedCommit(Site("inventory.on_order/stock-db.commit"))
    assert broken_by(broken.published_then_rolled_back(), no_ghost_event()) == Schedule([fails])


def test_the_right_flow_publishes_after_it_committed(holds: Callable[[str], bool]) -> None:
    assert holds("no ghost event")
