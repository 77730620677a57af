"""What one full delivery costs, from 100 to 1,000,000 of them, and what it keeps in memory.

A full delivery: publish (encode, log partition, append, history), deliver, decode, run a
plain handler, commit, history. The yardstick is a bare SimPy event.
"""

from __future__ import annotations

import gc
import resource
import sys

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


def spent() -> tuple[float, float]:
    """Return the CPU seconds of this process so far: its own, and the system's for it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime, usage.ru_stime


def one(count: int) -> tuple[float, float, float]:
    """Return microseconds of CPU, those of them that are the system's, and bytes kept."""
    system = pipeline(count)
    repeat = max(1, 20_000 // count)
    figures = []
    run = None
    for _ in range(5 if count < 1_000_000 else 2):
        run = None  # the run before is freed here, and not while the next one is timed
        gc.collect()
        before = spent()
        for _ in range(repeat):
            run = system.run()
        own, systems = (now - then for now, then in zip(spent(), before, strict=True))
        figures.append(((own + systems) / repeat / count, systems / repeat / count))
    assert run is not None
    delivered = sum(1 for raw in run.history.raw if raw[1] == "handled")
    assert delivered == count, (delivered, count)
    kept = sum(sys.getsizeof(raw) + sys.getsizeof(raw[7] or 0) for raw in run.history.raw)
    cost, systems = min(figures)
    return cost * 1e6, systems * 1e6, kept / count


def main() -> None:
    """Print the table."""
    yardstick = simpy_event() * 1e6
    rows = [("deliveries", "us each", "page faults", "SimPy events", "history bytes each")]
    for count in SIZES:
        cost, systems, kept = one(count)
        events = f"{cost / yardstick:.1f}"
        rows.append((f"{count:,}", f"{cost:.1f}", f"{systems:.1f}", events, f"{kept:.0f}"))
    table(f"Cost of a full delivery (one bare SimPy event: {yardstick:.2f} us)", rows)


if __name__ == "__main__":
    main()
