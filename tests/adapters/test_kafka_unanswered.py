"""Producers that wait for no answer (acks=0), log partitions by name, and offsets by time."""

import asyncio
import time

import pytest

from benchmarks.kafka_peers import running
from chaosharness import (
    ErrorReply,
    Kafka,
    KafkaServers,
    LostRequest,
    LostWrites,
    Schedule,
    Site,
    System,
)
from chaosharness.errors import IllegalFault
from chaosharness.kernel.spans import EPOCH_MS

confluent_kafka = pytest.importorskip("confluent_kafka")
aiokafka = pytest.importorskip("aiokafka")
kafka = pytest.importorskip("kafka")
AdminClient = pytest.importorskip("confluent_kafka.admin").AdminClient
NewTopic = pytest.importorskip("confluent_kafka.admin").NewTopic

PUBLISH = "sender.main/bus.publish paid"
SERVERS = {"bootstrap_servers": "one:9092"}


def ran(main, *faults, items=(1,), **options):
    system = System("shop", arrival_ms=1_000)
    bus = system.add(Kafka("bus", {"orders": 2, "paid": 4}, **options))
    system.add(KafkaServers("one:9092", bus))
    system.service("sender")(lambda env: env.main(main))
    entry = system.entry(examples=list(items))
    entry(lambda env, item: env.publisher(bus)("orders", item, partition=0))
    run = system.run(None, Schedule(faults))
    assert not run.unused
    paid = [one.data for one in run.history.of("publish") if one.data["topic"] == "paid"]
    return [(one["value"], one["partition"]) for one in paid]


def by_confluent(told, keys, **options):
    def main():
        producer = confluent_kafka.Producer({"bootstrap.servers": "one:9092", **options})
        for number, key in enumerate(keys):
            producer.produce(
                "paid",
                b"%d" % number,
                key=key,
                on_delivery=lambda error, one: told.append((error, one.partition(), one.offset())),
            )
        assert producer.flush() == 0

    return main


def by_aiokafka(told, keys, **options):
    async def main():
        async with aiokafka.AIOKafkaProducer(**SERVERS, **options) as producer:
            for number, key in enumerate(keys):
                told.append(await producer.send_and_wait("paid", b"%d" % number, key=key))

    return main


def by_kafka_python(told, keys, **options):
    def main():
        producer = kafka.KafkaProducer(**SERVERS, **options)
        for number, key in enumerate(keys):
            found = producer.send("paid", b"%d" % number, key=key).get()
            told.append((None, found.partition, found.offset))

    return main


KEYS = [b"a", None, b"c"]
CLIENTS = {"confluent": by_confluent, "aiokafka": by_aiokafka, "kafka-python": by_kafka_python}
SAID = {
    "confluent": [(None, 3, None), (None, 0, None), (None, 3, None)],
    "aiokafka": [None, None, None],
    "kafka-python": [(None, 0, 0), (None, 0, 0), (None, 2, 0)],
}
"""The wheels themselves say so of a broker that runs: see `test_the_libraries_say_so_too`."""


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("fault", "left"),
    [
        (None, [b"0", b"1", b"2"]),
        (LostRequest(Site(PUBLISH, entity=0, attempt=1)), [b"1", b"2"]),
        (LostWrites(Site(PUBLISH, "after", entity=0, attempt=1)), None),
    ],
)
def test_a_client_that_asks_for_no_answer_says_that_all_is_well(client, fault, left):
    told = []
    faults = [] if fault is None else [fault]
    stored = ran(CLIENTS[client](told, KEYS, acks=0), *faults)
    assert told == SAID[client]
    assert left is None or [value for value, _ in stored] == left


@pytest.mark.parametrize("client", CLIENTS)
def test_it_is_never_refused(client):
    with pytest.raises(IllegalFault, match="can never happen"):
        ran(CLIENTS[client]([], KEYS, acks=0), ErrorReply(Site(PUBLISH, entity=0)))


def raised_by(call):
    told = []

    def main():
        try:
            call()
        except Exception as error:
            told.append(f"{type(error).__name__}: {error}")

    async def later():
        try:
            await call()
        except Exception as error:
            told.append(f"{type(error).__name__}: {error}")

    ran(later if "aio" in call.__name__ else main)
    return told


