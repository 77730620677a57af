"""What is found with nothing claimed, and how many reference runs that takes, is one value."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chaosharness import assumed
from models.order.right import order_flow
from models.small import tickets
from tests.checkers.outcomes import shops

PROGRAM = """
import json
from chaosharness import assumed, explore
from models.small import tickets
from models.order import broken
from tests.checkers.outcomes import shops

systems = [
    tickets.cancelled_is_not_undone(),
    shops.contention(inbox=False),
    broken.committed_and_never_published(),
]
found = [
    explore(
        system, properties=assumed(system), runs_max=90, faults_max=2, mode="small-first"
    ).to_json()
    for system in systems
]
print(json.dumps(found))
"""


def campaigns(hash_seed):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=Path(__file__).parents[3],
        env={
            **os.environ,
            "PYTHONHASHSEED": hash_seed,
            "PYTHONPATH": os.pathsep.join(one for one in sys.path if one),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    said = f'"hash_seed": "{hash_seed}"'  # a counterexample says where it was found
    assert said in done.stdout
    return json.loads(done.stdout.replace(said, '"hash_seed": ""'))


def test_campaigns_are_the_same_in_two_processes_under_two_hash_seeds():
    one, other = campaigns("1"), campaigns("4242")
    assert [found["result"] for found in one] == ["violated"] * 3
    for mine, theirs in zip(one, other, strict=True):
        assert json.dumps(mine) == json.dumps(theirs)


@pytest.mark.parametrize(
    ("build", "most"),
    [(tickets.tickets, 10), (order_flow, 12), (lambda: shops.api(keys=True), 9)],
    ids=["tickets", "order", "api"],
)
def test_a_run_without_faults_is_judged_by_few_reference_runs(build, most):
    """Under Hypothesis each example is a workload of its own."""
    system = build()
    run = system.run()
    assert [one for claim in assumed(system) for one in claim.findings(run.evidence())] == []
    assert 0 < run.family().made <= most
