"""FastStream on RabbitMQ as it is: an application that a module holds, anew in each process."""

import logging

import pytest

from chaosharness import Crash, LostReply, LostRequest, Redeliver, Schedule, Site
from chaosharness.search.target import load_target
from models.applications.charges.system import acknowledged_first

SITES = "models.applications.charges.system"


def run_of(*faults):
    run = load_target(f"{SITES}:charges").run(None, Schedule(faults))
    assert (run.ending.verdict, run.unused) == ("quiet", ()), run.ending
    return run


def test_each_process_has_the_application_for_itself(capfd):
    first = run_of()
    filters = len(logging.getLogger("faststream.access.rabbit").filters)
    assert {"faststream", "aio_pika"} <= first.spoken.keys()
    operations = {one.operation for one in first.history}
    assert {"charging.on_order/handle", "charging.on_order/bus.publish charged"} <= operations
    assert run_of().digest() == first.digest()
    assert capfd.readouterr() == ("", "")
    assert len(logging.getLogger("faststream.access.rabbit").filters) == filters  # others' too


@pytest.mark.parametrize(
    "fault",
    [
        Crash(Site("charging.on_order/bank.charge", "after")),
        Crash(Site("charging.on_order/bus.ack", "after")),
        Redeliver(Site("bus.placed/deliver to charging", "after")),
        LostRequest(Site("charging.on_order/bus.ack")),
    ],
)
def test_it_comes_back_and_books_every_order(fault):
    run = run_of(fault)
    booked = {one.entity for one in run.history if one.operation == "booking.on_charged/handle"}
    assert booked == {1, 2}
    run.check()


def test_who_waits_when_a_connection_is_lost_is_told_in_the_same_order_each_time():
    system = acknowledged_first()
    lost = Schedule([LostReply(Site("charging.on_order/bus.publish charged", "after"))])
    first = system.run(None, lost)
    assert not first.unused
    assert sum(one.kind == "raised" for one in first.history) > 1
    kept = []
    for _ in range(8):
        kept.append(bytearray(10_000))  # other addresses
        assert system.run(None, lost).digest() == first.digest()
