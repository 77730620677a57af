"""A call that is asked for now and begins later, in a task beside its loop, keeps its item.

The loop has polled again by then: it is about another message, or about none.
"""

import asyncio

import pytest

from chaosharness import (
    ErrorReply,
    External,
    Gateway,
    Kafka,
    LostReply,
    LostRequest,
    Schedule,
    Site,
    System,
    explore,
)


class Bank:
    def charge(self, order, cents, key):
        return order


def charges(make):
    """Return a system of a loop that charges beside its polls."""
    system = System("charges")
    bus = system.add(Kafka("bus", {"orders": 1}))
    bank = system.add(make())

    @system.service("pay", runtime="asyncio")
    def pay(env):
        consumer, client = env.consumer(bus, "orders", on_unreadable="skip"), env.client(bank)
        running = set()

        async def charged(call):
            try:
                await call
            except (TimeoutError, ConnectionError) as error:
                env.note("gave up", error=type(error).__name__)

        async def run():
            while True:
                for order in await consumer.poll(timeout_s=1):
                    call = client.charge(order.value, 500, key=order.value)
                    running.add(asyncio.create_task(charged(call)))
                    await consumer.commit(order)

        env.main(run)

    @system.entry(examples=["o1", "o2"])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order)

    return system


MAKES = [lambda: Gateway("bank"), lambda: External("bank", Bank)]


@pytest.mark.parametrize("make", MAKES)
def test_each_call_is_its_items(make):
    history = charges(make).run().history
    for kind in ("call", "effect", "reply"):
        assert [one.entity for one in history.of(kind)] == [1, 2]


@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("item", [1, 2])
@pytest.mark.parametrize(
    ("fault", "phase"), [(ErrorReply, "before"), (LostRequest, "before"), (LostReply, "after")]
)
def test_a_fault_strikes_it(make, item, fault, phase):
    struck = fault(Site("pay.run/bank.charge", phase, entity=item))
    run = charges(make).run(None, Schedule([struck]))
    assert not run.unused
    assert [one.data["what"] for one in run.history.of("note")] == ["gave up"]


def test_who_goes_on_without_its_answer_is_found_and_nothing_of_it_is_left_out():
    found = explore(charges(MAKES[1]), faults_max=1, runs_max=300)
    assert found.result == "violated"
    assert not [one for one in found.coverage.never_struck() if "bank.charge" in str(one)]
