"""Real asyncio on virtual time."""

import asyncio
import contextvars
import time

import pytest

from chaosharness import Crash, Delay, Pause
from tests.handlers.houses import (
    CHARGE,
    handled_by,
    notes,
    only,
    published,
    said,
)
from tests.handlers.houses import run as run_it


def run(handler, schedule=None, **options):
    return run_it(handler, schedule, runtime="asyncio", **options)


# ---- concurrency


def test_a_task_group_waits_for_all_at_once():
    async def handle(house, order):
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(house.bank.charge(f"{order['id']}-{number}", 100))
        house.env.note("done")

    assert notes(run(handle)) == [(20, "done")]


def test_gather_keeps_the_order_of_its_arguments():
    async def wait(seconds):
        await asyncio.sleep(seconds)
        return seconds

    async def handle(house, order):
        house.env.note(str(await asyncio.gather(wait(0.3), wait(0.1), wait(0.2))))

    assert notes(run(handle)) == [(300, "[0.3, 0.1, 0.2]")]


def test_equal_deadlines_go_off_in_the_order_they_were_set():
    async def handle(house, order):
        async def say(what):
            await asyncio.sleep(1)
            house.env.note(what)

        await asyncio.gather(*(say(what) for what in "abcde"))

    assert notes(run(handle)) == [(1000, what) for what in "abcde"]


def test_lock_queue_event_and_semaphore():
    async def handle(house, order):
        lock, queue, event = asyncio.Lock(), asyncio.Queue(1), asyncio.Event()
        places = asyncio.Semaphore(2)

        async def produce():
            for number in range(3):
                await queue.put(number)
                house.env.note(f"put {number}")

        async def consume():
            for _ in range(3):
                async with lock:
                    await asyncio.sleep(0.1)
                    house.env.note(f"got {await queue.get()}")
            event.set()

        async def enter(who):
            async with places:
                await asyncio.sleep(1)
                house.env.note(f"{who} left")

        async with asyncio.TaskGroup() as group:
            group.create_task(produce())
            group.create_task(consume())
            for who in "abc":
                group.create_task(enter(who))
            await event.wait()
            house.env.note("event")

    assert notes(run(handle)) == [
        (0, "put 0"),
        (100, "got 0"),
        (100, "put 1"),
        (200, "got 1"),
        (200, "put 2"),
        (300, "got 2"),
        (300, "event"),
        (1000, "a left"),
        (1000, "b left"),
        (2000, "c left"),
    ]


def test_tasks_in_sets_are_gone_through_in_the_order_they_were_made():
    async def handle(house, order):
        async def stay(number):
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                house.env.note(f"{number} cancelled")
                raise

        async def fail():
            await asyncio.sleep(1)
            raise ValueError("no")

        try:
            async with asyncio.TaskGroup() as group:
                for number in range(20):
                    group.create_task(stay(number))
                group.create_task(fail())
        except* ValueError:
            pass
        done, _ = await asyncio.wait([asyncio.create_task(asyncio.sleep(0, n)) for n in range(20)])
        house.env.note(str([task.result() for task in done]))

    told = said(run(handle))
    assert told == [*(f"{number} cancelled" for number in range(20)), str(list(range(20)))]


def test_as_completed_starts_coroutines_in_the_order_they_were_given():
    async def handle(house, order):
        async def start(number):
            house.env.note(f"{number} starts")
            await asyncio.sleep(1)
            return number

        coroutines = [start(number) for number in range(20)]
        coroutines.sort(key=id, reverse=True)  # the worst case for a set of addresses
        names = [coroutine.cr_frame.f_locals["number"] for coroutine in coroutines]
        results = [await one for one in asyncio.as_completed(coroutines)]
        assert results == names
        assert await asyncio.wait_for(asyncio.wait([asyncio.create_task(start(99))]), 5)
        assert said_so_far(house)[:20] == [f"{name} starts" for name in names]

    assert list(run(handle).history.of("raised")) == []


def said_so_far(house):
    return [event[-1]["what"] for event in house.env._stage.world.raw if event[1] == "note"]


def test_names_of_tasks_do_not_depend_on_what_ran_before():
    async def handle(house, order):
        house.env.note(asyncio.create_task(asyncio.sleep(0)).get_name())
        house.env.note(asyncio.current_task().get_name())

    system = handled_by(handle, runtime="asyncio")
    assert said(system.run()) == said(system.run()) == ["Task-2", "desk.on_order"]


# ---- time


