"""No choreography is a call chain in disguise."""

from __future__ import annotations

from chaosharness import Schedule, no_call_chain
from models.questions import call_chain
from properties import broken_by, kept_by


def test_five_checks_in_a_row_wait_for_one_another() -> None:
    assert broken_by(call_chain.each_asks_the_next(), no_call_chain()) == Schedule()


def test_five_checks_side_by_side_do_not() -> None:
    assert kept_by(call_chain.right(), no_call_chain())
