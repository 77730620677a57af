from hypothesis import given
from hypothesis import strategies as st

from chaosharness.kernel.agenda import DUE, Agenda
from chaosharness.kernel.world import Budget, World


def test_ties_go_to_whatever_was_added_first():
    agenda = Agenda()
    for name in "abc":
        agenda.add(5, print, name)
    assert [entry[3] for entry in agenda.pending()] == ["a", "b", "c"]


@given(st.lists(st.integers(0, 20), max_size=30))
def test_things_happen_in_order_of_time_then_of_adding(dues):
    world = World(budget=Budget())
    happened = []
    for place, due in enumerate(dues):
        world.after(due, happened.append, (due, place))
    world.run()
    assert happened == sorted(happened)
    assert len(happened) == len(dues)


def test_what_is_cancelled_does_not_happen():
    world = World(budget=Budget())
    happened = []
    entry = world.after(1, happened.append, "no")
    world.after(2, happened.append, "yes")
    world.agenda.cancel(entry)
    world.agenda.cancel(entry)
    world.run()
    assert happened == ["yes"]
    assert world.now == 2


def test_pending_is_sorted_and_leaves_out_the_cancelled():
    agenda = Agenda()
    entries = [agenda.add(due, print) for due in (3, 1, 2)]
    agenda.cancel(entries[1])
    assert [entry[DUE] for entry in agenda.pending()] == [2, 3]