def test_a_timeout_is_virtual():
    async def handle(house, order):
        try:
            async with asyncio.timeout(5):
                await house.bank.charge(order["id"], 100)
        except TimeoutError:
            house.env.note("gave up")

    started = time.perf_counter()
    late = run(handle, only(Delay, CHARGE, lasting=7_000))
    assert notes(late) == [(5000, "gave up")]
    assert len(list(late.history.of("effect"))) == 1  # it was charged all the same
    assert said(run(handle)) == []
    assert time.perf_counter() - started < 2


def test_wait_for_gives_up_and_cancels():
    async def handle(house, order):
        async def slow():
            try:
                await asyncio.sleep(60)
            finally:
                house.env.note("cancelled")

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(slow(), 2.5)
        house.env.note("on time")

    assert notes(run(handle)) == [(2500, "cancelled"), (2500, "on time")]


def test_the_clock_of_the_loop_is_the_monotonic_clock():
    async def handle(house, order):
        loop = asyncio.get_running_loop()
        before = loop.time()
        assert before == time.monotonic()
        await asyncio.sleep(0.25)
        assert loop.time() == pytest.approx(before + 0.25, abs=1e-6)
        assert loop.time() >= before + 0.25
        assert loop.time() == pytest.approx(time.monotonic(), abs=1e-6)
        house.env.note("done")

    assert notes(run(handle)) == [(250, "done")]


def test_code_that_sleeps_until_a_deadline_gets_there():
    async def handle(house, order):
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 0.1
        rounds = 0
        while loop.time() < deadline:
            await asyncio.sleep(deadline - loop.time())
            rounds += 1
        house.env.note(f"{rounds} rounds")

    assert notes(run(handle)) == [(100, "1 rounds")]


def test_call_later_call_at_and_cancelling_them():
    async def handle(house, order):
        loop = asyncio.get_running_loop()
        loop.call_later(1, house.env.note, "later")
        loop.call_at(loop.time() + 0.5, house.env.note, "at")
        loop.call_later(0.7, house.env.note, "never").cancel()
        loop.call_soon(house.env.note, "soon")
        await asyncio.sleep(2)

    assert notes(run(handle)) == [(0, "soon"), (500, "at"), (1000, "later")]


# ---- cancellation, context, generators


def test_a_cancelled_call_has_left_already():
    async def handle(house, order):
        task = asyncio.create_task(house.bank.charge(order["id"], 100))
        await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        house.env.note("cancelled")

    over = run(handle)
    assert notes(over) == [(1, "cancelled")]
    assert len(list(over.history.of("effect"))) == 1
    assert over.ending.verdict == "quiet"


def test_context_variables_belong_to_the_handler_and_are_inherited_by_its_tasks():
    who = contextvars.ContextVar("who", default="nobody")
    who.set("the test")

    async def handle(house, order):
        async def say():
            house.env.note(f"task of {who.get()}")

        house.env.note(f"begins as {who.get()}")
        who.set(order["id"])
        await asyncio.create_task(say())

    told = said(run(handle, orders=2))
    assert told == [
        "begins as the test",
        "task of o1",
        "begins as the test",
        "task of o2",
    ]
    assert who.get() == "the test"


def test_a_dropped_async_generator_is_closed():
    async def handle(house, order):
        async def numbers():
            try:
                yield 1
                yield 2
            finally:
                await asyncio.sleep(0.1)
                house.env.note("closed")

        async for _ in numbers():
            break
        await asyncio.sleep(1)

    assert notes(run(handle)) == [(100, "closed")]


# ---- tasks that outlive their handler


def test_a_background_task_goes_on_after_its_handler():
    async def handle(house, order):
        async def remind():
            await asyncio.sleep(3600)
            await house.publish("out", order, key=order["id"])

        handle.task = asyncio.create_task(remind())

    over = run(handle)
    assert published(over) == ["o1"]
    [handled] = over.history.of("handled")
    [reminder] = [one for one in over.history.of("publish") if one.data["topic"] == "out"]
    assert reminder.at_ms - handled.at_ms == 3_600_000
    assert reminder.operation == "desk.on_order/bus.publish out"
    assert reminder.entity == 1


def test_the_error_of_a_background_task_is_an_event():
    async def handle(house, order):
        async def fail():
            await asyncio.sleep(1)
            raise ValueError("in the background")

        handle.task = asyncio.create_task(fail(), name="reminder")

    over = run(handle)
    [raised] = over.history.of("raised")
    assert raised.data["error"] == "ValueError: in the background"
    assert raised.data["task"] == "reminder"
    assert raised.data["line"].startswith("tests/handlers/test_asyncio.py:")
    assert raised.entity == 1
    assert over.ending.verdict == "quiet"


