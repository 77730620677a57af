"""What code hears of bad input, product by client: one table, which the docs show.

Where a real server answers, the same program is asked of it, and must hear the same words.
"""

import asyncio
from functools import partial
from pathlib import Path

import boto3
import botocore
import pytest

from benchmarks.nats_server import running
from chaosharness import (
    AMQP,
    AWS,
    NATS,
    SNS,
    SQS,
    Kafka,
    KafkaServers,
    NATSConsumer,
    NATSStream,
    RabbitMQ,
)
from tests.adapters import test_absent_topics as absent_topics
from tests.adapters import test_bad_input_faststream as by_faststream
from tests.adapters import test_refused_commits as late
from tests.adapters.test_bad_input import channel_at, said, spelled, told_in
from tests.adapters.test_bad_input_redis import BY_REDIS, by_redis

aio_pika = pytest.importorskip("aio_pika")
aiokafka = pytest.importorskip("aiokafka")
confluent_kafka = pytest.importorskip("confluent_kafka")
kafka = pytest.importorskip("kafka")
nats = pytest.importorskip("nats")
pika = pytest.importorskip("pika")

QUEUE = "chaosharness-bad-input-table"
REAL_RABBIT = "3.10"
"""The version that CI's machine runs."""
PAGE = Path(__file__).parents[2] / "docs/how-to/troubleshooting.md"


# ---- RabbitMQ


def too_large_by_pika(channel, size):
    channel.basic_publish("", QUEUE, b"x" * size)
    channel.queue_declare(QUEUE, passive=True)


def too_large_and_confirmed_by_pika(channel, size):
    channel.confirm_delivery()
    channel.basic_publish("", QUEUE, b"x" * size)


async def too_large(channel, queue, size):
    await channel.default_exchange.publish(aio_pika.Message(b"x" * size), QUEUE)


async def reaches_nobody(channel, queue):
    answer = await channel.default_exchange.publish(aio_pika.Message(b"x"), "absent")
    return type(answer).__name__  # it raises only where `on_return_raises` is said


async def to_an_absent_exchange(channel, queue):
    exchange = await channel.get_exchange("absent", ensure=False)
    await exchange.publish(aio_pika.Message(b"x"), "k")


async def an_absent_queue(channel, queue):
    await channel.get_queue("absent")


async def an_absent_exchange(channel, queue):
    await channel.get_exchange("absent")


async def a_queue_declared_otherwise(channel, queue):
    await channel.declare_queue(QUEUE, durable=False)


async def acknowledged_twice(channel, queue):
    await channel.default_exchange.publish(aio_pika.Message(b"x"), QUEUE)
    await asyncio.sleep(0.1)
    message = await queue.get()
    await message.ack()
    await message.ack()


async def acknowledged_on_hand_over(channel, queue):
    await channel.default_exchange.publish(aio_pika.Message(b"x"), QUEUE)
    await asyncio.sleep(0.1)
    message = await queue.get(no_ack=True)
    await message.ack()


async def an_unknown_tag(channel, queue):
    underlay = await channel.get_underlay_channel()
    await underlay.basic_ack(99)
    await asyncio.sleep(0.2)
    await queue.get(fail=False)


async def nothing_there(channel, queue):
    await queue.get()


BY_AIO_PIKA = {
    too_large: "ChannelPreconditionFailed: PRECONDITION_FAILED - message size",
    reaches_nobody: "DeliveredMessage",
    to_an_absent_exchange: "ChannelNotFoundEntity: NOT_FOUND - no exchange 'absent'",
    an_absent_queue: "ChannelNotFoundEntity: NOT_FOUND - no queue 'absent'",
    an_absent_exchange: "ChannelNotFoundEntity: NOT_FOUND - no exchange 'absent'",
    a_queue_declared_otherwise: "ChannelPreconditionFailed: PRECONDITION_FAILED - inequivalent arg",
    acknowledged_twice: "MessageProcessError: ('Message already processed'",
    acknowledged_on_hand_over: 'TypeError: Can\'t ack message with "no_ack" flag',
    an_unknown_tag: "ChannelInvalidStateError: <Channel",
    nothing_there: "QueueEmpty: ",
}
BY_PIKA = {
    too_large_by_pika: "ChannelClosedByBroker: (406, 'PRECONDITION_FAILED - message size",
    too_large_and_confirmed_by_pika: (
        "ChannelClosedByBroker: (406, 'PRECONDITION_FAILED - message size"
    ),
}
SIZES = {"3.10": 134_217_728, "4.0": 16_777_216}


