"""Trouble with the mail keeps no order from being delivered."""

from __future__ import annotations

from collections.abc import Callable

from chaosharness import Delay, Schedule, Site
from models.questions import fan_out
from properties import broken_by


def test_the_right_flow_ships_whatever_becomes_of_the_mail(holds: Callable[[str], bool]) -> None:
    assert holds("side effects never touch the critical path")


def test_one_dispatcher_makes_the_shipping_wait_for_the_mail() -> None:
    late = Delay(Site("mail.on_placed/post.send"))
    system = fan_out.one_dispatcher_calls_them_all()
    assert broken_by(system, system.properties[0]) == Schedule([late])
