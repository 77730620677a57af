"""What confluent-kafka says of topics and log partitions that it does not know, or not yet.

One program, in a run and against librdkafka's mock cluster: the client there is the library's own.
"""

from functools import partial

import pytest

pytest.importorskip("confluent_kafka")

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_INVALID,
    OFFSET_STORED,
    Consumer,
    Producer,
    TopicPartition,
)

from benchmarks import kafka_peers
from chaosharness import Kafka, KafkaServers, System

SERVERS = "kafka:9092"
FIRST = TopicPartition("orders", 0, 1)
NONE = TopicPartition("orders", -5, 0)
FAR = TopicPartition("orders", 99, 0)
OTHER = TopicPartition("parcels", 0, 0)


def said(call):
    """Return what a call gives, or what it raises and in which words."""
    try:
        return str(call())
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def consumers(servers):
    """Ask one that knows nothing, one that has asked, and one that has log partitions."""

    def made():
        return Consumer({"bootstrap.servers": servers, "group.id": "g"})

    seen = []
    for before in (
        lambda one: None,
        lambda one: one.pause([FIRST]),
        lambda one: one.subscribe(["orders"]),
        lambda one: one.position([FIRST]),
        lambda one: one.get_watermark_offsets(NONE, cached=True),
        lambda one: one.assign([TopicPartition("orders", 1)]),
        lambda one: (one.assign([TopicPartition("orders", 1)]), one.unassign()),
    ):
        one = made()
        before(one)
        seen.append([said(partial(one.seek, place)) for place in (FIRST, NONE, FAR, OTHER)])
        one.close()
    one = made()
    for wrong in ([1], "orders", (FIRST,), [FIRST, 1]):
        seen.append([said(partial(ask, wrong)) for ask in (one.assign, one.pause, one.committed)])
    seen.append(said(lambda: one.seek("orders")))
    seen.append(said(lambda: one.incremental_unassign([FIRST])))
    seen.append(said(lambda: one.get_watermark_offsets(NONE, cached=True)))
    one.close()
    seen += [said(call) for call in (one.assignment, lambda: one.seek(FIRST), one.close)]
    return seen


def producers(servers):
    """Send to log partitions that are not there: what is not known yet is taken, and fails."""
    seen = []

    def report(error, message):
        seen.append(f"{error} {message.partition()}")

    for index in (-5, 99, 0):  # by one each: what another sends meanwhile may find it known
        one = Producer({"bootstrap.servers": servers})
        send = partial(one.produce, "orders", b"x", partition=index, on_delivery=report)
        for _ in range(2):
            seen.append(said(send))
            one.flush(5)
    return seen


def additions(servers):
    """Add log partitions to what is read, and take some away: the others go on where they are."""
    told = []
    one = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "added",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )

    def of(index, offset=OFFSET_INVALID):
        return TopicPartition("parcels", index, offset)

    def read(seconds):
        message = one.poll(seconds)
        told.append(message and (message.error() or message.value(), message.partition()))

    def there():
        told.append([(found.topic, found.partition) for found in one.assignment()])

    filling = Producer({"bootstrap.servers": servers})
    for number in range(3):
        filling.produce("parcels", str(number).encode(), partition=0)
    filling.flush(5)
    told.append(said(lambda: one.incremental_unassign([of(0)])))
    one.incremental_assign([of(0)])
    read(5)
    one.incremental_assign([of(2, OFFSET_BEGINNING), of(1, 0)])
    there()
    read(5)
    one.pause([of(0)])
    one.incremental_unassign([of(1)])
    read(0.2)
    one.resume([of(0)])
    read(5)
    there()
    for more in ([of(0)], [of(3), of(3)], [of(3, -77)], [of(0), of(0)], []):
        told.append(said(partial(one.incremental_assign, more)))
    for wrong in ([of(0), of(0)], [of(3, -77)]):
        told.append(said(partial(one.assign, wrong)))
    told.append(said(partial(one.incremental_unassign, [of(3)])))
    one.close()
    return told


def places(servers):
    """Assign, commit, seek and let go by hand: where it is said to be, and what stays."""
    told = []
    filling = Producer({"bootstrap.servers": servers})
    for number in range(3):
        filling.produce("parcels", str(number).encode(), partition=0)
    filling.flush(5)
    one = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "placed",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )

    def of(index, offset=OFFSET_INVALID):
        return TopicPartition("parcels", index, offset)

    def tell(ask, *given, **options):
        found = said(lambda: [str(one) for one in ask(*given, **options) or ()])
        told.append((ask.__name__, found))

    def read(most):
        found = []
        while len(found) < most and (message := one.poll(5)) is not None:
            found.append(message.offset())
        told.append(found)

    tell(one.commit, offsets=[of(0)], asynchronous=False)
    for index, offset in ((0, -5), (0, OFFSET_STORED), (-1, 0), (99, 0), (0, -2_002), (0, 1)):
        tell(one.assign, [of(index, offset)])
        tell(one.assignment)
    tell(one.position, [of(0)])
    read(2)
    tell(one.position, [of(0), of(7)])
    tell(one.commit, asynchronous=False)
    tell(one.commit, asynchronous=False)
    tell(one.commit, offsets=[of(0, -3)], asynchronous=False)
    tell(one.commit, offsets=[of(0, 2), of(1)], asynchronous=False)
    for offset in (-2_001, OFFSET_BEGINNING, OFFSET_STORED, OFFSET_INVALID):
        tell(one.seek, of(0, offset))
        if offset != OFFSET_STORED:  # which is refused, and the library reads no more after it
            read(1)
    tell(one.unsubscribe)
    tell(one.assignment)
    tell(one.unassign)
    tell(one.assignment)
    one.close()
    tell(one.list_topics)
    return told


def in_a_run(program):
    """Return what a program sees inside of a run."""
    seen = []
    system = System("shop")
    bus = system.add(Kafka("bus", {"orders": 4, "parcels": 4}, new_groups=True))
    system.add(KafkaServers(SERVERS, bus))
    system.service("reader")(lambda env: env.main(lambda: seen.append(program(SERVERS))))
    system.entry(examples=["o1"])(lambda env, item: None)
    system.run()
    return seen[0]


@pytest.mark.parametrize(
    "program", [consumers, producers, additions, places], ids=lambda one: one.__name__
)
def test_a_client_says_the_same_as_the_library(program):
    if (lacks := kafka_peers.missing("mock")) is not None:
        pytest.skip(lacks)
    with kafka_peers.running("mock") as port:
        filling = Producer({"bootstrap.servers": f"127.0.0.1:{port}"})
        filling.produce("orders", b"0", partition=0)
        filling.flush(5)
        theirs = program(f"127.0.0.1:{port}")
    mine = in_a_run(program)
    if program is producers:
        mine, theirs = sorted(mine), sorted(theirs)  # reports come in no certain order
    assert mine == theirs
