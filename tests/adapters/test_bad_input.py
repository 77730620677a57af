"""What a handler sees of its own mistakes: each client's error, by its name.

What RabbitMQ and NATS say is asked of running ones too, by the same code.
"""

import asyncio
import time
from functools import partial

import pytest

from benchmarks.nats_server import running
from chaosharness import (
    AMQP,
    NATS,
    Kafka,
    KafkaServers,
    NATSConsumer,
    NATSStream,
    RabbitMQ,
    System,
)
from tests.adapters.test_boto3 import said_by

aiokafka = pytest.importorskip("aiokafka")
boto3 = pytest.importorskip("boto3")
botocore = pytest.importorskip("botocore")
confluent_kafka = pytest.importorskip("confluent_kafka")
kafka = pytest.importorskip("kafka")
nats = pytest.importorskip("nats")
pika = pytest.importorskip("pika")

QUEUE = "chaosharness-bad-input"


def told_in(part, call, *more):
    """Return what a service's code raises, or gives."""
    found = []
    system = System("shop")
    system.add(part)
    for one in more:
        system.add(one)

    def main():
        found.append(said(call))

    async def later():
        try:
            found.append(await call())
        except Exception as error:
            found.append(spelled(error))

    system.service("worker")(lambda env: env.main(later if is_async(call) else main))
    system.entry(examples=[1])(lambda env, item: None)
    run = system.run()
    assert run.ending.verdict == "quiet", run.ending
    return found[0]


def is_async(call):
    return asyncio.iscoroutinefunction(getattr(call, "func", call))


def said(call):
    try:
        return call()
    except Exception as error:
        return spelled(error)


def spelled(error):
    return f"{type(error).__name__}: {error}"


# ---- RabbitMQ, by pika


def channel_at(host):
    return pika.BlockingConnection(pika.ConnectionParameters(host)).channel()


def asks_an_absent_queue(channel):
    channel.basic_get("absent")


def publishes_to_an_absent_exchange(channel):
    channel.confirm_delivery()
    channel.basic_publish("absent", "k", b"x")


def publishes_what_reaches_nobody(channel):
    channel.confirm_delivery()
    channel.basic_publish("", "absent", b"x", mandatory=True)


def consumes_an_absent_queue(channel):
    channel.basic_consume("absent", lambda *_: None)


def looks_for_an_absent_queue(channel):
    channel.queue_declare("absent", passive=True)


def looks_for_an_absent_exchange(channel):
    channel.exchange_declare("absent", passive=True)


def declares_it_otherwise(channel):
    channel.queue_declare(QUEUE, durable=False)


def acknowledges_an_unknown_tag(channel):
    channel.basic_ack(99)
    channel.queue_declare(QUEUE, passive=True)


def acknowledges_twice(channel):
    channel.queue_purge(QUEUE)
    channel.basic_publish("", QUEUE, b"x")
    channel.connection.sleep(0.1)
    method, _, _ = channel.basic_get(QUEUE)
    channel.basic_ack(method.delivery_tag)
    channel.basic_ack(method.delivery_tag)
    channel.queue_declare(QUEUE, passive=True)


def rejects_what_it_acknowledged_on_hand_over(channel):
    channel.queue_purge(QUEUE)
    channel.basic_publish("", QUEUE, b"x")
    channel.connection.sleep(0.1)
    method, _, _ = channel.basic_get(QUEUE, auto_ack=True)
    channel.basic_nack(method.delivery_tag)
    channel.queue_declare(QUEUE, passive=True)


def binds_an_absent_queue(channel):
    channel.queue_bind("absent", "amq.topic", "k")


def publishes(channel, **properties):
    channel.basic_publish("", QUEUE, b"x", pika.BasicProperties(**properties))
    channel.queue_declare(QUEUE, passive=True)


def expires_soon(channel):
    publishes(channel, expiration="soon")


def expires_after_half_a_millisecond(channel):
    publishes(channel, expiration="1.5")


def expires_before_now(channel):
    publishes(channel, expiration="-1")


def says_it_is_somebody_else(channel):
    publishes(channel, user_id="somebody")


def is_of_an_unknown_delivery_mode(channel):
    publishes(channel, delivery_mode=3)


