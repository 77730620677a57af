"""Calls that were never awaited: the run ends with the mistake, its file and its line."""

import asyncio
import functools
import inspect
import warnings

import pytest

from chaosharness import ErrorReply
from chaosharness.errors import NotAwaited
from tests.handlers.houses import ASYNC, CHARGE, COLOURS, notes, only, run, said


def line_of(function, words):
    lines, first = inspect.getsourcelines(function)
    return first + next(number for number, line in enumerate(lines) if words in line)


def refused(handle, colour, words):
    with pytest.raises(NotAwaited) as caught:
        run(handle, runtime=colour)
    assert f"tests/handlers/test_unawaited.py:{line_of(handle, words)}" in str(caught.value)
    return str(caught.value)


async def nothing(*_):
    """A coroutine of the user's own."""


@pytest.mark.parametrize("colour", ASYNC)
@pytest.mark.parametrize("how", ["dropped", "kept", "kept across an await", "used", "indexed"])
def test_a_port_that_is_not_awaited(colour, how):
    async def dropped(house, order):
        house.bank.charge(order["id"], 100)
        await house.env.sleep(1)

    async def kept(house, order):
        receipt = house.bank.charge(order["id"], 100)
        house.env.note(str(receipt is None))

    async def kept_across(house, order):
        receipt = house.bank.charge(order["id"], 100)
        await house.kv.put("a", bool(receipt))

    async def used(house, order):
        receipt = house.bank.charge(order["id"], 100)
        house.env.note(receipt.order)  # used

    async def indexed(house, order):
        receipt = house.bank.charge(order["id"], 100)
        house.env.note(receipt["order"])  # used

    handle = {
        "dropped": dropped,
        "kept": kept,
        "kept across an await": kept_across,
        "used": used,
        "indexed": indexed,
    }[how]
    words = refused(handle, colour, "# used" if how in ("used", "indexed") else "bank.charge")
    assert f"{CHARGE} was called without await" in words


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("how", ["dropped", "kept", "wrapped"])
def test_a_coroutine_of_the_user_that_is_not_awaited(colour, how):
    def dropped(house, order):
        nothing(order)

    def kept(house, order):
        task = nothing(order)
        house.env.note(str(task is None))

    @functools.wraps(nothing)
    def wrapper(*values):
        nothing(*values)

    def wrapped(house, order):
        wrapper(order)

    handle = {"dropped": dropped, "kept": kept, "wrapped": wrapped}[how]
    if colour == "plain":
        chosen = handle
    else:

        async def chosen(house, order):
            handle(house, order)

    with pytest.raises(NotAwaited) as caught:
        run(chosen, runtime=colour)
    source = wrapper.__wrapped__ and inspect.getsourcelines(
        test_a_coroutine_of_the_user_that_is_not_awaited
    )
    words = {"dropped": "nothing(order)", "kept": "task = nothing", "wrapped": "nothing(*values)"}
    line = source[1] + next(at for at, one in enumerate(source[0]) if words[how] in one)
    assert f"without await at tests/handlers/test_unawaited.py:{line}" in str(caught.value)
    assert "desk.on_order called nothing" in str(caught.value)


@pytest.mark.parametrize("colour", ASYNC)
def test_a_missing_await_behind_a_fault_is_found_there(colour):
    async def handle(house, order):
        try:
            await house.bank.charge(order["id"], 100)
        except ConnectionError:
            nothing(order)

    assert run(handle, runtime=colour).ending.verdict == "quiet"
    with pytest.raises(NotAwaited, match="nothing"):
        run(handle, only(ErrorReply, CHARGE), runtime=colour)


@pytest.mark.parametrize("colour", ASYNC)
def test_what_an_error_jumped_over_is_no_mistake(colour):
    async def handle(house, order):
        calls = [house.bank.charge(order["id"], cents) for cents in (1, 2)]
        helpers = [nothing(order), nothing(order)]
        for call, helper in zip(calls, helpers, strict=True):
            await call
            await helper

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        over = run(handle, only(ErrorReply, CHARGE), runtime=colour)
    assert over.ending.verdict == "quiet"


def test_tasks_that_are_cancelled_before_they_begin_are_no_mistake():
    async def handle(house, order):
        asyncio.create_task(nothing(order)).cancel()
        asyncio.create_task(house.bank.charge(order["id"], 100)).cancel()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(house.env.sleep(5), 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(nothing(order), 0)
        house.env.note("done")

    assert notes(run(handle, runtime="asyncio")) == [(1000, "done")]


def test_the_interpreter_warns_as_ever_outside_of_runs():
    with pytest.warns(RuntimeWarning, match="coroutine 'nothing' was never awaited"):
        nothing()


@pytest.mark.parametrize("colour", ASYNC)
def test_what_event_loops_ask_of_a_port_is_no_use_of_it(colour):
    async def handle(house, order):
        call = house.bank.charge(order["id"], 100)
        assert inspect.isawaitable(call)
        assert getattr(call, "__name__", None) is None
        assert getattr(call, "cr_frame", None) is None
        house.env.note((await call).order)

    assert said(run(handle, runtime=colour)) == ["o1"]


# ---- calls that are kept until the run is over


@pytest.mark.parametrize("colour", ASYNC)
def test_a_port_that_is_kept_in_a_list_and_never_awaited(colour):
    calls = []

    async def handle(house, order):
        calls.append(house.bank.charge(order["id"], 100))

    said = refused(handle, colour, "calls.append")
    assert "bank.charge was called without await" in said


@pytest.mark.parametrize("colour", ASYNC)
def test_calls_that_are_kept_and_awaited_by_another_handler_are_right(colour):
    calls = []

    async def handle(house, order):
        calls.append(house.bank.charge(order["id"], 100))
        while calls:
            await calls.pop()

    run(handle, runtime=colour)