def words_of(told):
    """Return what was told, without what differs from object to object."""
    return str(told).partition(" at 0x")[0].partition(", IncomingMessage")[0]


async def by_aio_pika(ask, url, version):
    connection = await aio_pika.connect(url)
    try:
        channel = await connection.channel()
        queue = await channel.declare_queue(QUEUE, durable=True)
        more = (SIZES[version] + 1,) if ask is too_large else ()
        return words_of(await ask(channel, queue, *more))
    except Exception as error:
        return words_of(spelled(error))
    finally:
        await connection.close()


def of_rabbit(ask, version):
    bus = RabbitMQ("bus", queues=[QUEUE], version=version)
    if ask in BY_AIO_PIKA:
        call = partial(by_aio_pika, ask, "amqp://rabbit/", version)
    else:

        def call():
            channel = channel_at("rabbit")
            return said(lambda: ask(channel, SIZES[version] + 1))

    return told_in(bus, call, AMQP("rabbit", bus))


# ---- Kafka

SERVERS = {"bootstrap_servers": "one:9092"}


def of_confluent(ask):
    def call():
        words = {"bootstrap.servers": "one:9092", "group.id": "g"}
        consumer = confluent_kafka.Consumer(words)
        consumer.subscribe(["orders"])
        consumer.poll(3)
        try:
            return ask(consumer)
        except confluent_kafka.KafkaException as error:
            return f"KafkaException: {error.args[0].name()}"

    return call


def commits_an_absent_one_by_confluent(consumer):
    place = confluent_kafka.TopicPartition("orders", 7, 1)
    consumer.commit(offsets=[place], asynchronous=False)


def seeks_an_absent_one_by_confluent(consumer):
    consumer.seek(confluent_kafka.TopicPartition("orders", 7, 1))


def commits_nothing_by_confluent(consumer):
    consumer.commit(asynchronous=False)


def commits_an_absent_one_by_kafka_python():
    consumer = kafka.KafkaConsumer("orders", group_id="g", **SERVERS)
    consumer.poll(100)
    place = kafka.TopicPartition("orders", 7)
    consumer.commit({place: kafka.OffsetAndMetadata(1, "", -1)})


def seeks_an_absent_one_by_kafka_python():
    consumer = kafka.KafkaConsumer("orders", group_id="g", **SERVERS)
    consumer.poll(100)
    consumer.seek(kafka.TopicPartition("orders", 7), 1)


def commits_for_no_group_by_kafka_python():
    kafka.KafkaConsumer("orders", **SERVERS).commit()


async def commits_an_absent_one_by_aiokafka():
    async with aiokafka.AIOKafkaConsumer("orders", group_id="g", **SERVERS) as consumer:
        await consumer.commit({aiokafka.TopicPartition("orders", 7): 1})


async def commits_for_no_group_by_aiokafka():
    async with aiokafka.AIOKafkaConsumer("orders", **SERVERS) as consumer:
        await consumer.commit()


def subscribes_to_nothing_by_confluent(consumer):
    consumer.subscribe([])


def sent_by_confluent(*given, **options):
    return said(
        lambda: confluent_kafka.Producer({"bootstrap.servers": "one:9092"}).produce(
            *given, **options
        )
    )


def sends_an_object_by_confluent(consumer):
    return sent_by_confluent("orders", {"id": 1})


def sends_to_nothing_by_confluent(consumer):
    return sent_by_confluent(None, b"x")


def has_a_number_for_a_header_by_confluent(consumer):
    return sent_by_confluent("orders", b"x", headers={"attempt": 1})


def has_text_for_headers_by_confluent(consumer):
    return sent_by_confluent("orders", b"x", headers="attempt")


def has_text_for_a_header_by_kafka_python():
    kafka.KafkaProducer(**SERVERS).send("orders", b"x", headers=[("attempt", "1")])


