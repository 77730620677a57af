"""Locks of `threading`, queues, and `time.sleep`: they wait in virtual time."""

import _thread
import queue
import threading
import time
from time import sleep

import pytest

from chaosharness import Crash, KeyValue, Pause, Schedule, Site, System
from tests.handlers.houses import ASYNC, CHARGE, COLOURS, notes, only, run, said, system_of

AT_MODULE_LEVEL = {
    "Lock": threading.Lock(),
    "RLock": threading.RLock(),
    "Condition": threading.Condition(),
    "Semaphore": threading.Semaphore(),
    "BoundedSemaphore": threading.BoundedSemaphore(),
}
MAKERS = {
    "Lock": threading.Lock,
    "RLock": threading.RLock,
    "allocate_lock": _thread.allocate_lock,
    "Condition": threading.Condition,
    "Condition of a Lock": lambda: threading.Condition(threading.Lock()),
    "Semaphore": threading.Semaphore,
    "BoundedSemaphore": threading.BoundedSemaphore,
}
LOCKS = {
    **{f"new {name}": maker for name, maker in MAKERS.items()},
    **{f"{name} at module level": lambda one=one: one for name, one in AT_MODULE_LEVEL.items()},
}
QUEUE_AT_MODULE_LEVEL = queue.Queue()
EVENT_AT_MODULE_LEVEL = threading.Event()


def mains(*functions):
    """Run main loops of one service: each is called with the house, and what they share."""

    def build(house):
        shared = {}
        for function in functions:

            def loop(function=function):
                function(house, shared)

            loop.__name__ = function.__name__
            house.env.main(loop)

    return system_of(build).run()


# ---- locks


@pytest.mark.parametrize("name", LOCKS)
def test_who_wants_a_lock_waits_in_virtual_time(name):
    def first(house, shared):
        lock = shared["lock"] = LOCKS[name]()
        with lock:
            house.env.sleep(5)

    def second(house, shared):
        house.env.sleep(1)
        with shared["lock"]:
            house.env.note(f"second has it at {house.env.now_ms()}")
            house.env.sleep(1)

    def third(house, shared):
        house.env.sleep(2)
        shared["lock"].acquire()
        house.env.note(f"third has it at {house.env.now_ms()}")
        shared["lock"].release()

    over = mains(first, second, third)
    assert said(over) == ["second has it at 5000", "third has it at 6000"]
    assert over.ending.verdict == "quiet"
    assert not getattr(LOCKS[name](), "locked", lambda: False)()


def test_a_lock_that_is_not_free_may_be_tried():
    def first(house, shared):
        shared["lock"] = threading.Lock()
        with shared["lock"]:
            house.env.sleep(5)

    def second(house, shared):
        house.env.sleep(1)
        lock = shared["lock"]
        house.env.note(f"{lock.locked()} {lock.acquire(False)} {lock.acquire(timeout=2)}")
        house.env.note(f"{house.env.now_ms()} {lock.acquire(timeout=10)} {house.env.now_ms()}")
        with pytest.raises(ValueError):
            lock.acquire(False, 1)
        lock.release()
        with pytest.raises(RuntimeError):
            lock.release()

    assert said(mains(first, second)) == ["True False False", "3000 True 5000"]


def test_an_rlock_is_taken_again_by_its_owner_and_by_nobody_else():
    def first(house, shared):
        lock = shared["lock"] = threading.RLock()
        with lock, lock:
            house.env.sleep(2)
        house.env.note("first is through")

    def second(house, shared):
        house.env.sleep(1)
        lock = shared["lock"]
        house.env.note(str(lock.acquire(False)))
        with pytest.raises(RuntimeError):
            lock.release()
        with lock:
            house.env.note("second has it")

    assert said(mains(first, second)) == ["False", "first is through", "second has it"]


@pytest.mark.parametrize("again", [False, True])
def test_a_deadlock_is_stuck_and_names_the_line(again):
    def first(house, shared):
        shared["one"], shared["other"] = threading.Lock(), threading.Lock()
        with shared["one"]:
            house.env.sleep(2)
            with shared["other"]:
                pass

    def second(house, shared):
        house.env.sleep(1)
        with shared["other"]:
            house.env.sleep(2)
            with shared["one"]:
                pass

    started = time.perf_counter()
    over = mains(first, second)
    assert over.ending.verdict == "stuck"
    assert "test_locks.py:" in over.ending.reason
    assert "for a lock that desk.second holds) waits for something" in over.ending.reason
    assert time.perf_counter() - started < 5  # real seconds


