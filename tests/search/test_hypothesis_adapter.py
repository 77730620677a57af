"""The planner behind Hypothesis: planned schedules arrive, and everything else keeps working."""

import subprocess
import sys
import warnings
from random import Random

import pytest
from hypothesis import (
    HealthCheck,
    Phase,
    assume,
    example,
    find,
    given,
    note,
    seed,
    settings,
    target,
)
from hypothesis import strategies as st
from hypothesis.database import InMemoryExampleDatabase
from hypothesis.internal.conjecture.provider_conformance import run_conformance_test

from chaosharness import (
    Crash,
    ErrorReply,
    LostReply,
    Pause,
    Schedule,
    Site,
    chaos_settings,
    observe_in_hypothesis,
    orders,
    schedules,
    workloads,
)
from chaosharness.search import hypothesis_adapter as adapter
from chaosharness.search.hypothesis_adapter import (
    Planned,
    Unplanned,
)
from chaosharness.search.plan import PLAN, Leg, Playback, fewer_but_longer
from tests.strategies.shops import CHARGE, REFUND, shop

SHOP = shop()
CRASH, LOST, ERROR = (
    Crash(Site(CHARGE, "after")),
    LostReply(Site(CHARGE, "after", entity=2)),
    ErrorReply(Site(CHARGE)),
)
PLANNED = [Schedule([CRASH]), Schedule([LOST, ERROR]), Schedule(), Schedule([ERROR])]


@pytest.fixture
def planned():
    """Have these schedules proposed, and nothing more."""
    token = PLAN.set(lambda deck: [Leg(Playback(PLANNED))])
    yield PLANNED
    PLAN.reset(token)


def quiet(**words):
    words = {"database": None, "suppress_health_check": list(HealthCheck), **words}
    return chaos_settings(**words)


def ours(seen):
    """Return what came from the plan: not Hypothesis's first, and not what chance had."""
    return [one for at, one in enumerate(seen[1:], 1) if at % adapter.CHANCE_EVERY]


# ---- planned schedules arrive


def test_planned_schedules_arrive_unchanged_among_other_strategies(planned):
    seen = []

    @quiet(max_examples=20)
    @given(st.text(), st.floats(), schedules(SHOP), st.lists(st.integers()), st.data())
    def probe(before, number, schedule, after, data):
        data.draw(st.booleans())
        seen.append(schedule)

    probe()
    assert ours(seen)[: len(planned)] == planned


def test_when_the_plan_is_done_hypothesis_goes_on(planned):
    seen = []

    @quiet(max_examples=60)
    @given(schedules(SHOP))
    def probe(schedule):
        seen.append(schedule)

    probe()
    assert len(seen) >= 60
    assert len(set(seen)) > 30


def test_an_ordinary_backend_draws_at_random(planned):
    seen = []

    @quiet(max_examples=20, backend="hypothesis")
    @given(schedules(SHOP))
    def probe(schedule):
        seen.append(schedule)

    probe()
    assert ours(seen)[: len(planned)] != planned


class Pupil:
    """Proposes one schedule after another, and remembers the runs it was told of."""

    def __init__(self, planned):
        self.left = list(planned)
        self.runs = []

    def propose(self):
        return self.left.pop(0) if self.left else None

    def observe(self, seen):
        self.runs.append(seen.run)

    def forget(self): ...


def taught(test, *pupils):
    token = PLAN.set(lambda deck: [Leg(pupil, at) for at, pupil in enumerate(pupils)])
    try:
        test()
    finally:
        PLAN.reset(token)


def test_the_planner_is_told_of_the_runs_it_proposed():
    pupil = Pupil(PLANNED)

    @quiet(max_examples=20)
    @given(workloads(SHOP), schedules(SHOP))
    def probe(workload, schedule):
        SHOP.run(workload, schedule)

    taught(probe, pupil)
    assert [run.schedule for run in pupil.runs] == PLANNED


