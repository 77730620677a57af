"""Once the trouble is over, all that was begun comes to an end."""

from __future__ import annotations

from collections.abc import Callable

from chaosharness import Poison, Schedule, Site, never_stuck
from models.order import broken
from properties import broken_by


def test_a_message_that_is_tried_again_for_ever() -> None:
    poison = Poison(Site("client.check_out/bus.publish checkout"))
    twin = broken.poison_blocks_a_log_partition()
    assert broken_by(twin, never_stuck()) == Schedule([poison])


def test_the_right_flow_comes_to_rest(holds: Callable[[str], bool]) -> None:
    assert holds("never stuck")
