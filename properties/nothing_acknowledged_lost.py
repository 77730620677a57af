"""A message that is acknowledged was handled."""

from __future__ import annotations

from collections.abc import Callable

from chaosharness import Crash, ErrorReply, Schedule, Site, nothing_acknowledged_lost
from models.order import broken
from models.small import trip
from properties import broken_by, kept_by

NOTHING_LOST = nothing_acknowledged_lost()


def test_the_offset_is_committed_before_processing() -> None:
    refused = ErrorReply(Site("payments.on_order/bank.charge"))
    twin = broken.offset_committed_before_processing()
    assert broken_by(twin, NOTHING_LOST) == Schedule([refused])


def test_a_crash_in_the_handler_is_enough_for_it() -> None:
    crash = Crash(Site("payments.on_order/handle"))
    run = broken.offset_committed_before_processing().run(None, Schedule([crash]))
    assert NOTHING_LOST.findings(run.evidence())


def test_a_main_loop_that_commits_before_it_works() -> None:
    refused = ErrorReply(Site("agent.main/airline.book"))
    assert broken_by(trip.commits_before_it_works(), NOTHING_LOST) == Schedule([refused])


def test_the_right_main_loop_loses_nothing() -> None:
    assert kept_by(trip.trip(), NOTHING_LOST)


def test_the_right_flow_loses_nothing(holds: Callable[[str], bool]) -> None:
    assert holds("nothing acknowledged is lost")
