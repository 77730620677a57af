"""Topics that nobody has declared: each Kafka client says so in its own words, or the run does.

A broker that makes no topics by itself is asked the same, by the same code.
"""

import asyncio
from contextlib import suppress

import pytest

from benchmarks.kafka_strict import running_strictly
from chaosharness import Kafka, KafkaServers, System, explore
from chaosharness.errors import InvalidDefinition
from tests.adapters.test_bad_input import spelled, told_in

aiokafka = pytest.importorskip("aiokafka")
confluent_kafka = pytest.importorskip("confluent_kafka")
kafka = pytest.importorskip("kafka")

SHORT_MS = 1_500


# ---- confluent-kafka


def producer_at(servers, **options):
    return confluent_kafka.Producer(
        {"bootstrap.servers": servers, "topic.metadata.propagation.max.ms": SHORT_MS, **options}
    )


def consumer_at(servers, **options):
    return confluent_kafka.Consumer({"bootstrap.servers": servers, "group.id": "g", **options})


def named(call):
    """Return what is raised by its name, which is a code."""
    try:
        return call()
    except confluent_kafka.KafkaException as error:
        return f"KafkaException: {error.args[0].name()}"


def reported(producer):
    """Send to a topic that is not there; return what is reported."""
    found = []
    producer.produce(
        "absent", b"x", on_delivery=lambda error, one: found.append((error.name(), one.topic()))
    )
    left = producer.flush(10)
    return f"delivery report: {found[0][0]} of {found[0][1]}, {left} left"


def sends_by_confluent(servers):
    return reported(producer_at(servers))


def sends_again_by_confluent(servers):
    producer = producer_at(servers)
    reported(producer)
    return named(lambda: producer.produce("absent", b"x"))


def sends_for_less_long_by_confluent(servers):
    return reported(producer_at(servers, **{"message.timeout.ms": 1_000}))


def subscribes_by_confluent(servers):
    consumer = consumer_at(servers)
    consumer.subscribe(["absent"])
    polled = [consumer.poll(1) for _ in range(3)]
    [one] = [one for one in polled if one is not None]
    consumer.close()
    return f"{one.error().name()}: {one.error().str()}"


def asks_for_watermarks_by_confluent(servers):
    place = confluent_kafka.TopicPartition("absent", 0)
    return named(lambda: consumer_at(servers).get_watermark_offsets(place, timeout=2))


def asks_for_times_by_confluent(servers):
    place = confluent_kafka.TopicPartition("absent", 0, 0)
    return named(lambda: consumer_at(servers).offsets_for_times([place], timeout=2))


def commits_by_confluent(servers):
    place = confluent_kafka.TopicPartition("absent", 0, 1)
    return named(lambda: consumer_at(servers).commit(offsets=[place], asynchronous=False))


def asks_what_was_committed_by_confluent(servers):
    place = confluent_kafka.TopicPartition("absent", 0)
    [found] = consumer_at(servers).committed([place], timeout=2)
    return f"offset {found.offset}"


# ---- aiokafka


async def sends_by_aiokafka(servers):
    words = {"bootstrap_servers": servers, "request_timeout_ms": SHORT_MS}
    async with aiokafka.AIOKafkaProducer(**words) as producer:
        await producer.send_and_wait("absent", b"x")


async def subscribes_by_aiokafka(servers):
    words = {"bootstrap_servers": servers, "request_timeout_ms": SHORT_MS}
    consumer = aiokafka.AIOKafkaConsumer("absent", group_id="g", **words)
    try:
        await consumer.start()
    finally:
        await consumer.stop()


async def asks_for_the_end_by_aiokafka(servers):
    words = {"bootstrap_servers": servers, "request_timeout_ms": SHORT_MS}
    async with aiokafka.AIOKafkaConsumer(**words) as consumer:
        await consumer.end_offsets([aiokafka.TopicPartition("absent", 0)])


# ---- kafka-python


def sends_by_kafka_python(servers):
    producer = kafka.KafkaProducer(bootstrap_servers=servers, max_block_ms=SHORT_MS)
    try:
        producer.send("absent", b"x")
    finally:
        producer.close(1)


def asks_for_the_end_by_kafka_python(servers):
    consumer = kafka.KafkaConsumer(bootstrap_servers=servers, request_timeout_ms=SHORT_MS)
    try:
        consumer.end_offsets([kafka.TopicPartition("absent", 0)])
    finally:
        consumer.close()


def commits_by_kafka_python(servers):
    consumer = kafka.KafkaConsumer(bootstrap_servers=servers, group_id="g")
    place = kafka.TopicPartition("absent", 0)
    try:
        consumer.commit({place: kafka.OffsetAndMetadata(1, "", -1)}, timeout_ms=SHORT_MS)
    finally:
        consumer.close()


