"""A commit of a consumer that was not polled for too long: each Kafka client's own words.

A broker is asked the same, by the same code; a client leaves its group by itself there, too.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.kafka_peers import running
from chaosharness import Kafka, KafkaServers
from tests.adapters.test_absent_topics import named
from tests.adapters.test_bad_input import spelled, told_in

aiokafka = pytest.importorskip("aiokafka")
confluent_kafka = pytest.importorskip("confluent_kafka")
kafka = pytest.importorskip("kafka")

PATIENCE_MS = 6_000
SLOW_S = 9


def by_confluent(servers):
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "confluent",
            "session.timeout.ms": PATIENCE_MS,
            "max.poll.interval.ms": PATIENCE_MS,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe(["orders"])
    message = None
    while message is None:
        message = consumer.poll(1)
    time.sleep(SLOW_S)
    said = named(lambda: consumer.commit(message, asynchronous=False))
    found = consumer.poll(3)
    return f"{said}, then {found.error().name()}"


OPTIONS = {
    "session_timeout_ms": PATIENCE_MS,
    "heartbeat_interval_ms": 1_000,
    "max_poll_interval_ms": PATIENCE_MS,
    "enable_auto_commit": False,
    "auto_offset_reset": "earliest",
}


def by_kafka_python(servers):
    where = {"bootstrap_servers": servers, "group_id": "kafka-python"}
    consumer = kafka.KafkaConsumer("orders", **where, **OPTIONS)
    message = next(consumer)
    time.sleep(SLOW_S)
    place = kafka.TopicPartition(message.topic, message.partition)
    try:
        consumer.commit({place: kafka.OffsetAndMetadata(message.offset + 1, "", -1)})
    except kafka.errors.KafkaError as error:
        return spelled(error)


async def by_aiokafka(servers):
    where = {"bootstrap_servers": servers, "group_id": "aiokafka"}
    consumer = aiokafka.AIOKafkaConsumer("orders", **where, **OPTIONS)
    await consumer.start()
    message = await consumer.getone()
    await asyncio.sleep(SLOW_S)
    place = aiokafka.TopicPartition(message.topic, message.partition)
    try:
        await consumer.commit({place: message.offset + 1})
    except aiokafka.errors.CommitFailedError as error:
        return f"CommitFailedError: {error.args[-1]}"
    finally:
        await consumer.stop()


SAID = {
    by_confluent: "KafkaException: UNKNOWN_MEMBER_ID, then _MAX_POLL_EXCEEDED",
    by_kafka_python: (
        "CommitFailedError: CommitFailedError: Offset commit cannot be completed since the "
        "consumer is not part of an active group for auto partition assignment; it is likely that "
        "the consumer was kicked out of the group."
    ),
    by_aiokafka: (
        "CommitFailedError: Commit cannot be completed since the group has already rebalanced and "
        "may have assigned the partitions to another member"
    ),
}
PEERS = {by_confluent: "noida", by_kafka_python: "noida", by_aiokafka: "mock"}
"""Who is asked: noida takes such a commit of aiokafka; the mock does not answer kafka-python."""


def ours(ask):
    """Return what code hears inside a run."""
    way = "round-robin" if ask is by_aiokafka else "range"
    patience = {"session_timeout_ms": PATIENCE_MS, "max_poll_interval_ms": PATIENCE_MS}
    bus = Kafka("bus", {"orders": 1}, assignment=way, **patience)

    def prepared():
        send("one:9092")
        return ask("one:9092")

    async def later():
        send("one:9092")
        return await ask("one:9092")

    call = later if asyncio.iscoroutinefunction(ask) else prepared
    return told_in(bus, call, KafkaServers("one:9092", bus))


def send(servers):
    producer = confluent_kafka.Producer({"bootstrap.servers": servers})
    producer.produce("orders", b"x")
    producer.flush()


@pytest.mark.parametrize("ask", SAID)
def test_who_was_not_polled_for_too_long_is_refused(ask):
    assert ours(ask) == SAID[ask]


def asked(ask, servers):
    found = ask(servers)
    return asyncio.run(found) if asyncio.iscoroutine(found) else found


@pytest.mark.real_broker
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_brokers_refuse_it_with_the_same_words():
    pytest.importorskip("noida_db", reason="no broker: pip install noida-db")
    with running("noida") as noida, running("mock") as mock, ThreadPoolExecutor(3) as pool:
        servers = {"noida": f"127.0.0.1:{noida}", "mock": f"127.0.0.1:{mock}"}
        for one in servers.values():
            send(one)
        told = {ask: pool.submit(asked, ask, servers[PEERS[ask]]) for ask in SAID}
        assert {ask: one.result(60) for ask, one in told.items()} == SAID
