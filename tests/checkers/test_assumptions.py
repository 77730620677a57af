"""What is assumed about a system for which nobody claimed anything."""

import pytest

from chaosharness import Crash, External, Gateway, Kafka, Site, System
from chaosharness.checkers import assumed
from chaosharness.errors import InvalidDefinition
from tests.checkers.tales import Tale, judge

PARTS = [Kafka("bus", {"orders": 1}), Gateway("bank"), External("mailer", dict)]
NAMES = [
    "idempotent",
    "unhandled exceptions block nobody",
    "poison blocks nobody",
    "never stuck",
]
CRASH = Crash(Site("payments.on_order/bank.charge", "after"))


def test_everything_that_needs_no_words_of_the_user_is_assumed_and_says_so():
    found = assumed(PARTS)
    assert [one.name for one in found] == NAMES
    assert all(one.assumption for one in found)


def test_a_system_can_be_given_as_it_is():
    system = System("shop")
    for part in PARTS:
        system.add(part)
    assert [one.name for one in assumed(system)] == NAMES


@pytest.mark.parametrize(
    ("without", "left"),
    [
        ("idempotent", NAMES[1:]),
        ("effect twice", NAMES),
        (["poison blocks nobody", "never stuck"], NAMES[:2]),
    ],
)
def test_each_can_be_switched_off_by_its_name(without, left):
    assert [one.name for one in assumed(PARTS, without=without)] == left


def test_a_name_that_is_none_of_them_is_refused():
    with pytest.raises(InvalidDefinition, match="no assumed property is named 'idempotence'"):
        assumed(PARTS, without="idempotence")


def charged(*orders: str) -> Tale:
    tale = Tale()
    for entity, order in enumerate(orders, 1):
        tale.charge(order, entity=entity)
    return tale


def test_an_order_charged_twice_for_one_item_is_found_and_two_items_may_share_one():
    outcome, *_ = assumed(PARTS)
    calm = charged("o1", "o1")
    assert judge(outcome, calm, calm, [CRASH]) == []
    tale = charged("o1", "o1")
    tale.charge("o1", 500)
    [finding] = judge(outcome, tale, calm, [CRASH])
    assert finding.summary == (
        "bank did charge(cents=500, order=o1) twice for item 1; without faults, once at most"
    )


@pytest.mark.parametrize("without", ["effect twice", "effect twice: bank.charge"])
def test_a_kind_of_finding_can_be_switched_off_and_so_can_one_place(without):
    outcome, *_ = assumed(PARTS, without=without)
    tale = charged("o1", "o1")
    assert judge(outcome, tale, charged("o1"), [CRASH]) == []


def test_a_charge_after_a_refund_is_not():
    outcome, *_ = assumed(PARTS)
    tale = charged("o1")
    tale.refund("o1")
    tale.charge("o1")
    assert judge(outcome, tale, charged("o1"), [CRASH]) == []
