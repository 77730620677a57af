"""Threads that code under test starts: they run in virtual time, and no real one is started."""

import _thread
import gc
import os
import queue
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor, as_completed

import pytest

from chaosharness import Crash, Kafka, KeyValue, Schedule, Site, System, explore
from tests.handlers.houses import run, said, system_of


def main(function, **options):
    """Run one main loop, `function(house)`."""

    def build(house):
        def loop():
            function(house)

        house.env.main(loop)

    return system_of(build, **options).run()


# ---- a poll loop, and a pool for the records of a batch


def billing(*, early):
    system = System("billing")
    bus = system.add(Kafka("bus", topics={"orders": 1}))
    rows = system.add(KeyValue("rows"))

    @system.service("billing")
    def service(env):
        store = env.connect(rows)
        pool = ThreadPoolExecutor(max_workers=2)

        def bill(order):
            time.sleep(0.1)
            store.put(order.value["id"], "billed")

        def poll():
            consumer = env.consumer(bus, "orders")
            while True:
                done = pool.map(bill, consumer.poll(timeout_s=1))
                if early:
                    consumer.commit()
                list(done)
                if not early:
                    consumer.commit()

        env.main(poll)

    @system.entry(examples=[{"id": f"o{number}"} for number in range(1, 4)])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def items_of(over):
    return next(e.data["items"] for e in over.history.of("state") if "items" in e.data)


def test_a_pool_handles_a_batch_and_the_commit_waits_for_it():
    over = billing(early=False).run()
    assert over.ending.verdict == "quiet"
    assert not over.ending.ran_on
    assert items_of(over) == {f"o{number}": "billed" for number in (1, 2, 3)}
    assert explore(billing(early=False), kinds=[Crash], faults_max=1).result == "holds"


def test_a_commit_before_the_pool_is_done_is_found_with_nothing_claimed():
    assert explore(billing(early=True), kinds=[Crash], faults_max=1).result == "violated"


POOL = ThreadPoolExecutor(2)


def test_a_pool_at_module_level_is_another_in_each_process_and_run():
    def loop(house):
        house.env.note(str(POOL.submit(lambda: threading.current_thread().name).result()))
        time.sleep(5)
        POOL.submit(time.sleep, 1).result()

    def build(house):
        def poll():
            loop(house)

        house.env.main(poll)

    system = system_of(build)
    crash = Schedule([Crash(Site("desk.poll/sleep", "after", 0, 1))])
    for _ in range(2):
        assert len(set(said(system.run()))) == 1
        over = system.run(schedule=crash)
        assert len(said(over)) == 2
        assert len(set(said(over))) == 1
        assert over.ending.verdict == "quiet"
    assert not POOL._threads


# ---- threads beside a loop


def test_a_flusher_writes_everything_and_the_run_ends_quiet():
    def build(house):
        kept, lock = [], threading.Lock()

        def flush():
            while True:
                time.sleep(10)
                with lock:
                    some, kept[:] = list(kept), []
                for key in some:
                    house.kv.put(key, house.env.now_ms())

        def poll():
            threading.Thread(target=flush, daemon=True).start()
            consumer = house.consumer()
            while True:
                for order in consumer.poll(timeout_s=1):
                    with lock:
                        kept.append(order.value["id"])

        house.env.main(poll)

    over = system_of(build, orders=3).run()
    assert over.ending.verdict == "quiet"
    states = [event.data["items"] for event in over.history.of("state") if "items" in event.data]
    assert {"o1", "o2", "o3"} <= set(states[0])
    assert {one.place for one in over.ending.ran_on} <= {"desk.poll"}  # which commits nothing


def test_a_timer_fires_once_and_one_that_is_cancelled_does_not():
    def loop(house):
        threading.Timer(5, house.env.note, ["late"]).start()
        gone = threading.Timer(3, house.env.note, ["never"])
        gone.start()
        gone.cancel()

    over = main(loop)
    assert said(over) == ["late"]
    assert over.ending.verdict == "quiet"


def test_a_timer_that_sets_the_next_comes_to_rest_when_it_does_nothing():
    def loop(house):
        def tick():
            threading.Timer(10, tick).start()

        tick()

    assert main(loop).ending.verdict == "quiet"


