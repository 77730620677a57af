"""Real asyncio on virtual time."""

import asyncio
import contextvars
import gc
import time
import warnings

import pytest

from chaosharness import Budget, Crash, Delay, Pause
from chaosharness.errors import InvalidDefinition, RealIO
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
    assert raised.data == {"error": "ValueError: in the background", "task": "reminder"}
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

    fault = only(Pause, "desk.on_order/db.select seen", "after", lasting=50_000)
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


# ---- quiescence and verdicts


def test_a_loop_that_finds_nothing_to_do_is_quiet():
    def build(house):
        async def poll():
            while True:
                await asyncio.sleep(1)
                house.env.note("looked")

        house.env.main(poll)

    over = system_of(build, runtime="asyncio").run()
    assert over.ending.verdict == "quiet"
    assert 1 <= len(said(over)) < 10


def test_a_later_timer_keeps_a_polling_service_from_quiet():
    def build(house):
        async def poll():
            while True:
                await asyncio.sleep(1)

        async def report():
            await asyncio.sleep(30)
            await house.publish("out", {}, key="report")

        async def main():
            async with asyncio.TaskGroup() as group:
                group.create_task(poll())
                group.create_task(report())

        house.env.main(main)

    over = system_of(build, runtime="asyncio").run()
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
            async with asyncio.TaskGroup() as group:
                group.create_task(poll())
                group.create_task(report())

        house.env.main(main)

    over = system_of(build, runtime="asyncio").run()
    assert published(over) == ["report"]
    assert over.ending.verdict == "quiet"


def test_a_polling_loop_that_uses_a_timeout_is_quiet():
    def build(house):
        async def main():
            queue = asyncio.Queue()
            while True:
                try:
                    await asyncio.wait_for(queue.get(), 0.5)
                except TimeoutError:
                    await asyncio.to_thread(house.env.note, "nothing")

        house.env.main(main)

    assert system_of(build, runtime="asyncio").run().ending.verdict == "quiet"


def test_a_handler_that_waits_for_nothing_is_stuck():
    async def handle(house, order):
        await asyncio.Event().wait()

    ending = run(handle).ending
    assert ending.verdict == "stuck"
    assert "desk.on_order" in ending.reason


def test_a_stuck_handler_is_named_although_a_loop_goes_on_polling():
    def build(house):
        async def poll():
            while True:
                await asyncio.sleep(1)

        async def on_order(order):
            await asyncio.Event().wait()

        house.env.main(poll)
        house.consume(on_order)

    ending = system_of(build, runtime="asyncio").run().ending
    assert ending.verdict == "stuck"
    assert "desk.on_order" in ending.reason


def test_a_handler_that_waits_for_a_batch_is_not_stuck():
    def build(house):
        batch, flushed = [], asyncio.Event()

        async def flush():
            for _ in range(30):  # it looks thirty times before the batch is old enough
                await asyncio.sleep(1)
            await house.publish("out", batch, key="batch")
            flushed.set()

        async def on_order(order):
            batch.append(order["id"])
            await flushed.wait()

        house.env.main(flush)
        house.consume(on_order)

    over = system_of(build, runtime="asyncio").run()
    assert published(over) == ["batch"]
    assert over.ending.verdict == "quiet"


def test_two_tasks_that_wait_for_each_other_are_stuck():
    async def handle(house, order):
        one, other = asyncio.Lock(), asyncio.Lock()

        async def take(first, second):
            async with first:
                await asyncio.sleep(0.1)
                async with second:
                    pass

        await asyncio.gather(take(one, other), take(other, one))

    assert run(handle).ending.verdict == "stuck"


def test_waiting_by_asking_again_and_again_gets_there():
    async def handle(house, order):
        charged = asyncio.create_task(house.bank.charge(order["id"], 100))
        while not charged.done():
            await asyncio.sleep(0)
        house.env.note("charged")

    [(at_ms, _)] = notes(run(handle))
    assert 20 <= at_ms <= 30


def test_a_loop_that_never_waits_is_spinning():
    async def handle(house, order):
        while True:
            await asyncio.sleep(0)

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


def test_a_forgotten_await_of_a_call_and_of_sleep_are_errors():
    async def charge(house, order):
        house.bank.charge(order["id"], 100)

    async def nap(house, order):
        house.env.sleep(1)

    with pytest.raises(InvalidDefinition, match=r"bank\.charge was called without await"):
        run(charge)
    with pytest.raises(InvalidDefinition, match="sleep was called without await"):
        run(nap)


