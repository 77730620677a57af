"""Real trio on virtual time."""

import asyncio
import contextvars
import gc
import time
from contextlib import suppress

import pytest
import trio
import trio.testing

from chaosharness import Budget, Crash, Delay, Pause
from chaosharness.errors import InvalidDefinition, RealIO
from chaosharness.handlers import trio_guest
from tests.handlers.houses import (
    CHARGE,
    HANDLE,
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

    fault = only(Pause, "desk.on_order/db.select seen", "after", lasting=50_000)
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


# ---- quiescence and verdicts


def test_a_loop_that_finds_nothing_to_do_is_quiet():
    def build(house):
        async def poll():
            while True:
                await trio.sleep(1)
                house.env.note("looked")

        house.env.main(poll)

    over = system_of(build, runtime="trio").run()
    assert over.ending.verdict == "quiet"
    assert 1 <= len(said(over)) < 10


def test_a_later_deadline_keeps_a_polling_service_from_quiet():
    def build(house):
        async def poll():
            while True:
                await trio.sleep(1)

        async def report():
            await trio.sleep(30)
            await house.publish("out", {}, key="report")

        async def main():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(poll)
                nursery.start_soon(report)

        house.env.main(main)

    over = system_of(build, runtime="trio").run()
    assert published(over) == ["report"]
    assert over.ending.verdict == "quiet"


def test_a_later_nap_keeps_a_service_that_naps_often_from_quiet():
    def build(house):
        async def poll():
            while True:
                await house.env.sleep(1)

        async def report():
            await house.env.sleep(30)
            await house.publish("out", {}, key="report")

        async def main():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(poll)
                nursery.start_soon(report)

        house.env.main(main)

    over = system_of(build, runtime="trio").run()
    assert published(over) == ["report"]
    assert over.ending.verdict == "quiet"


def test_several_polling_loops_are_quiet():
    def build(house):
        async def poll(seconds):
            while True:
                with trio.move_on_after(seconds):
                    await trio.sleep_forever()
                await trio.to_thread.run_sync(house.env.note, "nothing")

        async def nap():
            while True:
                await house.env.sleep(7)

        async def main():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(poll, 0.5)
                nursery.start_soon(poll, 3)
                nursery.start_soon(nap)

        house.env.main(main)

    assert system_of(build, runtime="trio").run().ending.verdict == "quiet"


def test_a_handler_that_waits_for_nothing_is_stuck():
    async def handle(house, order):
        await trio.sleep_forever()

    ending = run(handle).ending
    assert ending.verdict == "stuck"
    assert "desk.on_order" in ending.reason


def test_a_stuck_handler_is_named_although_a_loop_goes_on_polling():
    def build(house):
        async def poll():
            while True:
                await trio.sleep(1)

        async def on_order(order):
            await trio.Event().wait()

        house.env.main(poll)
        house.consume(on_order)

    ending = system_of(build, runtime="trio").run().ending
    assert ending.verdict == "stuck"
    assert "desk.on_order" in ending.reason


def test_a_handler_that_waits_for_a_batch_is_not_stuck():
    def build(house):
        batch, flushed = [], trio.Event()

        async def flush():
            for _ in range(30):  # it looks thirty times before the batch is old enough
                await trio.sleep(1)
            await house.publish("out", batch, key="batch")
            flushed.set()

        async def on_order(order):
            batch.append(order["id"])
            await flushed.wait()

        house.env.main(flush)
        house.consume(on_order)

    over = system_of(build, runtime="trio").run()
    assert published(over) == ["batch"]
    assert over.ending.verdict == "quiet"


def test_waiting_by_asking_again_and_again_gets_there():
    async def handle(house, order):
        charged = trio.Event()

        async def charge():
            await house.bank.charge(order["id"], 100)
            charged.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(charge)
            while not charged.is_set():
                await trio.sleep(0)
            house.env.note("charged")

    [(at_ms, _)] = notes(run(handle))
    assert 20 <= at_ms <= 30


def test_a_loop_that_never_waits_is_spinning():
    async def handle(house, order):
        while True:
            await trio.sleep(0)

    ending = run(handle).ending
    assert ending.verdict == "spinning"
    assert "desk.on_order" in ending.reason


def test_a_loop_over_ports_that_take_no_time_is_spinning():
    async def handle(house, order):
        while True:
            await house.publish("out", order, key="k")

    ending = run(handle, budget=Budget(steps_max=200)).ending
    assert ending.verdict == "spinning"
    assert "desk.on_order" in ending.reason


# ---- mistakes


def test_a_forgotten_await_is_an_error():
    async def handle(house, order):
        house.publish("out", order, key="k")

    with pytest.raises(InvalidDefinition, match=r"bus\.publish out was called without await"):
        run(handle)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_trio_run_in_a_handler_is_an_error():
    async def handle(house, order):
        trio.run(trio.sleep, 0)

    def handle_plainly(house, order):
        try:
            trio.run(trio.sleep, 0)
        except Exception:
            house.env.note("swallowed")

    for chosen in (handle, handle_plainly):
        with pytest.raises(RealIO, match=r"desk\.on_order called trio\.run"):
            run_it(chosen, runtime="trio")


def test_real_io_is_refused():
    async def handle(house, order):
        left, right = trio.socket.socketpair()
        with left, right:
            await left.recv(1)

    with pytest.raises(RealIO, match=r"desk\.on_order called trio\.lowlevel\.wait_readable"):
        run(handle)

    async def connect(house, order):
        await trio.open_tcp_stream("localhost", 80)

    with pytest.raises(RealIO, match=r"desk\.on_order called"):
        run(connect)


def test_asyncio_code_under_trio_is_told_what_to_do():
    async def sleep(house, order):
        await asyncio.sleep(1)

    async def step(house, order):
        await asyncio.sleep(0)

    for handle in (sleep, step):
        with pytest.raises(InvalidDefinition, match=r"something of asyncio.*runtime='asyncio'"):
            run(handle)


# ---- surroundings


def guests():
    return len(trio_guest._POOL.guests)


def test_guests_are_used_again():
    async def handle(house, order):
        await trio.sleep(1)

    system = handled_by(handle, runtime="trio", replicas=2, orders=4)
    system.run()
    before = guests()
    for _ in range(10):
        assert system.run().digest() == system.run().digest()
    assert guests() == before


def test_guests_of_crashed_code_are_used_again():
    async def handle(house, order):
        async def hold():
            try:
                await trio.sleep(100)
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(3600)
                    await house.publish("out", order)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold)
            nursery.start_soon(trio.to_thread.run_sync, house.env.sleep, 5)
            await house.bank.charge(order["id"], 100)
            nursery.cancel_scope.cancel()

    system = handled_by(handle, runtime="trio", orders=2)
    crash = only(Crash, CHARGE, "after")
    digest = system.run(schedule=crash).digest()
    before = guests()
    stubborn = len(trio_guest._STUBBORN)
    for _ in range(5):
        assert system.run(schedule=crash).digest() == digest
    assert guests() == before
    assert len(trio_guest._STUBBORN) == stubborn


