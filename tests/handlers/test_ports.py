"""Async code that awaits nothing but harness ports; and what all ports are to async code."""

import asyncio
import contextvars
import inspect
import warnings
from collections.abc import Coroutine
from functools import partial, wraps

import pytest
import trio

from chaosharness import Pause
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.colours import colour_for, is_async
from chaosharness.kernel.scope import Incarnation
from chaosharness.kernel.world import Budget, World
from tests.handlers.houses import (
    ASYNC,
    notes,
    only,
    published,
    said,
    system_of,
)
from tests.handlers.houses import run as run_it


def run(handler, schedule=None, **options):
    return run_it(handler, schedule, runtime="ports", **options)


# ---- stepped directly


def test_it_waits_at_ports_and_nowhere_else():
    async def handle(house, order):
        await house.env.sleep(0.5)
        await house.bank.charge(order["id"], 100)
        house.env.note("charged")

    assert notes(run(handle)) == [(520, "charged")]


def test_handlers_of_one_service_wait_side_by_side():
    async def handle(house, order):
        await house.env.sleep(1)
        house.env.note(order["id"])

    over = run(handle, orders=4, replicas=4)
    assert [words for _, words in notes(over)] == ["o1", "o2", "o4", "o3"]  # o3 behind o1


def test_a_blocking_port_blocks_this_handler_only():
    async def handle(house, order):
        house.db.execute("INSERT INTO seen VALUES (?)", (order["id"],))
        house.env.note("executed")

    fault = only(Pause, "desk.on_order/db.insert seen", "after", lasting=1_000)
    assert notes(run(handle, fault)) == [(1000, "executed")]


def test_context_variables_belong_to_the_handler():
    who = contextvars.ContextVar("who", default="nobody")

    async def handle(house, order):
        house.env.note(who.get())
        who.set(order["id"])
        await house.env.sleep(1)
        house.env.note(who.get())

    assert said(run(handle, orders=2)) == ["nobody", "o1", "nobody", "o2"]
    assert who.get() == "nobody"


@pytest.mark.parametrize(
    ("foreign", "words"),
    [
        (lambda: asyncio.sleep(0), "something of asyncio"),
        (lambda: asyncio.sleep(1), "something of asyncio"),
        (trio.lowlevel.checkpoint, "something of trio"),
        (lambda: trio.sleep(1), "something of trio"),
    ],
)
def test_what_no_port_made_is_refused(foreign, words):
    async def handle(house, order):
        await foreign()

    other = words.rpartition(" ")[2]
    with pytest.raises(InvalidDefinition, match=f"on_order awaits {words}.*runtime='{other}'"):
        run(handle)


# ---- which runtime


def incarnation():
    return Incarnation(World(budget=Budget()), "desk", 1, 1, "desk#1")


def test_an_unknown_runtime_is_refused_where_the_service_is_defined():
    with pytest.raises(InvalidDefinition, match=r"'desk' has the unknown runtime 'curio'.*'ports'"):
        system_of(lambda house: None, runtime="curio")
    with pytest.raises(InvalidDefinition, match="unknown runtime 'curio'"):
        colour_for(print, "curio", incarnation())


MODULES = {
    "import trio": "trio",
    "import trio as t": "trio",
    "from trio import sleep": "trio",
    "from trio.testing import MockClock": "trio",
    "import trio.lowlevel as low": "trio",
    "import trio\nlock = trio.Lock()": "trio",
    "import trio\nimport asyncio": "asyncio",
    "import trio\nfrom asyncio import TaskGroup": "asyncio",
    "import asyncio": "asyncio",
    "import json": "asyncio",
}


@pytest.mark.parametrize("imports", MODULES)
def test_trio_is_recognised_by_what_the_module_holds(imports):
    names = {"__name__": "shop"}
    exec(f"{imports}\nasync def handle(message): pass", names)
    assert colour_for(names["handle"], None, incarnation()).name == MODULES[imports]


def test_async_code_is_recognised_in_all_its_disguises():
    async def function(message): ...

    class Service:
        async def method(self, message): ...

        async def __call__(self, message): ...

    class Plain:
        def __call__(self, message): ...

    def logged(inner):
        @wraps(inner)
        def wrapper(*arguments):
            return inner(*arguments)

        return wrapper

    for one in (function, Service().method, Service(), partial(Service().method, 1)):
        assert is_async(one)
        assert is_async(partial(one))
    assert is_async(logged(function))
    assert is_async(logged(Service().method))
    for one in (print, Plain(), Plain().__call__, lambda: None, logged(print), Plain):
        assert not is_async(one)


@pytest.mark.parametrize("colour", ASYNC)
def test_disguised_handlers_run(colour):
    def build(house):
        class Service:
            async def on_order(self, order, *, suffix=""):
                await house.publish("out", order, key=order["id"] + suffix)

        def logged(inner):
            @wraps(inner)
            def wrapper(order):
                house.env.note("logged")
                return inner(order)

            return wrapper

        house.consume(logged(Service().on_order))
        house.env._service = "desk2"  # another consumer group
        house.consume(partial(Service().on_order, suffix="!"))

    over = system_of(build, runtime=colour).run()
    assert published(over) == ["o1", "o1!"]
    assert said(over) == ["logged"]


