"""A message that nobody can read does not keep the next one waiting."""

from __future__ import annotations

from collections.abc import Callable

from chaosharness import Poison, Schedule, Site, poison_blocks_nobody
from models.order import broken
from properties import broken_by


def test_what_cannot_be_read_is_tried_again_for_ever() -> None:
    poison = Poison(Site("client.check_out/bus.publish checkout"))
    twin = broken.poison_blocks_a_log_partition()
    assert broken_by(twin, poison_blocks_nobody()) == Schedule([poison])


def test_the_right_flow_puts_it_aside(holds: Callable[[str], bool]) -> None:
    assert holds("poison blocks nobody")
