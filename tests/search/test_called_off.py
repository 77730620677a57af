"""Code that fails by itself: every door refuses it at once, and `smallest` shows it."""

from pathlib import Path

import pytest

from chaosharness import Kafka, System, check, explore, never_stuck, never_twice, replay, smallest
from chaosharness.errors import InvalidDefinition
from chaosharness.reporting import to_text

HERE = Path(__file__).name


def typo(order: dict):
    order["order_id"]


def mended(order: dict):
    order["id"]


def errors(handler=typo, loop=None):
    """Return a system whose handler raises at every message, or whose loop does at once."""
    system = System("errors")
    bus = system.add(Kafka("bus", topics={"orders": 1}))

    @system.service("pay")
    def pay(env):
        env.consume(bus, "orders", handler)
        if loop is not None:
            env.main(loop)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    return system


def raises():
    raise LookupError("no such table")


@pytest.mark.parametrize("door", [explore, check, System.run])
def test_a_door_refuses_it_at_once_with_its_traceback(door):
    with pytest.raises(InvalidDefinition, match=rf"20 times KeyError.*{HERE}:\d+") as caught:
        door(errors())
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize(
    ("system", "words"),
    [(errors(), "KeyError: 'order_id'"), (errors(mended, raises), "LookupError: no such table")],
    ids=["handler", "loop"],
)
def test_the_smallest_counterexample_shows_it_with_its_line(system, words):
    found = smallest(system)
    assert found.property == never_stuck().name
    assert found.schedule.faults == ()
    text = " ".join(to_text(found).split())
    assert words in text
    assert f"{HERE}:" in text


def test_one_that_asks_for_a_claim_is_not_given_another():
    with pytest.raises(InvalidDefinition, match="KeyError"):
        smallest(errors(), never_twice("bank", "charge"))


def test_replayed_it_fails_until_it_is_mended():
    found = smallest(errors())
    again = replay(found, errors())
    assert (again.verdict, again.same_history) == ("failing", True)
    assert "KeyError" in again.reason
    assert replay(found, errors(mended)).verdict == "fixed"
