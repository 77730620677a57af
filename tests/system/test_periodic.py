"""Systems driven by time become quiet: in calm, and after every single fault."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaosharness import (
    Budget,
    Crash,
    FailedCommit,
    Pause,
    Poison,
    Schedule,
    Site,
    StoreOutage,
    System,
    explore,
)
from tests.system.periodic import SYSTEMS

REPOSITORY = Path(__file__).parents[2]
LASTING = ("next", "timeout", "long", 45_000)


def singles(system: System, *, attempts: int, lasting: tuple[object, ...]) -> Iterator[Schedule]:
    """Yield every single crash, pause and store error at the first attempts of each site."""
    run = system.run()
    for (operation, entity), times in sorted(run.reached.items()):
        if operation.startswith("client."):
            continue
        surface = run.surfaces[operation]
        for attempt in range(1, min(times, attempts) + 1):
            after = Site(operation, "after", entity, attempt)
            before = Site(operation, "before", entity, attempt)
            for lasts in lasting:
                if Crash in surface.searched_after:
                    yield Schedule([Crash(after, down=lasts)])
                if Pause in surface.searched_after:
                    yield Schedule([Pause(after, lasting=lasts)])
                if StoreOutage in surface.searched_before:
                    yield Schedule([StoreOutage(before, lasting=lasts)])
            if FailedCommit in surface.searched_before:
                yield Schedule([FailedCommit(before)])


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda one: one.name)
def test_it_is_quiet_in_calm_and_has_done_its_work(system):
    run = system.run()
    assert run.ending.verdict == "quiet"
    assert len(run.history) < 5_000


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda one: one.name)
def test_it_is_quiet_after_a_fault(system):
    for schedule in singles(system, attempts=1, lasting=("timeout", "long")):
        ending = system.run(None, schedule).ending
        assert ending.verdict == "quiet", (schedule, ending)


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS, ids=lambda one: one.name)
def test_it_is_quiet_after_every_fault(system):
    for schedule in singles(system, attempts=12, lasting=LASTING):
        ending = system.run(None, schedule).ending
        assert ending.verdict == "quiet", (schedule, ending)


def test_another_hash_seed_ends_no_run_elsewhere():
    code = (
        "import json, sys; from tests.system.periodic import SYSTEMS;"
        "json.dump([one.run().digest() for one in SYSTEMS], sys.stdout)"
    )
    found = []
    for seed in ("0", "77"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=REPOSITORY,
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(json.loads(done.stdout))
    assert found[0] == found[1] == [one.run().digest() for one in SYSTEMS]


def test_a_small_budget_of_events_is_no_reason_for_another_verdict():
    for system in SYSTEMS:
        assert system.run(budget=Budget(events_max=20_000)).ending.verdict == "quiet"


@pytest.mark.parametrize("batch", ["batch_of_kafka", "batch_of_rabbitmq"])
def test_what_a_loop_makes_of_poison_is_a_finding_and_no_mistake_of_the_wiring(batch):
    """The payload is a key, which must be text: in a batch, long after it was taken."""
    system = next(one for one in SYSTEMS if one.name == batch)
    found = explore(system, faults_max=1, kinds=(Poison,)).counterexamples
    words = {one.property: one.findings[0].summary for one in found}
    assert set(words) == {"unhandled exceptions block nobody", "poison blocks nobody"}
    assert "a key of 'kv' must be text" in words["unhandled exceptions block nobody"]