def test_what_contradicts_it_is_refused_in_each_client_s_words():
    options = {"bootstrap.servers": "one:9092", "acks": 0, "enable.idempotence": True}

    def confluent():
        confluent_kafka.Producer(options)

    async def aio():
        aiokafka.AIOKafkaProducer(**SERVERS, acks=0, enable_idempotence=True)

    def python():
        kafka.KafkaProducer(**SERVERS, acks=0, enable_idempotence=True)

    [words] = raised_by(confluent)
    assert "`acks` must be set to `all` when `enable.idempotence` is true" in words
    assert raised_by(aio) == ["ValueError: acks=0 not supported if enable_idempotence=True"]
    [words] = raised_by(python)
    assert "enable_idempotence=True is incompatible with user-provided acks=0" in words


# ---- a log partition by name


def test_a_log_partition_is_named_whatever_the_key():
    async def aio():
        async with aiokafka.AIOKafkaProducer(**SERVERS) as producer:
            found = await producer.send_and_wait("paid", b"x", key=b"a", partition=3)
            assert found.partition == 3

    def python():
        found = kafka.KafkaProducer(**SERVERS).send("paid", b"x", key=b"a", partition=3).get()
        assert found.partition == 3

    assert ran(aio) == ran(python) == [(b"x", 3)]


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (-1, "ValueError: partition must be >= 0"),
        (4, "ValueError: Unrecognized partition 4 for topic paid"),
    ],
)
def test_one_that_is_not_there_is_refused(index, words):
    async def aio():
        async with aiokafka.AIOKafkaProducer(**SERVERS) as producer:
            await producer.send("paid", b"x", partition=index)

    def python():
        kafka.KafkaProducer(**SERVERS).send("paid", b"x", partition=index)

    assert raised_by(python) == [words]
    assert raised_by(aio)[0].startswith("AssertionError")


# ---- offsets by time


def asked(client, *moments_ms):
    """Return what a client says of `orders[0]`, which gets a record each second."""
    found = []

    async def aio():
        place = aiokafka.TopicPartition("orders", 0)
        async with aiokafka.AIOKafkaConsumer(**SERVERS) as consumer:
            await asyncio.sleep(5)
            for at_ms in moments_ms:
                told = await consumer.offsets_for_times({place: EPOCH_MS + at_ms})
                found.append(told[place] and told[place].offset)

    def python():
        place = kafka.TopicPartition("orders", 0)
        consumer = kafka.KafkaConsumer(**SERVERS)
        time.sleep(5)
        for at_ms in moments_ms:
            told = consumer.offsets_for_times({place: EPOCH_MS + at_ms})
            found.append(told[place] and told[place].offset)

    def confluent():
        consumer = confluent_kafka.Consumer({"bootstrap.servers": "one:9092", "group.id": "g"})
        time.sleep(5)
        for at_ms in moments_ms:
            place = confluent_kafka.TopicPartition("orders", 0, EPOCH_MS + at_ms)
            found.append(consumer.offsets_for_times([place])[0].offset)

    ran({"aiokafka": aio, "kafka-python": python, "confluent": confluent}[client], items=(1, 2, 3))
    return found


@pytest.mark.parametrize(
    ("client", "nowhere"), [("aiokafka", None), ("kafka-python", None), ("confluent", -1)]
)
def test_a_client_asks_which_record_is_the_first_since_a_moment(client, nowhere):
    assert asked(client, 0, 1, 1_000, 1_001, 60_000) == [0, 1, 1, 2, nowhere]


def test_what_is_no_moment_is_refused_in_each_client_s_words():
    async def aio():
        async with aiokafka.AIOKafkaConsumer(**SERVERS) as consumer:
            await consumer.offsets_for_times({aiokafka.TopicPartition("orders", 0): -1})

    def python():
        kafka.KafkaConsumer(**SERVERS).offsets_for_times({kafka.TopicPartition("orders", 0): -1})

    words = (
        "ValueError: The target time for partition TopicPartition(topic='orders', partition=0) is "
        "-1. The target time cannot be negative."
    )
    assert raised_by(aio) == raised_by(python) == [words]


