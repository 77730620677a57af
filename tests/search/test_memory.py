from chaosharness import Crash, ErrorReply, LostReply, LostRequest, Schedule, Site
from chaosharness.search.memory import Memory
from tests.strategies.shops import CHARGE, shop

SHOP = shop()
ITEMS = [{"id": "a", "cents": 1}]
STRIKES = ErrorReply(Site(CHARGE))
ALSO = LostReply(Site("payments.on_order/stock.reserve", "after"))
NOWHERE = Crash(Site(CHARGE, "after", attempt=4))


def remembering(*schedules, items=ITEMS):
    memory = Memory()
    for schedule in schedules:
        memory.keep(items, SHOP.run(items, schedule))
    return memory


def test_the_same_run_is_found_again():
    found = remembering(Schedule([STRIKES])).find(list(ITEMS), Schedule([STRIKES]))
    assert found.digest() == SHOP.run(ITEMS, Schedule([STRIKES])).digest()


def test_another_workload_is_another_run():
    memory = remembering(Schedule([STRIKES]))
    assert memory.find([{"id": "b", "cents": 1}], Schedule([STRIKES])) is None


def test_another_schedule_is_another_run():
    memory = remembering(Schedule([STRIKES]))
    assert memory.find(ITEMS, Schedule([ALSO])) is None
    assert memory.find(ITEMS, Schedule([STRIKES, ALSO])) is None


def test_a_fault_that_would_find_no_site_changes_nothing():
    found = remembering(Schedule([STRIKES])).find(ITEMS, Schedule([STRIKES, NOWHERE]))
    assert found.digest() == SHOP.run(ITEMS, Schedule([STRIKES, NOWHERE])).digest()
    assert found.schedule == Schedule([STRIKES])


def test_a_run_with_an_unused_fault_is_that_without_it():
    found = remembering(Schedule([STRIKES, NOWHERE])).find(ITEMS, Schedule([STRIKES]))
    assert found.digest() == SHOP.run(ITEMS, Schedule([STRIKES])).digest()
    assert (found.schedule, found.unused) == (Schedule([STRIKES]), ())


def test_several_faults_without_a_site_change_nothing_either():
    more = ErrorReply(Site("no.such/place"))
    found = remembering(Schedule()).find(ITEMS, Schedule([NOWHERE, more]))
    assert found.schedule == Schedule()


def test_items_without_equality_are_not_remembered():
    class Opaque(dict):
        __hash__ = None

        def __eq__(self, other):
            return False

    items = [Opaque(id="a", cents=1)]
    assert remembering(Schedule(), items=items).find([Opaque(id="a", cents=1)], Schedule()) is None


def test_it_does_not_grow_for_ever(monkeypatch):
    monkeypatch.setattr("chaosharness.search.memory.RUNS_MAX", 2)
    memory = remembering(Schedule(), Schedule([STRIKES]), Schedule([ALSO]))
    assert memory.find(ITEMS, Schedule()) is None
    assert memory.find(ITEMS, Schedule([ALSO])) is not None


def test_a_fault_may_find_no_site_although_its_operation_is_reached():
    """A request that is lost has no reply to lose."""
    asked = Schedule([LostRequest(Site(CHARGE)), LostReply(Site(CHARGE, "after"))])
    run = SHOP.run(ITEMS, asked)
    assert run.unused == (LostReply(Site(CHARGE, "after")),)
    assert remembering(asked).find(ITEMS, asked).digest() == run.digest()