def sends_to_two_words_by_kafka_python():
    kafka.KafkaProducer(**SERVERS).send("two words", b"x")


def pauses_what_it_has_not_by_kafka_python():
    kafka.KafkaConsumer("orders", group_id="g", **SERVERS).pause(kafka.TopicPartition("orders", 7))


def commits_without_a_beginning_by_kafka_python():
    producer = kafka.KafkaProducer(transactional_id="t", **SERVERS)
    producer.init_transactions()
    producer.commit_transaction()


def sends_outside_by_kafka_python():
    producer = kafka.KafkaProducer(transactional_id="t", **SERVERS)
    producer.init_transactions()
    producer.send("orders", b"x")


async def commits_without_a_beginning_by_aiokafka():
    async with aiokafka.AIOKafkaProducer(transactional_id="t", **SERVERS) as producer:
        await producer.commit_transaction()


BY_KAFKA = {
    subscribes_to_nothing_by_confluent: "KafkaException: _INVALID_ARG",
    sends_an_object_by_confluent: "TypeError: a bytes-like object is required, not 'dict'",
    sends_to_nothing_by_confluent: "TypeError: argument 1 must be str, not None",
    has_a_number_for_a_header_by_confluent: (
        "TypeError: expected header value to be None, binary, or unicode string, not int"
    ),
    has_text_for_headers_by_confluent: (
        "TypeError: expected headers to be dict or list of (key, value) tuples, not str"
    ),
    has_text_for_a_header_by_kafka_python: (
        "TypeError: All headers items must be (str, bytes) tuples"
    ),
    sends_to_two_words_by_kafka_python: 'ValueError: Topic name "two words" is illegal',
    pauses_what_it_has_not_by_kafka_python: "KeyError: TopicPartition(topic='orders', partition=7)",
    commits_without_a_beginning_by_kafka_python: (
        "KafkaError: KafkaError: TransactionalId t: Invalid transition attempted from state "
        "READY to state COMMITTING_TRANSACTION"
    ),
    sends_outside_by_kafka_python: "IllegalStateError: IllegalStateError: Cannot call send in ",
    commits_without_a_beginning_by_aiokafka: (
        "AssertionError: Invalid state transition TransactionState.READY -> "
        "TransactionState.COMMITTING_TRANSACTION"
    ),
    commits_an_absent_one_by_confluent: "KafkaException: UNKNOWN_TOPIC_OR_PART",
    seeks_an_absent_one_by_confluent: "KafkaException: _STATE",
    commits_nothing_by_confluent: "KafkaException: _NO_OFFSET",
    commits_an_absent_one_by_kafka_python: "KafkaTimeoutError: ",
    seeks_an_absent_one_by_kafka_python: "ValueError: Unassigned partition",
    commits_for_no_group_by_kafka_python: "IllegalStateError: ",
    commits_an_absent_one_by_aiokafka: "IllegalStateError: ",
    commits_for_no_group_by_aiokafka: "IllegalOperation: Requires group_id",
}


def of_kafka(ask):
    bus = Kafka("bus", {"orders": 2})
    call = of_confluent(ask) if ask.__name__.endswith("confluent") else ask
    return told_in(bus, call, KafkaServers("one:9092", bus))


# ---- NATS


async def more_than_a_payload(connection):
    await connection.jetstream().publish("bad.input", b"x" * ((1 << 20) + 1))


async def more_than_a_payload_to_nobody(connection):
    await connection.publish("nobody", b"x" * ((1 << 20) + 1))


async def asks_nobody(connection):
    await connection.request("nobody", b"", timeout=1)


async def waits_for_an_answer_of_none(connection):
    stream = connection.jetstream()
    await stream.publish("bad.input", b"x")
    [message] = await (await stream.pull_subscribe_bind("sent", "BAD")).fetch(1)
    await message.ack_sync()


async def expects_another_stream(connection):
    await connection.jetstream().publish("bad.input", b"x", stream="OTHER")


async def expects_another_last_id(connection):
    headers = {"Nats-Expected-Last-Msg-Id": "o1"}
    await connection.jetstream().publish("bad.input", b"x", headers=headers)


