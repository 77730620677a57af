import asyncio
import os
import socket
import sqlite3
import subprocess
import threading
import time
import urllib.request
from time import sleep

import pytest
import trio

from chaosharness.errors import RealIO
from chaosharness.handlers.guards import Guards


@pytest.fixture
def guards():
    guards = Guards(where=lambda: "payments.on_order")
    guards.on()
    yield guards
    guards.off()


async def nothing():
    pass


def run_asyncio():
    coroutine = nothing()
    try:
        asyncio.run(coroutine)
    finally:
        coroutine.close()


def connect():
    with socket.socket() as client:
        client.connect(("127.0.0.1", 9))


ESCAPES = {
    "time.sleep(30)": lambda: time.sleep(30),
    "time.sleep(0.25)": lambda: sleep(0.25),
    "socket.connect(('127.0.0.1', 9))": connect,
    "socket.getaddrinfo('localhost')": lambda: socket.getaddrinfo("localhost", 80),
    "subprocess.Popen(['true'])": lambda: subprocess.run(["true"], check=True),
    "os.system(b'true')": lambda: os.system("true"),
    "threading.Thread.start": lambda: threading.Thread(target=print).start(),
    "asyncio.run": run_asyncio,
    "urllib.request.urlopen('http://localhost/')": lambda: urllib.request.urlopen(
        "http://localhost/"
    ),
}


@pytest.mark.parametrize("what", ESCAPES)
def test_leaving_the_simulated_world_is_refused(guards, what):
    with pytest.raises(RealIO) as caught:
        ESCAPES[what]()
    assert caught.value.what == what
    assert caught.value.where == "payments.on_order"
    assert guards.refused == [caught.value]


def run_a_loop():
    loop, coroutine = asyncio.new_event_loop(), nothing()
    try:
        loop.run_until_complete(coroutine)
    finally:
        coroutine.close()
        loop.close()


@pytest.mark.parametrize("starts", [run_asyncio, run_a_loop])
@pytest.mark.filterwarnings("ignore:coroutine 'nothing' was never awaited")
def test_a_loop_of_its_own_is_told_to_give_the_async_function(guards, starts):
    with pytest.raises(RealIO, match=r"give env.main.* the async function itself \(env.main\(main"):
        starts()


def test_a_refusal_that_is_swallowed_is_remembered(guards):
    for _ in range(3):
        try:
            sleep(1)
        except Exception:
            continue
    assert [refusal.what for refusal in guards.refused] == ["time.sleep(1)"] * 3


def test_what_event_loops_and_stores_need_stays_free(guards):
    for end in socket.socketpair():
        end.close()
    asyncio.new_event_loop().close()
    trio.run(nothing)
    database = sqlite3.connect(":memory:")
    assert database.execute("select 1").fetchone() == (1,)
    database.close()
    assert guards.refused == []


def test_everything_works_again_afterwards():
    guards = Guards(where=lambda: "payments.on_order")
    name = sleep.__name__
    guards.on()
    guards.off()
    assert sleep.__name__ == name == "sleep"
    assert sleep(0.001) is None
    subprocess.run(["true"], check=True)
    asyncio.run(nothing())
    thread = threading.Thread(target=list)
    thread.start()
    thread.join()


def test_guards_nest():
    outer, inner = (Guards(where=lambda name=name: name) for name in ("outer", "inner"))
    outer.on()
    try:
        inner.on()
        with pytest.raises(RealIO, match="inner called time"):
            sleep(1)
        inner.off()
        with pytest.raises(RealIO, match="outer called time"):
            sleep(1)
    finally:
        outer.off()
    assert sleep(0) is None


def test_other_threads_are_let_alone():
    ready, go, slept = threading.Event(), threading.Event(), []

    def other():
        ready.set()
        go.wait()
        started = time.perf_counter()
        sleep(0.2)
        slept.append(time.perf_counter() - started)

    thread = threading.Thread(target=other)
    thread.start()
    ready.wait()
    guards = Guards(where=lambda: "payments.on_order")
    guards.on()
    go.set()
    thread.join()
    guards.off()
    assert slept[0] >= 0.19
    assert guards.refused == []


def test_a_garbage_collection_while_guards_are_on_is_harmless(guards):
    import gc

    for _ in range(3):
        gc.collect()
    with pytest.raises(RealIO):
        sleep(1)
