"""What a delivery costs on each product, in bytecodes: the same figure on every machine.

    python -m benchmarks products            # needs CPython 3.13

A message is published, handed to one consumer, handled (its key is kept in a store) and
acknowledged: plain `def` and asyncio. The cost of one more message is that of 24 of them less
that of 8, by 16; the rest of the run of 8 is what stands before and after any message. The
yardstick is the log with one partition and no group around it: one that a single consumer reads
and commits.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from benchmarks.measure import count, table
from chaosharness import NATS, SQS, Kafka, KeyValue, Queue, RabbitMQ, Redis, System

FEW: Final = 8
MANY: Final = 24
CONSUMERS: Final = 3
WARM: Final = 10
"""Runs before the one that is counted: what never changes is not looked at any more."""
COLOURS: Final = ("plain", "asyncio")

PRODUCTS: Final[dict[str, tuple[Callable[[], Any], int, dict[str, Any]]]] = {
    "a log, one consumer": (lambda: Kafka("bus", {"jobs": 1}), 1, {}),
    "Kafka": (lambda: Kafka("bus", {"jobs": 3}), CONSUMERS, {}),
    "RabbitMQ, classic": (lambda: RabbitMQ("bus", queues=["jobs"]), CONSUMERS, {"prefetch": 10}),
    "RabbitMQ, quorum": (
        lambda: RabbitMQ("bus", queues={"jobs": Queue("quorum")}),
        CONSUMERS,
        {"prefetch": 10},
    ),
    "SQS": (lambda: SQS("bus", ["jobs"]), CONSUMERS, {"batch": 10}),
    "NATS": (lambda: NATS("bus", ["jobs"]), CONSUMERS, {"batch": 10}),
    "Redis Streams": (lambda: Redis("bus", ["jobs"]), CONSUMERS, {}),
}


def eight(product: str, colour: str, messages: int) -> System:
    """Return the scenario on one product."""
    make, consumers, options = PRODUCTS[product]
    system = System("eight")
    bus, store = system.add(make()), system.add(KeyValue("done"))

    @system.service(
        "worker", replicas=consumers, runtime="asyncio" if colour == "asyncio" else None
    )
    def worker(env: Any) -> None:
        keep = env.connect(store).put_if_absent

        def on_job(job: int) -> None:
            keep(str(job), 1)

        async def on_job_later(job: int) -> None:
            await keep(str(job), 1)

        env.consume(bus, "jobs", on_job if colour == "plain" else on_job_later, **options)

    @system.entry(examples=[messages])
    def produce(env: Any, wanted: int) -> None:
        publish = env.publisher(bus)
        for number in range(wanted):
            publish("jobs", number)

    return system


def cost(product: str, colour: str, messages: int) -> int:
    """Return the bytecodes of a calm run, which hands out each message once."""
    system = eight(product, colour, messages)
    for _ in range(WARM):
        run = system.run()
    assert run.ending.verdict == "quiet"
    assert len(list(run.history.of("ack"))) >= 1
    assert sum(1 for _ in run.history.of("deliver")) == messages, product
    return count(system.run)


def main() -> None:
    """Print the table."""
    if sys.version_info < (3, 13):
        print("bytecodes are counted on CPython 3.13")
        return
    rows = [("product", "colour", "8 messages", "one more message", "times the log")]
    for colour in COLOURS:
        log = 0.0
        for product in PRODUCTS:
            few, many = cost(product, colour, FEW), cost(product, colour, MANY)
            more = (many - few) / (MANY - FEW)
            log = log or more
            rows.append((product, colour, f"{few:,}", f"{more:,.0f}", f"{more / log:.2f}"))
    table("Bytecodes of a run and of a delivery", rows)


if __name__ == "__main__":
    main()
