"""A loop that acts at its nth round gets to act, wherever it counts: and then the run is over."""

import collections
import dataclasses
import enum
import itertools
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from chaosharness import Books, KeyValue, System
from tests.system import counters
from tests.system.counters import tick

ROUNDS = 7


def acts(make: Callable[[Any, Any], Any], runtime: Any = None) -> System:
    """Return a system with one loop, made by `make(env, act)`; `act()` is what it must reach."""
    system = System("counter")
    done = system.add(KeyValue("done"))

    @system.service("worker", runtime=runtime)
    def worker(env):
        counters.reset()
        store = env.connect(done)
        env.main(make(env, lambda: store.put("it", "done")))

    @system.entry(examples=["nothing"])
    def begin(env, item): ...

    return system


def name(one: Any) -> str:
    """Return what a parameter is called in the name of its test."""
    return one if isinstance(one, str) else one.__name__


def in_a_local(env, act):
    def loop():
        rounds = 0
        while True:
            env.sleep(1)
            rounds += 1
            if rounds == ROUNDS:
                act()

    return loop


def in_a_cell_of_a_helper(env, act):
    rounds = 0

    def count():
        nonlocal rounds
        rounds += 1
        return rounds

    def loop():
        while True:
            env.sleep(1)
            if count() == ROUNDS:
                act()

    return loop


def in_a_list(env, act):
    seen = []

    def loop():
        while True:
            env.sleep(1)
            seen.append(None)
            if len(seen) == ROUNDS:
                act()

    return loop


def in_an_entry_of_a_dict(env, act):
    state = {"deep": {"rounds": 0}}

    def loop():
        while True:
            env.sleep(1)
            state["deep"]["rounds"] += 1
            if state["deep"]["rounds"] == ROUNDS:
                act()

    return loop


class Counter:
    """Counts in an attribute."""

    def __init__(self):
        self.rounds = 0

    def step(self, env, act):
        env.sleep(1)
        self.rounds += 1
        if self.rounds == ROUNDS:
            act()


def in_an_attribute(env, act):
    counter = Counter()

    def loop():
        while True:
            counter.step(env, act)

    return loop


@attrs.define
class Slotted:
    """Counts in a slot."""

    rounds: int = 0


@dataclasses.dataclass
class Outer:
    """Holds a counter, and that one more."""

    inner: Any


def in_a_slot(env, act):
    outer = Outer(Outer(Slotted()))

    def loop():
        while True:
            env.sleep(1)
            outer.inner.inner.rounds += 1
            if outer.inner.inner.rounds == ROUNDS:
                act()

    return loop


def in_a_generator(env, act):
    def numbers():
        yield from range(1, 1_000)

    mine = numbers()

    def loop():
        while True:
            env.sleep(1)
            if next(mine) == ROUNDS:
                act()

    return loop


def in_an_iterator_of_c(env, act):
    mine = itertools.count(1)

    def loop():
        while True:
            env.sleep(1)
            if next(mine) == ROUNDS:
                act()

    return loop


def on_the_stack_of_a_for(env, act):
    def loop():
        for _ in itertools.repeat(None, ROUNDS):
            env.sleep(1)
        act()

    return loop


def in_a_counter_of_collections(env, act):
    mine = collections.Counter()

    def loop():
        while True:
            env.sleep(1)
            mine["rounds"] += 1
            if mine["rounds"] == ROUNDS:
                act()

    return loop


def in_a_deque(env, act):
    mine = collections.deque(maxlen=ROUNDS)

    def loop():
        while len(mine) < ROUNDS:
            env.sleep(1)
            mine.append("x")
        act()

    return loop


class Stage(enum.Enum):
    """Where a loop stands."""

    FIRST, SECOND, THIRD, LAST = range(4)


def in_an_enum(env, act):
    def loop():
        stage = Stage.FIRST
        while stage is not Stage.LAST:
            env.sleep(1)
            stage = Stage(stage.value + 1)
        act()

    return loop


