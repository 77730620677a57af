"""`asyncio.run` in plain code: a loop of its own on virtual time, while its caller waits."""

import asyncio
import threading
import time

import pytest

from chaosharness import Crash, Schedule, Site, explore
from chaosharness.errors import Hopeless, InvalidDefinition
from tests.handlers.houses import CHARGE, handled_by, run


def key_of(order):
    return order["id"]


def charging(start, *, keyed=True):
    """A plain handler that has a coroutine run by `start`."""

    def on_order(house, order):
        async def charge():
            async with asyncio.timeout(120):
                options = {"key": key_of(order)} if keyed else {}
                await house.bank.charge(order["id"], 500, **options)

        start(charge())

    return handled_by(on_order)


def by_runner(coroutine):
    with asyncio.Runner() as runner:
        runner.run(asyncio.sleep(1))
        runner.run(coroutine)


def by_loop(coroutine):
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(coroutine)
    finally:
        loop.close()


def until_stopped(coroutine):
    """As programs do that were written before `asyncio.run`."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(coroutine)
    task.add_done_callback(lambda _: loop.stop())
    try:
        loop.run_forever()
    finally:
        loop.close()
    task.result()


def by_task(coroutine):
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(loop.create_task(coroutine))
    finally:
        loop.close()


def in_a_thread(coroutine):
    failed = []

    def work():
        try:
            asyncio.run(coroutine)
        except BaseException as error:
            failed.append(error)
            raise

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


STARTS = [asyncio.run, by_runner, by_loop, by_task, until_stopped, in_a_thread]


@pytest.mark.parametrize("start", STARTS)
def test_right_code_is_silent_and_a_slip_is_named(start):
    def found(**options):
        campaign = explore(charging(start, **options), faults_max=1, kinds=[Crash])
        return [one.findings[0].summary for one in campaign.counterexamples]

    assert found() == []
    [slip] = found(keyed=False)
    assert slip.startswith("bank did charge(cents=500, order=o1) twice")


@pytest.mark.parametrize("start", STARTS)
def test_a_crash_in_the_middle_is_one_of_the_whole_process(start):
    system = charging(start)
    where = "desk.work/bank.charge" if start is in_a_thread else CHARGE
    crashed = system.run(schedule=Schedule([Crash(Site(where, "after"))]))
    assert not crashed.unused
    assert crashed.ending.verdict == "quiet"
    assert len([*crashed.history.of("handled")]) == 1
    assert len([*crashed.history.of("effect")]) == 1
    assert system.run().digest() == system.run().digest()


def test_it_does_what_asyncio_run_does():
    told = []

    async def left():
        try:
            await asyncio.sleep(10_000)
        finally:
            told.append("cancelled")

    async def whole():
        task = asyncio.create_task(left())
        await asyncio.sleep(5)
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(3))
            group.create_task(asyncio.to_thread(time.sleep, 4))
        return task.done()

    async def failing():
        raise ValueError("no such order")

    def on_order(house, order):
        before = time.time()
        told.append(asyncio.run(whole()))
        told.append(round(time.time() - before))
        with pytest.raises(ValueError, match="no such order"):
            asyncio.run(failing())
        with pytest.raises(ValueError, match="a coroutine was expected"):
            asyncio.run(None)

    assert run(on_order).ending.verdict == "quiet"
    assert told == ["cancelled", False, 9]


@pytest.mark.filterwarnings("ignore:coroutine")
def test_what_stays_refused_says_so():
    async def twice(house, order):
        asyncio.run(asyncio.sleep(1))

    async def beside(house, order):
        loop = asyncio.new_event_loop()
        try:
            loop.run_forever()
        finally:
            loop.close()

    with pytest.raises(InvalidDefinition, match="runs in one already"):
        run(twice)
    with pytest.raises(Hopeless, match="Cannot run the event loop while another loop is running"):
        run(beside)
    assert asyncio.run(asyncio.sleep(0, "outside")) == "outside"


def test_a_loop_that_runs_for_ever_goes_on_with_its_tasks_until_it_is_stopped():
    told = []

    async def ticks(loop):
        for number in range(3):
            await asyncio.sleep(10)
            told.append(number)
        loop.stop()

    def on_order(house, order):
        loop = asyncio.new_event_loop()
        before = time.time()
        loop.run_until_complete(asyncio.sleep(5))
        task = loop.create_task(ticks(loop), name="ticks")
        loop.run_forever()
        told.append((task.get_name(), round(time.time() - before)))
        loop.stop()  # once it has begun again
        loop.run_forever()
        loop.run_until_complete(asyncio.sleep(1))
        loop.close()

    assert run(on_order).ending.verdict == "quiet"
    assert told == [0, 1, 2, ("ticks", 35)]


def test_outside_of_runs_loops_are_real():
    run(lambda house, order: None)
    loop = asyncio.new_event_loop()
    task = loop.create_task(asyncio.sleep(0, "real"))
    task.add_done_callback(lambda _: loop.stop())
    loop.run_forever()
    loop.close()
    assert task.result() == "real"
