"""One program of aiokafka, in a run and against librdkafka's mock cluster: it sees the same.

The mock cluster is a real server on a socket: the client there is the library's own, whole.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import confluent_kafka
import pytest
from aiokafka import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    ConsumerRebalanceListener,
    TopicPartition,
    errors,
)

from chaosharness import Kafka, KafkaServers, System

SERVERS = "kafka:9092"
LOG_PARTITIONS = 4
"""As many as the mock cluster makes."""

EXPECTED = (
    errors.KafkaError,
    errors.IllegalOperation,
    errors.ConsumerStoppedError,
    ValueError,
    TypeError,
    AssertionError,
)


async def told(call: Any) -> Any:
    """Return what a call gives, or the name of what it raises."""
    try:
        found = call()
        return await found if hasattr(found, "__await__") else found
    except EXPECTED as error:
        return type(error).__name__


async def filled(servers: str, topic: str, *values: bytes) -> None:
    """Have a topic hold these records, in one log partition."""
    async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
        for value in values:
            await producer.send_and_wait(topic, value, key=b"k", headers=[("of", b"shop")])


def reader(servers: str, *topics: str, group: str | None = None, **options: Any) -> Any:
    """Return a consumer that begins at the beginning, and whose heart beats fast."""
    given = {
        "group_id": group or "readers of " + topics[0],
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
    }
    return AIOKafkaConsumer(
        *topics, bootstrap_servers=servers, heartbeat_interval_ms=100, **given | options
    )


async def reading(servers: str, seen: list[Any]) -> None:
    """What is handed out, where it is, what is committed."""
    await filled(servers, "reading", b"1", b"2", b"3", b"4")
    consumer = reader(servers, "reading")
    seen.append(sorted(consumer.assignment()))
    await consumer.start()
    seen.append(sorted(consumer.assignment()))
    one = await consumer.getone()
    place = TopicPartition(one.topic, one.partition)
    seen.append((one.offset, one.key, one.value, one.headers, one.checksum))
    seen.append((one.serialized_key_size, one.serialized_value_size, type(one).__name__))
    seen.append((await consumer.position(place), await consumer.committed(place)))
    await consumer.commit()
    seen.append((await consumer.position(place), await consumer.committed(place)))
    many = await consumer.getmany(timeout_ms=1000, max_records=1)
    seen.append([(where == place, [two.value for two in those]) for where, those in many.items()])
    await consumer.commit({place: many[place][0].offset + 1})
    seen.append(await consumer.committed(place))
    seen.append(await consumer.seek_to_committed(place))
    seen.append((await consumer.getone(place)).value)
    consumer.seek(place, 0)
    consumer.pause(place)
    seen.append((sorted(consumer.paused()), await consumer.getmany(timeout_ms=50)))
    consumer.resume(place)
    async for two in consumer:
        seen.append(two.value)
        if two.value == b"4":
            break
    seen.append(await consumer.end_offsets([place]))
    seen.append(await consumer.beginning_offsets([place]))
    await consumer.stop()


async def going_on(servers: str, seen: list[Any]) -> None:
    """Who comes later goes on where the group has committed, by hand or by itself."""
    await filled(servers, "going", b"1", b"2", b"3")
    for options in ({}, {"enable_auto_commit": True}, {}):
        async with reader(servers, "going", **options) as consumer:
            one = await consumer.getone()
            seen.append(one.value)
    async with reader(servers, group="-", group_id=None) as consumer:
        consumer.assign([TopicPartition("going", one.partition)])
        seen.append((await consumer.getone()).value)
        seen.append(await told(consumer.commit))


class Ears(ConsumerRebalanceListener):
    """Hears what is given and taken."""

    def __init__(self, seen: list[Any]) -> None:
        self.seen = seen

    async def on_partitions_revoked(self, revoked: Any) -> None:
        self.seen.append(("revoked", len(revoked)))

    async def on_partitions_assigned(self, assigned: Any) -> None:
        self.seen.append(("assigned", len(assigned)))


async def overtaken(servers: str, seen: list[Any]) -> None:
    """A round does not wait for who is in the middle of a record."""
    await filled(servers, "overtaken", b"1")
    first, second = reader(servers, group="readers of overtaken"), reader(servers, "overtaken")
    first.subscribe(["overtaken"], listener=Ears(seen))
    await first.start()
    in_hand = await first.getone()
    await told(second.start)  # and the first one does not poll; the mock cluster may refuse it
    await asyncio.sleep(0.3)
    seen.append((in_hand.value, len(first.assignment())))
    await first.stop()
    await second.stop()


async def unreadable(servers: str, seen: list[Any]) -> None:
    """What a deserializer raises comes again, until one seeks."""
    await filled(servers, "unreadable", b"1", b"x", b"3")
    async with reader(servers, "unreadable", value_deserializer=int) as consumer:
        one = await consumer.getone()
        place = TopicPartition(one.topic, one.partition)
        seen.append(one.value)
        seen.append([await told(consumer.getone), await told(consumer.getone)])
        seen.append(await consumer.position(place))
        seen.append([await told(lambda: consumer.getmany(timeout_ms=500)) for _ in range(2)])
        consumer.seek(place, 2)
        seen.append((await consumer.getone()).value)


async def refused(servers: str, seen: list[Any]) -> None:
    """What the client refuses itself."""
    await filled(servers, "refused", b"1")
    other = TopicPartition("refused", 9)
    consumer = reader(servers, "refused")
    for call in (
        consumer.subscribe,
        lambda: consumer.subscribe("refused"),
        lambda: consumer.assign([other]),
    ):
        seen.append(await told(call))
    await consumer.start()
    for call in (
        lambda: consumer.commit({other: 1}),
        lambda: consumer.commit({"refused": 1}),
        lambda: consumer.commit({}),
        lambda: consumer.position(other),
        lambda: consumer.seek(other, 1),
        lambda: consumer.seek(other, -1),
        lambda: consumer.pause(other),
        lambda: consumer.getmany(max_records=0),
        consumer.start,
    ):
        seen.append(await told(call))
    await consumer.stop()
    seen.append(await told(consumer.getone))
    async with AIOKafkaProducer(bootstrap_servers=servers, max_request_size=100) as producer:
        for call in (
            lambda: producer.send("refused", {"no": "bytes"}),
            lambda: producer.send("refused"),
            lambda: producer.send("refused", b"x" * 99),
            producer.begin_transaction,
            lambda: producer.send_offsets_to_transaction({other: 1}, "g"),
        ):
            seen.append(await told(call))
    for options in ({"acks": 7}, {"acks": 1, "enable_idempotence": True}):
        seen.append(await told(lambda o=options: AIOKafkaProducer(bootstrap_servers=servers, **o)))


async def transactions(servers: str, seen: list[Any]) -> None:
    """What of a transaction is seen, by whom, and what is refused outside of one."""
    options = {"bootstrap_servers": servers, "transactional_id": "t", "key_serializer": str.encode}
    async with AIOKafkaProducer(**options) as producer:
        seen.append(await told(lambda: producer.send("kept", b"0", key="k")))
        async with producer.transaction():
            future = await producer.send("kept", b"1", key="k")
            seen.append(await told(producer.begin_transaction))
        seen.append((await future).offset)
        seen.append(await told(lambda: producer.send_offsets_to_transaction({}, "g")))
        place = TopicPartition("kept", (await future).partition)
        await producer.begin_transaction()
        await producer.send_offsets_to_transaction({place: 1}, "readers")
        await producer.commit_transaction()
        seen.append(await told(producer.abort_transaction))


PROGRAMS = [reading, going_on, overtaken, unreadable, refused, transactions]
TOPICS = ["reading", "going", "overtaken", "unreadable", "refused", "kept"]


@pytest.fixture(scope="module")
def mock_cluster():
    options = {"bootstrap.servers": "none", "test.mock.num.brokers": 1, "log_level": 0}
    producer = confluent_kafka.Producer(options)
    [broker] = producer.list_topics(timeout=10).brokers.values()
    yield f"{broker.host}:{broker.port}"
    del producer


def in_a_run(program: Any) -> list[Any]:
    """Return what a program sees in a run."""
    seen: list[Any] = []
    system = System("shop")
    cluster = Kafka(
        "bus", dict.fromkeys(TOPICS, LOG_PARTITIONS), new_groups=True, assignment="round-robin"
    )
    bus = system.add(cluster)
    system.add(KafkaServers(SERVERS, bus))
    system.service("reader")(lambda env: env.main(partial(program, SERVERS, seen)))
    system.entry(examples=["o1"])(lambda env, item: None)
    run = system.run()
    assert run.ending.verdict == "quiet"
    assert not any(one.kind == "raised" for one in run.history), [*run.history.of("raised")]
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda one: one.__name__)
def test_a_program_sees_the_same(program, mock_cluster):
    there: list[Any] = []

    async def main():
        await asyncio.wait_for(program(mock_cluster, there), 60)

    asyncio.run(main())
    here = in_a_run(program)
    assert len(here) > 3
    for mine, theirs in zip(here, there, strict=True):
        assert mine == theirs
