"""Code that goes on without reaching a port ends in a verdict, whatever it swallows."""

import os
import socket
import threading
import time
from datetime import datetime

import pytest

from chaosharness import Budget, Crash
from chaosharness.errors import RealIO
from chaosharness.handlers import sandbox
from tests.handlers.houses import COLOURS, only, run, said, system_of


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(sandbox, "_IDLE", sandbox._Idle())
    sandbox._IDLE.sandboxes.append(sandbox.Sandbox(limit_s=0.3))


def number(house, order):
    while True:  # the error of `int` may overwrite another that is raised inside it
        try:
            return int(order["id"])
        except ValueError:
            continue


def swallow(house, order):
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue


def clean_up(house, order):
    try:
        while True:
            pass
    finally:
        while True:
            house.env.now_ms()


def in_a_generator(house, order):
    def forever():
        while True:
            try:
                yield 1
            except BaseException:
                continue

    for _ in forever():
        pass


def ours_most_of_the_time(house, order):
    while "key" not in house.env.__dict__:
        house.env._open(house._kv, "connect", "store")


SPINNERS = (number, swallow, clean_up, in_a_generator, ours_most_of_the_time)


def in_colour(colour, function):
    if colour == "plain":
        return function

    async def handle(house, order):
        function(house, order)

    return handle


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("spins", SPINNERS)
def test_spinning_cannot_be_swallowed(spins, colour, impatient):
    over = run(in_colour(colour, spins), runtime=colour)
    assert over.ending.verdict == "spinning"
    assert "desk.on_order ran for 0.3 s of real time" in over.ending.reason
    again = run(in_colour(colour, lambda house, order: house.env.note("fine")), runtime=colour)
    assert said(again) == ["fine"]


@pytest.mark.parametrize("spins", [number, swallow])
def test_nor_in_another_thread(spins, monkeypatch):
    class Impatient(sandbox._Idle):
        def __init__(self):
            super().__init__()
            self.sandboxes.append(sandbox.Sandbox(limit_s=0.3))

    monkeypatch.setattr(sandbox, "_IDLE", Impatient())
    found = []
    thread = threading.Thread(target=lambda: found.append(run(spins)))
    thread.start()
    thread.join(30)
    assert [over.ending.verdict for over in found] == ["spinning"]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
@pytest.mark.parametrize("colour", ["asyncio", "trio"])
def test_code_that_was_taken_away_keeps_no_file_open(colour):
    def spin(house, order):
        while house.env.now_ms() < 5_000:
            pass

    counts = []
    for _ in range(8):
        run(in_colour(colour, spin), runtime=colour, budget=Budget(reads_max=100))
        counts.append(len(os.listdir("/proc/self/fd")))
    # one that each run kept would be seven by now; other threads of pytest open one now and then
    assert counts[-1] - counts[0] < 7


# ---- the clock


def ask_env(house):
    return house.env.now_ms() < 5_000


def ask_time(house):
    return time.time() < 1_893_456_005


def ask_monotonic(house):
    return time.monotonic_ns() < 1_893_456_005 * 10**9


def ask_datetime(house):
    return datetime.now().second < 5


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("ask", [ask_env, ask_time, ask_monotonic, ask_datetime])
def test_a_loop_that_only_reads_the_clock_is_spinning(ask, colour):
    def wait(house, order):
        while True:
            try:
                while ask(house):
                    pass
            except BaseException:
                continue

    budget = Budget(reads_max=1_000)
    over = run(in_colour(colour, wait), runtime=colour, budget=budget)
    assert over.ending.verdict == "spinning"
    assert over.ending.reason == (
        "desk.on_order read the clock 1,001 times without waiting: no time passes so"
    )
    assert run(in_colour(colour, wait), runtime=colour, budget=budget).digest() == over.digest()


@pytest.mark.parametrize("colour", COLOURS)
def test_who_waits_in_between_may_read_the_clock_as_often_as_it_likes(colour):
    def wait(house, order):
        while ask_env(house):
            for _ in range(50):
                time.time()
            time.sleep(0.1)
        house.env.note("5 s")

    assert said(run(in_colour(colour, wait), runtime=colour, budget=Budget(reads_max=100))) == [
        "5 s"
    ]


def test_an_abandoned_handler_that_asks_the_clock_for_ever_ends():
    def handle(house, order):
        while True:
            try:
                house.env.sleep(1)
            except BaseException:
                while True:
                    try:
                        while house.env.now_ms() < 5_000:
                            pass
                    except BaseException:
                        continue

    def build(house):
        house.env.main(lambda: handle(house, None))

    over = system_of(build).run(schedule=only(Crash, "desk.<lambda>/sleep", "after", entity=0))
    assert not over.unused


@pytest.mark.parametrize("colour", COLOURS)
def test_a_refusal_cannot_be_swallowed_for_ever(colour):
    def connect(house, order):
        while True:
            try:
                socket.create_connection(("localhost", 1))
            except BaseException:
                continue

    with pytest.raises(RealIO, match=r"socket\.connect"):
        run(in_colour(colour, connect), runtime=colour)