def test_a_chain_of_timers_that_counts_gets_to_act():
    def loop(house):
        seen = []

        def tick():
            seen.append(None)
            if len(seen) == 6:
                house.env.note("sixth")
            else:
                threading.Timer(10, tick).start()

        tick()

    assert said(main(loop)) == ["sixth"]


@pytest.mark.parametrize("kind", [queue.Queue, queue.SimpleQueue])
def test_two_workers_share_a_queue(kind):
    def loop(house):
        jobs, done = kind(), []

        def work():
            while (job := jobs.get()) is not None:
                time.sleep(1)
                done.append((job, threading.current_thread().name))
                if kind is queue.Queue:
                    jobs.task_done()

        workers = [threading.Thread(target=work) for _ in range(2)]
        for one in workers:
            one.start()
        for job in range(4):
            jobs.put(job)
        if kind is queue.Queue:
            jobs.join()
            house.env.note(f"joined at {house.env.now_ms()}")
        for _ in workers:
            jobs.put(None)
        for one in workers:
            one.join()
        assert not any(one.is_alive() for one in workers)
        house.env.note(str(done))

    over = main(loop)
    jobs = [(job, f"Thread-{1 + job % 2} (work)") for job in range(4)]
    assert said(over)[-1] == str(jobs)
    assert over.ending.verdict == "quiet"
    assert over.digest() == main(loop).digest()


# ---- what a thread is


def test_threads_have_values_of_their_own():
    def loop(house):
        local, seen = threading.local(), []
        local.value = "main"

        def work(number):
            assert not hasattr(local, "value")
            local.value = number
            time.sleep(1)
            seen.append(local.value)

        threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert local.value == "main"
        house.env.note(str(seen))

    assert said(main(loop)) == ["[1, 2]"]


class Value:
    """Something that a weak reference can be made to."""


KEPT = threading.local()


def test_what_a_thread_kept_is_gone_with_it():
    KEPT.value = "of the test"
    kept = []

    def loop(house):
        def work(end_s):
            KEPT.value = Value()
            kept.append(weakref.ref(KEPT.value))
            time.sleep(end_s)

        for end_s in (1, 100_000):  # one ends, one is left when the run is over
            threading.Thread(target=work, args=(end_s,), daemon=True).start()
        time.sleep(2)
        gc.collect()
        house.env.note(str([one() is None for one in kept]))

    assert said(main(loop)) == ["[True, False]"]
    gc.collect()
    assert [one() for one in kept] == [None, None]
    assert KEPT.value == "of the test"


def test_threads_have_names_and_numbers_of_their_own():
    def loop(house):
        seen = []

        def work():
            time.sleep(1)
            one = threading.current_thread()
            seen.append((one.name, threading.get_ident() == one.ident, threading.active_count()))

        threads = [threading.Thread(target=work) for _ in range(2)]
        for one in threads:
            one.start()
        assert threading.enumerate() == [threading.main_thread(), *threads]
        for one in threads:
            one.join()
        house.env.note(str([*seen, threading.active_count()]))

    one, two = ("Thread-1 (work)", True, 3), ("Thread-2 (work)", True, 2)
    assert said(main(loop)) == [str([one, two, 1])]


def test_a_join_with_a_timeout_gives_up_in_virtual_time():
    def loop(house):
        one = threading.Thread(target=time.sleep, args=(60,))
        one.start()
        one.join(timeout=5)
        house.env.note(f"{house.env.now_ms()} {one.is_alive()}")
        with pytest.raises(RuntimeError, match="once"):
            one.start()

    assert said(main(loop)) == ["5000 True"]


def test_a_lock_that_another_thread_holds_is_waited_for():
    def loop(house):
        lock = threading.RLock()

        def hold():
            with lock:
                time.sleep(5)

        threading.Thread(target=hold).start()
        time.sleep(1)
        with lock:
            house.env.note(str(house.env.now_ms()))

    assert said(main(loop)) == ["5000"]


def test_futures_time_out_come_as_completed_and_carry_errors():
    def loop(house):
        def work(seconds):
            time.sleep(seconds)
            if seconds == 2:
                raise KeyError("two")
            return seconds

        with ThreadPoolExecutor(3) as pool:
            futures = [pool.submit(work, seconds) for seconds in (3, 2, 1)]
            with pytest.raises(TimeoutError):
                futures[0].result(timeout=0.5)
            for future in as_completed(futures):
                house.env.note(repr(future.exception() or future.result()))

    assert said(main(loop)) == ["1", "KeyError('two')", "3"]