def confluent_says(*partitions):
    def call():
        consumer = confluent_kafka.Consumer({"bootstrap.servers": "one:9092", "group.id": "g"})
        consumer.offsets_for_times(list(partitions))

    return raised_by(call)


def test_librdkafka_names_its_errors():
    place = confluent_kafka.TopicPartition
    [words] = confluent_says(place("orders", 77, 0))
    assert "_UNKNOWN_PARTITION" in words and "Failed to get offsets: Local: Unknown" in words
    [words] = confluent_says()
    assert "_INVALID_ARG" in words and "Failed to get offsets" in words
    assert confluent_says(1) == ["TypeError: expected cimpl.TopicPartition"]


# ---- the same by the wheels themselves


@pytest.mark.real_broker
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("client", "peer", "keys"),
    [
        ("confluent", "mock", KEYS),
        ("aiokafka", "mock", KEYS),
        ("kafka-python", "noida", KEYS[:1]),  # that one answers, and cuts whoever did not ask off
    ],
)
def test_the_libraries_say_so_too(client, peer, keys):
    if peer == "noida":
        pytest.importorskip("noida_db", reason="no broker: pip install noida-db")
    with running(peer) as port:
        servers = f"127.0.0.1:{port}"
        if peer == "noida":
            admin = AdminClient({"bootstrap.servers": servers})
            [made] = admin.create_topics([NewTopic("paid", 4, 1)]).values()
            made.result(10)
        told = told_by_the_real(client, servers, keys)
    for key, ours, theirs in zip(keys, SAID[client], told, strict=False):
        if key is None and ours is not None:  # any log partition, where there is no key
            ours, theirs = (ours[0], ours[2]), (theirs[0], theirs[2])
        assert ours == theirs


def told_by_the_real(client, servers, keys):
    told = []
    at = {"bootstrap_servers": servers}
    if client == "aiokafka":

        async def main():
            async with aiokafka.AIOKafkaProducer(**at, acks=0) as producer:
                for number, key in enumerate(keys):
                    told.append(await producer.send_and_wait("paid", b"%d" % number, key=key))

        asyncio.run(main())
    elif client == "kafka-python":
        producer = kafka.KafkaProducer(**at, acks=0)
        for number, key in enumerate(keys):
            found = producer.send("paid", b"%d" % number, key=key).get(10)
            told.append((None, found.partition, found.offset))
        producer.close()
    else:
        producer = confluent_kafka.Producer({"bootstrap.servers": servers, "acks": 0})
        for number, key in enumerate(keys):
            producer.produce(
                "paid",
                b"%d" % number,
                key=key,
                on_delivery=lambda error, one: told.append((error, one.partition(), one.offset())),
            )
            producer.flush(10)
    return told


@pytest.mark.real_broker
@pytest.mark.filterwarnings("ignore")
def test_a_broker_says_the_same_of_moments():
    pytest.importorskip("noida_db", reason="no broker: pip install noida-db")
    moments = (0, 1, 1_000, 1_001, 60_000)
    with running("noida") as port:
        servers = f"127.0.0.1:{port}"
        admin = AdminClient({"bootstrap.servers": servers})
        [made] = admin.create_topics([NewTopic("orders", 2, 1)]).values()
        made.result(10)
        producer = confluent_kafka.Producer({"bootstrap.servers": servers})
        for at_ms in (0, 1_000, 2_000):
            producer.produce("orders", b"x", partition=0, timestamp=EPOCH_MS + at_ms)
            producer.flush(10)
        consumer = kafka.KafkaConsumer(bootstrap_servers=servers)
        place = kafka.TopicPartition("orders", 0)
        told = [consumer.offsets_for_times({place: EPOCH_MS + one})[place] for one in moments]
        consumer.close()
        one = confluent_kafka.Consumer({"bootstrap.servers": servers, "group.id": "g"})
        place = confluent_kafka.TopicPartition
        asked_of = [one.offsets_for_times([place("orders", 0, EPOCH_MS + at)]) for at in moments]
        one.close()
    assert [each and each.offset for each in told] == asked("kafka-python", *moments)
    assert [each[0].offset for each in asked_of] == asked("confluent", *moments)
