"""A step after the payment and before the shipping keeps its place."""

from __future__ import annotations

from chaosharness import ErrorReply, Schedule, Site
from models.questions import step_between
from properties import broken_by, kept_by


def test_shipping_that_hears_the_payment_does_not_wait_for_customs() -> None:
    refused = ErrorReply(Site("clearance.on_paid/customs.clear"))
    system = step_between.both_listen_to_paid()
    assert broken_by(system, system.properties[0]) == Schedule([refused])


def test_shipping_that_hears_customs_waits() -> None:
    system = step_between.right()
    assert kept_by(system, system.properties[0])
