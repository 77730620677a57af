"""Eight messages, three consumers: runs a second, plain `def`.

One producer stores eight messages; three replicas take them, each does its effect once
(a key in a durable store) and acknowledges. At least once: what a crashed replica had not
acknowledged comes again. The yardstick, in the same process: a bare SimPy event. Other
tools on a scenario like this: `python -m benchmarks.peers`.
"""

from __future__ import annotations

import random
from typing import Any

import attrs

from benchmarks.measure import best, simpy_event, table
from chaosharness import Crash, Kafka, KeyValue, Schedule, Site, System

MESSAGES = 8


def eight() -> System:
    """Return the system."""
    system = System("eight")
    bus = system.add(Kafka("bus", {"jobs": 3}))
    store = system.add(KeyValue("done"))

    @system.service("worker", replicas=3)
    def worker(env: Any) -> None:
        done = env.connect(store)

        def on_job(job: int) -> None:
            done.put_if_absent(str(job), 1)

        env.consume(bus, "jobs", on_job)

    @system.entry(examples=[MESSAGES])
    def produce(env: Any, count: int) -> None:
        publish = env.publisher(bus)
        for number in range(count):
            publish("jobs", number, key=f"k{number}")

    return system


def schedules(count: int) -> list[Schedule]:
    """Return schedules in which about one delivery in ten crashes, before or after its effect."""
    chance = random.Random(8)
    places = (Site("worker.on_job/handle"), Site("worker.on_job/done.put_if_absent", "after"))
    found = []
    for _ in range(count):
        faults = [
            Crash(attrs.evolve(place, message=f"{number} of client.produce/bus.publish jobs"))
            for number in range(1, MESSAGES + 1)
            for place in places
            if chance.random() < 0.05
        ]
        found.append(Schedule(faults))
    return found


def main() -> None:
    """Print the table."""
    event = simpy_event()
    system = eight()
    calm = best(system.run, runs=200)
    some = schedules(100)
    assert not any(system.run(None, schedule).unused for schedule in some)

    def campaign() -> None:
        for schedule in some:
            system.run(None, schedule)

    crashing = best(campaign, runs=1, samples=10) / len(some)
    rows = [("", "us a run", "runs a second", "SimPy events a message")]
    for name, cost in (("calm", calm), ("10 % crashes", crashing)):
        rows.append(
            (name, f"{cost * 1e6:.0f}", f"{1 / cost:,.0f}", f"{cost / MESSAGES / event:.1f}")
        )
    table(f"Eight messages, three consumers (a bare SimPy event: {event * 1e6:.2f} us)", rows)


if __name__ == "__main__":
    main()
