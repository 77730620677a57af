"""A crash is not an exception: what crashed, paused and restarted code may do, in all colours."""

import gc
import os
import subprocess
import sys
from contextlib import suppress
from textwrap import dedent

import pytest

from chaosharness import Budget, ClockSkew, Crash, Delay, LostReply, Pause, Site
from tests.handlers.houses import (
    ASYNC,
    CHARGE,
    COLOURS,
    HANDLE,
    PUBLISH,
    handled_by,
    notes,
    only,
    published,
    run,
    said,
    system_of,
)

every_colour = pytest.mark.parametrize("colour", COLOURS)
every_async_colour = pytest.mark.parametrize("colour", ASYNC)


def coloured(colour, steps):
    """Write a handler once for all colours: `steps` is a generator that yields port calls."""

    def handle(house, order):
        walk = steps(house, order)
        try:
            next(walk)  # the port call has waited already
            while True:
                walk.send(None)
        except StopIteration:
            return

    async def handle_later(house, order):
        walk = steps(house, order)
        try:
            port = next(walk)
            while True:
                try:
                    value = await port
                except BaseException as error:
                    port = walk.throw(error)
                else:
                    port = walk.send(value)
        except StopIteration:
            return

    return handle if colour == "plain" else handle_later


# ---- crash


@every_colour
@pytest.mark.parametrize("phase", ["before", "after"])
def test_the_clean_up_of_crashed_code_has_no_effect(colour, phase):
    cleaned = []

    def steps(house, order):
        try:
            yield house.bank.charge(order["id"], 100)
        finally:
            cleaned.append(world_is_over(house))
            yield house.publish("out", order, key=f"clean-up {order['id']}")
        yield house.publish("out", order, key=order["id"])

    operation = CHARGE if phase == "after" else HANDLE
    over = run(coloured(colour, steps), only(Crash, operation, phase), runtime=colour)
    [crash] = over.history.of("crash")
    assert crash.actor == "desk#1"
    by_the_dead = [e for e in over.history if e.actor == "desk#1" and e.index > crash.index]
    assert by_the_dead == []
    assert published(over) == ["clean-up o1", "o1"]  # by the second incarnation
    assert [event.actor for event in over.history.of("handled")] == ["desk#1/2"]
    assert over.ending.verdict == "quiet"
    # clean-up of the dead ran when the run was over, and not in the middle of it
    assert cleaned == ([False, True] if phase == "after" else [False])


def world_is_over(house):
    return house.env._stage.world.ending is not None


@every_colour
def test_except_base_exception_of_crashed_code_has_no_effect(colour):
    def steps(house, order):
        try:
            yield house.bank.charge(order["id"], 100)
        except BaseException:
            house.env.note("survived")
            yield house.publish("out", order, key="survived")

    over = run(coloured(colour, steps), only(Crash, CHARGE, "after"), runtime=colour)
    assert said(over) == []
    assert published(over) == []
    assert len(list(over.history.of("effect"))) == 2


@every_colour
def test_the_next_incarnation_is_built_anew(colour):
    built = []

    def build(house):
        seen = []  # memory, as opposed to what is in `kv`
        built.append(house)

        def steps(order):
            seen.append(order["id"])
            count = (house.durable.get("count") or 0) + 1
            house.durable.put("count", count)
            house.env.note(f"{len(seen)} in memory, {count} kept")
            yield house.bank.charge(order["id"], 100)

        def on_order(order):
            for _ in steps(order):
                pass

        async def on_order_later(order):
            for port in steps(order):
                await port

        house.durable = Durable(house)
        chosen = on_order if colour == "plain" else on_order_later
        chosen.__name__ = "on_order"
        house.consume(chosen)

    runtime = None if colour == "plain" else colour
    system = system_of(build, runtime=runtime, orders=2)
    over = system.run(schedule=only(Crash, CHARGE, "after", entity=2))
    assert said(over) == ["1 in memory, 1 kept", "2 in memory, 2 kept", "1 in memory, 3 kept"]
    assert len(built) == 2


class Durable:
    """A count on a SQLite database, whose calls block in every colour."""

    def __init__(self, house):
        self.db = house.db

    def get(self, name):
        return self.db.execute("SELECT count(*) FROM seen").fetchone()[0]

    def put(self, name, count):
        with self.db as db:
            db.execute("INSERT INTO seen VALUES (?)", (str(count),))


@every_colour
def test_a_crash_while_it_sleeps_wakes_nobody(colour):
    def steps(house, order):
        if house.number == 1:
            yield house.env.sleep(1)
            yield house.env.sleep(1)  # crashed before this one
        house.env.note(f"{house.number} woke")

    fault = only(Crash, "desk.on_order/sleep", "after")
    over = run(numbered(coloured(colour, steps)), fault, runtime=colour)
    assert said(over) == ["2 woke"]


