"""No customer pays twice for one order."""

from __future__ import annotations

from collections.abc import Callable

from chaosharness import Crash, LostReply, Schedule, Site, never_charged_twice
from models.order import broken
from properties import broken_by

ONCE = never_charged_twice("bank")
LOST_REPLY = Schedule([LostReply(Site("payments.on_order/bank.charge", "after"))])


def test_without_a_key_one_lost_reply_is_enough() -> None:
    assert broken_by(broken.charge_without_key(), ONCE) == LOST_REPLY


def test_a_key_per_attempt_is_no_better() -> None:
    assert broken_by(broken.key_per_attempt(), ONCE) == LOST_REPLY


def test_a_key_that_is_forgotten_before_the_message_comes_again() -> None:
    """The other replica is given the message when the session of the first times out."""
    crash = Crash(Site("payments.on_order/bank.charge", "after"))
    assert broken_by(broken.dedupe_window_shorter_than_redelivery(), ONCE) == Schedule([crash])


def test_the_right_flow_charges_once(holds: Callable[[str], bool]) -> None:
    assert holds("never charged twice")
