"""One schedule, one history: twice in a process, and in others under other hash seeds."""

import json
import os
import subprocess
import sys

import pytest

from chaosharness import LostReply, Schedule, Site
from chaosharness.counterexample import Counterexample
from chaosharness.errors import ChaosharnessError, Nondeterminism
from chaosharness.search.determinism import check_determinism, compare
from chaosharness.search.explore import explore
from chaosharness.search.marks import Sight
from chaosharness.search.random_search import RandomSearch
from chaosharness.search.shrink import shrink
from tests.search.planted import (
    EXAMPLES,
    Order,
    counts_its_runs,
    never_charged_twice,
    one,
    two,
    words_of_a_set,
)

CHARGE = Site("payments.on_order/bank.charge", "after")


def test_a_system_without_a_memory_passes():
    schedule = Schedule([LostReply(CHARGE)])
    run = check_determinism(one(), schedule, items=[Order("x", 1)])
    assert run.schedule == schedule


def test_it_passes_in_another_process_too():
    schedule = Schedule([LostReply(CHARGE)])
    items = [Order("Zoë ✓", 1)]
    check_determinism(one(), schedule, items=items, target="tests.search.planted:one")


def test_a_system_with_a_memory_does_not():
    with pytest.raises(Nondeterminism, match="between two runs of Schedule") as caught:
        check_determinism(counts_its_runs())
    assert caught.value.index == 2
    assert "times=1" in str(caught.value) and "times=2" in str(caught.value)


def test_the_order_of_a_set_shows_under_another_hash_seed_only():
    system = words_of_a_set()
    check_determinism(system)  # within a process a set keeps its order
    with pytest.raises(Nondeterminism, match="the second under another hash seed"):
        for seed in ("1", "2", "3"):  # two orders of seven words may be the same by chance
            check_determinism(system, target="tests.search.planted:words_of_a_set", hash_seed=seed)


def test_what_goes_wrong_in_the_other_process_is_said_here():
    with pytest.raises(ChaosharnessError, match=r"could not be run in another process .*no 'nope'"):
        check_determinism(one(), target="tests.search.planted:nope")


def test_a_history_that_only_goes_on_longer_differs_where_the_other_ends():
    long, short = one().run(), one().run(EXAMPLES[:1])
    with pytest.raises(Nondeterminism) as caught:
        compare(long.history, short.history, schedule="two workloads")
    assert caught.value.index < len(short.history)
    compare(long.history, one().run().history, schedule="the same")


# ---- 20 failures, 100 replays each

REPLAY = """
import json, sys
from chaosharness.counterexample import Counterexample
from chaosharness.search.replay import replay
from chaosharness.search.target import load_target

outcomes = []
for text in json.load(sys.stdin):
    found = Counterexample.decode(text)
    system = load_target(found.target)
    for _ in range(int(sys.argv[1])):
        again = replay(found, system)
        outcomes.append(json.dumps([again.to_json(), again.run.history.to_json()], sort_keys=True))
    assert len(set(outcomes[-int(sys.argv[1]):])) == 1
    del outcomes[1 - int(sys.argv[1]):]
print(json.dumps(outcomes))
"""


def failures():
    """Return 20 counterexamples, and some of them not shrunk: large ones are as reproducible."""
    found = []
    for seed in range(20):
        make = two if seed % 4 == 0 else one
        system = make()
        planner = RandomSearch(faults_max=8, seed=seed)
        while True:
            run = system.run(None, planner.propose())
            planner.observe(Sight(run))
            if findings := never_charged_twice.findings(run.evidence()):
                break
        target = f"tests.search.planted:{make.__name__}"
        if seed % 2:
            found.append(shrink(system, never_charged_twice, None, run.schedule, target=target))
        else:
            found.append(
                Counterexample(
                    property=never_charged_twice.name,
                    system=system.name,
                    target=target,
                    schedule=run.schedule,
                    items=tuple({"id": one_.id, "cents": one_.cents} for one_ in run.items),
                    findings=tuple(findings),
                    digest=run.digest(),
                )
            )
    return found


@pytest.mark.slow
def test_twenty_failures_replay_a_hundred_times_byte_for_byte_under_any_hash_seed():
    found = failures()
    question = json.dumps([one_.encode() for one_ in found])
    answers = []
    for seed in ("0", "1", "42", "4294967295"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        answers.append(
            subprocess.run(
                [sys.executable, "-c", REPLAY, "25"],
                input=question,
                capture_output=True,
                text=True,
                env=environment,
                check=True,
            ).stdout
        )
    assert len(set(answers)) == 1
    outcomes = [json.loads(text)[0] for text in json.loads(answers[0])]
    assert len(outcomes) == 20
    assert {outcome["verdict"] for outcome in outcomes} == {"failing"}
    assert all(outcome["same_history"] for outcome in outcomes)


@pytest.mark.slow
def test_a_right_system_is_silent_in_a_soak():
    from tests.search.planted import right

    campaign = explore(right(), mode="random", faults_max=5, runs_max=3_000)
    assert campaign.result == "holds"
