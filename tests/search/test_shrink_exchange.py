"""Out of a local minimum: each fault is needed, no part of it does, and still fewer would."""

import pytest

from chaosharness import (
    Crash,
    Delay,
    ErrorReply,
    LostReply,
    LostRequest,
    NetworkPartition,
    PartitionDelay,
    Poison,
    Rebalance,
    Schedule,
    Site,
)
from chaosharness.counterexample import Counterexample
from chaosharness.faults import EVERY_KIND
from chaosharness.reporting.formats.text import to_text
from chaosharness.search import exchange
from chaosharness.search.explore import explore
from chaosharness.search.laboratory import Known
from chaosharness.search.shrink import shrink
from tests.search.planted import never_charged_twice, one, three, two

PUBLISH = "client.place/bus.publish orders"
DELIVER = "bus.orders/deliver to payments"
HANDLE = "payments.on_order/handle"
CHARGE = "payments.on_order/bank.charge"
COMMIT = "payments.on_order/bus.commit"
BOOK1 = "payments.on_order/book1.claim"
BOOK2 = "payments.on_order/book2.claim"

# What taking away alone had left of five random schedules out of 1,200 (see benchmarks/shrink.py).
LOCAL_MINIMA = {
    "a lag, and a third party that is slow": [
        PartitionDelay(Site(DELIVER), lasting=11),
        PartitionDelay(Site(DELIVER), lasting="long"),
        Delay(Site(CHARGE), lasting=27_000),
        Delay(Site(BOOK1)),
        ErrorReply(Site(BOOK2)),
    ],
    "a cut that began with the other item": [
        Delay(Site(PUBLISH), lasting=40_500),
        LostReply(Site(CHARGE, "after")),
        Delay(Site(BOOK1, attempt=2)),
        NetworkPartition(Site(BOOK2, entity=2), way="back"),
    ],
    "a rebalance at the other item": [
        NetworkPartition(Site(BOOK1), way="out"),
        NetworkPartition(Site(BOOK2), lasting="long"),
        LostRequest(Site(COMMIT)),
        Rebalance(Site(DELIVER, entity=2)),
    ],
    "a cut between broker and consumer": [
        Delay(Site(PUBLISH), lasting=11),
        LostReply(Site(CHARGE, "after")),
        LostRequest(Site(BOOK1)),
        Delay(Site(BOOK2)),
        NetworkPartition(Site(DELIVER, entity=2), lasting=11),
    ],
    "a message that kills its consumer": [
        Crash(Site(HANDLE, entity=0, attempt=3), down=11),
        NetworkPartition(Site(BOOK1), way="back"),
        ErrorReply(Site(BOOK2)),
        LostRequest(Site(COMMIT)),
        Poison(Site(PUBLISH, entity=2)),
    ],
}


def breaks(system, schedule, items=None):
    return bool(never_charged_twice.findings(system.run(items, schedule).evidence()))


@pytest.mark.parametrize("faults", LOCAL_MINIMA.values(), ids=LOCAL_MINIMA)
def test_a_local_minimum_is_left(faults):
    system = three()
    start = Schedule(faults)
    assert breaks(system, start)
    assert not any(breaks(system, start.without(fault)) for fault in start)

    found = shrink(system, never_charged_twice, None, start)

    assert len(found.schedule) == 3
    assert found.minimal
    assert breaks(system, found.schedule, system.examples[: len(found.items)])


def test_what_was_checked_is_said_and_how_often_it_was_tried():
    start = Schedule([LostReply(Site(CHARGE, "after")), LostRequest(Site(BOOK1, attempt=2))])
    found = shrink(two(), never_charged_twice, None, start)

    assert found.minimal
    assert not found.exact, "not every single fault was run"
    assert found.checked == "no fault can be dropped; no two exchanged for one within the 9 tried"
    assert f"Checked: {found.checked}." in " ".join(to_text(found).split())
    again = Counterexample.decode(found.encode())
    assert (again.minimal, again.exact, again.checked) == (True, False, found.checked)


def found_small_first(**options):
    system = two()
    [found] = explore(
        system,
        items=system.examples[:1],
        faults_max=2,
        runs_max=5_000,
        mode="small-first",
        stop_at_first=True,
        **options,
    ).counterexamples
    assert len(found.schedule) == 2
    assert found.minimal
    again = Counterexample.decode(found.encode())
    assert (again.minimal, again.exact, again.checked) == (True, found.exact, found.checked)
    return found


def test_a_complete_level_proves_it_and_saves_the_exchanges():
    found = found_small_first(kinds=(ErrorReply, LostRequest, LostReply))
    assert found.exact
    assert found.checked == "no fault can be dropped; every single fault was run (all options)"
    assert found.shrunk_in <= 12


def test_a_level_that_left_something_out_says_so_and_is_no_proof():
    found = found_small_first()
    assert not found.exact
    words = "every single fault was run (all options, attempts up to 12)"
    assert found.checked == f"no fault can be dropped; {words}"
    assert found.shrunk_in <= 12


def test_one_fault_is_proved_by_the_calm_run():
    start = Schedule([LostReply(Site(CHARGE, "after")), Delay(Site(PUBLISH, entity=2))])
    found = shrink(one(), never_charged_twice, None, start)
    assert len(found.schedule) == 1
    assert found.minimal
    assert found.exact
    assert not found.checked, "that it is needed says it all"
    assert Counterexample.decode(found.encode()).exact


def test_what_the_search_ran_already_is_not_run_again():
    start = Schedule([LostReply(Site(CHARGE, "after")), LostRequest(Site(BOOK1, attempt=2))])
    system = two()
    calm = system.run()
    fresh = shrink(system, never_charged_twice, None, start)
    known = Known(calm=calm, held=lambda faults: len(faults) < 2)
    told = shrink(system, never_charged_twice, None, start, known=known)

    assert told.schedule == fresh.schedule
    assert told.shrunk_in < fresh.shrunk_in - 8
    assert "within the 9 tried" not in told.checked, "those that were free count too"


def test_every_kind_of_fault_has_its_place():
    assert set(exchange._STRENGTH) == set(EVERY_KIND)
