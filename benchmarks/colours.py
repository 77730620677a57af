"""Schedules per second for each colour of handler, on the 8-message scenario.

8 messages published by the entry, one Kafka topic, one consumer group of 3 replicas; a
handler does one thing through a port that takes no time: it publishes.

    python -m benchmarks.colours [--seconds 1] [--profile trio]

The figures are processor time of this process; runs of the colours take turns, so that a
busy machine is busy for all of them.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from chaosharness import Kafka, System

REPLICAS: Final = 3
MESSAGES: Final = 8
COLOURS: Final = ("plain", "ports", "asyncio", "trio")
ROUNDS: Final = 10


def build(colour: str) -> System:
    """Return the scenario with handlers of one colour. Its entry is plain in all of them."""
    system = System(colour)
    bus = system.add(Kafka("bus", topics={"orders": 8, "paid": 8}))
    runtime: Any = None if colour == "plain" else colour

    @system.service("payments", replicas=REPLICAS, runtime=runtime)
    def payments(env: Any) -> None:
        publish = env.publisher(bus)

        def on_order(order: dict[str, Any]) -> None:
            publish("paid", order, key=order["id"])

        async def on_order_later(order: dict[str, Any]) -> None:
            await publish("paid", order, key=order["id"])

        env.consume(bus, "orders", on_order if colour == "plain" else on_order_later)

    @system.entry(examples=[{"id": f"o{number}"} for number in range(1, MESSAGES + 1)])
    def place(env: Any, order: dict[str, Any]) -> None:
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def measure(seconds: float) -> dict[str, float]:
    """Return microseconds per run for each colour: the best of the rounds."""
    systems = {colour: build(colour) for colour in COLOURS}
    for system in systems.values():
        run = system.run()
        assert run.ending.verdict == "quiet"
        assert len(list(run.history.of("ack"))) == MESSAGES
    best = dict.fromkeys(COLOURS, float("inf"))
    for _ in range(ROUNDS):
        for colour, system in systems.items():
            runs = 0
            began = time.process_time()
            while (spent := time.process_time() - began) < seconds / ROUNDS:
                system.run()
                runs += 1
            best[colour] = min(best[colour], spent / runs * 1e6)
    return best


def profile(colour: str) -> None:
    """Print where the time goes."""
    system = build(colour)
    system.run()
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(500):
        system.run()
    profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(25)


def main(arguments: Sequence[str] = ()) -> None:
    """Measure, or profile one colour."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each colour")
    parser.add_argument("--profile", choices=COLOURS)
    options = parser.parse_args(arguments)
    if options.profile:
        profile(options.profile)
        return
    best = measure(options.seconds)
    for colour, micros in best.items():
        ratio = micros / best["plain"]
        print(f"{colour:8} {micros:7.1f} us a run {1e6 / micros:8,.0f} runs/s {ratio:5.2f} x plain")


if __name__ == "__main__":
    main(sys.argv[1:])
