"""A fault that found no site is told: a run that it did not strike proves nothing of it."""

import warnings

import pytest

from chaosharness import Crash, Kafka, Schedule, Site, System, schedules
from chaosharness.errors import NothingProved
from models.order.right import order_flow


@pytest.fixture
def system():
    shop = System("shop")
    kafka = shop.add(Kafka("kafka", topics={"placed": 1}))

    @shop.service("payments")
    def payments(env):
        def on_order(value):
            env.sleep(0)

        env.consume(kafka, "placed", on_order)

    @shop.entry(examples=[{"id": "o1"}])
    def place(env, value):
        env.publisher(kafka)("placed", value, key=value["id"])

    return shop


THERE = "payments.on_order/handle"


@pytest.mark.parametrize(
    ("site", "words"),
    [
        (Site("payments.on_ordr/handle"), f"the nearest that is there is {THERE!r}."),
        (Site(THERE, entity=7), f"{THERE!r} was reached for item 1, and not for item 7."),
        (Site(THERE, attempt=3), f"{THERE!r} was reached once, and attempt 3 was not."),
    ],
)
def test_a_schedule_that_struck_nothing_is_no_green(system, site, words):
    run = system.run(None, Schedule([Crash(site)]))
    with pytest.raises(NothingProved, match="1 of 1 fault found no site: crash") as caught:
        run.check()
    assert words in str(caught.value)


def test_one_of_two_is_a_warning(system):
    run = system.run(None, Schedule([Crash(Site(THERE)), Crash(Site(THERE, attempt=9))]))
    with pytest.warns(UserWarning, match="1 of 2 faults found no site"):
        run.check()


def test_what_a_search_has_drawn_may_miss(system):
    drawn = Schedule([Crash(Site(THERE, attempt=9))], drawn=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        system.run(None, drawn).check()
        system.run(None, Schedule([Crash(Site(THERE))])).check()
        system.run(None, Schedule()).check()
    assert drawn == Schedule(drawn.faults)


def test_the_strategy_says_that_it_drew():
    from hypothesis import find

    found = find(schedules(order_flow()), lambda one: len(one) > 0)
    assert found.drawn and found.without(found.faults[0]).drawn
