"""Trouble with the mail keeps no order from being delivered."""

from __future__ import annotations

from collections.abc import Callable


def test_the_right_flow_ships_whatever_becomes_of_the_mail(holds: Callable[[str], bool]) -> None:
    assert holds("side effects never touch the critical path")
