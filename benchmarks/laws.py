"""Laws of the brokers over histories: single faults and random pairs on small systems.

python -m benchmarks.laws                     # some of both: minutes
python -m benchmarks.laws all                 # all single faults, 2,000 random pairs and more
python -m benchmarks.laws kafka producers     # of these only

The systems and their laws are those of `tests/brokers/*/test_histories.py`: what is handed out, to
whom, in which order, what comes back, and that nothing is lost. `producers` is the order of one
producer, which sends three messages at once: on a connection they keep their order, whatever
strikes. A line a product; a broken law is told with its schedule.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from random import Random
from typing import Any, Final

import attrs

SEED: Final = 7
WORDS: Final = ("first", "second", "third")


@attrs.define
class Sum:
    """What was run of one product."""

    systems: int = 0
    singles: int = 0
    pairs: int = 0
    broken: list[str] = attrs.field(factory=list)

    def __str__(self) -> str:
        return (
            f"{self.systems} systems, {self.singles:,} single faults, {self.pairs:,} random pairs, "
            f"{len(self.broken)} broken"
        )


Check = Callable[[Any], None]


def of_tests(product: str, said: Callable[[Any], dict[str, Any]]) -> Iterator[tuple[Any, ...]]:
    """Yield the systems of a product, each with its schedules and its laws."""
    room = import_module(f"tests.brokers.{product}.test_histories")
    for number, shape in enumerate(room.SHAPES):
        system = room.build(*shape)
        options = said(shape)

        def check(run: Any, laws: Any = room.check_laws, options: Any = options) -> None:
            laws(run, **options)

        yield system, room.schedules(system, number), check


def relays(*, together: bool = True) -> Iterator[tuple[Any, ...]]:
    """Yield systems in which three messages are sent at once, by one producer or by one each."""
    from chaosharness import NATS, Kafka, NATSStream, RabbitMQ, Schedule, System
    from chaosharness.search.sites import candidates

    brokers = {
        "kafka": lambda: Kafka("bus", topics={"orders": 1, "events": 1}),
        "rabbitmq": lambda: RabbitMQ("bus", queues=["orders", "events"]),
        "nats": lambda: NATS("bus", {"ORDERS": NATSStream(subjects=["orders", "events"])}),
    }
    for name, broker in brokers.items():
        system = System(f"relay on {name}", arrival_ms=1)
        bus = system.add(broker())

        @system.entry(examples=[{"id": "o1"}, {"id": "o2"}])
        async def place(env: Any, order: Any, bus: Any = bus) -> None:
            publish = env.publisher(bus)
            sent = (
                (publish if together else env.publisher(bus))(
                    "events", {"id": order["id"], "is": word}
                )
                for word in WORDS
            )
            await asyncio.gather(*sent, return_exceptions=True)

        found = candidates(system.run())
        chance = Random(SEED)
        pairs = [Schedule(chance.sample(found, 2)) for _ in range(40)] if len(found) > 1 else []
        yield system, [*(Schedule([one]) for one in found), *pairs], in_order


def in_order(run: Any) -> None:
    """Raise where a message of one producer was stored before one that it sent earlier."""
    stored: dict[str, list[str]] = {}
    for event in run.history.of("publish"):
        with suppress(ValueError, KeyError, TypeError):  # garbage is no message of ours
            value = json.loads(event.data["value"])
            words = stored.setdefault(value["id"], [])
            if value["is"] not in words:
                words.append(value["is"])
    for words in stored.values():
        right = [word for word in WORDS if word in words]
        assert words == right, f"stored in the order {', '.join(words)}"


PRODUCTS: Final[dict[str, Callable[[], Iterator[tuple[Any, ...]]]]] = {
    "kafka": lambda: of_tests("kafka", lambda shape: {"style": shape[0]}),
    "nats": lambda: of_tests("nats", lambda shape: {"pending": shape[1]}),
    "sqs": lambda: of_tests("sqs", lambda shape: {"fifo": bool(shape[1])}),
    "producers": partial(relays, together=True),
}


def counted(product: str) -> Sum:
    """Run all there is of a product."""
    found = Sum()
    for system, schedules, check in PRODUCTS[product]():
        found.systems += 1
        for schedule in schedules:
            single = len(schedule) == 1
            found.singles += single
            found.pairs += not single
            try:
                check(system.run(None, schedule))
            except AssertionError as error:
                found.broken.append(f"{system.name}: {error}: {schedule}")
    return found


def main(*words: str) -> int:
    """Run, and print a line a product, and all that is broken."""
    names = [one for one in words if one != "all"] or [*PRODUCTS]
    unknown = [one for one in names if one not in PRODUCTS]
    if unknown:
        print(f"no laws of {', '.join(unknown)}; there are: all, {', '.join(PRODUCTS)}")
        return 3
    if "all" in words:
        os.environ["CHAOSHARNESS_PAIRS"] = "65"  # read where the systems are
    total = Sum()
    for name in names:
        found = counted(name)
        print(f"{name}: {found}", flush=True)
        for one in found.broken:
            print(f"  {one}")
        total.systems += found.systems
        total.singles += found.singles
        total.pairs += found.pairs
        total.broken += found.broken
    print(f"in all: {total}")
    return int(bool(total.broken))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
