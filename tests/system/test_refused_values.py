"""A value that a port refuses: a mistake without faults, an error of the code under one."""

import contextlib

import pytest

from chaosharness import (
    External,
    Kafka,
    KeyValue,
    RabbitMQ,
    Schedule,
    Site,
    System,
    assumed,
    explore,
)
from chaosharness.errors import RefusedValue, UnserialisablePayload
from chaosharness.faults import LostReply

NOTHING = object()  # what a price is until somebody has told it: no JSON form


class Prices:
    """Tells a price, mostly in time."""

    def price(self, *, item):
        return len(item)


def shop(use, *, without_fault=False, at=Kafka):
    """Return a system whose handler uses a price that it may not have been told."""
    system = System("shop")
    places = {"orders": 1, "priced": 1} if at is Kafka else {"orders": "quorum", "priced": "quorum"}
    bus = system.add(at("bus", places))
    prices = system.add(External("prices", Prices, reads=["price"]))
    store = system.add(KeyValue("store"))

    @system.service("desk")
    def desk(env):
        client = env.client(prices)
        parts = {"publish": env.publisher(bus), "store": env.connect(store), "env": env}

        def on_order(order: dict):
            price = NOTHING
            with contextlib.suppress(TimeoutError, ConnectionError):
                price = client.price(item=order["id"])
            use(parts, order["id"], NOTHING if without_fault else price)

        env.consume(bus, "orders", on_order, **({"group": "desk"} if at is Kafka else {}))

    @system.service("teller")
    def teller(env):
        env.serve("tell", lambda price: NOTHING if price is None else price)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    return system


def publish(parts, item, price):
    parts["publish"]("priced", {"id": item, "price": price})


def publish_by_key(parts, item, price):
    parts["publish"]("priced", {"id": item}, key=price if price is NOTHING else item)


def keep(parts, item, price):
    parts["store"].put(item, price)


def keep_under(parts, item, price):
    parts["store"].put(price if price is NOTHING else item, 1)


def ask(parts, item, price):
    parts["env"].call("teller", "tell", None if price is NOTHING else price)


EACH = pytest.mark.parametrize(
    ("use", "refusal"),
    [
        (publish, UnserialisablePayload),
        (publish_by_key, RefusedValue),
        (keep, UnserialisablePayload),
        (keep_under, RefusedValue),
        (ask, UnserialisablePayload),
    ],
)


@EACH
def test_without_a_fault_it_is_to_be_mended_first(use, refusal):
    with pytest.raises(refusal) as caught:
        shop(use, without_fault=True).run()
    assert "object" in str(caught.value)


@EACH
@pytest.mark.parametrize("at", [Kafka, RabbitMQ])
def test_after_a_fault_it_is_an_error_of_the_code(use, refusal, at):
    untold = LostReply(Site("desk.on_order/prices.price", "after"))
    run = shop(use, at=at).run(schedule=Schedule([untold]))
    words = [event.data["error"] for event in run.history.of("raised")]
    assert any("object" in one for one in words), words
    assert run.ending.verdict == "quiet"


@EACH
def test_and_ends_no_campaign(use, refusal):
    system = shop(use)
    found = explore(system, properties=assumed(system), faults_max=1)
    assert found.runs > 50
