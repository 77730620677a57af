"""Every product beside what it is held against: sequences of operations, and what differs.

python -m benchmarks conformance          # 40 sequences of each kind: some minutes
python -m benchmarks.conformance 2000     # so many of each kind: hours
python -m benchmarks.conformance 40 nats redis   # of these products only

One line a kind. Where what a product is held against is missing, its line says so. Each comparison
has a door of its own as well, which says more: `benchmarks kafka`, `nats`, `aws`, and the tests
that are named in its line.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import attrs

SEQUENCES: Final = 40
SLOW: Final = 8
"""So many times fewer are compared of what takes its time: rounds of groups, timers, streams."""


@attrs.frozen
class Row:
    """What came of one kind of comparison.

    Attributes:
        product: Which.
        kind: What was compared, and with whom.
        sequences: How many; 0 where there is nobody to compare with.
        differences: Each in words; or, where nothing was compared, why.
    """

    product: str
    kind: str
    sequences: int
    differences: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.sequences:
            return f"{self.product}, {self.kind}: not compared: {self.differences[0]}"
        return (
            f"{self.product}, {self.kind}: {self.sequences:,} sequences, "
            f"{len(self.differences)} differ"
        )


@contextmanager
def counting(room: ModuleType, name: str) -> Iterator[list[int]]:
    """Count how often a function of a module is called meanwhile."""
    real, count = getattr(room, name), [0]

    def counted(*given: Any, **options: Any) -> Any:
        count[0] += 1
        return real(*given, **options)

    setattr(room, name, counted)
    try:
        yield count
    finally:
        setattr(room, name, real)


def told(room: ModuleType, name: str, run: Callable[[], object]) -> tuple[int, tuple[str, ...]]:
    """Run a comparison that raises where something differs; return how many, and what."""
    with counting(room, name) as count:
        try:
            run()
        except AssertionError as error:
            return count[0], (str(error),)
    return count[0], ()


def of_kafka(number: int) -> Iterator[Row]:
    """Compare with librdkafka's own cluster, and with noida."""
    from benchmarks import kafka, kafka_peers

    for peer in kafka.PEERS:
        lacks = kafka_peers.missing(peer)
        if lacks is not None:
            yield Row("Kafka", peer, 0, (lacks,))
            continue
        with kafka_peers.running(peer) as port:
            for kind, most in (("logs", number), ("groups", number // SLOW + 1)):
                found = kafka.compared(port, peer, most, kind)  # type: ignore[arg-type]
                yield Row("Kafka", f"{peer}, {kind}", found.sequences, (*found.differences,))


def of_rabbitmq(number: int) -> Iterator[Row]:
    """Compare with a running RabbitMQ."""
    from tests.brokers.rabbitmq import test_conformance as queues
    from tests.brokers.rabbitmq import test_topology_conformance as topologies

    connection: Any = queues.connect()
    if connection is None:
        yield Row("RabbitMQ", "a running broker", 0, ("none answers at 127.0.0.1:5672",))
        return
    asked, pushed = (queues.ASKING, queues.ASKS), (queues.PUSHING, queues.PUSHES)
    for how, (kinds, strategy) in (("asked", asked), ("pushed", pushed)):
        for name, queue in kinds.items():
            run = _pushed(queues, connection, queue, strategy, number)
            yield Row("RabbitMQ", f"{how}: {name}", *told(queues, "compare", run))
    connection.close()  # while others are compared nobody answers its heartbeats
    for profile in topologies.PROFILES:
        most = number // SLOW + 1 if profile == "streams" else number
        run = _routed(topologies, topologies.connect(), profile, most)
        yield Row("RabbitMQ", profile, *told(topologies, "compare", run))


def _pushed(
    queues: Any, connection: Any, queue: Any, strategy: Any, number: int
) -> Callable[[], object]:
    return lambda: queues.compared(connection, queue, strategy, examples=number)


def _routed(topologies: Any, connection: Any, profile: str, number: int) -> Callable[[], object]:
    return lambda: topologies.run_all(connection, profile, examples=number)


def of_nats(number: int) -> Iterator[Row]:
    """Compare with a running nats-server."""
    from benchmarks import nats, nats_buckets, nats_server

    lacks = nats_server.missing()
    if lacks is not None:
        yield Row("NATS", "nats-server", 0, (lacks,))
        return
    with nats_server.running() as port:
        for kind, most in (("untimed", number), ("timed", number // SLOW + 1)):
            found = nats.compared(port, most, kind)  # type: ignore[arg-type]
            yield Row("NATS", kind, found.sequences, (*found.differences,))
        buckets = nats_buckets.compared(port, number // SLOW + 1)
        yield Row("NATS", "buckets", buckets.programs, (*buckets.differences,))


def of_redis(number: int) -> Iterator[Row]:
    """Compare with a running Redis."""
    from tests.machines import test_redis_conformance as streams

    if streams.SERVER is None or streams.redis is None:
        yield Row("Redis Streams", "a server", 0, (str(streams.ABSENT),))
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        streams.server(Path(folder)) as client,
        counting(streams, "difference") as count,
    ):
        steps = streams.compared(client, number)
        sequences = count[0]
        found = () if steps is None else (str(streams.difference(client, steps)),)
    yield Row("Redis Streams", "answers", sequences, found)


def of_aws(number: int) -> Iterator[Row]:
    """Compare with what was recorded from AWS, and DynamoDB with moto."""
    from benchmarks import aws

    kinds: dict[str, tuple[int, list[str]]] = {}
    for kind, entry, found in aws.compared():
        count, different = kinds.get(kind, (0, []))
        kinds[kind] = count + 1, [*different, *(f"{entry}: {one}" for one in found)]
    if not kinds:
        yield Row("SQS and SNS", "AWS's recorded answers", 0, ("they are not beside the checkout",))
    for kind, (count, different) in kinds.items():
        yield Row(kind, "AWS's recorded answers", count, (*different,))
    try:
        from tests.machines import test_dynamodb_conformance as tables
    except BaseException as error:  # pytest's skip is none of the usual ones
        yield Row("DynamoDB", "moto", 0, (str(error),))
        return
    differs, _ = tables.differences(number)
    yield Row("DynamoDB", "moto", number, tuple(map(str, differs)))


PRODUCTS: Final[dict[str, Callable[[int], Iterator[Row]]]] = {
    "kafka": of_kafka,
    "rabbitmq": of_rabbitmq,
    "nats": of_nats,
    "redis": of_redis,
    "aws": of_aws,
}


def main(*words: str) -> int:
    """Compare, print a line a kind and each difference, and say whether there was one."""
    numbers = [int(one) for one in words if one.isdigit()]
    names = [one for one in words if not one.isdigit()] or [*PRODUCTS]
    unknown = [one for one in names if one not in PRODUCTS]
    if unknown:
        print(f"no product {', '.join(unknown)}; there are: {', '.join(PRODUCTS)}")
        return 3
    sums: dict[str, list[int]] = {}
    for name in names:
        for row in PRODUCTS[name](numbers[0] if numbers else SEQUENCES):
            print(row, flush=True)
            if row.sequences:
                total = sums.setdefault(row.product, [0, 0])
                total[0] += row.sequences
                total[1] += len(row.differences)
                for one in row.differences:
                    print(f"  {one}")
    print("\nIn all")
    for product, (sequences, differ) in sums.items():
        print(f"  {product}: {sequences:,} sequences, {differ} differ")
    return int(any(differ for _, differ in sums.values()))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