def is_of_no_such_priority(channel):
    publishes(channel, priority=300)


def has_a_fraction_in_its_headers(channel):
    publishes(channel, headers={"rate": 1.5})


def has_a_set_in_its_headers(channel):
    publishes(channel, headers={"ids": {1}})


def declares_a_reserved_name(channel):
    channel.queue_declare("amq.mine")


def declares_an_exchange_of_a_reserved_name(channel):
    channel.exchange_declare("amq.mine", "direct")


def declares_an_exchange_of_no_kind(channel):
    channel.exchange_declare("chaosharness-mine", "round-robin")


def deletes_what_is_the_brokers(channel):
    channel.exchange_delete("amq.topic")


def fetches_by_size(channel):
    channel.basic_qos(prefetch_size=10)


def declared_with(flags=None, **arguments):
    def declares(channel):
        asked = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
        channel.queue_declare(ANEW, arguments=asked, **(flags or {"durable": True}))

    return declares


ANEW = "chaosharness-anew"
REFUSED = {
    "a time to live in words": declared_with(message_ttl="soon"),
    "a time to live of true": declared_with(message_ttl=True),
    "a time to live before now": declared_with(message_ttl=-1),
    "no expiry": declared_with(expires=0),
    "a length below none": declared_with(max_length=-1),
    "priorities beyond a byte": declared_with(max_priority=256),
    "an unknown overflow": declared_with(overflow="explode"),
    "an overflow of a number": declared_with(overflow=1),
    "an unknown type": declared_with(queue_type="fast"),
    "a key of letters without their exchange": declared_with(dead_letter_routing_key="k"),
    "an exchange of letters that is a number": declared_with(dead_letter_exchange=1),
    "a single consumer of 1": declared_with(single_active_consumer=1),
    "a limit of deliveries of a classic queue": declared_with(delivery_limit=3),
    "priorities of a quorum queue": declared_with(max_priority=3, queue_type="quorum"),
    "a time to live of a stream": declared_with(message_ttl=3, queue_type="stream"),
    "a transient quorum queue": declared_with({"durable": False}, queue_type="quorum"),
    "a quorum queue of one's own": declared_with(
        {"durable": True, "exclusive": True}, queue_type="quorum"
    ),
    "a stream that deletes itself": declared_with(
        {"durable": True, "auto_delete": True}, queue_type="stream"
    ),
    "two mistakes": declared_with(max_length=-1, expires=-1),
}


