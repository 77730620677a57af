"""What code over FastStream hears of its own mistakes: the errors of the clients beneath it.

Rows of the table of bad input; a running RabbitMQ and a broker of Kafka's are asked the same.
"""

import asyncio

import pytest

from benchmarks.kafka_strict import running_strictly
from chaosharness import AMQP, Kafka, KafkaServers, RabbitMQ
from chaosharness.errors import InvalidDefinition
from tests.adapters.test_bad_input import channel_at, spelled, told_in

pytest.importorskip("aiokafka")
pytest.importorskip("aio_pika")
confluent_kafka = pytest.importorskip("confluent_kafka")
pytest.importorskip("faststream")

from faststream.kafka import KafkaBroker  # noqa: E402
from faststream.rabbit import RabbitBroker, RabbitExchange, RabbitQueue  # noqa: E402

QUEUE = "chaosharness-bad-input-faststream"


async def asked(broker, ask):
    await broker.start()
    try:
        return await ask(broker)
    except Exception as error:
        return spelled(error)
    finally:
        await broker.stop()


# ---- RabbitMQ


async def to_an_absent_exchange(broker):
    await broker.publish("x", "k", exchange="absent")


async def reaches_nobody(broker):
    return type(await broker.publish("x", "absent")).__name__


async def reaches_nobody_which_is_allowed(broker):
    return type(await broker.publish("x", "absent", mandatory=False)).__name__


async def looks_for_an_absent_queue(broker):
    await broker.declare_queue(RabbitQueue("absent", declare=False))


async def looks_for_an_absent_exchange(broker):
    await broker.declare_exchange(RabbitExchange("absent", declare=False))


async def a_queue_declared_otherwise(broker):
    await broker.declare_queue(RabbitQueue(QUEUE, durable=False))


AT_RABBITMQ = {
    to_an_absent_exchange: "ChannelNotFoundEntity: NOT_FOUND - no exchange 'absent'",
    reaches_nobody: "DeliveredMessage",
    reaches_nobody_which_is_allowed: "Ack",
    looks_for_an_absent_queue: "ChannelNotFoundEntity: NOT_FOUND - no queue 'absent'",
    looks_for_an_absent_exchange: "ChannelNotFoundEntity: NOT_FOUND - no exchange 'absent'",
    a_queue_declared_otherwise: "ChannelPreconditionFailed: PRECONDITION_FAILED - inequivalent arg",
}


def at_rabbitmq(ask):
    bus = RabbitMQ("bus", queues=[QUEUE], version="3.10")

    async def call():
        return await asked(RabbitBroker("amqp://rabbit/"), ask)

    return told_in(bus, call, AMQP("rabbit", bus))


@pytest.mark.real_broker
@pytest.mark.parametrize("ask", AT_RABBITMQ)
def test_a_running_rabbitmq_says_the_same(ask):
    pika = pytest.importorskip("pika")
    try:
        channel = channel_at("127.0.0.1")
    except pika.exceptions.AMQPError:
        pytest.skip("no RabbitMQ answers at 127.0.0.1:5672 (guest/guest)")
    try:
        channel.queue_declare(QUEUE, durable=True)
        broker = RabbitBroker("amqp://guest:guest@127.0.0.1/")
        assert asyncio.run(asked(broker, ask)) == at_rabbitmq(ask)
    finally:
        channel.queue_delete(QUEUE)
        channel.connection.close()


# ---- Kafka


async def sends_to_an_absent_topic(broker):
    await broker.publish("x", "absent")


async def sends_too_much(broker):
    await broker.publish(b"x" * 1_100_000, "orders", headers={"trace": "4bf92f"})


AT_KAFKA = {
    sends_to_an_absent_topic: "UnknownTopicOrPartitionError: ",
    sends_too_much: "MessageSizeTooLargeError: ",
}


def kafka_at(servers):
    return KafkaBroker(servers, request_timeout_ms=1_500)


def at_kafka(ask):
    bus = Kafka("bus", {"orders": 2})

    async def call():
        return await asked(kafka_at("one:9092"), ask)

    return told_in(bus, call, KafkaServers("one:9092", bus))


@pytest.mark.real_broker
@pytest.mark.parametrize("ask", AT_KAFKA)
def test_a_broker_of_kafkas_has_it_say_the_same(ask):
    pytest.importorskip("noida_db", reason="no broker: pip install noida-db")
    with running_strictly() as port:
        servers = f"127.0.0.1:{port}"
        admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": servers})
        topic = confluent_kafka.admin.NewTopic("orders", 2, 1)
        admin.create_topics([topic])["orders"].result(10)
        assert asyncio.run(asked(kafka_at(servers), ask)) == at_kafka(ask)


@pytest.mark.parametrize("makes_topics", [True, False])
def test_what_a_subscriber_is_decorated_with_and_is_not_there_ends_the_run(makes_topics):
    bus = Kafka("bus", {"orders": 2}, session_timeout_ms=10_000, assignment="round-robin")

    async def call():
        broker = KafkaBroker("one:9092", allow_auto_create_topics=makes_topics)

        @broker.subscriber("ordres", group_id="g")
        async def on_order(order): ...

        await broker.start()

    with pytest.raises(InvalidDefinition, match="'ordres'"):
        told_in(bus, call, KafkaServers("one:9092", bus))
