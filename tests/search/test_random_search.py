"""Seeded chance, for soaks."""

import pytest

from chaosharness import Crash, Delay, ErrorReply, Schedule, System
from chaosharness.errors import InvalidDefinition
from chaosharness.search.marks import Sight, fingerprint
from chaosharness.search.random_search import GuidedSearch, RandomSearch, Sites
from chaosharness.search.sites import Catalogue, candidates
from tests.search.boxes import boxes, drive
from tests.search.planted import never_charged_twice, one, two


@pytest.mark.parametrize("make", [RandomSearch, GuidedSearch])
def test_a_seed_gives_the_same_schedules_and_another_seed_others(make):
    def schedules(seed):
        return [run.schedule for run in drive(make(seed=seed), one(), runs_max=100)]

    assert schedules(7) == schedules(7)
    assert schedules(7) != schedules(8)


@pytest.mark.parametrize("make", [RandomSearch, GuidedSearch])
def test_calm_comes_first_then_one_to_so_many_faults(make):
    planner = make(faults_max=3)
    runs = drive(planner, one(), runs_max=300)
    sizes = [len(run.schedule) for run in runs]
    assert sizes[0] == 0
    assert set(sizes[1:]) == {1, 2, 3}
    assert planner.tried == 299


def test_every_single_fault_is_drawn_sooner_or_later():
    system = boxes("a", "b")
    runs = drive(RandomSearch(faults_max=2), system, runs_max=500)
    drawn = {fault for run in runs for fault in run.schedule}
    assert set(candidates(system.run())) <= drawn


def test_second_attempts_are_drawn_once_they_were_seen():
    runs = drive(RandomSearch(faults_max=2), boxes("a", "b"), runs_max=500)
    assert any(fault.site.attempt > 1 for run in runs for fault in run.schedule)


def test_some_schedules_have_one_kind_only():
    def large(planner):
        runs = drive(planner, one(), runs_max=300)
        return [run.schedule for run in runs if len(run.schedule) == 4]

    few = large(RandomSearch(faults_max=4, kinds=(Crash, Delay, ErrorReply)))
    alone = [schedule for schedule in few if len({type(fault) for fault in schedule}) == 1]
    assert len(alone) > len(few) // 5  # of three kinds, 1 in 27 where all were drawn from
    many = large(RandomSearch(faults_max=4))
    assert any(len({type(fault) for fault in schedule}) > 2 for schedule in many)


def test_only_the_kinds_that_were_asked_for():
    runs = drive(RandomSearch(kinds=(Crash, ErrorReply)), one(), runs_max=100)
    assert {type(fault) for run in runs for fault in run.schedule} == {Crash, ErrorReply}


def test_where_nothing_can_be_struck_it_ends_after_the_calm():
    system = System("empty")

    @system.entry(examples=[1])
    def begin(env, item): ...

    planner = RandomSearch()
    assert [run.schedule for run in drive(planner, system)] == [Schedule()]


def test_no_faults_is_no_random_search():
    with pytest.raises(InvalidDefinition, match="faults_max from 1, not 0"):
        RandomSearch(faults_max=0)


def test_what_is_new_is_kept_and_changed():
    planner = GuidedSearch(faults_max=4)
    drive(planner, two(), runs_max=400)
    assert 10 < len(planner.corpus) < 200
    assert all(1 <= len(schedule) <= 4 for schedule in planner.corpus)


def test_guidance_finds_a_bug_of_two_faults():
    system = two()
    planner = GuidedSearch(faults_max=4, seed=1)
    found = [
        run
        for run in drive(planner, system, runs_max=500)
        if never_charged_twice.findings(run.evidence())
    ]
    assert found


def test_a_fingerprint_tells_runs_apart_by_what_happened():
    system = boxes("a")
    crash = candidates(system.run(), kinds=(Crash,))[0]
    calm, other = system.run(), system.run(None, Schedule([crash]))
    assert fingerprint(calm.history) < fingerprint(other.history) | fingerprint(calm.history)
    assert ("crash", "worker", "", 1) in fingerprint(other.history)
    assert fingerprint(calm.history) == fingerprint(system.run().history)


class Loaded:
    """Chance that gives what it is told to, over and over: numbers from 0 to below 1."""

    def __init__(self, *numbers):
        self.numbers = numbers
        self.asked = 0

    def random(self):
        self.asked += 1
        return self.numbers[(self.asked - 1) % len(self.numbers)]


def test_what_is_drawn_is_what_stands_there_when_all_of_it_is_made():
    run = one().run()
    sites = Sites(Catalogue())
    sites.catalogue.learn(Sight(run))
    sites.learn(Sight(run))
    made = {}
    for (operation, entity, message), times in run.attempts.items():
        for attempt in range(1, times + 1):
            for fault in sites.catalogue.at(operation, entity, message, attempt):
                place = (operation, entity, message, fault.site.phase)
                made.setdefault(type(fault), {}).setdefault(place, []).append(fault)
    for at, kind in enumerate(sites.kinds):
        for which, faults in enumerate(made[kind].values()):
            for number, fault in enumerate(faults):
                there = (number + 0.5) / len(faults)
                of_kind, of_place = (at + 0.5) / len(made), (which + 0.5) / len(made[kind])
                assert sites.draw(Loaded(of_kind, of_place, there, there), sites.kinds) == fault
    assert {*made} == {*sites.kinds}
