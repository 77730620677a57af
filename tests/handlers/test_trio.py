"""Real trio on virtual time."""

import contextvars
import time

import pytest
import trio
import trio.testing

from chaosharness import Budget, Delay, Pause
from tests.handlers.houses import (
    CHARGE,
    handled_by,
    notes,
    only,
    published,
    said,
    system_of,
)
from tests.handlers.houses import run as run_it


def run(handler, schedule=None, **options):
    return run_it(handler, schedule, runtime="trio", **options)


# ---- concurrency


def test_a_nursery_waits_for_all_at_once():
    async def handle(house, order):
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(house.bank.charge, f"{order['id']}-{number}", 100)
        house.env.note("done")

    assert notes(run(handle)) == [(20, "done")]


def test_tasks_that_wake_together_run_in_the_order_they_were_made():
    async def handle(house, order):
        event = trio.Event()

        async def say(number):
            await event.wait()
            house.env.note(str(number))
            await trio.sleep(1)
            house.env.note(str(number))

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(say, number)
            await trio.sleep(1)
            event.set()

    once = [str(number) for number in range(20)]
    assert said(run(handle)) == once + once


def test_siblings_of_a_failed_task_are_cancelled_in_the_order_they_were_made():
    async def handle(house, order):
        async def stay(number):
            try:
                await trio.sleep(10)
            finally:
                house.env.note(str(number))

        async def fail():
            await trio.sleep(1)
            raise ValueError("no")

        with pytest.raises(ExceptionGroup):
            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(stay, number)
                nursery.start_soon(fail)

    assert notes(run(handle)) == [(1000, str(number)) for number in range(20)]


def test_channels_limiters_locks_and_conditions():
    async def handle(house, order):
        send, receive = trio.open_memory_channel(1)
        limiter = trio.CapacityLimiter(2)
        lock = trio.Lock()

        async def produce():
            async with send:
                for number in range(3):
                    await send.send(number)
                    house.env.note(f"sent {number}")

        async def consume():
            async with receive:
                async for number in receive:
                    async with lock:
                        await trio.sleep(0.1)
                    house.env.note(f"got {number}")

        async def enter(who):
            async with limiter:
                await trio.sleep(1)
                house.env.note(f"{who} left")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(produce)
            nursery.start_soon(consume)
            for who in "abc":
                nursery.start_soon(enter, who)

    assert notes(run(handle)) == [
        (0, "sent 0"),
        (0, "sent 1"),
        (100, "got 0"),
        (100, "sent 2"),
        (200, "got 1"),
        (300, "got 2"),
        (1000, "a left"),
        (1000, "b left"),
        (2000, "c left"),
    ]


def test_start_hands_a_value_back():
    async def handle(house, order):
        async def serve(*, task_status=trio.TASK_STATUS_IGNORED):
            await trio.sleep(0.5)
            task_status.started("ready")
            await trio.sleep(0.5)

        async with trio.open_nursery() as nursery:
            house.env.note(await nursery.start(serve))

    assert notes(run(handle)) == [(500, "ready")]


# ---- time and cancellation


def test_a_timeout_is_virtual():
    async def handle(house, order):
        try:
            with trio.fail_after(5):
                await house.bank.charge(order["id"], 100)
        except trio.TooSlowError:
            house.env.note("gave up")

    started = time.perf_counter()
    late = run(handle, only(Delay, CHARGE, lasting=7_000))
    assert notes(late) == [(5000, "gave up")]
    assert len(list(late.history.of("effect"))) == 1  # it was charged all the same
    assert said(run(handle)) == []
    assert time.perf_counter() - started < 2


def test_a_hundred_virtual_days_take_no_time():
    def build(house):
        async def main():
            with trio.move_on_after(100 * 86_400):
                await trio.sleep_forever()
            house.env.note("later")

        house.env.main(main)

    over = system_of(build, runtime="trio", budget=Budget(chaos_ms=10**11)).run()
    assert [event.at_ms for event in over.history.of("note")] == [100 * 86_400_000]


def test_the_clock_of_trio_is_the_monotonic_clock():
    async def handle(house, order):
        before = trio.current_time()
        assert before == time.monotonic()
        await trio.sleep(0.25)
        assert before + 0.25 <= trio.current_time() == pytest.approx(before + 0.25, abs=1e-6)
        assert trio.current_time() == pytest.approx(time.monotonic(), abs=1e-6)
        house.env.note("done")

    assert notes(run(handle)) == [(250, "done")]


def test_code_that_sleeps_until_a_deadline_gets_there():
    async def handle(house, order):
        deadline = trio.current_time() + 0.1
        rounds = 0
        while trio.current_time() < deadline:
            await trio.sleep_until(deadline)
            rounds += 1
        house.env.note(f"{rounds} rounds")

    assert notes(run(handle)) == [(100, "1 rounds")]


def test_deadlines_that_move_are_kept():
    async def handle(house, order):
        with trio.move_on_after(1) as scope:
            await trio.sleep(0.5)
            scope.deadline += 2
            await trio.sleep_forever()
        house.env.note("moved on")

    assert notes(run(handle)) == [(3000, "moved on")]


