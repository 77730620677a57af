"""Events do not go round in circles."""

from __future__ import annotations

from collections.abc import Callable

from chaosharness import Schedule, no_event_cycle, static_graph
from models.questions import cycle
from models.small import watchers
from properties import broken_by, kept_by


def test_two_watchers_undercut_each_other_for_ever() -> None:
    assert broken_by(watchers.undercut_each_other_for_ever(), no_event_cycle()) == Schedule()


def test_points_make_a_tier_and_a_tier_makes_points() -> None:
    """Seen before anything runs; that it never ends is seen by running."""
    assert static_graph(cycle.right()).possible_circles()
    evidence = cycle.each_change_is_news().run().evidence()
    assert no_event_cycle().findings(evidence)
    assert kept_by(cycle.right(), no_event_cycle())


def test_the_right_watchers_stop() -> None:
    assert kept_by(watchers.watchers(), no_event_cycle())


def test_the_right_flow_has_an_end(holds: Callable[[str], bool]) -> None:
    assert holds("no event cycle")