@pytest.mark.filterwarnings("error")
def test_code_that_swallows_its_cancellation_cannot_hang_the_run(capfd):
    async def handle(house, order):
        while True:
            with suppress(BaseException):
                await trio.sleep(1)

    stubborn = len(trio_guest._STUBBORN)
    started = time.perf_counter()
    over = run(handle, only(Crash, HANDLE, entity=2), orders=2, budget=Budget(calm_ms=100_000))
    assert over.ending.verdict == "budget"
    assert published(over) == []
    assert len(trio_guest._STUBBORN) == stubborn + 1  # it is kept, and never lent again
    assert time.perf_counter() - started < 5
    gc.collect()
    output = capfd.readouterr()
    assert output.err == ""

    async def well(house, order):
        house.env.note("well")

    assert said(run(well)) == ["well"]


@pytest.mark.filterwarnings("error")
def test_abandoned_code_leaves_no_noise(capfd):
    async def handle(house, order):
        async def hold():
            try:
                await trio.sleep(100)
            finally:
                await house.publish("out", order)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold)
            nursery.start_soon(house.bank.charge, order["id"], 100)
            await house.bank.charge(order["id"], 100)

    system = handled_by(handle, runtime="trio", orders=2)
    system.run(schedule=only(Crash, CHARGE, "after"))
    gc.collect()
    output = capfd.readouterr()
    assert output.err == ""
    assert output.out == ""


def test_a_run_inside_trio_leaves_that_trio_alone():
    async def handle(house, order):
        await trio.sleep(1)
        house.env.note("done")

    system = handled_by(handle, runtime="trio")

    async def main():
        task = trio.lowlevel.current_task()
        over = system.run()
        assert trio.lowlevel.current_task() is task
        await trio.sleep(0)
        return over

    assert notes(trio.run(main)) == [(1000, "done")]
    assert trio.run(trio.sleep, 0) is None  # and nothing of ours is left behind


def test_trio_runs_as_ever_between_runs():
    async def handle(house, order):
        await trio.sleep(1)

    run(handle)
    clock = trio.testing.MockClock(autojump_threshold=0)
    trio.run(trio.sleep, 1000, clock=clock)
    assert trio.run(trio.to_thread.run_sync, lambda: 42) == 42
