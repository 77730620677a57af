"""What one full delivery costs, from 100 to 1,000,000 of them, and what it keeps in memory.

A full delivery: publish (encode, log partition, append, history), deliver, decode, run a
plain handler, commit, history. The yardstick is a bare SimPy event.
"""

from __future__ import annotations

import gc
import sys
import time

from benchmarks.measure import simpy_event, table
from chaosharness import Budget, Kafka, System

SIZES = (100, 1_000, 10_000, 100_000, 1_000_000)


def pipeline(count: int) -> System:
    """Return a system in which `count` messages are published by one item and handled."""
    budget = Budget(events_max=10 * count + 1_000, steps_max=2 * count + 1_000)
    system = System("pipeline", budget=budget)
    bus = system.add(Kafka("bus", {"jobs": 3}))

    @system.service("worker", replicas=3)
    def worker(env):
        def on_job(job):
            return None

        env.consume(bus, "jobs", on_job)

    @system.entry(examples=[count])
    def produce(env, total):
        publish = env.publisher(bus)
        for number in range(total):
            publish("jobs", number, key=f"k{number % 97}")

    return system


def one(count: int) -> tuple[float, float]:
    """Return microseconds of CPU and bytes kept per delivery."""
    system = pipeline(count)
    repeat = max(1, 20_000 // count)
    figures = []
    run = None
    for _ in range(5 if count < 1_000_000 else 2):
        run = None  # the run before is freed here, and not while the next one is timed
        gc.collect()
        begun = time.process_time()
        for _ in range(repeat):
            run = system.run()
        figures.append((time.process_time() - begun) / repeat / count)
    assert run is not None
    delivered = sum(1 for raw in run.history.raw if raw[1] == "handled")
    assert delivered == count, (delivered, count)
    kept = sum(sys.getsizeof(raw) + sys.getsizeof(raw[7] or 0) for raw in run.history.raw)
    return min(figures) * 1e6, kept / count


def main() -> None:
    """Print the table."""
    yardstick = simpy_event() * 1e6
    rows = [("deliveries", "us each", "SimPy events", "history bytes each")]
    for count in SIZES:
        cost, kept = one(count)
        rows.append((f"{count:,}", f"{cost:.1f}", f"{cost / yardstick:.1f}", f"{kept:.0f}"))
    table(f"Cost of a full delivery (one bare SimPy event: {yardstick:.2f} us)", rows)


if __name__ == "__main__":
    main()