def numbered(handle):
    """Have `house.number` say which incarnation runs."""

    def add(house):
        house.number = house.env.incarnation.number

    if handle.__code__.co_flags & 0x80:

        async def later(house, order):
            add(house)
            await handle(house, order)

        return later

    def at_once(house, order):
        add(house)
        handle(house, order)

    return at_once


@every_colour
def test_a_crash_ends_what_runs_beside_the_handler_that_met_it(colour):
    """Another handler of the same incarnation was waiting: it never goes on either."""

    def steps(house, order):
        if order["id"] == "o1":
            yield house.env.sleep(1)
            house.env.note(f"{house.env.incarnation.number}: o1 went on")
        else:
            yield house.bank.charge(order["id"], 100)

    def build(house):
        handle = coloured(colour, steps)

        def on_order(order):
            handle(house, order)

        async def on_order_later(order):
            await handle(house, order)

        chosen = on_order if colour == "plain" else on_order_later
        chosen.__name__ = "on_order"
        house.env.serve("order", chosen)

    def place(env, order):
        with suppress(TimeoutError, ConnectionError):
            env.call("desk", "order", order, timeout_s=30)

    runtime = None if colour == "plain" else colour
    system = system_of(build, runtime=runtime, orders=2, entry=place)
    over = system.run(schedule=only(Crash, CHARGE, "after", entity=2))
    assert said(over) == []
    assert said(system.run()) == ["1: o1 went on"]


@every_colour
def test_no_handler_starts_before_its_crash_is_over(colour):
    def steps(house, order):
        yield house.bank.charge(order["id"], 100)

    handler = coloured(colour, steps)
    over = run(handler, only(Crash, CHARGE, "after", down=5_000), runtime=colour)
    [crash] = over.history.of("crash")
    later = [e for e in over.history if e.index > crash.index and e.actor.startswith("desk")]
    assert later[0].kind == "start"
    assert later[0].at_ms == crash.at_ms + 5_000


@every_colour
def test_an_idempotent_handler_survives_a_crash_everywhere(colour):
    """The same run with a crash at each of its sites: exactly one receipt each time."""

    def steps(house, order):
        yield house.bank.charge(order["id"], 100, key=order["id"])
        yield house.publish("out", order, key=order["id"])

    system = handled_by(coloured(colour, steps), runtime=colour)
    sites = [(CHARGE, "after"), (PUBLISH, "after"), (HANDLE, "before")]
    for operation, phase in sites:
        over = system.run(schedule=only(Crash, operation, phase))
        assert over.unused == ()
        assert over.ending.verdict == "quiet"
        assert len(list(over.history.of("effect"))) == 1
        assert set(published(over)) == {"o1"}


# ---- pause, and the races it makes


def withdraw(house, order):
    """Read, then write: a lost update when two do it at once."""
    balance = house.db.execute("SELECT count(*) FROM seen").fetchone()[0]
    yield house.publish("out", order, key="between")
    house.env.note(f"{order['id']} saw {balance}")
    with house.db as db:
        db.execute("INSERT INTO seen VALUES (?)", (order["id"],))


@every_colour
def test_a_pause_at_a_port_makes_a_race(colour):
    options = {"runtime": colour, "replicas": 4, "orders": 4}
    handler = coloured(colour, withdraw)
    calm = run(handler, **options)
    assert sorted(said(calm)) == ["o1 saw 0", "o2 saw 1", "o3 saw 2", "o4 saw 3"]
    raced = run(handler, only(Pause, PUBLISH, "after", lasting=15), **options)
    assert "o1 saw 0" in said(raced)
    assert "o2 saw 0" in said(raced)  # both saw none: the race that was asked for


@every_colour
def test_a_pause_ends_with_the_chaos(colour):
    def steps(house, order):
        yield house.publish("out", order, key="k")
        house.env.note("went on")

    fault = only(Pause, PUBLISH, "after", lasting="long")
    over = run(coloured(colour, steps), fault, runtime=colour)
    assert "went on" in said(over)
    assert over.ending.verdict == "quiet"


@every_colour
def test_a_paused_zombie_is_fenced_but_its_effects_stay(colour):
    def steps(house, order):
        yield house.publish("out", order, key=house.env.incarnation.label)
        yield house.bank.charge(order["id"], 100)

    fault = only(Pause, PUBLISH, "after", lasting=400_000)  # past max.poll.interval.ms
    over = run(coloured(colour, steps), fault, runtime=colour, replicas=2)
    assert len(list(over.history.of("effect"))) == 2
    assert len({event.actor for event in over.history.of("handled")}) == 2
    assert [event.data["error"] for event in over.history.of("nack")] == [
        "fenced: not a member any more"
    ]


