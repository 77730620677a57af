import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chaosharness
from chaosharness import Crash, Delay, LostReply, Schedule, Site
from chaosharness.errors import InvalidSchedule
from chaosharness.faults import FAULTS

SITES = st.builds(
    Site,
    st.sampled_from(["payments.on_order/bank.charge", "bus.orders/deliver to payments"]),
    st.sampled_from(["before", "after"]),
    st.integers(0, 3),
    st.integers(1, 3),
)
ANY_FAULT = st.sampled_from(FAULTS).flatmap(
    lambda kind: st.builds(
        kind, SITES, **({kind.option_name: st.sampled_from(kind.options)} if kind.options else {})
    )
)
SCHEDULES = st.lists(ANY_FAULT, max_size=5).map(Schedule)


@given(SCHEDULES)
def test_a_schedule_has_one_spelling(schedule):
    text = schedule.encode(system="shop")
    again = Schedule.decode(text, system="shop")
    assert again == schedule
    assert again.encode(system="shop") == text


@given(SCHEDULES)
def test_the_repr_is_code(schedule):
    names = {name: getattr(chaosharness, name) for name in chaosharness.__all__}
    assert eval(repr(schedule), names) == schedule


@given(st.lists(ANY_FAULT, max_size=4), st.randoms())
def test_order_and_repetition_do_not_matter(faults, random):
    shuffled = [*faults, *faults]
    random.shuffle(shuffled)
    assert Schedule(shuffled) == Schedule(faults)


def test_removing_a_fault_leaves_the_others():
    first = Crash(Site("a.b/c", "after"))
    second = Delay(Site("a.b/c", attempt=2))
    both = Schedule([first, second])
    assert list(both.without(first)) == [second]
    assert both.without(first).with_(first) == both
    assert len(both) == 2


def test_every_kind_has_words_of_its_own():
    names = {kind(Site("a/b")).kind for kind in FAULTS}
    assert len(names) == len(FAULTS) == 23
    assert "lost reply" in names


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"chaosharness": 7},
            "schedule format 7 cannot be read; this version reads 1 and 2; it was wr",
        ),
        ({"system": "bank"}, "was made for system 'bank', not 'shop'"),
        ({"faults": {}}, "faults must be a list, not dict"),
        ({"faults": [{"fault": "meteor"}]}, "fault 1 has the unknown kind 'meteor'; known: "),
        ({"faults": [{"fault": "crash", "site": "here"}]}, r"fault 1 \(crash\): 'here' names no"),
        (
            {"faults": [{"fault": "crash", "site": "before a/b", "down": -1}]},
            r"fault 1 \(crash\): Crash: down must be one of next, timeout, long, or whole",
        ),
        (
            {"faults": [{"fault": "crash", "site": "before a/b", "colour": "red"}]},
            r"fault 1 \(crash\).*colour",
        ),
    ],
)
def test_what_cannot_be_understood_is_refused(change, words):
    value = {"chaosharness": 1, "system": "shop", "faults": []} | change
    with pytest.raises(InvalidSchedule, match=words):
        Schedule.decode(json.dumps(value), system="shop")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"faults": []}'])
def test_what_is_no_schedule_is_refused(text):
    with pytest.raises(InvalidSchedule, match="not a chaosharness schedule"):
        Schedule.decode(text, system="shop")


def test_what_is_no_fault_is_refused():
    with pytest.raises(InvalidSchedule, match=r"'crash' is not a fault .*; faults are: Delay, "):
        Schedule(["crash"])


def test_faults_are_values():
    fault = LostReply(Site("a/b", "after"))
    assert attrs.evolve(fault) == fault
    assert {fault, LostReply(Site("a/b", "after"))} == {fault}


@pytest.mark.parametrize("faults", [5, None, Crash(Site("a/b"))])
def test_a_schedule_is_made_of_several_faults(faults):
    words = r"is made of several faults, and not of .*test_schedule.py:.*write Schedule\(\[...\]\)"
    with pytest.raises(InvalidSchedule, match=words):
        Schedule(faults)