SAID = {
    sends_by_confluent: "delivery report: UNKNOWN_TOPIC_OR_PART of absent, 0 left",
    sends_again_by_confluent: "KafkaException: _UNKNOWN_TOPIC",
    sends_for_less_long_by_confluent: "delivery report: _MSG_TIMED_OUT of absent, 0 left",
    subscribes_by_confluent: (
        "UNKNOWN_TOPIC_OR_PART: Subscribed topic not available: absent: "
        "Broker: Unknown topic or partition"
    ),
    asks_for_watermarks_by_confluent: "KafkaException: _UNKNOWN_PARTITION",
    asks_for_times_by_confluent: "KafkaException: _UNKNOWN_PARTITION",
    commits_by_confluent: "KafkaException: UNKNOWN_TOPIC_OR_PART",
    asks_what_was_committed_by_confluent: "offset -1001",
    sends_by_aiokafka: "UnknownTopicOrPartitionError: [Error 3] UnknownTopicOrPartitionError",
    subscribes_by_aiokafka: "UnknownTopicOrPartitionError: [Error 3] UnknownTopicOrPartitionError",
    asks_for_the_end_by_aiokafka: (
        "KafkaTimeoutError: KafkaTimeoutError: Failed to get offsets by times in 1500 ms"
    ),
    sends_by_kafka_python: (
        "KafkaTimeoutError: KafkaTimeoutError: Failed to update metadata after 1.5 secs."
    ),
    commits_by_kafka_python: "KafkaTimeoutError: KafkaTimeoutError: None",
    asks_for_the_end_by_kafka_python: (
        "KafkaTimeoutError: KafkaTimeoutError: Failed to get offsets by timestamps in 1500 ms"
    ),
}
"""What code hears, in the words of its client."""

WHERE_IT_IS_SLOW = {sends_for_less_long_by_confluent: [SAID[sends_by_confluent]]}
"""What a real client says as well: on a busy machine it hears of the topic before it gives up."""


def ours(ask):
    """Return what code hears inside a run."""
    bus = Kafka("bus", {"orders": 2})

    def call():
        return ask("one:9092")

    async def later():
        return await ask("one:9092")

    call = later if asyncio.iscoroutinefunction(ask) else call
    return told_in(bus, call, KafkaServers("one:9092", bus))


@pytest.mark.parametrize("ask", SAID)
def test_code_hears_of_it_by_its_client(ask):
    assert ours(ask) == SAID[ask]


@pytest.fixture(scope="module")
def strict_broker():
    pytest.importorskip("noida_db", reason="no broker: pip install noida-db")
    with running_strictly() as port:
        yield f"127.0.0.1:{port}"


@pytest.mark.real_broker
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("ask", SAID)
def test_a_broker_has_each_client_say_the_same(ask, strict_broker):
    try:
        found = ask(strict_broker)
        theirs = asyncio.run(found) if asyncio.iscoroutine(found) else found
    except Exception as error:
        theirs = spelled(error)
    assert theirs == SAID[ask] or theirs in WHERE_IT_IS_SLOW.get(ask, ())


# ---- what becomes of such a run


def shop(main):
    system = System("shop")
    bus = system.add(Kafka("bus", {"orders": 1}))
    system.add(KafkaServers("one:9092", bus))
    system.service("worker")(lambda env: env.main(main))
    system.entry(examples=[{"id": "o1"}])(
        lambda env, order: env.publisher(bus)("orders", order, key=order["id"])
    )
    return system


def forwards(on_delivery):
    """Return a loop that sends each order on, to a topic whose name is mistyped."""

    def main():
        consumer = consumer_at("one:9092", **{"auto.offset.reset": "earliest"})
        producer = producer_at("one:9092")
        consumer.subscribe(["orders"])
        while True:
            message = consumer.poll(1.0)
            if message is not None and not message.error():
                with suppress(confluent_kafka.KafkaException):
                    producer.produce("payed", message.value(), on_delivery=on_delivery)
                producer.flush()

    return main


def test_a_record_that_is_lost_without_a_word_proves_nothing():
    campaign = explore(shop(forwards(None)), faults_max=1)
    assert campaign.result == "unknown"
    [why] = [one for one in campaign.sentences() if "was lost" in one][:1]
    assert "worker.main sent was lost, even without any fault" in why
    assert "bus has no topic 'payed'; it has: orders" in why


def test_who_is_told_may_do_something_about_it_and_the_report_names_the_topic():
    told = []
    campaign = explore(shop(forwards(lambda error, _: told.append(error.name()))), faults_max=1)
    assert set(told) == {"UNKNOWN_TOPIC_OR_PART"}
    assert campaign.spoken.startswith("not there: topic 'payed' of bus; spoke: confluent-kafka")
    assert not [one for one in campaign.sentences() if "was lost" in one]


def test_a_topic_that_is_there_is_not_named():
    run = shop(lambda: producer_at("one:9092").produce("orders", b"x")).run()
    assert run.lacked == ()


def test_what_a_client_would_wait_for_in_silence_is_told_by_the_run():
    def main():
        kafka.KafkaConsumer("absent", bootstrap_servers="one:9092", group_id="g").poll(100)

    with pytest.raises(InvalidDefinition, match="bus has no topic 'absent'; it has: orders"):
        shop(main).run()


def test_a_record_of_a_transaction_that_goes_nowhere_has_it_aborted():
    found = []

    def main():
        producer = producer_at("one:9092", **{"transactional.id": "t"})
        producer.init_transactions()
        producer.begin_transaction()
        producer.produce("absent", b"x")
        try:
            producer.commit_transaction()
        except confluent_kafka.KafkaException as error:
            found.append((error.args[0].name(), error.args[0].txn_requires_abort()))
        producer.abort_transaction()

    shop(main).run()
    assert found == [("UNKNOWN_TOPIC_OR_PART", True)]