# ---- calls that go wrong


@every_colour
def test_a_lost_reply_is_a_timeout_in_virtual_time(colour):
    def steps(house, order):
        try:
            yield house.bank.charge(order["id"], 100)
        except TimeoutError:
            house.env.note("no answer")

    if colour == "plain":

        def handler(house, order):
            try:
                house.bank.charge(order["id"], 100)
            except TimeoutError:
                house.env.note("no answer")

    else:
        handler = coloured(colour, steps)
    over = run(handler, only(LostReply, CHARGE, "after"), runtime=colour)
    assert notes(over) == [(10_000, "no answer")]
    assert len(list(over.history.of("effect"))) == 1


@every_async_colour
def test_all_async_colours_tell_the_same_story(colour):
    def steps(house, order):
        yield house.env.sleep(0.5)
        yield house.bank.charge(order["id"], 100)
        yield house.publish("out", order, key=order["id"])

    faults = [only(Delay, CHARGE, lasting=15_000), only(Crash, PUBLISH, "after"), None]
    for schedule in faults:
        options = {"orders": 3, "replicas": 2}
        told = run(coloured(colour, steps), schedule, runtime=colour, **options)
        plain = run(coloured("ports", steps), schedule, runtime="ports", **options)
        assert [str(event) for event in told.history] == [str(event) for event in plain.history]


# ---- clocks


@every_colour
def test_a_skewed_clock_shows_in_its_own_code_only(colour):
    import time
    from datetime import datetime

    def steps(house, order):
        for _ in range(2):
            behind = datetime.now().timestamp() - time.time()
            assert abs(behind) < 0.001
            seconds = time.time() - 1_893_456_000 - house.env._stage.world.now / 1000
            house.env.note(f"{house.env.incarnation.replica} is {round(seconds)} s off")
            yield house.bank.charge(order["id"], 100)

    fault = only(ClockSkew, "desk/start", entity=0, skew_ms=-3_600_000)
    over = run(coloured(colour, steps), fault, runtime=colour, replicas=4, orders=4)
    told = said(over)
    assert {words for words in told if words.startswith("1")} == {"1 is -3600 s off"}
    others = {words.partition(" ")[2] for words in told if not words.startswith("1")}
    assert others == {"is 0 s off"}


@pytest.mark.parametrize("colour", ["asyncio", "trio"])
def test_the_clock_of_a_skewed_loop_is_off_too(colour):
    import asyncio
    import time

    import trio

    async def handle(house, order):
        if colour == "asyncio":
            clock, sleep = asyncio.get_running_loop().time, asyncio.sleep
        else:
            clock, sleep = trio.current_time, trio.sleep
        assert clock() == time.monotonic()
        house.env.note(f"{clock() - 1_893_456_000 - house.env._stage.world.now / 1000:+.3f}")
        await sleep(0.5)

    fault = only(ClockSkew, "desk/start", entity=0, skew_ms=3_600_000)
    over = run(handle, fault, runtime=colour)
    assert said(over) == ["+3600.000"]
    [handled] = over.history.of("handled")
    [delivered] = over.history.of("deliver")
    assert handled.at_ms - delivered.at_ms == 500


# ---- verdicts


@every_colour
def test_code_that_never_reaches_a_port_is_interrupted(colour, monkeypatch):
    from chaosharness.handlers import sandbox

    monkeypatch.setattr(sandbox, "_IDLE", sandbox._Idle())
    sandbox._IDLE.sandboxes.append(sandbox.Sandbox(limit_s=0.3))

    def handle(house, order):
        while True:
            pass

    async def handle_later(house, order):
        while True:
            pass

    over = run(handle if colour == "plain" else handle_later, runtime=colour)
    assert over.ending.verdict == "spinning"
    assert "desk.on_order ran for 0.3 s of real time" in over.ending.reason


@every_colour
def test_a_handler_that_waits_for_ever_is_stuck(colour):
    def steps(house, order):
        consumer = house.consumer(group="nobody")
        yield consumer.poll()
        yield consumer.poll()  # there is one order only
        house.env.note("never")

    def build(house):
        handle = coloured(colour, steps)

        async def main_later():
            await handle(house, None)

        house.env.main(main_later if colour != "plain" else lambda: handle(house, None))

    runtime = None if colour == "plain" else colour
    over = system_of(build, runtime=runtime).run()
    assert said(over) == []
    assert over.ending.verdict == "quiet"  # a poll that waits for messages is no handler


