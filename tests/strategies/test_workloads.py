import subprocess
import sys
from random import Random

import attrs
import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from chaosharness import Order, Persona, orders, personas, workloads
from chaosharness.errors import InvalidDefinition
from chaosharness.strategies.personas import POOL, pool
from tests.strategies.shops import EXAMPLES, shop

QUIET = settings(database=None, deadline=None, suppress_health_check=list(HealthCheck))


def smallest(strategy, condition=lambda value: True):
    quiet = settings(QUIET, max_examples=2_000)
    return find(strategy, condition, settings=quiet, random=Random(0))


# ---- personas


def test_there_are_200_personas_with_names_of_their_own():
    people = pool()
    assert len(people) == POOL
    assert len({one.name for one in people}) == POOL


def test_they_are_the_same_in_another_process():
    code = "from chaosharness.strategies.personas import pool; print(pool()[:9])"
    output = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert output.strip() == repr(pool()[:9])


def test_a_persona_shrinks_to_the_plainest():
    plain = smallest(personas())
    assert plain == pool()[0]
    assert plain.name.isascii()


def test_a_locale_has_people_of_its_own():
    assert {one.country for one in pool("de_DE")} == {"DE"}
    assert any(not one.name.isascii() for one in pool("de_DE"))
    assert pool("de_DE")[0].name.isascii()


def test_mail_goes_nowhere():
    assert all(one.email.partition("@")[2].startswith("example.") for one in pool("ja_JP"))


def test_an_unknown_locale_is_refused():
    with pytest.raises(InvalidDefinition, match="Faker knows no locale 'xx_YY'"):
        pool("xx_YY")


def test_faker_is_loaded_only_for_a_persona():
    code = (
        "import sys, chaosharness; chaosharness.orders; chaosharness.personas;"
        "chaosharness.schedules; print('faker' in sys.modules)"
    )
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert output.strip() == "False"


# ---- orders


@QUIET
@given(orders(2, 4))
def test_orders_have_ids_of_their_own_and_customers_with_names(placed):
    assert 2 <= len(placed) <= 4
    assert [order.id for order in placed] == [f"order-{n}" for n in range(1, len(placed) + 1)]
    names = {persona.name for persona in pool()}
    assert all(order.customer in names and order.cents >= 1 for order in placed)


def test_an_order_shrinks_to_one_book_for_the_plainest_customer():
    assert smallest(orders()) == [Order("order-1", pool()[0].name, "book", 1_000)]


@pytest.mark.parametrize("seed", range(5))
def test_an_order_that_must_be_dear_keeps_its_plain_customer(seed):
    def dear(placed):
        return max(one.cents for one in placed) > 100_000

    [order] = find(
        orders(), dear, settings=settings(QUIET, max_examples=2_000), random=Random(seed)
    )
    assert (order.customer, order.quantity) == (pool()[0].name, 1)


def test_the_others_stay_where_they_are_when_one_is_dropped():
    found = smallest(orders(1, 5), lambda placed: any(one.quantity == 7 for one in placed))
    assert [order.quantity for order in found] == [7]


@pytest.mark.parametrize("sizes", [(2, 1), (-1, 3), (0, 0), (1, "3"), (True, 2)])
def test_sizes_that_contradict_each_other_are_refused(sizes):
    with pytest.raises(InvalidDefinition, match="0 <= min_size <= max_size"):
        orders(*sizes)
    with pytest.raises(InvalidDefinition, match="0 <= min_size <= max_size"):
        workloads(shop(), min_size=sizes[0], max_size=sizes[1])


def test_a_negative_price_is_refused():
    with pytest.raises(ValueError, match="cents must be a whole number from 1, not 0"):
        attrs.evolve(Order("order-1", "Ada", "book", 1), cents=0)


# ---- workloads of a system


SIX = [{"id": f"o{number}", "cents": number} for number in range(1, 7)]


@QUIET
@given(workloads(shop(examples=SIX), min_size=2, max_size=4))
def test_examples_come_at_most_once_and_in_their_order(workload):
    assert 2 <= len(workload) <= 4
    numbers = [SIX.index(item) for item in workload]
    assert numbers == sorted(set(numbers))


def test_a_workload_shrinks_to_the_first_example():
    assert smallest(workloads(shop())) == EXAMPLES[:1]


def test_a_workload_keeps_the_item_that_matters():
    found = smallest(workloads(shop(examples=SIX)), lambda items: SIX[4] in items)
    assert found == [SIX[4]]


@QUIET
@given(workloads(shop(items=st.builds(dict, id=st.just("x"), cents=st.integers(1, 9)))))
def test_a_strategy_for_items_goes_before_the_examples(workload):
    assert 1 <= len(workload) <= 3
    assert all(item["id"] == "x" for item in workload)


@pytest.mark.parametrize(
    ("system", "message"),
    [
        (shop(examples=[]), "has 0 examples, and a workload needs at least 2"),
        (shop(examples=EXAMPLES[:1]), "has 1 examples"),
        (shop(items=EXAMPLES), r"must be a Hypothesis strategy for one item"),
    ],
)
def test_a_system_without_items_to_draw_is_refused(system, message):
    with pytest.raises(InvalidDefinition, match=message):
        smallest(workloads(system, min_size=2))


def test_something_else_than_a_system_is_refused():
    with pytest.raises(InvalidDefinition, match="workloads are those of a System"):
        workloads([1, 2])


def test_a_persona_is_a_value():
    assert isinstance(pool()[0], Persona)
    assert pool()[0] == attrs.evolve(pool()[0])
