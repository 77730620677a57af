"""What waits behind a shield of trio when its process dies: it ends with the run."""

import os

import pytest
import trio

from chaosharness import Crash
from chaosharness.handlers import trio_guest
from tests.handlers.houses import only, run, said


async def port(house):
    await house.kv.delete("lock")


async def sleep(house):
    await trio.sleep(10**6)


async def lock(house):
    held = trio.Lock()
    await held.acquire()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(held.acquire)


async def nested(house):
    try:
        await port(house)
    finally:
        with trio.CancelScope(shield=True):
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep_forever()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
@pytest.mark.parametrize("behind", [port, sleep, lock, nested])
@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_crash_behind_a_shield_leaves_nothing(behind, phase):
    async def handle(house, order):
        await house.kv.put("lock", order["id"])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(crash, house)
            try:
                await trio.sleep(1)
            finally:
                with trio.CancelScope(shield=True):
                    await behind(house)

    async def crash(house):
        await trio.sleep(2)
        await house.bank.charge("o1", 1)

    operation = "desk.on_order/kv.delete" if behind is port else "desk.on_order/bank.charge"
    schedule = only(Crash, operation, "after")
    counts, stubborn = [], len(trio_guest._STUBBORN)
    for _ in range(4):
        over = run(handle, schedule, runtime="trio")
        assert not over.unused
        counts.append(len(os.listdir("/proc/self/fd")))
    assert counts[-1] <= counts[0]
    assert len(trio_guest._STUBBORN) == stubborn


def test_the_clean_up_of_a_dead_process_changes_nothing():
    async def handle(house, order):
        try:
            await house.bank.charge(order["id"], 100)
            await trio.sleep(1)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
                await house.kv.put("cleaned up", house.env.incarnation.number)

    over = run(handle, only(Crash, "desk.on_order/bank.charge", "after"), runtime="trio")
    [state] = [event for event in over.history.of("state") if event.actor == "kv"]
    assert state.data["items"] == {"cleaned up": 2}
    assert said(over) == []
