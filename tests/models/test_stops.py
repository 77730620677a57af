"""What only a process finds that is told to stop: the right ones hold, the twins take one stop."""

from __future__ import annotations

import pytest

from chaosharness import GracefulStop, Schedule, Site, explore
from models.kafka import stops as loops
from models.rabbit import stops as relays


@pytest.mark.parametrize("right", [loops.books, relays.relay])
def test_the_right_one_holds_wherever_it_is_told_to_stop(right):
    campaign = explore(right(), faults_max=1, kinds=[GracefulStop])
    assert campaign.result == "holds", campaign.sentences()


@pytest.mark.parametrize(
    ("twin", "place", "entity"),
    [
        (loops.commits_what_it_has_not_done, "books.run/books-db.commit", 1),
        (relays.closes_before_it_has_sent, "relay.run/bus.publish sales", 0),
    ],
)
def test_the_twin_takes_one_stop(twin, place, entity):
    [found] = explore(
        twin(), faults_max=1, kinds=[GracefulStop], stop_at_first=True
    ).counterexamples
    assert found.schedule == Schedule([GracefulStop(Site(place, "after", entity))])


@pytest.mark.parametrize("claims", ["nothing claimed", "with its claims"])
def test_no_other_single_fault_finds_it(claims):
    system = loops.commits_what_it_has_not_done()
    if claims == "nothing claimed":
        system.properties.clear()
    assert explore(system, faults_max=1).result == "holds"
    found = explore(system, faults_max=1, kinds=[GracefulStop], stop_at_first=True)
    assert found.counterexamples