def test_runs_of_other_systems_and_other_schedules_are_not_its_business():
    pupil, other = Pupil(PLANNED), shop()

    @quiet(max_examples=12)
    @given(schedules(SHOP))
    def probe(schedule):
        other.run(None, schedule)
        SHOP.run(None, Schedule([Crash(Site(CHARGE, "after", attempt=3))]))

    taught(probe, pupil)
    assert pupil.runs == []


def test_planned_runs_have_one_workload_and_the_others_many():
    pupil, workloads_seen = Pupil(PLANNED * 5), set()

    @seed(1)
    @quiet(max_examples=30)
    @given(placed=orders(1, 5), schedule=schedules(SHOP))
    def probe(placed, schedule):
        workloads_seen.add(tuple(placed))
        SHOP.run([{"id": one.id, "cents": one.cents} for one in placed], schedule)

    taught(probe, pupil)
    assert len(pupil.runs) > 10
    assert len({repr(run.items) for run in pupil.runs}) == 1
    assert len(workloads_seen) > 5


def test_a_workload_with_texts_and_lists_is_kept_as_well():
    pupil, texts = Pupil(PLANNED * 3), []

    @seed(4)
    @quiet(max_examples=24)
    @given(words=st.lists(st.text(min_size=1), min_size=2), schedule=schedules(SHOP))
    def probe(words, schedule):
        before = len(pupil.runs)
        SHOP.run(None, schedule)
        if len(pupil.runs) > before:
            texts.append(words)

    taught(probe, pupil)
    assert len(texts) > 8
    assert all(words == texts[0] for words in texts)


def test_where_only_the_schedule_is_drawn_there_is_no_other_workload():
    first, second = Pupil(PLANNED), Pupil(PLANNED)

    @quiet(max_examples=20)
    @given(schedules(SHOP))
    def probe(schedule):
        SHOP.run(None, schedule)

    taught(probe, first, second)
    assert len(first.runs) == len(PLANNED)
    assert second.runs == []


def test_each_leg_has_a_workload_of_its_own():
    first, second = Pupil(PLANNED[:2]), Pupil(PLANNED[:2])

    @seed(2)
    @quiet(max_examples=20)
    @given(schedule=schedules(SHOP), placed=orders(1, 5))
    def probe(schedule, placed):
        SHOP.run([{"id": one.id, "cents": one.cents} for one in placed], schedule)

    taught(probe, first, second)
    assert first.runs[0].items == first.runs[1].items
    assert second.runs[0].items == second.runs[1].items
    assert first.runs[0].items != second.runs[0].items


def test_a_rejected_test_case_does_not_fix_the_workload():
    pupil = Pupil(PLANNED * 4)

    @seed(3)
    @quiet(max_examples=30)
    @given(placed=orders(1, 5), schedule=schedules(SHOP))
    def probe(placed, schedule):
        assume(len(placed) >= 3)
        SHOP.run([{"id": one.id, "cents": one.cents} for one in placed], schedule)

    taught(probe, pupil)
    assert pupil.runs
    assert all(len(run.items) >= 3 for run in pupil.runs)


def test_proposals_that_cannot_be_drawn_are_passed_over():
    pupil = Pupil([Schedule([Crash(Site("no.such/place", "after"))]), Schedule([CRASH])])

    @quiet(max_examples=8)
    @given(schedules(SHOP))
    def probe(schedule):
        SHOP.run(None, schedule)

    taught(probe, pupil)
    assert [run.schedule for run in pupil.runs] == [Schedule([CRASH])]


def test_by_default_every_kind_strikes_at_every_operation():
    struck = set()

    @quiet(max_examples=300)
    @given(schedules(SHOP, faults_max=2))
    def probe(schedule):
        run = SHOP.run(None, schedule)
        struck.update((type(one), one.site.operation) for one in schedule if one not in run.unused)

    probe()
    assert (Crash, CHARGE) in struck
    assert (Crash, REFUND) in struck, "the compensation is struck together with its cause"


# ---- what Hypothesis does stays as it is


class Broken(AssertionError):
    pass