def test_a_cancelled_call_has_left_already():
    async def handle(house, order):
        with trio.move_on_after(0.001):
            await house.bank.charge(order["id"], 100)
        house.env.note("moved on")

    over = run(handle)
    assert notes(over) == [(1, "moved on")]
    assert len(list(over.history.of("effect"))) == 1
    assert over.ending.verdict == "quiet"


def test_every_port_is_a_checkpoint():
    async def handle(house, order):
        with trio.move_on_after(1):
            try:
                await trio.sleep(10)
            finally:
                await house.publish("out", order, key="in vain")  # raises Cancelled, as in life
        with trio.CancelScope(shield=True) as scope:
            scope.cancel()
            with trio.CancelScope(shield=True):
                await house.publish("out", order, key="shielded")

    assert published(run(handle)) == ["shielded"]


def test_a_wake_up_that_meets_a_cancellation_loses():
    async def handle(house, order):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(house.env.sleep, 1)
                nursery.start_soon(house.env.sleep, 1)
                await trio.sleep(1)
                scope.cancel()
        house.env.note("done")

    assert notes(run(handle)) == [(1000, "done")]


def test_context_variables_belong_to_the_handler_and_are_inherited_by_its_tasks():
    who = contextvars.ContextVar("who", default="nobody")
    who.set("the test")

    async def handle(house, order):
        async def say():
            house.env.note(f"task of {who.get()}")

        house.env.note(f"begins as {who.get()}")
        who.set(order["id"])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(say)

    told = said(run(handle, orders=2))
    assert told == ["begins as the test", "task of o1", "begins as the test", "task of o2"]
    assert who.get() == "the test"


def test_run_local_variables_are_new_in_each_run():
    count = trio.lowlevel.RunVar("count", default=0)

    async def handle(house, order):
        count.set(count.get() + 1)
        house.env.note(str(count.get()))

    system = handled_by(handle, runtime="trio", orders=2)
    assert said(system.run()) == said(system.run()) == ["1", "2"]


def test_callbacks_of_a_trio_token_are_run():
    async def handle(house, order):
        token = trio.lowlevel.current_trio_token()
        event = trio.Event()
        token.run_sync_soon(event.set)
        await event.wait()
        house.env.note("called")

    assert notes(run(handle)) == [(0, "called")]


# ---- functions that block


async def tick(house, until_s=2.0):
    for _ in range(round(until_s / 0.5)):
        await trio.sleep(0.5)
        house.env.note("tick")


def test_a_blocking_port_blocks_trio_in_its_incarnation():
    async def handle(house, order):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tick, house)
            await trio.sleep(0.001)
            house.db.execute("INSERT INTO seen VALUES (?)", (order["id"],))
            house.env.note("executed")

    assert notes(run(handle))[:2] == [(1, "executed"), (500, "tick")]
    paused = run(handle, only(Pause, "desk.on_order/db.insert seen", "after", lasting=1_800))
    assert notes(paused) == [
        (1801, "executed"),
        (1801, "tick"),
        (2301, "tick"),
        (2801, "tick"),
        (3301, "tick"),
    ]


def test_a_blocking_port_blocks_no_other_incarnation():
    async def handle(house, order):
        house.db.execute("SELECT * FROM seen").fetchall()
        await trio.sleep(0.001)
        house.env.note(f"{order['id']} read")

    fault = only(Pause, "desk.on_order/db.select seen", "after", lasting=44_000)
    told = notes(run(handle, fault, orders=4, replicas=4))
    assert [what for at, what in told if at > 40_000] == ["o1 read", "o3 read"]  # one replica
    assert [what for at, what in told if at < 1_000] == ["o2 read", "o4 read"]


def test_to_thread_runs_beside_trio():
    async def handle(house, order):
        def save():
            house.env.sleep(1)
            receipt = house.bank.charge(order["id"], 100)  # blocks: this is plain code
            house.env.note("saved")
            return receipt.cents

        async with trio.open_nursery() as nursery:
            nursery.start_soon(tick, house, 1)
            assert await trio.to_thread.run_sync(save) == 100
            house.env.note("back")
        with pytest.raises(ZeroDivisionError):
            await trio.to_thread.run_sync(divmod, 1, 0)

    over = run(handle)
    assert notes(over) == [(500, "tick"), (1000, "tick"), (1020, "saved"), (1020, "back")]
    [effect] = over.history.of("effect")
    assert effect.operation == CHARGE


def test_to_thread_is_waited_for_unless_it_may_be_abandoned():
    async def handle(house, order):
        with trio.move_on_after(1):
            await trio.to_thread.run_sync(house.env.sleep, 3)
        house.env.note("waited")
        with trio.move_on_after(1):
            await trio.to_thread.run_sync(house.env.sleep, 3, abandon_on_cancel=True)
        house.env.note("abandoned")

    assert notes(run(handle)) == [(3000, "waited"), (4000, "abandoned")]


def test_to_thread_obeys_its_limiter():
    async def handle(house, order):
        limiter = trio.CapacityLimiter(1)

        async def nap():
            await trio.to_thread.run_sync(house.env.sleep, 1, limiter=limiter)
            house.env.note("rested")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(nap)
            nursery.start_soon(nap)

    assert notes(run(handle)) == [(1000, "rested"), (2000, "rested")]