# ---- what a port is to async code


@pytest.mark.parametrize("colour", ASYNC)
def test_a_port_is_a_coroutine_in_all_but_its_type(colour):
    async def handle(house, order):
        port = house.publish("out", order, key="k")
        assert inspect.isawaitable(port)
        assert isinstance(port, Coroutine)
        assert asyncio.iscoroutine(port)
        await port
        with pytest.raises(RuntimeError, match=r"bus\.publish out was awaited already"):
            await port

    over = run_it(handle, runtime=colour)
    assert list(over.history.of("raised")) == []
    assert published(over) == ["k"]


@pytest.mark.parametrize("colour", ASYNC)
def test_nothing_happens_before_the_await(colour):
    async def handle(house, order):
        later = house.publish("out", order, key="later")
        await house.publish("out", order, key="first")
        await later

    assert published(run_it(handle, runtime=colour)) == ["first", "later"]


@pytest.mark.parametrize("colour", ASYNC)
def test_a_closed_port_never_happened_and_is_no_mistake(colour):
    async def handle(house, order):
        house.publish("out", order, key="k").close()
        house.env.sleep(1).close()

    over = run_it(handle, runtime=colour)
    assert published(over) == []
    assert over.ending.verdict == "quiet"


@pytest.mark.parametrize("colour", ASYNC)
def test_a_port_that_an_error_kept_from_being_awaited_is_a_warning(colour):
    async def handle(house, order):
        ports = [house.publish("out", order, key=str(number)) for number in range(3)]
        await ports.pop(0)
        with pytest.raises(ConnectionError):
            await ports.pop(0)

    from chaosharness import ErrorReply

    fault = only(ErrorReply, "desk.on_order/bus.publish out", attempt=2)
    with pytest.warns(RuntimeWarning, match=r"bus\.publish out was never awaited"):
        over = run_it(handle, fault, runtime=colour)
    assert published(over) == ["0"]


@pytest.mark.parametrize("colour", ASYNC)
def test_errors_come_at_the_await(colour):
    async def handle(house, order):
        port = house.bank.charge(order["id"], 100)
        try:
            await port
        except TimeoutError:
            house.env.note("no answer")

    from chaosharness import LostRequest

    fault = only(LostRequest, "desk.on_order/bank.charge")
    assert notes(run_it(handle, fault, runtime=colour)) == [(10_000, "no answer")]


def test_a_relay_publishes_on_behalf_of_the_item_of_its_key():
    """A main loop belongs to no item, and may publish several at once: each has its own."""

    def build(house):
        async def main():
            await house.env.sleep(1)
            async with asyncio.TaskGroup() as group:
                for key in ("o1", "o2", "stranger"):
                    group.create_task(house.publish("out", {}, key=key))

        house.env.main(main)

    for fault in (None, only(Pause, "desk.main/bus.publish out", "after", lasting=5_000)):
        over = system_of(build, runtime="asyncio", orders=2).run(schedule=fault)
        relayed = [e for e in over.history.of("publish") if e.data["topic"] == "out"]
        assert [(e.data["key"], e.entity) for e in relayed] == [
            ("o1", 1),
            ("o2", 2),
            ("stranger", 0),
        ]
        assert over.unused == ()


@pytest.mark.parametrize("colour", ASYNC)
def test_the_entry_may_be_async(colour):
    async def place(env, order):
        await env.sleep(0.001)
        env.note("placed")

    def build(house):
        async def on_order(order): ...

        house.consume(on_order)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        over = system_of(build, runtime=colour, entry=place, orders=2).run()
    assert said(over) == ["placed", "placed"]
    assert over.ending.verdict == "quiet"


def test_a_system_may_mix_all_colours():
    from chaosharness import Kafka, System

    system = System("mixed")
    bus = system.add(Kafka("bus", topics={"a": 1, "b": 1, "c": 1, "d": 1, "e": 1}))

    def relay(source, target, runtime):
        @system.service(f"from-{source}", runtime=runtime)
        def build(env):
            publish = env.publisher(bus)

            def pass_on(value):
                publish(target, value)

            async def pass_on_later(value):
                await publish(target, value)

            env.consume(bus, source, pass_on if runtime is None else pass_on_later)

    for source, target, runtime in zip("abcd", "bcde", [None, *ASYNC], strict=True):
        relay(source, target, runtime)

    @system.entry(examples=[1])
    def enter(env, value):
        env.publisher(bus)("a", value)

    over = system.run()
    assert [e.data["topic"] for e in over.history.of("publish")] == ["a", "b", "c", "d", "e"]
    last = list(over.history.of("publish"))[-1]
    assert len([e for e in over.history.causes(last.index) if e.kind == "deliver"]) == 4