BY_PIKA = {
    asks_an_absent_queue: "ChannelClosedByBroker: (404, \"NOT_FOUND - no queue 'absent'",
    publishes_to_an_absent_exchange: 'ChannelClosedByBroker: (404, "NOT_FOUND - no exchange',
    publishes_what_reaches_nobody: "UnroutableError: 1 unroutable message(s) returned",
    consumes_an_absent_queue: "ChannelClosedByBroker: (404, \"NOT_FOUND - no queue 'absent'",
    looks_for_an_absent_queue: "ChannelClosedByBroker: (404, \"NOT_FOUND - no queue 'absent'",
    looks_for_an_absent_exchange: 'ChannelClosedByBroker: (404, "NOT_FOUND - no exchange',
    declares_it_otherwise: 'ChannelClosedByBroker: (406, "PRECONDITION_FAILED - inequivalent',
    acknowledges_an_unknown_tag: (
        "ChannelClosedByBroker: (406, 'PRECONDITION_FAILED - unknown delivery tag 99')"
    ),
    acknowledges_twice: (
        "ChannelClosedByBroker: (406, 'PRECONDITION_FAILED - unknown delivery tag 1')"
    ),
    rejects_what_it_acknowledged_on_hand_over: (
        "ChannelClosedByBroker: (406, 'PRECONDITION_FAILED - unknown delivery tag 1')"
    ),
    binds_an_absent_queue: "ChannelClosedByBroker: (404, \"NOT_FOUND - no queue 'absent'",
    expires_soon: "ChannelClosedByBroker: (406, \"PRECONDITION_FAILED - invalid expiration 'soon'",
    expires_after_half_a_millisecond: (
        "ChannelClosedByBroker: (406, 'PRECONDITION_FAILED - invalid expiration \\'1.5\\': "
    ),
    expires_before_now: (
        "ChannelClosedByBroker: (406, \"PRECONDITION_FAILED - invalid expiration '-1'"
    ),
    says_it_is_somebody_else: (
        "ChannelClosedByBroker: (406, \"PRECONDITION_FAILED - user_id property set to 'somebody'"
    ),
    is_of_an_unknown_delivery_mode: (
        "ChannelClosedByBroker: (406, 'PRECONDITION_FAILED - invalid message: "
    ),
    is_of_no_such_priority: "error: ubyte format requires 0 <= number <= 255",
    has_a_fraction_in_its_headers: "UnsupportedAMQPFieldException: ",
    has_a_set_in_its_headers: "UnsupportedAMQPFieldException: ",
    declares_a_reserved_name: (
        "ChannelClosedByBroker: (403, \"ACCESS_REFUSED - queue name 'amq.mine"
    ),
    declares_an_exchange_of_a_reserved_name: (
        "ChannelClosedByBroker: (403, \"ACCESS_REFUSED - exchange name 'amq.mine"
    ),
    declares_an_exchange_of_no_kind: (
        "ConnectionClosedByBroker: (503, \"COMMAND_INVALID - unknown exchange type 'round-robin'"
    ),
    deletes_what_is_the_brokers: (
        "ChannelClosedByBroker: (403, \"ACCESS_REFUSED - deletion of system exchange 'amq.topic'"
    ),
    fetches_by_size: "ConnectionClosedByBroker: (540, 'NOT_IMPLEMENTED - prefetch_size!=0 (10)'",
    **dict.fromkeys(REFUSED.values(), "ChannelClosedByBroker: (406, "),
}


def by_pika(ask):
    bus = RabbitMQ("bus", queues=[QUEUE], version="3.10")

    def call():
        channel = channel_at("rabbit")
        return said(lambda: ask(channel))

    return told_in(bus, call, AMQP("rabbit", bus))


NAMES = {declares: name for name, declares in REFUSED.items()}


def name_of(ask):
    return NAMES.get(ask, ask.__name__)


@pytest.mark.parametrize("ask", BY_PIKA, ids=name_of)
def test_rabbitmq_says_it_by_pika(ask):
    assert by_pika(ask).startswith(BY_PIKA[ask])


@pytest.mark.real_broker
@pytest.mark.parametrize("ask", BY_PIKA, ids=name_of)
def test_a_running_rabbitmq_says_the_same(ask):
    try:
        channel = channel_at("127.0.0.1")
    except pika.exceptions.AMQPError:
        pytest.skip("no RabbitMQ answers at 127.0.0.1:5672 (guest/guest)")
    connection = channel.connection
    try:
        channel.queue_declare(QUEUE, durable=True)
        theirs = said(lambda: ask(channel))
        assert theirs == by_pika(ask)
    finally:
        connection = connection if connection.is_open else channel_at("127.0.0.1").connection
        connection.channel().queue_delete(QUEUE)
        connection.close()


# ---- SQS, by boto3


def by_boto3(ask):
    def call():
        sqs = boto3.client("sqs", region_name="eu-central-1")
        try:
            ask(sqs)
        except botocore.exceptions.ClientError as error:
            return type(error).__name__, error.response["Error"]["Code"]
        return "taken"

    return said_by(call, queues=("orders", "paid"))[0]


def handle_of(sqs, visibility_s=30):
    url = "https://sqs/0/orders"
    sqs.send_message(QueueUrl=url, MessageBody="x")
    words = {"QueueUrl": url, "WaitTimeSeconds": 1, "VisibilityTimeout": visibility_s}
    [message] = sqs.receive_message(**words)["Messages"]
    return {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]}


def asks_a_queue_that_is_not_there(sqs):
    sqs.send_message(QueueUrl="https://sqs/0/absent", MessageBody="x")


def sends_too_much(sqs):
    sqs.send_message(QueueUrl="https://sqs/0/orders", MessageBody="x" * 1_100_000)


def sends_what_no_message_may_have(sqs):
    sqs.send_message(QueueUrl="https://sqs/0/orders", MessageBody="a\x00b")


