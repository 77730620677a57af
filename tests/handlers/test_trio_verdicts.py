"""Real trio on virtual time: when it is quiet, stuck or spinning; mistakes; surroundings."""

import asyncio
import gc
import time
from contextlib import suppress

import pytest
import trio
import trio.testing

from chaosharness import Budget, Crash
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
    assert over.ending.verdict == "stuck"  # it stood still for longer than any timeout
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


def test_a_handler_that_waits_for_an_event_for_ever_is_stuck_at_its_line():
    async def handle(house, order):
        await trio.Event().wait()

    ending = run_it(handle, runtime="trio").ending
    assert ending.verdict == "stuck"
    assert "desk.on_order (at tests/handlers/test_trio_verdicts.py:" in ending.reason
