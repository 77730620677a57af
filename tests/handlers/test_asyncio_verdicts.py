"""Real asyncio on virtual time: when it is quiet, stuck or spinning; mistakes; surroundings."""

import asyncio
import gc
import warnings

import pytest

from chaosharness import Budget, Crash
from chaosharness.errors import InvalidDefinition, NotAwaited, RealIO
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
        return receipt.cents

    with pytest.raises(NotAwaited, match=f"{CHARGE} was called without await at .*verdicts.py:"):
        run(handle)


def test_a_lambda_around_async_code_is_an_error():
    def build(house):
        async def on_order(order):
            await house.publish("out", order, key="k")

        house.consume(lambda order: on_order(order))  # noqa: PLW0108  (the point)

    with pytest.raises(InvalidDefinition, match="returned a coroutine that nobody awaits"):
        system_of(build).run()


def test_a_handler_with_a_yield_in_it_is_an_error():
    def plain(order):
        yield order

    async def one(order):
        yield order

    for handler in (plain, one):
        system = system_of(lambda house, handler=handler: house.consume(handler))
        with pytest.raises(
            InvalidDefinition, match=r"returned a generator, of \w+ \(.*:\d+\): there is a 'yield'"
        ):
            system.run()


def test_asyncio_run_in_an_async_handler_is_an_error():
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
    assert run_it(handle_plainly).ending.verdict == "quiet"


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


def test_a_handler_that_waits_for_a_future_for_ever_is_stuck_at_its_line():
    async def handle(house, order):
        await asyncio.get_running_loop().create_future()

    ending = run_it(handle, runtime="asyncio").ending
    assert ending.verdict == "stuck"
    assert "desk.on_order (at tests/handlers/test_asyncio_verdicts.py:" in ending.reason
