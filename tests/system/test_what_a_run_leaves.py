"""What a run was made of is freed with it: nothing of ours waits for the collector of garbage."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from chaosharness import KeyValue, Queue, RabbitMQ, System, explore
from models.hybrid import right as hybrid
from models.order import right as order
from models.saga import right as saga


def competing(*, asynchronous: bool) -> System:
    """Two consumers of one queue, in plain code or on asyncio's loop."""
    system = System("competing")
    bus = system.add(RabbitMQ("bus", queues={"jobs": Queue("quorum")}))
    store = system.add(KeyValue("done"))

    @system.service("worker", replicas=2)
    def worker(env: Any) -> None:
        keep = env.connect(store).put_if_absent

        async def later(job: int) -> None:
            await asyncio.sleep(0.01)
            await keep(str(job), 1)

        def at_once(job: int) -> None:
            env.sleep(0.01)
            keep(str(job), 1)

        env.consume(bus, "jobs", later if asynchronous else at_once, prefetch=1)

    @system.entry(examples=[3])
    def produce(env: Any, count: int) -> None:
        publish = env.publisher(bus)
        for number in range(count):
            publish("jobs", number)

    return system


SYSTEMS: dict[str, Callable[[], System]] = {
    "order": lambda: order.order_flow(examples=[order.GOOD]),
    "saga": saga.order_saga,
    "hybrid": hybrid.order_hybrid,
    "plain": lambda: competing(asynchronous=False),
    "asyncio": lambda: competing(asynchronous=True),
}


def left_by(action: Callable[[], object]) -> Counter[str]:
    """Return what is left for the collector when nobody has the result any more, by its type."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        action()
        gc.collect()
        return Counter(type(one).__qualname__ for one in gc.garbage)
    finally:
        gc.garbage.clear()
        gc.set_debug(0)
        gc.enable()


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_calm_run_leaves_nothing_behind(name: str):
    system = SYSTEMS[name]()
    for _ in range(3):
        system.run()
    assert left_by(system.run) == {}


def test_what_would_be_left_is_seen():
    def circle() -> None:
        known: list[Any] = []
        known.append(known)

    assert left_by(circle) == {"list": 1}


@pytest.mark.parametrize("name", ["order", "saga", "hybrid"])
def test_neither_do_runs_with_crashes_outages_and_errors(name: str):
    """Nobody owns the errors that were raised, nor the members that have left their groups."""
    system = SYSTEMS[name]()

    def search() -> None:
        explore(system, faults_max=3, runs_max=40, mode="random", seed=5)

    search()
    assert left_by(search) == {}
