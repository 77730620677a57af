"""Lineage as a planner: what it learns, and that no level is lost by it."""

from __future__ import annotations

import pytest

from chaosharness import Crash, LostReply, LostRequest, Schedule, Site, explore
from chaosharness.search.lineage.first import CutsFirst
from chaosharness.search.lineage.planner import Lineage
from chaosharness.search.marks import Sights
from models.protocols.broadcast import classic_broadcast, redundant_broadcast, retry_broadcast
from models.protocols.commit import two_phase
from models.small.cashier import cashier, moves_on_after_a_timeout

MOLLY = (LostRequest, LostReply, Crash)


class Lesson:
    """One search, by hand."""

    def __init__(self, system, **words):
        self.system = system
        self.planner = Lineage(system.properties, **{"kinds": MOLLY, **words})
        self.sights = Sights()

    def show(self, *faults):
        run = self.system.run(None, Schedule(faults))
        self.planner.observe(self.sights.of(run))
        return run

    def cuts(self, most=100):
        found = []
        while len(found) < most and (cut := self.planner.propose()) is not None:
            found.append(cut)
        return found


def test_nothing_is_proposed_before_the_calm_run():
    lesson = Lesson(retry_broadcast())
    assert lesson.planner.propose() is None
    lesson.show(LostRequest(Site("a.broadcast/c.deliver")))
    assert lesson.planner.propose() is None
    lesson.show()
    assert lesson.planner.propose() is not None


def test_the_first_cut_is_the_last_message_on_the_way():
    lesson = Lesson(classic_broadcast())
    lesson.show()
    assert lesson.planner.propose() == Schedule([LostRequest(Site("a.broadcast/c.deliver"))])


def test_a_way_that_a_run_shows_is_cut_as_well():
    lesson = Lesson(classic_broadcast())
    lost = LostRequest(Site("a.broadcast/c.deliver"))
    both = Schedule([lost, LostRequest(Site("b.deliver/c.deliver"))])
    lesson.show()
    assert both not in lesson.cuts()
    lesson.planner.forget()
    lesson.show(lost)
    assert both in lesson.cuts()


def test_it_is_ready_when_an_outcome_survived_a_cut():
    lesson = Lesson(classic_broadcast())
    lesson.show()
    assert not lesson.planner.ready
    lesson.show(LostReply(Site("a.broadcast/c.deliver", "after")))
    assert not lesson.planner.ready
    lesson.show(LostRequest(Site("a.broadcast/c.deliver")))
    assert lesson.planner.ready


def test_what_was_forgotten_is_proposed_again_and_what_was_run_is_not():
    lesson = Lesson(retry_broadcast())
    lesson.show()
    first = lesson.planner.propose()
    assert lesson.planner.propose() != first
    lesson.planner.forget()
    assert lesson.planner.propose() == first
    lesson.show(*first)
    assert first not in lesson.cuts()


def test_a_run_with_more_faults_than_asked_for_teaches_nothing():
    lesson = Lesson(classic_broadcast(), faults_max=1)
    lost = LostRequest(Site("a.broadcast/c.deliver"))
    lesson.show()
    before = lesson.cuts()
    lesson.planner.forget()
    lesson.show(lost, LostReply(Site("a.broadcast/b.deliver", "after")))
    assert lesson.cuts() == before
    assert not lesson.planner.ready


def test_no_cut_has_more_faults_than_asked_for_and_none_comes_twice():
    system = redundant_broadcast()
    planner, sights = CutsFirst(system.properties, faults_max=2, kinds=MOLLY), Sights()
    seen = []
    for _ in range(60):
        schedule = planner.propose()
        assert schedule is not None
        seen.append(schedule)
        planner.observe(sights.of(system.run(None, schedule)))
    assert max(len(one) for one in seen) == 2
    assert len(set(seen[1:])) == len(seen) - 1


@pytest.mark.parametrize("build", [redundant_broadcast, cashier])
def test_levels_are_those_of_small_first(build):
    campaigns = [
        explore(build(), mode=mode, faults_max=1, runs_max=10_000)
        for mode in ("lineage", "small-first")
    ]
    assert [one.result for one in campaigns] == ["holds", "holds"]
    first, second = (one.coverage.levels for one in campaigns)
    assert [(one.tried, one.total) for one in first] == [(one.tried, one.total) for one in second]
    assert first[-1].complete


@pytest.mark.parametrize(
    "build", [pytest.param(two_phase, marks=pytest.mark.slow), moves_on_after_a_timeout]
)
def test_the_same_search_twice_is_the_same(build):
    first, second = (explore(build(), mode="lineage", faults_max=2) for _ in range(2))
    assert first.searched == second.searched
    assert [one.schedule for one in first.counterexamples] == [
        one.schedule for one in second.counterexamples
    ]


def test_a_broken_model_is_found_in_lineage_mode():
    campaign = explore(moves_on_after_a_timeout(), mode="lineage", faults_max=1)
    assert campaign.result == "violated"