def test_what_is_submitted_counts_for_the_message_in_hand():
    def handler(house, order):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(house.env.note, order["id"]).result()

    over = run(handler, orders=2)
    assert [(e.entity, e.data["what"]) for e in over.history.of("note")] == [(1, "o1"), (2, "o2")]


def test_an_exception_in_a_thread_is_recorded_and_the_process_lives_on(capfd):
    def loop(house):
        def fail():
            raise KeyError("gone")

        threading.Thread(target=fail, name="flusher").start()
        time.sleep(1)
        house.env.note("alive")

    over = main(loop)
    [raised] = over.history.of("raised")
    assert raised.data["error"] == "KeyError: 'gone'"
    assert raised.data["thread"] == "flusher"
    assert said(over) == ["alive"]
    assert not list(over.history.of("crash"))
    assert capfd.readouterr().err == ""


def test_a_hook_of_the_users_is_told(monkeypatch):
    told = []
    monkeypatch.setattr(threading, "excepthook", lambda what: told.append(what.exc_type))
    main(lambda house: threading.Thread(target=lambda: 1 / 0).start())
    assert told == [ZeroDivisionError]


def test_a_crash_ends_threads_and_nothing_of_them_goes_on():
    def build(house):
        def work():
            try:
                time.sleep(10)
            finally:
                house.env.note("cleaned up")
            house.env.note("worked")

        def poll():
            threading.Thread(target=work).start()
            with ThreadPoolExecutor(1) as pool:
                pool.submit(time.sleep, 3)
                time.sleep(5)

        house.env.main(poll)

    system = system_of(build)
    assert said(system.run()) == ["cleaned up", "worked"]
    crash = Schedule([Crash(Site("desk.poll/sleep", "after", 0, 2))])
    over = system.run(schedule=crash)
    if not list(over.history.of("crash")):  # which of the sleeps of that name comes second
        over = system.run(schedule=Schedule([Crash(Site("desk.poll/sleep", "after", 0, 1))]))
    assert list(over.history.of("crash"))
    assert said(over) == ["cleaned up", "worked"]  # of the second life alone


def test_a_crash_ends_what_was_to_be_called_behind_it(caplog):
    called = []

    def build(house):
        def poll():
            future = ThreadPoolExecutor(1).submit(time.sleep, 3)
            future.add_done_callback(lambda future: called.append("done"))
            time.sleep(5)

        house.env.main(poll)

    system = system_of(build)
    assert system.run().ending.verdict == "quiet"
    assert called == ["done"]
    over = system.run(schedule=Schedule([Crash(Site("desk.poll/sleep", "before", 0, 1))]))
    assert list(over.history.of("crash"))
    assert (called, caplog.records) == (["done", "done"], [])  # of the second life alone


# ---- the rest of the world


def test_no_real_thread_is_started_and_none_is_left_to_wait_for():
    real, alive = threading.main_thread(), _thread._count()
    over = main(lambda house: ThreadPoolExecutor(4).submit(time.sleep, 1).result())
    assert over.ending.verdict == "quiet"
    assert _thread._count() == alive
    assert threading.current_thread() is real


def test_outside_of_a_run_threads_are_pythons_own():
    main(lambda house: None)
    idents = []
    thread = threading.Thread(target=lambda: idents.append(threading.get_ident()))
    thread.start()
    thread.join()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(threading.get_ident).result() != threading.get_ident()
    assert idents != [threading.get_ident()]


DIGEST = """
import tests.handlers.test_threads as here
print(here.billing(early=False).run().digest())
"""


def test_two_processes_with_two_hash_seeds_have_one_digest():
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


@pytest.mark.parametrize("door", ["start_new_thread", "start_new"])
def test_a_thread_by_its_lowest_door_is_one_of_the_run(door):
    def handler(house, order):
        def work(number, *, at):
            time.sleep(1)
            assert threading.get_ident() == at[0]
            house.env.note(number)

        at = []
        at.append(getattr(_thread, door)(work, (order["id"],), {"at": at}))

    over = run(handler, orders=2)
    assert over.ending.verdict == "quiet"
    assert [(e.entity, e.data["what"]) for e in over.history.of("note")] == [(1, "o1"), (2, "o2")]
    assert getattr(_thread, door)(int, ()) > 0  # outside of a run Python's own
