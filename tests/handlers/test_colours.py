"""The same service in every colour, under every single fault: each order is charged once."""

import asyncio
import random
from contextlib import asynccontextmanager

import pytest
import trio

from chaosharness import Schedule, Site
from chaosharness.handlers import carrier, trio_guest
from tests.handlers.houses import ASYNC, COLOURS, handled_by


def single_faults(run):
    """Every legal fault at every site that was reached, but those that block a consumer."""
    for (operation, entity), attempts in run.reached.items():
        surface = run.surfaces[operation]
        for phase, kinds in (("before", surface.before), ("after", surface.after)):
            for kind in kinds:
                if kind.__name__ == "Poison":
                    continue
                if operation.startswith("client.") and kind.__name__ not in ("Delay", "Duplicate"):
                    continue
                for attempt in range(1, attempts + 1):
                    site = Site(operation, phase, entity, attempt)
                    for option in kind.options or (None,):
                        options = {kind.option_name: option} if kind.options else {}
                        yield kind(site, **options)


# ---- ports only, written once for all colours


def steps(house, order):
    yield house.env.sleep(0.5)
    yield house.bank.charge(order["id"], 100, key=order["id"])
    with house.db as db:  # blocks in all colours, and waits for the lock of another replica
        db.execute("INSERT OR REPLACE INTO seen VALUES (?)", (order["id"],))
    yield house.publish("out", order, key=order["id"])


def in_plain(house, order):
    for _ in steps(house, order):
        pass


async def on_ports(house, order):
    for port in steps(house, order):
        await port


@pytest.mark.parametrize("colour", COLOURS)
def test_under_every_single_fault_each_order_is_charged_once(colour):
    handler = in_plain if colour == "plain" else on_ports
    system = handled_by(handler, runtime=colour, orders=3, replicas=2)
    faults = list(single_faults(system.run()))
    assert len(faults) > 200
    for fault in faults:
        run = system.run(schedule=Schedule([fault]))
        assert run.ending.verdict == "quiet", fault
        assert run.unused == ()
        assert sorted(e.data["order"] for e in run.history.of("effect")) == ["o1", "o2", "o3"]
        [state] = [e.data for e in run.history.of("state") if e.actor == "db"]
        assert [row["id"] for row in state["tables"]["seen"]] == ["o1", "o2", "o3"]


@pytest.mark.parametrize("colour", ASYNC)
def test_in_calm_all_async_colours_tell_the_same_story(colour):
    told = handled_by(on_ports, runtime=colour, orders=3).run()
    same = handled_by(on_ports, runtime="ports", orders=3).run()
    assert [str(event) for event in told.history] == [str(event) for event in same.history]


# ---- all that an event loop offers


async def body(house, order, run_all, timeout, sleep, to_thread):
    def save():
        with house.db as db:
            db.execute("INSERT OR REPLACE INTO seen VALUES (?)", (order["id"],))

    async def charge(number):
        try:
            async with timeout(8):
                await house.bank.charge(order["id"], number, key=f"{order['id']}-{number}")
        finally:
            house.env.note(f"{order['id']}-{number}")

    await sleep(0.1)
    await run_all([charge(1), charge(2)])
    await to_thread(save)
    await house.publish("out", order, key=order["id"])


async def in_asyncio(house, order):
    async def run_all(coroutines):
        async with asyncio.TaskGroup() as group:
            for one in coroutines:
                group.create_task(one)

    await body(house, order, run_all, asyncio.timeout, asyncio.sleep, asyncio.to_thread)


async def in_trio(house, order):
    async def run(one):
        await one

    async def run_all(coroutines):
        async with trio.open_nursery() as nursery:
            for one in coroutines:
                nursery.start_soon(run, one)

    @asynccontextmanager
    async def timeout(seconds):
        with trio.fail_after(seconds):
            yield

    await body(house, order, run_all, timeout, trio.sleep, trio.to_thread.run_sync)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("handler", [in_asyncio, in_trio])
def test_under_several_faults_tasks_threads_and_timeouts_are_deterministic(handler):
    runtime = handler.__name__.removeprefix("in_")
    system = handled_by(handler, runtime=runtime, orders=3, replicas=2)
    faults = list(single_faults(system.run()))
    left = (len(carrier._VANISHED), len(trio_guest._STUBBORN))
    draw = random.Random(2030)
    for _ in range(150):
        schedule = Schedule(draw.sample(faults, draw.choice((1, 2, 3))))
        run = system.run(schedule=schedule)
        assert run.ending.verdict == "quiet", schedule
        assert run.digest() == system.run(schedule=schedule).digest()
        charged = sorted((e.data["order"], e.data["cents"]) for e in run.history.of("effect"))
        assert charged == [(f"o{order}", cents) for order in (1, 2, 3) for cents in (1, 2)]
    assert (len(carrier._VANISHED), len(trio_guest._STUBBORN)) == left
