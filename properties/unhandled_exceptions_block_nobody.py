"""An exception that comes again each time does not keep the next message waiting."""

from __future__ import annotations

from collections.abc import Callable

from chaosharness import Duplicate, Schedule, Site, unhandled_exceptions_block_nobody
from models.order import broken
from properties import broken_by


def test_an_order_that_comes_twice_is_an_error_for_ever() -> None:
    twice = Duplicate(Site("client.check_out/bus.publish checkout"))
    twin = broken.duplicate_blocks_a_log_partition()
    assert broken_by(twin, unhandled_exceptions_block_nobody()) == Schedule([twice])


def test_the_right_flow_gets_over_its_exceptions(holds: Callable[[str], bool]) -> None:
    assert holds("unhandled exceptions block nobody")