async def expects_a_first_one_of_its_subject(connection):
    stream, headers = connection.jetstream(), {"Nats-Expected-Last-Subject-Sequence": "0"}
    for subject in ("bad.one", "bad.two", "bad.one"):
        await stream.publish(subject, b"x", headers=headers)


async def expects_no_number(connection):
    headers = {"Nats-Expected-Last-Sequence": "soon"}
    await connection.jetstream().publish("bad.input", b"x", headers=headers)


async def asks_for_a_time_to_live(connection):
    await connection.jetstream().publish("bad.input", b"x", headers={"Nats-TTL": "5"})


async def asks_for_a_roll_up(connection):
    await connection.jetstream().publish("bad.input", b"x", headers={"Nats-Rollup": "all"})


async def publishes_on_two_words(connection):
    await connection.publish("two words", b"x")


async def publishes_on_nothing(connection):
    await connection.jetstream().publish("", b"x")


async def publishes_text(connection):
    await connection.publish("nobody", "x")


async def has_a_number_for_a_header(connection):
    await connection.jetstream().publish("bad.input", b"x", headers={"attempt": 1})


async def tells_the_id_of_another_without_waiting(connection):
    for _ in range(2):
        await connection.publish("bad.input", b"x", headers={"Nats-Msg-Id": "o1"})
    await connection.flush()
    info = await connection.jetstream().stream_info("BAD")
    return f"{info.state.messages} kept"


async def expects_another_last_one(connection):
    headers = {"Nats-Expected-Last-Sequence": "99"}
    await connection.jetstream().publish("bad.input", b"x", headers=headers)


BY_NATS = {
    more_than_a_payload: "MaxPayloadError: nats: maximum payload exceeded",
    more_than_a_payload_to_nobody: "MaxPayloadError: nats: maximum payload exceeded",
    asks_nobody: "NoRespondersError: ",
    waits_for_an_answer_of_none: "NoRespondersError: ",
    expects_another_last_one: "BadRequestError: ",
    expects_another_stream: "BadRequestError: nats: BadRequestError: code=400 err_code=10060",
    expects_another_last_id: "BadRequestError: nats: BadRequestError: code=400 err_code=10070",
    expects_a_first_one_of_its_subject: (
        "BadRequestError: nats: BadRequestError: code=400 err_code=10071"
    ),
    expects_no_number: "BadRequestError: nats: BadRequestError: code=400 err_code=10071",
    asks_for_a_time_to_live: "BadRequestError: nats: BadRequestError: code=400 err_code=10166",
    asks_for_a_roll_up: "ServerError: nats: ServerError: code=500 err_code=10111",
    publishes_on_two_words: "BadSubjectError: nats: invalid subject",
    publishes_on_nothing: "BadSubjectError: nats: invalid subject",
    publishes_text: "TypeError: can't concat str to bytes",
    has_a_number_for_a_header: "AttributeError: 'int' object has no attribute 'strip'",
    tells_the_id_of_another_without_waiting: "1 kept",
}


async def by_nats(ask, url):
    connection = await nats.connect(url)
    try:
        return await ask(connection)
    except Exception as error:
        return spelled(error)
    finally:
        await connection.close()


def of_nats(ask):
    stream = NATSStream(subjects="bad.*", consumers={"sent": NATSConsumer(ack="none")})
    return told_in(
        NATS("bus", {"BAD": stream}, url="nats://one"), partial(by_nats, ask, "nats://one")
    )


# ---- SNS

NEWS = "arn:aws:sns:eu-central-1:000000000000:news"


def tells_too_much(sns):
    sns.publish(TopicArn=NEWS, Message="x" * 262_145)


def tells_an_absent_topic(sns):
    sns.publish(TopicArn=NEWS.replace("news", "absent"), Message="x")


def tells_nothing(sns):
    sns.publish(TopicArn=NEWS, Message="")


BY_SNS = {
    tells_too_much: "InvalidParameterException: InvalidParameter",
    tells_an_absent_topic: "NotFoundException: NotFound",
    tells_nothing: "InvalidParameterException: InvalidParameter",
}


