"""The models on Kafka: right under every single fault, and broken with no claim at all."""

from __future__ import annotations

import pytest

from chaosharness import explore
from chaosharness.search.target import load_target

RIGHT = [
    "till:till",
    "till:tasks",
    "totals:totals",
    "prices:prices",
    "statuses:statuses",
    "invoices:invoices",
    "bills:bills",
    "moves:moves",
    "moves:balances",
    "confirmed:confirmed",
    "growing:numbered",
    "rests:reads_again",
    "retries:retries",
    "retries:tried_in_place",
    "capture:outbox",
    "capture:tables",
]
BROKEN = {
    "till:rebalance_in_mid_batch": 1,
    "till:key_from_the_offset": 1,
    "till:commits_past_a_failed_record": 1,
    "till:commits_past_a_running_record": 1,
    "prices:cache_kept_across_a_rebalance": 2,
    "totals:zombie_writes_after_its_successor": 1,
    "statuses:forgotten_key": 1,
    "relay:effect_outside_the_transaction": 1,
    "invoices:committed_before_the_work_ends": 1,
    "bills:kept_for_a_minute": 1,
    "moves:moves_on_a_compacted_topic": 1,
    "confirmed:confirmed_by_nobody": 1,
    "rests:skips_what_came_while_it_was_down": 1,
    "retries:retry_topic_breaks_order": 1,
    "capture:repeats_after_a_restart": 1,
    "capture:tables_out_of_step": 1,
}


def loaded(target):
    return load_target(f"models.kafka.{target}")


@pytest.mark.parametrize("target", RIGHT)
@pytest.mark.parametrize("claims", ["nothing claimed", "with its claims"])
def test_the_right_one_holds_under_every_single_fault(target, claims):
    system = loaded(target)
    if claims == "nothing claimed":
        system.properties.clear()
    campaign = explore(system, faults_max=1, runs_max=10_000)
    assert campaign.result == "holds", campaign.sentences()


@pytest.mark.parametrize("target", BROKEN)
@pytest.mark.parametrize(
    "claims", ["nothing claimed", pytest.param("with its claims", marks=pytest.mark.slow)]
)
def test_a_broken_one_takes_so_many_faults(target, claims):
    system = loaded(target)
    if claims == "nothing claimed":
        system.properties.clear()
    faults = BROKEN[target]
    found = explore(system, faults_max=faults, runs_max=10_000, stop_at_first=True).counterexamples
    assert [len(one.schedule) for one in found] == [faults]


def test_what_a_failover_takes_is_named_by_a_claim():
    """With nothing claimed a failover is not judged: no code of the user's could have told."""
    system = loaded("confirmed:confirmed_by_its_leader")
    [found] = explore(system, faults_max=1, runs_max=10_000, stop_at_first=True).counterexamples
    [fault] = found.schedule
    assert str(fault).startswith("lost writes after relay.send/bus.publish orders")


def test_what_a_key_that_moved_does_to_its_order_is_named_by_a_claim():
    """With nothing claimed it is one of the orders in which two log partitions may be read."""
    system = loaded("growing:key_moved_to_a_new_log_partition")
    found = explore(system, faults_max=1, runs_max=10_000, stop_at_first=True).counterexamples
    assert [len(one.schedule) for one in found] == [1]
