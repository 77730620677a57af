"""Every order ends shipped or cancelled."""

from __future__ import annotations

from collections.abc import Callable

from chaosharness import Crash, ErrorReply, Schedule, Site
from models.order import broken
from models.order.claims import settles
from properties import broken_by


def test_committed_and_never_published() -> None:
    """The broker refuses the event, and when the message comes again it is known already."""
    refused = ErrorReply(Site("payments.on_order/bus.publish paid"))
    assert broken_by(broken.committed_and_never_published(), settles()) == Schedule([refused])


def test_a_crash_between_the_two_is_enough_for_it() -> None:
    crash = Crash(Site("payments.on_order/payment-db.commit", "after"))
    run = broken.committed_and_never_published().run(None, Schedule([crash]))
    assert settles().findings(run.evidence())


def test_the_right_flow_settles(holds: Callable[[str], bool]) -> None:
    assert holds("every saga settles")
