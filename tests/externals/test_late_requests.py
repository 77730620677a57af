"""A request that arrives late is still the one that was sent: its own cause, its own item."""

import asyncio

from chaosharness import Delay, Gateway, Kafka, Schedule, Site, System

LATE = Schedule([Delay(Site("payments.loop/bank.charge", entity=1), lasting="timeout")])


def late_charge(loop):
    """Return the history of two orders, the charge of the first one late."""
    system = System("shop")
    bus = system.add(Kafka("bus", {"orders": 1}))
    bank = system.add(Gateway("bank"))

    @system.service("payments")
    def payments(env):
        env.main(loop(env, env.consumer(bus, "orders"), env.client(bank)))

    @system.entry(examples=["o1", "o2"])
    def place(env, order):
        env.publisher(bus)("orders", order)

    run = system.run(schedule=LATE)
    assert not run.unused
    return run.history


def plain_loop(env, orders, bank):
    def loop():
        while True:
            for order in orders.poll():
                try:
                    bank.charge(order.value, 500)
                except TimeoutError:
                    continue

    return loop


def asyncio_loop(env, orders, bank):
    async def loop():
        while True:
            for order in await orders.poll():
                try:
                    async with asyncio.timeout(5):
                        await bank.charge(order.value, 500)
                except TimeoutError:
                    continue

    return loop


def check(history):
    calls = {one.entity: one.index for one in history.of("call")}
    effects = {one.entity: one for one in history.of("effect")}
    assert set(effects) == {1, 2}
    for entity, effect in effects.items():
        assert effect.data["order"] == f"o{entity}"
        assert effect.cause == calls[entity]
    assert effects[1].index > calls[2]  # it was late


def test_a_late_charge_of_a_plain_loop_belongs_to_its_own_call():
    check(late_charge(plain_loop))


def test_a_late_charge_of_a_cancelled_call_belongs_to_its_own_call():
    check(late_charge(asyncio_loop))
