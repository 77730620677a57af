"""No customer pays twice for one order."""

from __future__ import annotations

from collections.abc import Callable

from chaosharness import Crash, ErrorReply, LostReply, Schedule, Site, never_charged_twice
from models.canary import canary
from models.order import broken
from models.small import cashier
from properties import broken_by, kept_by

AT_ONE_OF_THEM = never_charged_twice(["stripe", "adyen"])
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


def test_no_answer_in_time_is_taken_for_a_refusal() -> None:
    lost = LostReply(Site("cashier.on_sale/stripe.charge", "after"))
    assert broken_by(cashier.moves_on_after_a_timeout(), AT_ONE_OF_THEM) == Schedule([lost])


def test_a_refusal_of_the_second_try_is_believed_of_the_first() -> None:
    """It takes both: a first try that was charged and not answered, a second that is refused."""
    lost = LostReply(Site("cashier.on_sale/stripe.charge", "after"))
    refused = ErrorReply(Site("cashier.on_sale/stripe.charge", attempt=2))
    twin = cashier.falls_back_after_an_unknown_outcome()
    assert broken_by(twin, AT_ONE_OF_THEM) == Schedule([lost, refused])


def test_the_canary_needs_no_fault() -> None:
    assert broken_by(canary(), ONCE) == Schedule()


def test_the_right_cashier_charges_once() -> None:
    assert kept_by(cashier.cashier(), AT_ONE_OF_THEM)


def test_the_right_flow_charges_once(holds: Callable[[str], bool]) -> None:
    assert holds("never charged twice")