@every_colour
def test_too_many_ports_in_one_go_is_spinning_and_in_the_course_of_time_is_not(colour):
    def busy(house, order):
        for _ in range(500):
            yield house.publish("out", order, key="k")

    def patient(house, order):
        for _ in range(500):
            yield house.publish("out", order, key="k")
            yield house.env.sleep(0.001)

    budget = Budget(steps_max=100)
    ending = run(coloured(colour, busy), runtime=colour, budget=budget).ending
    assert ending.verdict == "spinning"
    ending = run(coloured(colour, patient), runtime=colour, budget=budget).ending
    assert ending.verdict == "quiet"


# ---- determinism


SCRIPT = """
import asyncio, random, sys, time, uuid
import trio
from chaosharness import Crash, Delay, Schedule, Site
from tests.handlers.houses import *

async def fan_out(house, order, gather):
    async def one(name):
        house.env.note(f"{name} {uuid.uuid4()} {random.random()} {time.time()}")
        try:
            await house.bank.charge(name, random.randint(1, 100))
        finally:
            house.env.note(f"{name} left")
    await gather([one(f"{order['id']}-{letter}") for letter in {"a", "b", "c", "d"} - set()][:4]
                 if False else [one(f"{order['id']}-{letter}") for letter in "abcd"])

async def in_asyncio(house, order):
    async def gather(coroutines):
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            for one in coroutines:
                group.create_task(one)
    await fan_out(house, order, gather)

async def in_trio(house, order):
    async def gather(coroutines):
        async def run(one):
            await one
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                for one in coroutines:
                    nursery.start_soon(run, one)
    await fan_out(house, order, gather)

faults = Schedule([
    Delay(Site(CHARGE, "before", 1, 2), lasting=9_000),
    Crash(Site(CHARGE, "after", 2, 3)),
])
for colour, handler in (("asyncio", in_asyncio), ("trio", in_trio)):
    system = handled_by(handler, runtime=colour, orders=4, replicas=2)
    for schedule in (None, faults):
        over = system.run(schedule=schedule)
        print(colour, len(over.history), over.digest())
"""


def test_the_digest_is_the_same_in_other_processes_with_other_hash_seeds():
    script = dedent(SCRIPT)
    outputs = set()
    for seed in ("0", "1", "31337"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.getcwd()}
        command = [sys.executable, "-c", script]
        output = subprocess.check_output(command, env=environment, text=True)
        outputs.add(output)
    [lines] = [output.splitlines() for output in outputs]
    assert len(lines) == 4
    assert len(set(lines)) == 4


# ---- code that will not end


@every_colour
@pytest.mark.filterwarnings("error")
def test_code_that_swallows_everything_cannot_hang_the_run(colour, capfd):
    def handle(house, order):
        while True:
            with suppress(BaseException):
                house.env.sleep(1)

    async def handle_later(house, order):
        while True:
            with suppress(BaseException):
                await house.env.sleep(1)

    budget = Budget(calm_ms=20_000, chaos_ms=10_000)
    system = handled_by(
        handle if colour == "plain" else handle_later, runtime=colour, budget=budget
    )
    assert system.run().ending.verdict == "budget"
    assert system.run(schedule=only(Crash, "desk.on_order/sleep", "after")).ending
    gc.collect()
    output = capfd.readouterr()
    assert output.out + output.err == ""

    def well(house, order):
        house.env.note("well")

    assert said(run(well, runtime="plain")) == ["well"]


@pytest.mark.filterwarnings("error")
def test_a_sibling_that_runs_on_after_the_crash_has_no_effect(capfd):
    """trio runs a batch of tasks in one go: what crashed may still be in the middle of one."""
    import trio

    async def handle(house, order):
        async def publish_for_ever():
            while True:
                with suppress(BaseException):
                    await house.publish("out", order, key=house.env.incarnation.label)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.env.sleep, 0)
            if house.env.incarnation.number == 1:
                nursery.start_soon(house.bank.charge, order["id"], 100)
                nursery.start_soon(publish_for_ever)

    fault = only(Crash, "desk.on_order/sleep", "after")
    fault = fault.with_(Crash(Site(PUBLISH, "after", attempt=2)))
    over = run(handle, fault, runtime="trio", budget=Budget(steps_max=100))
    [crash] = [event for event in over.history.of("crash") if event.actor == "desk#1"]
    assert [event for event in over.history if event.actor == "desk#1"][-1] == crash
    assert published(over).count("desk#1") <= 2
    assert over.ending.verdict == "quiet"
    gc.collect()
    output = capfd.readouterr()
    assert output.out + output.err == ""
