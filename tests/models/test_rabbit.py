"""The models on RabbitMQ: right under every single fault, and broken with no claim at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chaosharness import BrokerAlarm, Delay, NetworkPartition, Schedule, Site, explore
from chaosharness.search.target import load_target

ROOT = Path(__file__).parents[2]
RIGHT = [
    "reports:reports",
    "reports:heartbeat_long_enough",
    "dispatch:dispatch",
    "dispatch:requeue_beside_others",
    "prices:prices",
    "prices:replayed_prices",
    "outbox:outbox",
    "alarms:tickets",
    "keys:keys",
    "keys:keys_for_a_week",
]
BROKEN = {
    "reports:blocked_heartbeats": 0,
    "dispatch:requeue_that_starves": 1,
    "prices:retry_queue_breaks_order": 1,
    "prices:dead_letters_over_newer_state": 1,
    "outbox:lost_confirm_and_double_publish": 1,
    "outbox:range_read_as_one": 0,
    "alarms:takes_silence_for_a_no": 1,
}


FIRST_TASK = "1 of packing.on_order/bus.publish tasks"


def loaded(target):
    return load_target(f"models.rabbit.{target}")


@pytest.mark.parametrize("target", RIGHT)
@pytest.mark.parametrize("claims", ["nothing claimed", "with its claims"])
def test_the_right_one_holds_under_every_single_fault(target, claims):
    system = loaded(target)
    if claims == "nothing claimed":
        system.properties.clear()
    campaign = explore(system, faults_max=1, runs_max=10_000)
    assert campaign.result == "holds", campaign.sentences()


@pytest.mark.parametrize("target", BROKEN)
@pytest.mark.parametrize("claims", ["nothing claimed", "with its claims"])
def test_a_broken_one_takes_so_many_faults(target, claims):
    system = loaded(target)
    if claims == "nothing claimed":
        system.properties.clear()
    found = explore(system, faults_max=1, stop_at_first=True).counterexamples
    assert [len(one.schedule) for one in found] == [BROKEN[target]]


@pytest.mark.parametrize("claims", ["nothing claimed", "with its claims"])
def test_an_alarm_alone_is_enough(claims):
    system = loaded("alarms:takes_silence_for_a_no")
    if claims == "nothing claimed":
        system.properties.clear()
    [found] = explore(system, faults_max=1, kinds=[BrokerAlarm], stop_at_first=True).counterexamples
    assert found.schedule == Schedule([BrokerAlarm(Site("till.on_order/bus.publish prints"))])


def test_a_round_that_waits_for_what_an_outage_held_up_is_not_for_ever():
    # the order is given back when the connection is found dead, long after the network has healed
    site = Site("bus.tasks/deliver to gate", attempt=2, message=FIRST_TASK)
    faults = [Delay(site), NetworkPartition(Site("till.on_order/bus.publish tasks"))]
    run = loaded("dispatch:dispatch").run(schedule=Schedule(faults))
    assert run.ending.verdict == "quiet"


@pytest.mark.slow
@pytest.mark.parametrize("target", RIGHT)
def test_nothing_is_found_in_the_right_one_under_more(target):
    campaign = explore(loaded(target), faults_max=4, runs_max=1_500, seed=7)
    assert not campaign.counterexamples, campaign.sentences()


DIGESTS = """
from chaosharness import LostReply, Pause, Schedule, Site
from models.rabbit import dispatch, outbox, prices, reports
for made in (
    reports.reports().run(),
    reports.blocked_heartbeats().run(),
    dispatch.dispatch().run(),
    prices.retry_queue_breaks_order().run(),
    outbox.outbox().run(
        None, Schedule([LostReply(Site("relay.on_batch/bus.publish orders", "after"))])
    ),
):
    print(made.history.digest())
"""


def test_the_same_run_is_the_same_in_another_process_with_another_hash_seed():
    said = {
        subprocess.run(
            [sys.executable, "-c", DIGESTS],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    [digests] = said
    assert len(digests.split()) == 5