def test_a_result_that_was_not_awaited_says_so():
    async def handle(house, order):
        receipt = house.bank.charge(order["id"], 100)
        try:
            return receipt.cents
        except AttributeError as error:
            house.env.note(str(error))
            await receipt

    assert said(run(handle)) == [f"'cents': {CHARGE} has no result yet; await it first"]


def test_a_lambda_around_async_code_is_an_error():
    def build(house):
        async def on_order(order):
            await house.publish("out", order, key="k")

        house.consume(lambda order: on_order(order))  # noqa: PLW0108  (the point)

    with pytest.raises(InvalidDefinition, match="returned a coroutine that nobody awaits"):
        system_of(build).run()


def test_asyncio_run_in_a_handler_is_an_error():
    def start():
        nothing = asyncio.sleep(0)
        try:
            asyncio.run(nothing)
        finally:
            nothing.close()

    async def handle(house, order):
        start()

    def handle_plainly(house, order):
        start()

    with pytest.raises(InvalidDefinition, match=r"desk\.on_order starts an event loop"):
        run(handle)
    with pytest.raises(RealIO, match=r"desk\.on_order called asyncio\.run"):
        run_it(handle_plainly)


def test_a_loop_of_ones_own_is_an_error():
    def handle(house, order):
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(loop.create_future())
        finally:
            loop.close()

    with pytest.raises(RealIO, match="an asyncio event loop of its own"):
        run_it(handle)


def test_real_connections_are_refused():
    async def handle(house, order):
        try:
            await asyncio.open_connection("localhost", 80)
        except Exception:
            house.env.note("swallowed")

    with pytest.raises(RealIO, match=r"desk\.on_order called asyncio's loop\.create_connection"):
        run(handle)


def test_trio_code_under_asyncio_is_told_what_to_do():
    import trio

    async def handle(house, order):
        await trio.sleep(1)

    with pytest.raises(InvalidDefinition, match=r"something of trio.*Say runtime='trio'"):
        run(handle)


# ---- surroundings


def test_a_run_inside_a_running_loop_leaves_that_loop_alone():
    async def handle(house, order):
        await asyncio.sleep(1)
        house.env.note("done")

    system = handled_by(handle, runtime="asyncio")

    async def main():
        loop = asyncio.get_running_loop()
        over = system.run()
        assert asyncio.get_running_loop() is loop
        await asyncio.sleep(0)
        return over

    assert notes(asyncio.run(main())) == [(1000, "done")]


@pytest.mark.filterwarnings("error")
def test_abandoned_code_leaves_no_noise(capfd):
    async def handle(house, order):
        async def hold():
            try:
                await asyncio.sleep(100)
            finally:
                await asyncio.sleep(1)
                await house.publish("out", order)

        async def never():
            await asyncio.sleep(1)

        handle.tasks = [asyncio.create_task(hold()), asyncio.create_task(hold())]
        await asyncio.sleep(0.1)
        handle.tasks.append(asyncio.create_task(never()))
        async with asyncio.TaskGroup() as group:
            group.create_task(house.bank.charge(order["id"], 100))
            group.create_task(house.bank.charge(order["id"], 200))

    def build(house):
        async def loop():
            while True:
                try:
                    await asyncio.sleep(1)
                except BaseException:
                    house.env.note("survived")

        async def on_order(order):
            await handle(house, order)

        house.env.main(loop)
        house.consume(on_order)

    with warnings.catch_warnings():
        system = system_of(build, runtime="asyncio", orders=2)
        system.run(schedule=only(Crash, CHARGE, "after"))
        system.run(schedule=only(Crash, HANDLE, entity=2))
        handle.tasks.clear()
        gc.collect()
    output = capfd.readouterr()
    assert output.err == ""
    assert output.out == ""


def test_sqlite_in_async_code_needs_no_await():
    async def handle(house, order):
        with house.db as db:
            db.execute("INSERT INTO seen VALUES (?)", (order["id"],))

    over = run(handle, orders=2)
    state = next(event.data for event in over.history.of("state") if event.actor == "db")
    assert [row["id"] for row in state["tables"]["seen"]] == ["o1", "o2"]