def test_a_handler_that_takes_its_own_lock_twice_is_stuck():
    def handle(house, order):
        lock = threading.Lock()
        with lock, lock:
            pass

    over = run(handle)
    assert over.ending.verdict == "stuck"
    assert "desk.on_order (at tests/handlers/test_locks.py:" in over.ending.reason


@pytest.mark.parametrize(
    "wait",
    [
        lambda: queue.Queue().get(),
        lambda: queue.SimpleQueue().get(),
        lambda: threading.Event().wait(),
        lambda: threading.Semaphore(0).acquire(),
    ],
)
def test_a_handler_that_waits_for_news_for_ever_is_stuck_at_its_line(wait):
    def handle(house, order):
        wait()

    over = run(handle)
    assert over.ending.verdict == "stuck"
    assert "desk.on_order (at tests/handlers/test_locks.py:" in over.ending.reason


@pytest.mark.parametrize("colour", ["asyncio", "trio"])
def test_a_lock_blocks_the_event_loop_as_in_production(colour):
    """Held across an await by one task, wanted by another of the same loop: for good."""

    def build(house):
        lock = threading.Lock()

        async def first():
            with lock:
                await house.env.sleep(1)
            house.env.note("never")

        async def second():
            with lock:
                house.env.note("never")

        house.env.main(first)
        house.env.main(second)

    over = system_of(build, runtime=colour).run()
    assert said(over) == []
    assert over.ending.verdict == "stuck"
    assert "desk.second (at tests/handlers/test_locks.py:" in over.ending.reason
    assert "for a lock that desk.first holds" in over.ending.reason


def test_a_crash_frees_the_locks_of_the_process():
    lock = AT_MODULE_LEVEL["Lock"]

    def handle(house, order):
        with lock:
            house.bank.charge(order["id"], 100)

    over = run(handle, only(Crash, CHARGE, "after"))
    assert over.ending.verdict == "quiet"
    assert len(list(over.history.of("handled"))) == 1
    assert not lock.locked()


def test_replicas_share_no_lock():
    lock = AT_MODULE_LEVEL["Lock"]

    def build(house):
        def loop():
            with lock:
                house.env.note(f"has it at {house.env.now_ms()}")
                house.env.sleep(5)

        house.env.main(loop)

    assert said(system_of(build, replicas=2).run()) == ["has it at 0"] * 2


def test_a_lock_that_was_locked_before_the_run_can_be_released_in_it():
    gate = threading.Lock()
    gate.acquire()

    def first(house, shared):
        gate.acquire()
        house.env.note(f"open at {house.env.now_ms()}")

    def second(house, shared):
        house.env.sleep(3)
        gate.release()

    for _ in range(2):
        assert said(mains(first, second)) == ["open at 3000"]
        assert gate.locked()
    gate.release()


def test_a_pause_inside_a_lock_makes_the_other_wait():
    system = System("lock")
    store = system.add(KeyValue("store"))

    @system.service("worker")
    def worker(env):
        connection, lock = env.connect(store), threading.Lock()

        def first():
            with lock:
                connection.put("first", 1)

        def second():
            env.sleep(1)
            with lock:
                connection.put("second", 2)
                env.note(str(env.now_ms()))

        env.main(first)
        env.main(second)

    system.entry(examples=["nothing"])(lambda env, item: None)
    pause = Pause(Site("worker.first/store.put", "after", 0), lasting=5_000)
    assert said(system.run(schedule=Schedule([pause]))) == ["5000"]


def test_locks_are_real_outside_of_runs():
    lock, rlock, items = threading.Lock(), threading.RLock(), queue.SimpleQueue()
    taken = []

    def other():
        with lock:
            taken.append("lock")
        with rlock:
            taken.append("rlock")
        items.put("item")

    thread = threading.Thread(target=other)
    with lock, rlock:
        assert lock.locked() and not lock.acquire(False)
        assert rlock.acquire(False)
        rlock.release()
        thread.start()
        thread.join(0.05)
        assert taken == []
    assert items.get(timeout=5) == "item"
    thread.join()
    assert taken == ["lock", "rlock"]
    with pytest.raises(queue.Empty):
        items.get(timeout=0.01)


# ---- conditions, events, queues


