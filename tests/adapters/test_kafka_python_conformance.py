"""One program of kafka-python, in a run and against librdkafka's mock cluster: it sees the same.

The mock cluster is a real server on a socket: the client there is the library's own, whole.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import confluent_kafka
import kafka
import pytest
from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError

from chaosharness import Kafka, KafkaServers, System

SERVERS = "kafka:9092"
AS_OF: dict[str, Any] = {"api_version": (2, 0)}
"""The mock cluster tells newer clients of its versions in a way that kafka-python cannot read."""
LOG_PARTITIONS = 4
"""As many as the mock cluster makes."""


def told(call: Any) -> Any:
    """Return what a call gives, or the name of what it raises."""
    try:
        return call()
    except (KafkaError, KeyError, ValueError, TypeError, StopIteration) as error:
        return type(error).__name__


def filled(servers: str, topic: str, *values: bytes) -> TopicPartition:
    """Have a topic hold these records, in one log partition."""
    with KafkaProducer(**AS_OF, bootstrap_servers=servers) as producer:
        for value in values:
            future = producer.send(topic, value, key=b"k", headers=[("of", b"shop")])
            future.get(timeout=10)
        return future.get().topic_partition


def reader(servers: str, *topics: str, **options: Any) -> Any:
    """Return a consumer that begins at the beginning."""
    given: dict[str, Any] = {"group_id": f"readers of {topics}", "enable_auto_commit": False}
    given |= {"auto_offset_reset": "earliest", "consumer_timeout_ms": 9_000}
    return KafkaConsumer(*topics, **AS_OF, bootstrap_servers=servers, **given | options)


def values(found: Any) -> list[Any]:
    return [one.value for records in found.values() for one in records]


def reading(servers: str, seen: list[Any]) -> None:
    """What is handed out, where it is, what is committed."""
    place = filled(servers, "reading", b"1", b"2", b"3", b"4")
    consumer = reader(servers, "reading")
    seen.append((sorted(consumer.assignment()), consumer.subscription()))
    one = next(consumer)
    seen.append((one.offset, one.key, one.value, one.headers, one.timestamp_type, one.checksum))
    seen.append((one.serialized_key_size, one.serialized_value_size, one.serialized_header_size))
    seen.append(sorted(consumer.assignment()))
    seen.append((consumer.position(place), consumer.committed(place)))
    consumer.commit()
    seen.append((consumer.position(place), consumer.committed(place)))
    seen.append([next(consumer).value, next(consumer).value, consumer.position(place)])
    consumer.commit({place: OffsetAndMetadata(2, "", -1)})
    seen.append((consumer.committed(place), consumer.committed(place, metadata=True).offset))
    consumer.seek(place, 1)
    seen.append([next(consumer).value, consumer.position(place)])
    consumer.pause(place)
    seen.append((consumer.paused(), consumer.poll(timeout_ms=200)))
    consumer.resume(place)
    seen.append([record.value for record in consumer])
    seen.append((consumer.end_offsets([place]), consumer.beginning_offsets([place])))
    consumer.seek_to_beginning(place)
    seen.append(values(consumer.poll(timeout_ms=3_000, max_records=1)))
    heard: list[Any] = []
    consumer.commit_async(callback=lambda offsets, answer: heard.append(len(offsets)))
    for _ in range(3):
        consumer.poll(timeout_ms=300)
    seen.append((heard != [], consumer.committed(place)))
    consumer.close()
    seen.append((told(consumer.poll), told(lambda: next(consumer))))


def going_on(servers: str, seen: list[Any]) -> None:
    """Who comes later goes on where the group has committed, by hand or by itself."""
    place = filled(servers, "going", b"1", b"2", b"3")
    for options in ({}, {"enable_auto_commit": True}, {}):
        with reader(servers, "going", consumer_timeout_ms=30_000, **options) as consumer:
            seen.append(next(consumer).value)
    with reader(servers, group_id=None) as consumer:
        consumer.assign([place])
        seen.append(next(consumer).value)
        seen.append(told(consumer.commit))


def unreadable(servers: str, seen: list[Any]) -> None:
    """What a deserializer raises comes again, until one seeks."""
    place = filled(servers, "unreadable", b"1", b"x", b"3")
    with reader(servers, "unreadable", value_deserializer=int) as consumer:
        seen.append(next(consumer).value)
        seen.append(told(lambda: next(consumer)))  # and the next one never comes back
        seen.append(consumer.position(place))
        consumer.seek(place, 2)
        seen.append(next(consumer).value)


def refused(servers: str, seen: list[Any]) -> None:
    """What the client refuses itself."""
    filled(servers, "refused", b"1")
    other = TopicPartition("refused", 9)
    idle = reader(servers)
    for hold in (idle.pause, idle.resume):
        seen.extend([told(hold), told(partial(hold, other)), told(partial(hold, "refused"))])
    idle.close()
    consumer = reader(servers, "refused")
    consumer.poll(timeout_ms=6_000)
    for call in (
        consumer.subscribe,
        lambda: consumer.subscribe("refused"),
        lambda: consumer.assign([other]),
        lambda: consumer.commit({other: 1}),
        lambda: consumer.position(other),
        lambda: consumer.seek(other, 1),
        lambda: consumer.seek(other, -1),
        lambda: consumer.seek_to_end(other),
        consumer.pause,
        consumer.resume,
        lambda: consumer.pause(other),
        lambda: consumer.resume(other),
        lambda: consumer.poll(max_records=0),
        lambda: consumer.poll(timeout_ms=-1),
        lambda: reader(servers, nothing=1).config,
    ):
        seen.append(told(call))
    consumer.close()
    with KafkaProducer(**AS_OF, bootstrap_servers=servers, max_request_size=100) as producer:
        for call in (
            lambda: producer.send("refused", {"no": "bytes"}),
            lambda: producer.send("refused"),
            lambda: producer.send("refused", b"x" * 99),
            lambda: producer.send("refused", b"x", headers={"a": b"b"}),
            producer.commit_transaction,
            lambda: KafkaProducer(**AS_OF, bootstrap_servers=servers, nothing=1).config,
            lambda: (
                KafkaProducer(
                    **AS_OF, bootstrap_servers=servers, acks=1, enable_idempotence=True
                ).config
            ),
        ):
            seen.append(told(call))
    seen.append(told(lambda: producer.send("refused", b"x")))


def transactions(servers: str, seen: list[Any]) -> None:
    """What is refused outside of a transaction, and what is kept of one."""
    with KafkaProducer(**AS_OF, bootstrap_servers=servers, transactional_id="t") as producer:
        seen.append(told(producer.begin_transaction))
        producer.init_transactions()
        seen.append(told(lambda: producer.send("kept", b"0", key=b"k")))
        producer.begin_transaction()
        future = producer.send("kept", b"1", key=b"k")
        seen.append(told(producer.begin_transaction))
        producer.commit_transaction()
        seen.append(future.get().offset)
        seen.append(told(producer.commit_transaction))


PROGRAMS = [reading, going_on, unreadable, refused, transactions]
TOPICS = ["reading", "going", "unreadable", "refused", "kept"]


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
    bus = system.add(Kafka("bus", dict.fromkeys(TOPICS, LOG_PARTITIONS), new_groups=True))
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
    program(mock_cluster, there)
    here = in_a_run(program)
    assert len(here) > 3
    for mine, theirs in zip(here, there, strict=True):
        assert mine == theirs


def test_what_is_compared_is_the_library_s_own():
    assert kafka.KafkaConsumer.__module__.startswith("chaosharness")  # in a run
    assert kafka.KafkaConsumer.real.__module__ == "kafka.consumer.group"
