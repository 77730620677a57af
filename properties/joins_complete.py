"""An order is confirmed when it is both paid and reserved, and not before."""

from __future__ import annotations

from collections.abc import Callable

from chaosharness import Duplicate, Schedule, Site, joins_complete
from models.order import broken
from models.questions import join
from properties import broken_by

JOINED = joins_complete(["paid", "reserved"], "confirmed", or_else="rejected")


def test_a_duplicate_is_counted_as_the_other_half() -> None:
    twice = Duplicate(Site("inventory.on_order/bus.publish reserved"))
    assert broken_by(broken.join_counts_a_duplicate(), JOINED) == Schedule([twice])


def test_a_half_that_never_comes_is_missed_by_nobody() -> None:
    both = joins_complete(["paid", "reserved"], "confirmed", or_else="given-up")
    assert broken_by(join.waits_for_ever(), both) == Schedule()


def test_the_right_flow_waits_for_both_halves(holds: Callable[[str], bool]) -> None:
    assert holds("joins into confirmed are complete")
