"""What was there before a search is not looked through while it lasts, and is afterwards."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import pytest

from chaosharness import explore
from chaosharness.search.heap import settled_heap
from models.small import cashier


class Node:
    """What knows itself."""

    def __init__(self) -> None:
        self.me = self


def test_what_was_there_is_kept_from_the_collector_until_the_end():
    with settled_heap():
        assert gc.get_freeze_count()
        garbage = weakref.ref(Node())
        gc.collect()
        assert garbage() is None  # what came since is collected as ever
    assert not gc.get_freeze_count()


def test_young_garbage_is_not_put_among_the_old():
    young = weakref.ref(Node())
    with settled_heap():
        assert young() is None


def test_old_garbage_is_collected_once_it_is_over():
    old = Node()
    with settled_heap():
        seen = weakref.ref(old)
        del old
        gc.collect()
        assert seen() is not None
    gc.collect()
    assert seen() is None


def test_whoever_has_frozen_what_they_have_keeps_it_so():
    gc.freeze()
    try:
        with settled_heap():
            pass
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()


def test_without_the_collector_nothing_is_done():
    gc.disable()
    try:
        with settled_heap():
            assert not gc.get_freeze_count()
    finally:
        gc.enable()


def test_an_error_ends_it_too():
    with pytest.raises(KeyError), settled_heap():
        raise KeyError
    assert not gc.get_freeze_count()


def test_a_search_has_its_heap_settled_and_leaves_it_as_it_was():
    frozen = []
    explore(
        cashier.cashier(),
        faults_max=1,
        runs_max=5,
        on_progress=lambda _: frozen.append(gc.get_freeze_count() > 0),
    )
    assert frozen
    assert all(frozen)
    assert not gc.get_freeze_count()


def test_what_tests_leave_in_circles_does_not_live_to_the_end_of_a_session():
    left = []
    many = max(10_000, len(gc.get_objects()) // 10)
    for _ in range(12):
        nodes = [Node() for _ in range(many)]
        left.append(weakref.ref(nodes[0]))
        explore(cashier.cashier(), faults_max=1, runs_max=20)
        del nodes
    assert sum(one() is not None for one in left) < 8


MODULE = """
import threading

from chaosharness import Duplicate, Kafka, System, explore

NEWS = threading.Condition()
system = System("news")
bus = system.add(Kafka("bus", topics={"orders": 1}))


@system.service("worker")
def worker(env):
    got = []

    def work():
        with NEWS:
            while not got:
                NEWS.wait()
        env.note("woke")

    def on_order(order):
        with NEWS:
            got.append(order)
            NEWS.notify_all()

    env.main(work)
    env.consume(bus, "orders", on_order)


@system.entry(examples=["o1"])
def place(env, order):
    env.publisher(bus)("orders", order)


print(explore(system, kinds=[Duplicate], faults_max=1).result)
"""


def test_a_condition_from_before_the_first_run_waits_in_virtual_time():
    """The first run exchanges what conditions use, and a search freezes them before that."""
    done = subprocess.run(
        [sys.executable, "-c", MODULE], check=False, capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.stderr) == ("holds", "")