def failing(database=None, **words):
    """Return a test that fails when the charge crashes, and what it was called with."""
    seen = []

    @quiet(max_examples=200, database=database, **words)
    @given(schedule=schedules(SHOP), noise=st.integers(0, 1_000))
    def probe(schedule, noise):
        seen.append(schedule)
        note(f"noise {noise}")
        run = SHOP.run(None, schedule)
        if CRASH in schedule and CRASH not in run.unused:
            raise Broken

    return probe, seen


def test_a_planned_failure_is_shrunk_and_shown_as_code():
    probe, _ = failing()
    with pytest.raises(Broken) as caught:
        probe()
    text = "\n".join(caught.value.__notes__)
    assert f"schedule={Schedule([CRASH])!r}" in text
    assert "noise=0" in text
    assert "noise 0" in text


def test_a_planned_failure_is_replayed_from_the_database():
    probe, seen = failing(InMemoryExampleDatabase())
    for _ in range(2):
        seen.clear()
        with pytest.raises(Broken):
            probe()
    assert seen[0] == Schedule([CRASH])
    assert set(seen) == {Schedule([CRASH])}, "what was stored minimal is not shrunk again"


def test_explicit_examples_run_first():
    seen = []

    @example(schedule=Schedule([CRASH, LOST]))
    @quiet(max_examples=5)
    @given(schedule=schedules(SHOP))
    def probe(schedule):
        seen.append(schedule)

    probe()
    assert seen[0] == Schedule([CRASH, LOST])


def test_find_works_with_the_planner():
    words = {"settings": quiet(max_examples=3_000), "random": Random(1)}
    assert find(schedules(SHOP), lambda one: LOST in one, **words) == Schedule([LOST])


def test_a_seed_is_heeded():
    def workloads_of(number):
        seen = []

        @seed(number)
        @quiet(max_examples=20)
        @given(st.integers(), schedules(SHOP))
        def probe(value, schedule):
            seen.append((value, schedule))

        probe()
        return seen

    assert workloads_of(5) == workloads_of(5)
    assert workloads_of(5) != workloads_of(6)


def test_a_test_without_schedules_is_left_to_hypothesis():
    seen = []

    @quiet(max_examples=100)
    @given(st.integers(0, 99))
    def probe(value):
        seen.append(value)

    probe()
    assert len(set(seen)) > 85, "Hypothesis itself draws nothing twice; chance would"


def test_events_say_what_struck():
    from hypothesis.statistics import collector

    token = PLAN.set(lambda deck: [Leg(Playback(PLANNED))])
    statistics = []

    @quiet(max_examples=10)
    @given(schedules(SHOP))
    def probe(schedule):
        SHOP.run(None, schedule)

    try:
        with collector.with_value(statistics.append):
            probe()
    finally:
        PLAN.reset(token)
    events = {
        event for case in statistics[0]["generate-phase"]["test-cases"] for event in case["events"]
    }
    assert {"struck by: crash", "struck by: lost reply", "run ended: quiet"} <= events


# ---- observe_in_hypothesis, for ordinary @given tests


def test_an_ordinary_test_can_tell_hypothesis_of_its_runs():
    best = []

    @settings(database=None, deadline=None, max_examples=30)
    @given(schedules(SHOP, faults_max=2))
    def probe(schedule):
        target(1.0, label="mine")
        observe_in_hypothesis(SHOP.run(None, schedule))
        observe_in_hypothesis(SHOP.run(None, schedule))  # twice does no harm
        best.append(schedule)

    probe()
    assert best


def test_outside_a_test_it_does_nothing():
    observe_in_hypothesis(SHOP.run())


# ---- settings


def test_chaos_settings_change_three_things_and_no_more():
    base = settings(max_examples=7, print_blob=True, report_multiple_bugs=False)
    found = chaos_settings(base)
    assert (found.deadline, found.backend) == (None, "chaosharness")
    assert Phase.explain not in found.phases
    assert (found.max_examples, found.print_blob, found.report_multiple_bugs) == (7, True, False)
    assert found.suppress_health_check == base.suppress_health_check


def test_what_is_given_goes_first():
    found = chaos_settings(deadline=500, phases=[Phase.explicit], backend="hypothesis")
    assert found.deadline.total_seconds() == 0.5
    assert found.phases == (Phase.explicit,)
    assert found.backend == "hypothesis"