def has_an_attribute_of_another_type(sqs):
    found = {"a": {"DataType": "Date", "StringValue": "1"}}
    sqs.send_message(QueueUrl="https://sqs/0/orders", MessageBody="x", MessageAttributes=found)


def has_eleven_attributes(sqs):
    one = {"DataType": "String", "StringValue": "1"}
    found = {f"a{number}": one for number in range(11)}
    sqs.send_message(QueueUrl="https://sqs/0/orders", MessageBody="x", MessageAttributes=found)


def deletes_by_no_handle(sqs):
    sqs.delete_message(QueueUrl="https://sqs/0/orders", ReceiptHandle="x")


def changes_what_is_deleted(sqs):
    handle = handle_of(sqs)
    sqs.delete_message(**handle)
    sqs.change_message_visibility(**handle, VisibilityTimeout=5)


def changes_what_came_back(sqs):
    handle = handle_of(sqs, visibility_s=1)
    time.sleep(3)
    sqs.change_message_visibility(**handle, VisibilityTimeout=5)


def deletes_twice(sqs):
    handle = handle_of(sqs)
    sqs.delete_message(**handle)
    sqs.delete_message(**handle)


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (
            asks_a_queue_that_is_not_there,
            ("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"),
        ),
        (sends_too_much, ("ClientError", "InvalidParameterValue")),
        (sends_what_no_message_may_have, ("InvalidMessageContents", "InvalidMessageContents")),
        (has_an_attribute_of_another_type, ("ClientError", "InvalidParameterValue")),
        (has_eleven_attributes, ("ClientError", "InvalidParameterValue")),
        (deletes_by_no_handle, ("ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid")),
        (changes_what_is_deleted, ("ClientError", "InvalidParameterValue")),
        (changes_what_came_back, "taken"),  # as AWS was recorded to answer
        (deletes_twice, "taken"),
    ],
)
def test_sqs_says_it_by_boto3(ask, told):
    assert by_boto3(ask) == told


# ---- Kafka


def at_kafka(call):
    bus = Kafka("bus", {"orders": 1})
    return told_in(bus, call, KafkaServers("one:9092", bus))


LONG = b"x" * 1_100_000
SERVERS = {"bootstrap_servers": "one:9092"}


def too_long_by_confluent():
    producer = confluent_kafka.Producer({"bootstrap.servers": "one:9092"})
    try:
        producer.produce("orders", LONG)
    except confluent_kafka.KafkaException as error:
        return error.args[0].name()


def too_long_by_kafka_python():
    kafka.KafkaProducer(**SERVERS).send("orders", LONG)


async def too_long_by_aiokafka():
    async with aiokafka.AIOKafkaProducer(**SERVERS) as producer:
        await producer.send("orders", LONG)


def absent_by_confluent():
    """Before it knows the topic it takes whatever partition it is told, and says so later."""
    told = []
    producer = confluent_kafka.Producer({"bootstrap.servers": "one:9092"})
    producer.produce("orders", b"x", partition=7, on_delivery=lambda error, _: told.append(error))
    assert told == []
    producer.flush()
    return told[0].name()


def absent_by_kafka_python():
    kafka.KafkaProducer(**SERVERS).send("orders", b"x", partition=7)


async def not_its_own_by_aiokafka():
    async with aiokafka.AIOKafkaConsumer("orders", group_id="g", **SERVERS) as consumer:
        await consumer.commit({aiokafka.TopicPartition("orders", 7): 1})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (too_long_by_confluent, "MSG_SIZE_TOO_LARGE"),
        (too_long_by_kafka_python, "MessageSizeTooLargeError: "),
        (too_long_by_aiokafka, "MessageSizeTooLargeError: "),
        (absent_by_confluent, "_UNKNOWN_PARTITION"),
        (absent_by_kafka_python, "ValueError: Unrecognized partition 7 for topic orders"),
        (not_its_own_by_aiokafka, "IllegalStateError: "),
    ],
)
def test_kafka_says_it_by_each_client(call, words):
    told = at_kafka(call)
    assert words in told


# ---- NATS


