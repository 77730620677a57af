"""Fingerprints of sleeping code: equal where nothing is different, sure where all was seen."""

import asyncio
import datetime
import enum
import itertools
import types
from collections import Counter, deque
from decimal import Decimal
from functools import partial
from types import SimpleNamespace

import attrs
import pytest

from chaosharness.handlers.fingerprint import of_coroutines, of_function


class Colour(enum.Enum):
    """Values of a kind of their own."""

    RED, BLUE = range(2)


@attrs.define
class Slotted:
    """No dictionary."""

    value: object = 0


@types.coroutine
def stop():
    yield


async def hold(value):
    held = value
    await stop()
    return held


def seen_in(coroutine):
    """Return the fingerprint of a coroutine at its first stop."""
    coroutine.send(None)
    state = of_coroutines([coroutine])
    coroutine.close()
    return state


def print_of(value):
    """Return the fingerprint of code that holds a value in a local."""
    return seen_in(hold(value))


PAIRS = [
    (1, 2),
    ("a", "b"),
    ([1, 2], [2, 1]),
    ({"a": 1}, {"a": 2}),
    ({1, 2}, {1, 3}),
    (deque([1]), deque([2])),
    (Counter("ab"), Counter("aa")),
    (Colour.RED, Colour.BLUE),
    (Decimal("1.0"), Decimal("1.1")),
    (datetime.date(2030, 1, 1), datetime.date(2030, 1, 2)),
    (Slotted(1), Slotted(2)),
    (Slotted(Slotted([1])), Slotted(Slotted([2]))),
    (SimpleNamespace(a=1), SimpleNamespace(a=2)),
    (partial(print, 1), partial(print, 2)),
    (iter([1, 2]), iter([1])),
    ([Slotted(1).__eq__], [Slotted(2).__eq__]),
    (frozenset({1}), frozenset({2})),
]


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=lambda one: type(one).__name__)
def test_two_values_of_a_kind_are_told_apart(one, other):
    assert print_of(one) == print_of(one)
    assert print_of(one) != print_of(other)
    assert print_of(one)[1]


@pytest.mark.parametrize(
    "value",
    [
        itertools.count(),
        bytearray(b"x"),
        {frozenset({1}): {(1, 2)}},
        list(range(10_000)),
        [[n] for n in range(500)],
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_compared_is_never_sure(value):
    assert not print_of(value)[1]


def test_no_code_of_the_user_runs():
    ran = []

    class Loud:
        def __init__(self, value):
            self.value = value

        @property
        def __class__(self):
            ran.append("__class__")
            return Loud

        def __getattr__(self, name):
            ran.append(name)
            raise AttributeError(name)

        def __eq__(self, other):
            ran.append("__eq__")
            return True

        __hash__ = None

    assert print_of(Loud(1)) == print_of(Loud(1))
    assert print_of(Loud(1)) != print_of(Loud(2))
    assert ran == []


def test_a_circle_is_gone_round_once():
    circle = []
    circle.append(circle)
    assert print_of(circle) == print_of(circle)


def test_a_queue_of_asyncio_is_state():
    queue = asyncio.Queue()
    before = print_of(queue)
    queue.put_nowait(1)
    assert print_of(queue) != before


def test_a_function_is_what_it_closes_over():
    def counter():
        count = 0

        def step():
            nonlocal count
            count += 1

        return step

    step = counter()
    before = of_function(step)
    assert of_function(step) == before
    step()
    assert of_function(step) != before


def test_a_coroutine_is_where_it_waits_and_what_it_knows():
    async def nap():
        await asyncio.sleep(0)

    async def work():
        count = 0
        while True:
            await nap()
            count += 1
            await nap()

    coroutine = work()
    seen = []
    for _ in range(3):
        coroutine.send(None)
        seen.append(of_coroutines([coroutine]))
    coroutine.close()
    assert len({state for state, _ in seen}) == 3


def test_a_for_loop_keeps_something_that_no_local_shows():
    async def inside():
        for _ in itertools.repeat(None, 1):
            await stop()

    async def inside_async():
        async for _ in numbers():
            await stop()

    async def numbers():
        yield 1

    async def outside():
        for _ in range(1):
            pass
        await stop()

    assert not seen_in(inside())[1]
    assert not seen_in(inside_async())[1]
    assert seen_in(outside())[1]