def test_an_awaited_error_is_no_event_of_its_own():
    async def handle(house, order):
        async def fail():
            raise ValueError("handled")

        with pytest.raises(ValueError):
            await asyncio.create_task(fail())
        results = await asyncio.gather(fail(), return_exceptions=True)
        assert len(results) == 1
        async with asyncio.timeout(1):
            with pytest.raises(ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    group.create_task(fail())

    assert list(run(handle).history.of("raised")) == []


def test_the_error_of_a_callback_is_an_event():
    async def handle(house, order):
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)

    [raised] = run(handle).history.of("raised")
    assert raised.data["error"] == "ZeroDivisionError: division by zero"


def test_the_loops_own_exception_handler_is_told():
    async def handle(house, order):
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: house.env.note(context["message"][:21]))
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)

    assert said(run(handle)) == ["Exception in callback"]


# ---- functions that block


def ticking(house, until_s=2.0):
    async def tick():
        for _ in range(round(until_s / 0.5)):
            await asyncio.sleep(0.5)
            house.env.note("tick")

    return tick()


def test_a_blocking_port_blocks_the_loop_of_its_incarnation():
    async def handle(house, order):
        ticks = asyncio.create_task(ticking(house))
        await asyncio.sleep(0)
        house.db.execute("INSERT INTO seen VALUES (?)", (order["id"],))
        house.env.note("executed")
        await ticks

    calm = run(handle)
    assert notes(calm)[:2] == [(0, "executed"), (500, "tick")]
    paused = run(handle, only(Pause, "desk.on_order/db.insert seen", "after", lasting=1_800))
    # timers that were due meanwhile go off late, the rest of the second goes by as usual
    assert notes(paused) == [
        (1800, "executed"),
        (1800, "tick"),
        (2300, "tick"),
        (2800, "tick"),
        (3300, "tick"),
    ]


def test_a_blocking_port_blocks_no_other_incarnation():
    async def handle(house, order):
        house.db.execute("SELECT * FROM seen").fetchall()
        house.env.note(f"{order['id']} read")

    fault = only(Pause, "desk.on_order/db.select seen", "after", lasting=44_000)
    told = notes(run(handle, fault, orders=4, replicas=4))
    assert [what for at, what in told if at > 40_000] == ["o1 read", "o3 read"]  # one replica
    assert [what for at, what in told if at < 1_000] == ["o2 read", "o4 read"]


def test_to_thread_runs_beside_the_loop():
    async def handle(house, order):
        def save():
            house.env.sleep(1)
            receipt = house.bank.charge(order["id"], 100)  # blocks: this is plain code
            house.env.note("saved")
            return receipt.cents

        ticks = asyncio.create_task(ticking(house, 1))
        assert await asyncio.to_thread(save) == 100
        house.env.note("back")
        await ticks

    over = run(handle)
    assert notes(over) == [(500, "tick"), (1000, "tick"), (1020, "saved"), (1020, "back")]
    [effect] = over.history.of("effect")
    assert effect.operation == CHARGE
    assert over.history.happened_before(next(over.history.of("deliver")).index, effect.index)


def test_an_executor_hands_on_results_and_errors():
    async def handle(house, order):
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, pow, 2, 5) == 32
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, divmod, 1, 0)
        house.env.note("done")

    assert said(run(handle)) == ["done"]


def test_what_to_thread_runs_dies_with_its_incarnation():
    async def handle(house, order):
        def save():
            house.env.sleep(1)
            house.env.note("saved")

        await asyncio.to_thread(save)

    over = run(handle, only(Crash, "desk.on_order/sleep", "after"))
    assert said(over) == ["saved"]  # by the second incarnation


KEPT = []


def test_what_an_async_generator_awaits_is_closed_with_its_run():
    """Who keeps the generator keeps that, and the interpreter did not survive it at its end."""

    async def listen():
        while True:
            await asyncio.Queue().get()
            yield

    async def handle(house, order):
        KEPT.append(listen())
        await asyncio.wait([asyncio.create_task(KEPT[-1].__anext__())], timeout=5)
        house.env.note("on")

    assert said(run(handle)) == ["on"]
    [generator] = KEPT
    del KEPT[:]
    assert generator.ag_await is None or generator.ag_await.cr_frame is None
