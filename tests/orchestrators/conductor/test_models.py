"""The order saga as a workflow of Conductor: right, and with one planted bug each."""

import os
import subprocess
import sys

import pytest

from chaosharness import Crash, Schedule, Site, assumed, explore
from chaosharness.campaign import Campaign
from models.conductor import broken, right

DIGEST = (
    "from models.conductor.right import shop; from chaosharness import Crash, Schedule, Site;"
    "print(shop.run(list(shop.examples), Schedule([Crash(Site('conductor.order/queue tasks', "
    "phase='after'))])).history.digest())"
)


def examined(system: object, faults_max: int = 1) -> Campaign:
    return explore(system, properties=assumed(system), faults_max=faults_max)  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_right_saga_is_silent_over_all_single_faults_claimed_or_not() -> None:
    shop = right.build()
    lamp = shop.examples[1:]  # what cannot be delivered is undone: each task has its turn
    properties = (*assumed(shop), *shop.properties)
    campaign = explore(shop, properties=properties, items=lamp, faults_max=1)
    assert campaign.counterexamples == ()
    assert campaign.coverage.levels[1].complete
    assert campaign.coverage.levels[1].total > 300


@pytest.mark.slow
def test_the_right_saga_is_silent_with_all_its_items_and_each_length_of_trouble() -> None:
    for properties in (assumed(right.build()), None):
        campaign = explore(right.build(), properties=properties, options="all", faults_max=1)
        assert campaign.counterexamples == ()
        assert campaign.coverage.levels[1].complete


@pytest.mark.parametrize(
    ("twin", "faults"),
    [
        (broken.failure_workflow_lost, 1),
        (broken.failure_workflow_absent, 0),
        (broken.key_of_attempt, 0),
        (broken.undoes_what_did_not_happen, 0),
        (broken.response_timeout_too_short, 0),
    ],
)
def test_each_twin_breaks_the_conservation_of_money(twin: object, faults: int) -> None:
    campaign = explore(twin(), faults_max=faults)  # type: ignore[operator]
    found = {one.property: one for one in campaign.counterexamples}
    assert len(found["money is conserved"].schedule) == faults


@pytest.mark.parametrize(
    ("twin", "kind", "place", "faults"),
    [
        (broken.failure_workflow_lost, "half done", "bank.charge", 1),
        (broken.failure_workflow_absent, "half done", "bank.charge", 0),
        (broken.key_of_attempt, "half done", "bank.charge", 0),
        pytest.param(
            broken.undoes_what_did_not_happen, "half done", "bank.refund", 1,
            marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_each_twin_is_named_with_nothing_claimed(
    twin: object, kind: str, place: str, faults: int
) -> None:
    first = examined(twin(), faults).counterexamples[0]  # type: ignore[operator]
    assert (first.findings[0].kind, first.findings[0].place) == (kind, place)
    assert len(first.schedule) == faults


def test_two_charges_of_one_order_are_named_where_the_key_is_the_attempt_s() -> None:
    system = broken.key_of_attempt()
    book = system.examples[:1]
    campaign = explore(system, properties=assumed(system), items=book, faults_max=1)
    first = campaign.counterexamples[0]
    assert (first.findings[0].kind, first.findings[0].place) == ("effect twice", "bank.charge")
    assert len(first.schedule) == 1


def test_the_windows_of_a_failure_workflow_are_named_by_the_server_s_writes() -> None:
    campaign = explore(broken.failure_workflow_lost(), faults_max=1)
    [fault] = next(one for one in campaign.counterexamples if one.property == "money is conserved"
                   ).schedule  # fmt: skip
    assert isinstance(fault, Crash)
    server, _, write = fault.site.operation.partition("/")
    assert server == "conductor.order"
    assert write in ("end workflow", "cancel tasks")


def test_one_schedule_has_one_digest_in_two_processes_of_two_hash_seeds() -> None:
    shop = right.build()
    schedule = Schedule([Crash(Site("conductor.order/queue tasks", phase="after"))])
    run = shop.run(list(shop.examples), schedule)
    assert not run.unused
    digests = {run.history.digest()}
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        said = subprocess.run(
            [sys.executable, "-c", DIGEST], env=environment, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        digests.add(said.stdout.strip())
    assert len(digests) == 1