def test_conditions_events_and_barriers():
    condition, event = AT_MODULE_LEVEL["Condition"], EVENT_AT_MODULE_LEVEL
    event.clear()
    barrier = threading.Barrier(2)

    def first(house, shared):
        with condition:
            house.env.note(f"{condition.wait(1)} {house.env.now_ms()}")
            house.publish("out", {})
            house.env.note(f"{condition.wait_for(lambda: shared)} {house.env.now_ms()}")
        house.publish("out", {})
        house.env.note(f"{event.wait(1)} {event.wait()} {house.env.now_ms()}")
        house.publish("out", {})
        barrier.wait()
        house.env.note(f"together at {house.env.now_ms()}")

    def second(house, shared):
        house.env.sleep(3)
        with condition:
            condition.notify()  # in vain: nothing is there
        house.env.sleep(1)
        with condition:
            shared["something"] = 1
            condition.notify_all()
        house.env.sleep(2)
        event.set()
        house.env.sleep(2)
        barrier.wait()

    words = ["False 1000", "1 4000", "False True 6000", "together at 8000"]
    assert [one.replace("{'something': 1}", "1") for one in said(mains(first, second))] == words
    event.clear()


@pytest.mark.parametrize("kind", [queue.Queue, queue.SimpleQueue, queue.PriorityQueue])
def test_a_worker_that_waits_for_its_queue_is_at_rest(kind):
    def build(house):
        items = kind()

        def worker():
            while True:
                order = items.get()
                house.env.sleep(1)
                house.publish("out", {"id": order}, key=order)

        def on_order(order):
            items.put(order["id"])

        house.env.main(worker)
        house.consume(on_order)

    over = system_of(build, orders=3).run()
    assert over.ending.verdict == "quiet"
    assert [event.data["key"] for event in over.history.of("publish")][-3:] == ["o1", "o2", "o3"]


@pytest.mark.parametrize("kind", [queue.Queue, queue.SimpleQueue])
def test_a_queue_may_stay_empty(kind):
    def handle(house, order):
        items = kind()
        with pytest.raises(queue.Empty):
            items.get_nowait()
        with pytest.raises(queue.Empty):
            items.get(timeout=2.5)
        house.env.note("empty")
        items.put("one")
        house.env.note(items.get(timeout=1))

    assert notes(run(handle)) == [(2500, "empty"), (2500, "one")]


def test_a_full_queue_makes_its_producer_wait():
    def first(house, shared):
        items = shared["items"] = queue.Queue(maxsize=1)
        items.put(1)
        items.put(2)
        house.env.note(f"put at {house.env.now_ms()}")
        with pytest.raises(queue.Full):
            items.put(3, timeout=1)

    def second(house, shared):
        house.env.sleep(4)
        shared["items"].get()

    assert said(mains(first, second)) == ["put at 4000"]


# ---- time.sleep


@pytest.mark.parametrize("colour", COLOURS)
def test_time_sleep_waits_in_virtual_time_and_is_a_site(colour):
    def handle(house, order):
        house.env.note(f"{sleep(2)}")
        time.sleep(0.5)
        house.env.note("awake")

    async def handle_later(house, order):
        handle(house, order)

    chosen = handle if colour == "plain" else handle_later
    over = run(chosen, runtime=colour)
    assert notes(over) == [(2000, "None"), (2500, "awake")]
    assert over.reached["desk.on_order/sleep", 1] == 2
    crashed = run(chosen, only(Crash, "desk.on_order/sleep", "after"), runtime=colour)
    assert not crashed.unused
    assert said(crashed) == ["None", "awake"]


@pytest.mark.parametrize("colour", ["asyncio", "trio"])
def test_time_sleep_blocks_the_whole_event_loop(colour):
    def build(house):
        async def first():
            await house.env.sleep(1)
            time.sleep(5)
            house.env.note(f"first at {house.env.now_ms()}")

        async def second():
            await house.env.sleep(2)
            house.env.note(f"second at {house.env.now_ms()}")

        house.env.main(first)
        house.env.main(second)

    over = system_of(build, runtime=colour).run()
    assert said(over) == ["first at 6000", "second at 6000"]


@pytest.mark.parametrize("colour", ["plain", *ASYNC])
def test_time_sleep_refuses_what_it_always_refused(colour):
    def handle(house, order):
        for wrong, error in ((-1, ValueError), ("1", TypeError)):
            with pytest.raises(error):
                time.sleep(wrong)
        time.sleep(True)
        house.env.note("one second")

    async def handle_later(house, order):
        handle(house, order)

    over = run(handle if colour == "plain" else handle_later, runtime=colour)
    assert notes(over) == [(1000, "one second")]


def test_several_sleep_at_once():
    def sleeper(seconds):
        def main(house, shared):
            for number in range(3):
                time.sleep(seconds)
                house.publish("out", {"number": number})
            house.env.note(f"{seconds} s, three times, at {house.env.now_ms()}")

        main.__name__ = f"sleeper{seconds}"
        return main

    assert said(mains(sleeper(3), sleeper(1), sleeper(2))) == [
        "1 s, three times, at 3000",
        "2 s, three times, at 6000",
        "3 s, three times, at 9000",
    ]