def test_another_backend_in_the_profile_is_left_alone():
    from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS

    AVAILABLE_PROVIDERS["another"] = Planned
    try:
        assert chaos_settings(settings(backend="another")).backend == "another"
    finally:
        del AVAILABLE_PROVIDERS["another"]


def test_hypothesis_knows_the_backend_without_an_import_and_loads_nothing_for_it():
    code = (
        "import sys, hypothesis; hypothesis.settings(backend='chaosharness');"
        "print(sorted(name for name in sys.modules if name.startswith('chaosharness')))"
    )
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert (
        output.strip() == "['chaosharness', 'chaosharness.search', 'chaosharness.search.backend']"
    )


# ---- the provider interface


def test_the_backend_conforms():
    run_conformance_test(Planned, settings=settings(max_examples=30, deadline=None))


def test_the_self_test_passes_here():
    assert adapter.self_test(Planned) == ""


def test_the_self_test_sees_schedules_that_do_not_arrive():
    class Deaf(Planned):
        def draw_integer(self, *bounds, **constraints):
            return self._draw("integer", bounds, constraints)

    assert "arrived" in adapter.self_test(Deaf)


@pytest.fixture
def fresh():
    adapter.backend.cache_clear()
    adapter.warn_of_misfit.cache_clear()
    yield
    adapter.backend.cache_clear()
    adapter.warn_of_misfit.cache_clear()


def test_where_it_does_not_fit_schedules_are_random_after_one_warning(fresh, monkeypatch):
    monkeypatch.setattr(adapter, "self_test", lambda provider: "the moon is full")
    seen = []

    @quiet(max_examples=50)
    @given(schedules(SHOP))
    def probe(schedule):
        seen.append(schedule)

    with pytest.warns(UserWarning, match=r"draws them at random.*\(the moon is full\)") as caught:
        probe()
        probe()
    assert len([one for one in caught if "chaosharness" in str(one.message)]) == 1
    assert adapter.backend() is Unplanned
    assert len(set(seen)) > 20


def test_a_self_test_that_raises_does_not_fit_either(fresh, monkeypatch):
    def raising(provider):
        raise TypeError("draw_integer() got an unexpected keyword argument")

    monkeypatch.setattr(adapter, "self_test", raising)
    with pytest.warns(UserWarning, match="TypeError: draw_integer"):
        assert adapter.backend() is Unplanned


def test_without_the_interface_settings_leave_the_backend_alone(fresh, monkeypatch):
    monkeypatch.setattr(adapter, "MISSING", "cannot import name 'PrimitiveProvider'")
    with pytest.warns(UserWarning, match="cannot import name 'PrimitiveProvider'"):
        assert chaos_settings().backend == "hypothesis"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert chaos_settings().backend == "hypothesis"


# ---- after a failure


def test_fewer_faults_that_last_longer_are_proposed():
    short = Schedule([CRASH, LOST])
    assert list(fewer_but_longer(short)) == [
        Schedule([LOST]),
        Schedule([Crash(CRASH.site, down="timeout")]),
        Schedule([Crash(CRASH.site, down="long")]),
    ]


def test_short_troubles_that_work_together_give_way_to_one_long_one():
    """Neither of the two can be left out, and shrinking never makes the other one worse."""
    site = Site(CHARGE, "after")
    together = Schedule([Pause(site), LOST])
    alone = Schedule([Pause(site, lasting="timeout")])

    @quiet(max_examples=40)
    @given(schedules(SHOP))
    def probe(schedule):
        run = SHOP.run([{"id": "a", "cents": 1}, {"id": "b", "cents": 1}], schedule)
        struck = set(schedule) - set(run.unused)
        if set(together) <= struck or set(alone) <= struck:
            error = Broken()
            error.schedule = schedule
            raise error

    token = PLAN.set(lambda deck: [Leg(Playback([Schedule(), together]))])
    try:
        with pytest.raises(Broken) as caught:
            probe()
    finally:
        PLAN.reset(token)
    assert caught.value.schedule == alone
