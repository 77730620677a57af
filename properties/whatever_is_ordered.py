"""The right order flow keeps every claim whatever is ordered, and whatever goes wrong.

An ordinary Hypothesis test: `schedules` draws the faults, and everything else is as usual.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, seed
from hypothesis import strategies as st

from chaosharness import chaos_settings, never_charged_twice, schedules
from chaosharness.errors import PropertyViolated
from models.order.broken import charge_without_key
from models.order.events import Order
from models.order.inventory import PIECES
from models.order.right import order_flow

CENTS = (500, 1_000_000)
"""What every card can pay, and what none can."""


def numbered(things: list[tuple[str, int]]) -> list[Order]:
    """Give each order an id."""
    return [Order(f"o{number}", sku, cents) for number, (sku, cents) in enumerate(things, 1)]


things = st.tuples(st.sampled_from(sorted(PIECES)), st.sampled_from(CENTS))
orders = st.lists(things, min_size=1, max_size=3).map(numbered)

right = order_flow()
broken = charge_without_key()


@chaos_settings(max_examples=60)
@given(orders=orders, schedule=schedules(right, faults_max=3))
def test_the_right_flow_keeps_every_claim(orders: list[Order], schedule: Any) -> None:
    right.run(orders, schedule).check()


def test_a_double_charge_is_found_in_an_ordinary_test() -> None:
    @seed(1)
    @chaos_settings(max_examples=400, database=None)
    @given(orders=orders, schedule=schedules(broken, faults_max=3))
    def checkout(orders: list[Order], schedule: Any) -> None:
        broken.run(orders, schedule).check(never_charged_twice())

    with pytest.raises(PropertyViolated, match="o1 was charged 2 times for 500 cents each") as one:
        checkout()
    assert len(one.value.run.schedule) == 1
