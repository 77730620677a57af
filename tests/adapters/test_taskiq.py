"""taskiq as it is, on RabbitMQ: each task acts for its own message, and dies with its process."""

import gc

import pytest

from chaosharness import Crash, ErrorReply, Redeliver, Schedule, Site, explore, smallest
from tests.adapters.digests import printed_everywhere

pytest.importorskip("taskiq_aio_pika")

from models.applications.receipts.system import acknowledged_first, keyless, once, receipts

ITEMS = [{"id": "r1", "cents": 500}, {"id": "r2", "cents": 700}]


def played(system, *faults, items=None):
    run = system.run(items, Schedule(faults))
    assert (run.ending.verdict, run.unused) == ("quiet", ())
    return run


def effects(run):
    return [event.entity for event in run.history if event.kind == "effect"]


def test_each_task_acts_for_its_own_message():
    run = played(receipts(), items=ITEMS)
    assert sorted(effects(run)) == [1, 2]
    assert {"workers.charge/bank.charge", "workers.charge/bus.ack"} <= {
        event.operation for event in run.history
    }
    assert {"taskiq", "aio_pika", "httpx"} <= set(run.spoken)


def test_a_task_whose_process_dies_comes_again_under_the_same_key():
    crash = Crash(Site("workers.charge/bank.charge", "after"))
    run = played(receipts(), crash)
    assert len(effects(run)) == 1
    run.check()
    run = played(keyless(), Crash(Site("workers.keyless/bank.charge", "after")))
    assert len(effects(run)) == 2


def test_a_task_that_is_acknowledged_when_received_is_gone_with_its_process():
    run = played(acknowledged_first(), Crash(Site("workers.acknowledged_first/bank.charge")))
    assert effects(run) == []


def test_a_task_that_fails_is_acknowledged():
    run = played(once(), ErrorReply(Site("workers.once/bank.charge")))
    assert effects(run) == []
    assert sum(event.kind == "ack" for event in run.history) == 1


def test_a_lost_connection_has_it_run_beside_itself():
    lost = Redeliver(Site("bus.taskiq/deliver to workers", "after"))
    run = played(receipts(), lost)
    assert sum(event.kind == "deliver" for event in run.history) == 2
    run.check()


def test_a_run_that_is_over_ends_its_receivers(caplog):
    played(receipts())
    gc.collect()
    assert "Exception found while listening" not in caplog.text


@pytest.mark.parametrize("slip", [keyless, acknowledged_first, once])
def test_a_slip_is_found_by_one_fault_with_nothing_claimed(slip):
    found = smallest(slip(), faults_max=1, runs_max=300)
    assert found is not None
    assert len(found.schedule) == 1


@pytest.mark.slow
def test_the_right_one_holds_under_every_single_fault():
    campaign = explore(receipts(), faults_max=1, runs_max=2_000)
    assert campaign.result == "holds", campaign.sentences()


DIGESTS = """
from chaosharness import Crash, Schedule, Site
from models.applications.receipts.system import receipts
for faults in ((), (Crash(Site("workers.charge/bank.charge", "after")),)):
    for _ in range(2):
        print(receipts().run(None, Schedule(faults)).digest())
"""


def test_runs_are_the_same_in_every_process():
    lines = printed_everywhere(DIGESTS)
    assert lines[::2] == lines[1::2]
    assert len(set(lines)) == 2
