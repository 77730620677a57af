"""Ten more kinds of mistakes at the door: a sentence each, with the place and what to write."""

import re
from pathlib import Path

import pytest

from chaosharness import (
    Crash,
    Gateway,
    Kafka,
    Schedule,
    SQLite,
    System,
    chaos_test,
    check,
    never_stuck,
)
from chaosharness.errors import ChaosharnessError

HERE = Path(__file__).name


def shop(build=None, *, added=True, examples=("o1",)):
    """Build a shop whose service is the mistake."""
    system = System("shop")
    bus = Kafka("bus", topics={"orders": 1})
    if added:
        system.add(bus)
    bank = system.add(Gateway("bank"))

    @system.service("pay")
    def pay(env):
        if build is not None:
            build(env, bus)
            return
        client = env.client(bank)
        env.consume(bus, "orders", lambda order: client.charge(order["id"], 5, key=order["id"]))

    @system.entry(examples=examples)
    def place(env, item):
        env.publisher(bus)("orders", {"id": item}, key=item)

    return system


def yields(env, bus):
    def on_order(order):
        yield order

    env.consume(bus, "orders", on_order)


def builder_without_env():
    system = System("shop")
    system.service("pay")(lambda: None)
    system.entry(examples=["o1"])(lambda env, item: None)
    return system


def entry_without_env():
    system = System("shop")
    system.service("pay")(lambda env: None)
    system.entry(examples=["o1"])(lambda item: None)
    return system


def schema_that_does_not_run():
    system = shop()
    system.add(SQLite("db", "CREAT TABLE orders (id)"))
    return system


ROWS = {
    "a broker by its name": (
        lambda: check(shop(lambda env, bus: env.consume("bus", "orders", print))),
        "'bus' is no part of system 'shop'.*give the part itself",
    ),
    "a third party by its name": (
        lambda: check(shop(lambda env, bus: env.client("bank"))),
        "'bank' is no part of system 'shop'.*give the part itself",
    ),
    "a part that was never added": (
        lambda: check(shop(added=False)),
        r"the Kafka 'bus' is no part of system 'shop'.*add it first, with system.add\(Kafka",
    ),
    "a broker in place of a store": (
        lambda: check(shop(lambda env, bus: env.connect(bus))),
        "'bus' is no store, but a Kafka.*give it a store",
    ),
    "a text in place of a site": (
        lambda: shop().run(["o1"], Schedule([Crash("pay.on_order/bank.charge")])),
        r"a Crash strikes at a Site.*write Crash\(Site\(.*chaosharness sites",
    ),
    "a handler with a yield": (lambda: check(shop(yields)), "a generator.*'yield' in it"),
    "a builder without env": (
        lambda: check(builder_without_env()),
        r"is called with \(env\), and takes \(\)",
    ),
    "an entry without env": (
        lambda: check(entry_without_env()),
        r"is called with \(env, item\), and takes \(item\)",
    ),
    "replicas as a text": (
        lambda: System("shop").service("pay", replicas="2"),
        "needs at least 1 replica, not '2'",
    ),
    "examples as a text": (
        lambda: shop(examples="o1"),
        r"must be a list of workload items.*write examples=\['o1'\]",
    ),
    "one property without brackets": (
        lambda: check(shop(), properties=never_stuck()),
        r"must be several, such as \[never_stuck\(\)\]",
    ),
    "a schema that does not run": (
        lambda: schema_that_does_not_run().run(),
        "the schema of store 'db' does not run.*syntax error",
    ),
    "a decorator without its system": (
        lambda: chaos_test(shop),
        r"write @chaos_test\(shop\) with a System",
    ),
    "a function in place of its system": (
        lambda: check(shop),
        r"must be a System; call what makes it: shop\(\)",
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_a_mistake_ends_in_a_sentence_with_its_place_and_what_to_do(row):
    mistake, words = ROWS[row]
    with pytest.raises(ChaosharnessError) as caught:
        mistake()
    told = str(caught.value)
    assert re.search(words, told, re.DOTALL), told
    assert re.search(rf"{re.escape(HERE)}:\d+", told), f"no place in: {told}"
    assert len(told) < 500
