"""An idempotency key under which two different requests are made is told."""

import pytest

from chaosharness import (
    Delay,
    Gateway,
    Kafka,
    KeyReused,
    Schedule,
    Site,
    System,
    explore,
    idempotent,
)


def till(key, cents=lambda order, tries: order["cents"]):
    """Charge an order under a key; the amount may hang on how often it was tried."""
    system = System("till")
    bus = system.add(Kafka("bus", topics={"orders": 1}))
    bank = system.add(Gateway("bank"))

    @system.service("till")
    def build(env):
        client, tries = env.client(bank), {}

        def on_order(order):
            tries[order["id"]] = tries.get(order["id"], 0) + 1
            amount = cents(order, tries[order["id"]])
            client.charge(order["id"], amount, key=key(order))

        env.consume(bus, "orders", on_order, on_error="dead-letter", retries_max=20)

    orders = [{"id": one, "cents": n, "customer": "ann"} for one, n in (("o1", 500), ("o2", 700))]

    @system.entry(examples=orders)
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def by_order(order):
    return order["id"]


def by_customer(order):
    return order["customer"]


@pytest.mark.parametrize(("key", "summaries"), [(by_order, 0), (by_customer, 1)])
def test_a_key_of_all_orders_of_a_customer_is_told_already_without_faults(key, summaries):
    campaign = explore(till(key), faults_max=1, runs_max=40)
    found = [one.findings[0] for one in campaign.counterexamples]
    assert [one.kind for one in found] == ["key reused"] * summaries
    for one in found:
        assert len(one.events) == 2  # the charge that the key was of, and the refusal
        assert "'ann' was the key of charge(o1, 500), not of charge(o2, 700)" in one.summary


@pytest.mark.parametrize(("fee", "kinds"), [(0, []), (1, ["key reused"])])
def test_a_repeat_that_asks_for_another_amount_is_told(fee, kinds):
    late = Delay(Site("till.on_order/bank.charge"), lasting="timeout")
    system = till(by_order, lambda order, tries: order["cents"] + fee * tries)
    run = system.run(None, Schedule([late]))
    assert [one.kind for one in idempotent().findings(run.evidence())][:1] == kinds


def test_a_refund_has_a_key_of_its_own():
    system = System("desk")
    bank = system.add(Gateway("bank"))
    heard = []

    @system.entry(examples=["o1"])
    def back(env, order):
        client = env.client(bank)
        client.charge(order, 500, key=order)
        assert client.charge(order, 500, key=order).id == 1
        try:
            client.refund(order, 500, key=order)
        except KeyReused as error:
            heard.append(str(error))
        client.refund(order, 500, key=f"back {order}")

    run = system.run()
    assert heard == ["'o1' was the key of charge(o1, 500), not of refund(o1, 500)"]
    assert [event.data["method"] for event in run.history.of("effect")] == ["charge", "refund"]
