"""The order flow: what it does in calm, and that each twin is the right one but for one thing."""

from __future__ import annotations

import inspect

import pytest

from chaosharness import Books, explore
from chaosharness.search.target import load_target
from models.order import broken
from models.order.claims import order_states
from models.order.right import ALL, GOOD, OUT_OF_STOCK, TOO_DEAR, order_flow

TWINS = {
    name: twin
    for name, twin in vars(broken).items()
    if inspect.isfunction(twin) and twin.__module__ == broken.__name__
}


@pytest.fixture(scope="module")
def books():
    run = order_flow(examples=ALL).run()
    run.check()
    return Books(run.history, run.items)


def test_one_order_is_shipped_and_two_are_cancelled(books):
    assert order_states(books) == {"o1": "shipped", "o2": "cancelled", "o3": "cancelled"}


def test_who_gets_nothing_pays_nothing(books):
    assert books.net_charges("bank") == {"o1": 500, "o2": 0}


def test_goods_go_back(books):
    assert books.column("stock-db", "stock", by="sku", of="pieces")["book"] == 9
    assert books.sums("stock-db", "moves", by="order_id", of="pieces") == {"o1": -1, "o3": 0}


def test_everybody_is_told_once(books):
    mails = [(entry["order"], entry["text"]) for entry in books.ledger("mail")]
    assert sorted(mails) == [
        ("o1", "Thank you for your order"),
        ("o2", "We are sorry"),
        ("o3", "We are sorry"),
    ]


def test_nothing_is_left_to_publish(books):
    for store in ("order-db", "payment-db", "stock-db"):
        assert books.rows(store, "outbox") == []


def test_there_are_enough_twins():
    assert len(TWINS) >= 12


@pytest.mark.parametrize("name", sorted(TWINS))
def test_a_twin_says_what_is_wrong_with_it(name):
    assert TWINS[name].__doc__


@pytest.mark.parametrize("name", sorted(TWINS))
def test_a_twin_is_right_in_calm(name):
    """Or its bug would not be one that only faults bring out."""
    load_target(f"models.order.broken:{name}").run().check()


@pytest.mark.parametrize("name", sorted(TWINS))
def test_a_twin_breaks_a_claim_of_its_own_under_a_single_fault(name):
    campaign = explore(TWINS[name](), faults_max=1, stop_at_first=True)
    assert campaign.result == "violated"
    [found] = campaign.counterexamples
    assert len(found.schedule) == 1
    assert found.minimal


@pytest.mark.slow
@pytest.mark.parametrize("examples", [[GOOD, OUT_OF_STOCK], [TOO_DEAR]], ids=["two", "too dear"])
def test_the_right_flow_keeps_every_claim_under_every_single_fault(examples):
    found = explore(order_flow(examples=examples), faults_max=1, runs_max=10_000)
    assert found.coverage.complete
    assert [one.name for one in found.standings if one.result == "violated"] == []