async def publishes_where_nobody_listens(servers):
    connection = await nats.connect(servers)
    try:
        await connection.jetstream().publish("absent.subject", b"x", timeout=1)
    finally:
        await connection.close()


async def looks_for_an_absent_consumer(servers):
    connection = await nats.connect(servers)
    try:
        await connection.jetstream().consumer_info(QUEUE, "absent")
    finally:
        await connection.close()


async def looks_for_an_absent_stream(servers):
    connection = await nats.connect(servers)
    try:
        await connection.jetstream().stream_info("absent")
    finally:
        await connection.close()


async def acknowledges_it_twice(servers):
    connection = await nats.connect(servers)
    try:
        jetstream = connection.jetstream()
        await jetstream.publish("bad.input", b"x")
        reads = await jetstream.pull_subscribe_bind("reader", QUEUE)
        [message] = await reads.fetch(1)
        await message.ack()
        await message.ack()
    finally:
        await connection.close()


BY_NATS = {
    publishes_where_nobody_listens: "NoStreamResponseError",
    looks_for_an_absent_consumer: "NotFoundError",
    looks_for_an_absent_stream: "NotFoundError",
    acknowledges_it_twice: "MsgAlreadyAckdError",
}


def by_nats(ask):
    stream = NATSStream(subjects="bad.*", consumers={"reader": NATSConsumer()})
    return told_in(NATS("bus", {QUEUE: stream}, url="nats://one"), partial(ask, "nats://one"))


@pytest.mark.parametrize("ask", BY_NATS)
def test_nats_says_it_by_nats_py(ask):
    assert by_nats(ask).startswith(BY_NATS[ask])


@pytest.mark.real_broker
@pytest.mark.parametrize("ask", BY_NATS)
def test_a_running_nats_says_the_same(ask):
    async def main(servers):
        connection = await nats.connect(servers)
        jetstream = connection.jetstream()
        await jetstream.add_stream(name=QUEUE, subjects=["bad.*"])
        await jetstream.add_consumer(QUEUE, durable_name="reader", ack_policy="explicit")
        await connection.close()
        try:
            await ask(servers)
        except Exception as error:
            return spelled(error)

    with running() as port:
        theirs = asyncio.run(main(f"nats://127.0.0.1:{port}"))
    assert without_message(theirs) == without_message(by_nats(ask))


def without_message(words):
    """Return an error without the message that it names, whose moment and numbers differ."""
    return words.partition(" Msg(")[0]


def test_a_queue_that_is_not_there_is_named_though_the_broker_drops_the_message_without_a_word():
    """RabbitMQ takes it, and confirms it; nobody hears of it, unless it is mandatory."""

    def publishes(queue):
        def main():
            channel_at("rabbit").basic_publish("", queue, b"x")

        system = System("shop")
        bus = system.add(RabbitMQ("bus", queues=[QUEUE]))
        system.add(AMQP("rabbit", bus))
        system.service("worker")(lambda env: env.main(main))
        system.entry(examples=[1])(lambda env, item: None)
        return system.run().lacked

    assert publishes("absent") == ("queue 'absent' of bus",)
    assert publishes(QUEUE) == ()


# ---- RabbitMQ, by py-amqp


def has_a_set_in_its_headers_by_py_amqp(host):
    amqp = pytest.importorskip("amqp")
    with amqp.Connection(host) as connection:
        channel = connection.channel()
        channel.basic_publish(amqp.Message("x", application_headers={"ids": {1}}), "", QUEUE)


def test_py_amqp_raises_what_it_cannot_write():
    bus = RabbitMQ("bus", queues=[QUEUE])
    call = partial(has_a_set_in_its_headers_by_py_amqp, "rabbit")
    told = told_in(bus, call, AMQP("rabbit", bus))
    assert told.startswith("FrameSyntaxError: ")


@pytest.mark.real_broker
def test_beside_a_running_rabbitmq_it_does_too():
    try:
        channel_at("127.0.0.1").connection.close()
    except pika.exceptions.AMQPError:
        pytest.skip("no RabbitMQ answers at 127.0.0.1:5672 (guest/guest)")
    told = said(partial(has_a_set_in_its_headers_by_py_amqp, "127.0.0.1"))
    assert told.startswith("FrameSyntaxError: ")