def of_sns(ask):
    def call():
        sns = boto3.client("sns", region_name="eu-central-1")
        try:
            ask(sns)
        except botocore.exceptions.ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            assert status == (404 if ask is tells_an_absent_topic else 400)  # as recorded
            return f"{type(error).__name__}: {error.response['Error']['Code']}"

    queues = SQS("queues", ["orders"])
    topics = SNS("topics", queues, {"news": ["orders"]})
    return told_in(queues, call, topics, AWS(queues, topics))


# ---- the table


TABLE = {
    "RabbitMQ, by aio-pika": (BY_AIO_PIKA, lambda ask: of_rabbit(ask, REAL_RABBIT)),
    "RabbitMQ, by pika": (BY_PIKA, lambda ask: of_rabbit(ask, REAL_RABBIT)),
    "Redis Streams, by redis-py": (BY_REDIS, lambda ask: by_redis(ask, "redis-py")),
    "Redis Streams, by redis.asyncio": (BY_REDIS, lambda ask: by_redis(ask, "redis.asyncio")),
    "RabbitMQ, by FastStream": (by_faststream.AT_RABBITMQ, by_faststream.at_rabbitmq),
    "Kafka": (BY_KAFKA, of_kafka),
    "Kafka, a topic that nobody declared": (absent_topics.SAID, absent_topics.ours),
    "Kafka, a commit of who was not polled for too long": (late.SAID, late.ours),
    "Kafka, by FastStream": (by_faststream.AT_KAFKA, by_faststream.at_kafka),
    "NATS, by nats-py": (BY_NATS, of_nats),
    "SNS, by boto3": (BY_SNS, of_sns),
}
CELLS = [(where, ask) for where, (asked, _) in TABLE.items() for ask in asked]


@pytest.mark.parametrize(("where", "ask"), CELLS)
def test_code_hears_what_its_client_says(where, ask):
    words, of = TABLE[where]
    assert of(ask).startswith(words[ask])


@pytest.mark.parametrize("ask", [too_large, *BY_PIKA])
def test_a_message_of_4_may_be_smaller(ask):
    assert f"max size {SIZES['4.0']}" in of_rabbit(ask, "4.0")


@pytest.mark.real_broker
@pytest.mark.parametrize("ask", [*BY_AIO_PIKA, *BY_PIKA])
def test_a_running_rabbitmq_says_the_same(ask):
    try:
        channel = channel_at("127.0.0.1")
    except pika.exceptions.AMQPError:
        pytest.skip("no RabbitMQ answers at 127.0.0.1:5672 (guest/guest)")
    try:
        channel.queue_declare(QUEUE, durable=True)
        if ask in BY_AIO_PIKA:
            url = "amqp://guest:guest@127.0.0.1/"
            theirs = asyncio.run(by_aio_pika(ask, url, REAL_RABBIT))
        else:
            theirs = said(lambda: ask(channel, SIZES[REAL_RABBIT] + 1))
        assert theirs == of_rabbit(ask, REAL_RABBIT)
    finally:
        channel.connection.channel().queue_delete(QUEUE)
        channel.connection.close()


@pytest.mark.real_broker
@pytest.mark.parametrize("ask", BY_NATS)
def test_a_running_nats_says_the_same(ask):
    async def main(url):
        connection = await nats.connect(url)
        stream = connection.jetstream()
        await stream.add_stream(name="BAD", subjects=["bad.*"])
        await stream.add_consumer("BAD", durable_name="sent", ack_policy="none")
        await connection.close()
        return await by_nats(ask, url)

    with running() as port:
        assert asyncio.run(main(f"nats://127.0.0.1:{port}")) == of_nats(ask)


def shown():
    """Return the table, as the docs show it."""
    lines = ["| at | bad input | what code hears |", "|---|---|---|"]
    for where, ask in CELLS:
        if where == "Redis Streams, by redis.asyncio":
            continue  # the same, awaited
        words = ask.__name__.replace("_", " ")
        name, _, rest = TABLE[where][0][ask].partition(": ")
        told = f"`{name}`" + (f": {rest}" if rest else "")
        lines.append(f"| {where} | {words} | {told} |")
    return "\n".join(lines)


def test_the_docs_show_the_table():
    assert shown() in PAGE.read_text("utf-8")
