"""How small Hypothesis makes what we draw: to the exact minimum, and in how many runs.

100 seeds: CHAOS_SEEDS=100 pytest tests/search/test_hypothesis_shrinking.py
"""

import os
import statistics
from random import Random

import pytest
from hypothesis import HealthCheck, given

from chaosharness import (
    Crash,
    ErrorReply,
    LostReply,
    LostRequest,
    Schedule,
    Site,
    chaos_settings,
    schedules,
    workloads,
)
from chaosharness.errors import PropertyViolated
from chaosharness.search import decorator
from chaosharness.search.decorator import chaos_test
from chaosharness.search.plan import PLAN, Leg, Playback
from chaosharness.strategies.drawing import deck_for
from tests.search import planted
from tests.strategies.shops import CHARGE, shop

SEEDS = int(os.environ.get("CHAOS_SEEDS", "12"))
RESERVE = "payments.on_order/stock.reserve"
SHOP = shop()
ITEMS = [{"id": f"o{number}", "cents": number} for number in range(1, 4)]
FAULTS_MAX = 5

NEEDED = {
    "one": [Crash(Site(CHARGE, "after"))],
    "one, of the second item": [LostReply(Site(RESERVE, "after", entity=2))],
    "two, one after the other": [
        Crash(Site(CHARGE, "after")),
        LostRequest(Site(CHARGE, attempt=2)),
    ],
    "two, of two items": [Crash(Site(CHARGE, "after", entity=2)), ErrorReply(Site(RESERVE))],
    "three, one after the other": [
        Crash(Site(CHARGE, "after", attempt=attempt)) for attempt in (1, 2, 3)
    ],
    "three, of three items": [
        Crash(Site(CHARGE, "after")),
        LostReply(Site(RESERVE, "after", entity=2)),
        ErrorReply(Site(RESERVE, entity=3)),
    ],
}
CALLS_MAX = {1: 150, 2: 250, 3: 400}
"""Calls of the test body, most of them answered from what is known already."""


class Broken(AssertionError):
    pass


def breaks(run, needed):
    return needed <= set(run.schedule) - set(run.unused)


def start_with(needed, seed):
    """Return a schedule that holds what is needed among other faults that strike."""
    random, deck = Random(seed), deck_for(SHOP, faults_max=1)
    found = Schedule(needed)
    while len(found) < FAULTS_MAX:
        more = Schedule([*found, *deck.read(lambda top: random.randint(0, top))])
        run = SHOP.run(ITEMS, more)
        if breaks(run, needed) and not run.unused:
            found = more
    return found


def shrink(needed, start):
    """Return what Hypothesis makes of a failing schedule, and how often it called."""
    calls, last = [], []

    @chaos_settings(
        database=None,
        derandomize=True,
        max_examples=8,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(workload=workloads(SHOP), schedule=schedules(SHOP, faults_max=FAULTS_MAX))
    def probe(workload, schedule):
        calls.append(schedule)
        if breaks(SHOP.run(ITEMS, schedule), needed):
            last.append(schedule)
            raise Broken

    token = PLAN.set(lambda deck: [Leg(Playback([Schedule(), start]))])
    try:
        with pytest.raises(Broken):
            probe()
    finally:
        PLAN.reset(token)
    return last[-1], len(calls)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name.startswith("three") else name
        for name in NEEDED
    ],
)
def test_a_planted_bug_is_shrunk_to_the_faults_it_needs(name):
    needed = set(NEEDED[name])
    found = [shrink(needed, start_with(needed, seed)) for seed in range(SEEDS)]
    exact = sum(set(schedule) == needed for schedule, _ in found)
    calls = statistics.median(calls for _, calls in found)
    print(f"{name}: {exact} of {SEEDS} exact, median {calls:g} calls, most {max(found)[1]}")
    assert exact >= 0.95 * SEEDS
    assert calls <= CALLS_MAX[len(needed)]


RUNS_MAX = {1: 60, 2: 90}
"""Runs of the system from the first failure on: fewer than calls, since none is made twice."""


@pytest.mark.parametrize("faults", [1, 2])
def test_a_real_bug_is_found_and_shrunk_to_its_smallest_schedule(faults, monkeypatch):
    # what Hypothesis alone makes of it, before it is looked for once more as `check` does
    monkeypatch.setattr(decorator.Campaign, "shown", lambda self, error: error)
    make = {1: planted.one, 2: planted.two}[faults]
    minima, runs = [], []
    for seed in range(SEEDS // 2):
        system, made = make(), []
        deck = deck_for(system, faults_max=4)
        real = system.run

        def run(items=None, schedule=None, made=made, real=real):
            made.append((items, schedule))
            return real(items, schedule)

        system.run = run
        random = Random(seed)
        failing = None
        while failing is None:
            drawn = real(None, deck.read(lambda top, random=random: random.randint(0, top)))
            try:
                drawn.check()
            except PropertyViolated:
                failing = Schedule(set(drawn.schedule) - set(drawn.unused))
        token = PLAN.set(lambda deck, start=failing: [Leg(Playback([Schedule(), start]))])
        settings = chaos_settings(
            database=None, derandomize=True, max_examples=8, report_multiple_bugs=False
        )

        @chaos_test(system, workload=list(planted.EXAMPLES), settings=settings)
        def probe():
            """The system's claim is enough."""

        try:
            with pytest.raises(PropertyViolated) as caught:
                probe()
        finally:
            PLAN.reset(token)
        minima.append(len(caught.value.run.schedule))
        runs.append(len(made))
    exact, median = minima.count(faults), statistics.median(runs)
    print(f"{faults} faults: {exact} of {len(minima)} exact, median {median:g} runs")
    assert exact >= 0.9 * len(minima)
    assert median <= RUNS_MAX[faults]
