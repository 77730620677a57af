"""`blocking=True`: clients that are not async, called from async code."""

import pytest

from chaosharness import ErrorReply, Kafka, LostReply, Pause, System
from tests.handlers.houses import ASYNC, CHARGE, COLOURS, notes, only, run, said, system_of


def house_with_bank(build, colour):
    """A system whose `build(house)` finds the bank itself, to ask for clients of it."""

    def build_with_bank(house):
        house.bank_itself = system.resources["bank"]
        build(house)

    system = system_of(build_with_bank, runtime=None if colour == "plain" else colour)
    return system


def house_of(handler, colour):
    """A system whose handler gets what blocks."""

    def build(house):
        env = house.env
        bank = env.client(house.bank_itself, blocking=True)
        kv = env.connect(house._kv, blocking=True)
        publish = env.publisher(house._bus, blocking=True)

        def on_order(order):
            handler(env, bank, kv, publish, order)

        async def on_order_later(order):
            handler(env, bank, kv, publish, order)

        chosen = on_order if colour == "plain" else on_order_later
        chosen.__name__ = "on_order"
        house.consume(chosen)

    return house_with_bank(build, colour)


def work(env, bank, kv, publish, order):
    try:
        receipt = bank.charge(order["id"], 100, key=order["id"])
    except (TimeoutError, ConnectionError) as error:
        env.note(type(error).__name__)
        return
    kv.put(order["id"], receipt.cents)
    publish("out", {"cents": kv.get(order["id"])}, key=order["id"])
    env.note(f"{order['id']} {order['id'] in kv} {kv.items()}")


@pytest.mark.parametrize("colour", COLOURS)
def test_calls_happen_at_once_and_take_virtual_time(colour):
    over = house_of(work, colour).run()
    assert notes(over) == [(20, "o1 True [('o1', 100)]")]
    assert len(list(over.history.of("effect"))) == 1


@pytest.mark.parametrize("colour", COLOURS)
def test_faults_strike_as_usual(colour):
    system = house_of(work, colour)
    assert notes(system.run(schedule=only(ErrorReply, CHARGE))) == [(20, "ConnectionError")]
    lost = system.run(schedule=only(LostReply, CHARGE, "after"))
    assert notes(lost) == [(10_000, "TimeoutError")]
    assert len(list(lost.history.of("effect"))) == 1
    site = "desk.on_order/kv.put"
    paused = system.run(schedule=only(Pause, site, "after", lasting=5_000))
    assert notes(paused)[0][0] == 5_020
    assert not paused.unused


@pytest.mark.parametrize("colour", ["asyncio", "trio"])
def test_the_event_loop_stands_still_meanwhile(colour):
    def build(house):
        env = house.env
        bank = env.client(house.bank_itself, blocking=True)

        async def first():
            bank.charge("o1", 100)
            env.note(f"first at {env.now_ms()}")

        async def second():
            await env.sleep(0.001)
            env.note(f"second at {env.now_ms()}")

        env.main(first)
        env.main(second)

    assert said(house_with_bank(build, colour).run()) == ["first at 20", "second at 21"]


@pytest.mark.parametrize("colour", ASYNC)
def test_blocked_and_awaited_calls_go_together(colour):
    async def handle(house, order):
        env = house.env
        await house.bank.charge(order["id"], 100)
        env.connect(house._kv, blocking=True).put("a", 1)
        env.note(str(await house.kv.get("a")))

    assert said(run(handle, runtime=colour)) == ["1"]


@pytest.mark.parametrize("colour", ASYNC)
def test_calls_of_services_and_consumers_may_block(colour):
    system = System("two services")
    bus = system.add(Kafka("bus", topics={"orders": 1}))

    @system.service("echo", runtime=colour)
    def echo(env):
        async def twice(value: str):
            return value * 2

        env.serve("twice", twice)

    @system.service("desk", runtime=colour)
    def desk(env):
        consumer = env.consumer(bus, "orders", blocking=True)

        async def loop():
            [record] = consumer.poll()
            env.note(env.call("echo", "twice", record.value["id"], blocking=True))
            consumer.commit()

        env.main(loop)

    system.entry(examples=[{"id": "o1"}])(lambda env, item: env.publisher(bus)("orders", item))
    over = system.run()
    assert said(over) == ["o1o1"]
    assert len(list(over.history.of("ack"))) == 1
    assert over.ending.verdict == "quiet"
