"""More systems, right and broken: held, fenced, audited, numbered, expiring."""

import pytest

from tests.checkers.outcomes import more_shops as shops
from tests.checkers.outcomes.sweep import groups, sweep

MAY_EXPIRE = {"may_end": [("db.orders", "expired")]}
PAIRS = [
    (lambda right: shops.last_items(once=right), {}, ("row differs", "db.stock.free+")),
    (lambda right: shops.fenced(inbox=right), {}, ("row differs", "db.sums.n+")),
    (
        lambda right: shops.audited(inbox=right),
        {"ignore": ["audit"]},
        ("row differs", "db.orders.n+"),
    ),
    (lambda right: shops.numbered(whole=right), {}, ("row too many", "db.lines")),
    (lambda right: shops.expiry(refunds=right), MAY_EXPIRE, ("row differs", "db.orders.state")),
]
NAMES = ["last items", "fenced", "audited", "numbered", "expiry"]


@pytest.mark.parametrize(("build", "options", "group"), PAIRS, ids=NAMES)
def test_a_right_system_is_neither_accused_nor_asked_about(build, options, group):
    assert sweep(build(True), **options) == []


@pytest.mark.parametrize(("build", "options", "group"), PAIRS, ids=NAMES)
def test_its_broken_twin_is_named_for_the_bug(build, options, group):
    assert group in groups(sweep(build(False), **options))


def test_of_a_timer_that_may_decide_it_is_asked_and_nobody_is_accused():
    found = sweep(shops.expiry(refunds=True))
    assert groups(found) == {("timer", "db.orders")}
    assert all(one.question for one in found)


def test_of_a_log_that_may_count_handlings_it_is_asked_and_nobody_is_accused():
    found = sweep(shops.audited(inbox=True))
    assert groups(found) == {("logged twice", "db.audit")}
    assert all(one.question for one in found)
