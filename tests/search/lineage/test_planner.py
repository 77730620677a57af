"""Lineage as a planner: what it learns, and that no level is lost by it."""

from __future__ import annotations

from random import Random

import pytest

from chaosharness import Crash, LostReply, LostRequest, Schedule, Site, explore
from chaosharness.handlers.port import Surface
from chaosharness.search.lineage.bits import Bits
from chaosharness.search.lineage.first import CutsFirst
from chaosharness.search.lineage.planner import Lineage, _Twins
from chaosharness.search.lineage.ways import service_of
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


def test_twins_are_the_deaths_that_no_way_tells_from_a_later_one_of_their_service():
    chance = Random(7)
    for _ in range(40):
        bits = Bits((Crash, LostRequest))
        for operation in ("a.one", "a.two", "b.one"):
            bits.surfaces[operation] = Surface((Crash, LostRequest), (Crash,))
            for attempt in (1, 2, 3):
                for sort in ("dies before", "is lost", "dies after"):
                    bits.number((operation, 1, attempt, sort))
        twins, ways = _Twins(bits), []
        for _ in range(chance.randrange(6)):
            more = [chance.getrandbits(bits.count) for _ in range(chance.randrange(3))]
            twins.take(more)
            ways += more
            assert twins.known() == by_hand(bits, ways)


def by_hand(bits, ways):
    """Compare each death with each later one, way by way."""
    found = 0
    deaths = [number for number in range(bits.count) if bits.deaths >> number & 1]
    for number in deaths:
        for later in deaths:
            same = all((way >> number ^ way >> later) & 1 == 0 for way in ways)
            services = [service_of(bits.fault(one).site.operation) for one in (number, later)]
            if later > number and same and services[0] == services[1]:
                found |= 1 << number
    return found


def test_who_dies_comes_to_nothing_that_its_service_does_later_in_any_run():
    planner = Lineage(kinds=(Crash, LostRequest))
    bits = planner.bits
    bits.surfaces["a.one"] = bits.surfaces["b.one"] = Surface((Crash, LostRequest), (Crash,))
    first, lost, second, other = (
        bits.number((operation, 1, attempt, sort))
        for operation, attempt, sort in (
            ("a.one", 1, "dies before"),
            ("a.one", 1, "is lost"),
            ("a.one", 2, "dies before"),
            ("b.one", 1, "dies before"),
        )
    )
    planner._note_order((first, other, 0, lost, second))
    assert [planner._reach(number) for number in range(4)] == [lost | second, 0, 0, 0]
    planner._note_order((second, first, lost))
    assert planner._reach(0) == lost | second
    assert planner._reach(2) == first | lost