def in_a_global_of_another_module(env, act):
    def loop():
        while True:
            env.sleep(1)
            if tick() == ROUNDS:
                act()

    return loop


def in_a_module_that_is_named(env, act):
    def loop():
        while True:
            env.sleep(1)
            counters.seen.append(1)
            if len(counters.seen) == ROUNDS:
                act()

    return loop


def in_a_module_s_iterator(env, act):
    def loop():
        while True:
            env.sleep(1)
            if next(counters.numbers) == ROUNDS:
                act()

    return loop


def in_lines(env, act):
    def loop():
        env.sleep(1)
        env.sleep(20)
        env.sleep(20)
        act()

    return loop


def in_a_call_of_its_own(env, act):
    def wait(left):
        env.sleep(1)
        if left:
            wait(left - 1)

    def loop():
        wait(ROUNDS)
        act()

    return loop


def with_growing_pauses(env, act):
    def loop():
        pause = 1
        while pause < 64:
            env.sleep(pause)
            pause *= 2
        act()

    return loop


PLACES = [
    in_a_local,
    in_a_cell_of_a_helper,
    in_a_list,
    in_an_entry_of_a_dict,
    in_an_attribute,
    in_a_slot,
    in_a_generator,
    in_an_iterator_of_c,
    on_the_stack_of_a_for,
    in_a_counter_of_collections,
    in_a_deque,
    in_an_enum,
    in_a_global_of_another_module,
    in_a_module_that_is_named,
    in_a_module_s_iterator,
    in_lines,
    in_a_call_of_its_own,
    with_growing_pauses,
]


@pytest.mark.parametrize("make", PLACES, ids=name)
def test_wherever_a_loop_counts_it_gets_to_act(make):
    run = acts(make).run()
    assert Books(run.history).values("done") == {"it": "done"}
    assert run.ending.verdict == "quiet"


# ---- the other colours


def ports_loop(env, act):
    async def loop():
        rounds = 0
        while True:
            await env.sleep(1)
            rounds += 1
            if rounds == ROUNDS:
                await act()

    return loop


def asyncio_loop(env, act):
    import asyncio

    async def loop():
        rounds = 0
        while True:
            await asyncio.sleep(1)
            rounds += 1
            if rounds == ROUNDS:
                await act()

    return loop


def asyncio_timeout(env, act):
    import asyncio

    async def loop():
        never, rounds = asyncio.Event(), 0
        while True:
            try:
                await asyncio.wait_for(never.wait(), 1)
            except TimeoutError:
                rounds += 1
            if rounds == ROUNDS:
                await act()
                return

    return loop


def asyncio_a_task_each_round(env, act):
    import asyncio

    async def nap():
        await asyncio.sleep(1)

    async def loop():
        rounds = 0
        while True:
            async with asyncio.TaskGroup() as group:
                group.create_task(nap())
                group.create_task(nap())
            rounds += 1
            if rounds == ROUNDS:
                await act()

    return loop


def trio_loop(env, act):
    import trio

    async def loop():
        rounds = 0
        while True:
            await trio.sleep(1)
            rounds += 1
            if rounds == ROUNDS:
                await act()

    return loop


def trio_a_task_each_round(env, act):
    import trio

    async def loop():
        rounds = 0
        while True:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep, 1)
                nursery.start_soon(trio.sleep, 1)
            rounds += 1
            if rounds == ROUNDS:
                await act()

    return loop


COLOURED = [
    (ports_loop, "ports"),
    (asyncio_loop, "asyncio"),
    (asyncio_timeout, "asyncio"),
    (asyncio_a_task_each_round, "asyncio"),
    (trio_loop, "trio"),
    (trio_a_task_each_round, "trio"),
]


@pytest.mark.parametrize(("make", "runtime"), COLOURED, ids=name)
def test_in_every_colour(make, runtime):
    run = acts(make, runtime).run()
    assert Books(run.history).values("done") == {"it": "done"}
    assert run.ending.verdict == "quiet"
    assert len(run.history) < 1_500
