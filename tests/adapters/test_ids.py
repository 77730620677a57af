"""Whether the ids that each product's clients hand on are met where the client puts them.

For each client a service that hands the correlation id of a message on, which must be silent, and
one that loses it, which must be named: `python -m pytest tests/adapters/test_ids.py -v`.
"""

import asyncio
import json

import aio_pika
import aiokafka
import boto3
import confluent_kafka
import kafka
import nats
import pika
import pytest
import redis
import redis.asyncio
from celery import Celery, chain, group
from faststream import FastStream
from faststream.kafka import KafkaBroker
from faststream.rabbit import RabbitBroker

from chaosharness import (
    AMQP,
    AWS,
    NATS,
    SNS,
    SQS,
    EventBridge,
    EventRule,
    Kafka,
    KafkaServers,
    Lambda,
    NATSConsumer,
    NATSStream,
    RabbitMQ,
    Redis,
    SNSSubscription,
    System,
    ids_travel,
)

ID = "r-1"
NAME = "correlation_id"
FASTSTREAM = {"session_timeout_ms": 10_000, "assignment": "round-robin"}
HEADERS = [(NAME, ID.encode())]


def carried(does, words, none=None):
    """Return what is handed on, by a service that does and one that does not."""
    return words if does else none


# ---- Kafka


def on_kafka(main, place, **options):
    system = System("shop")
    bus = system.add(Kafka("bus", {"orders": 1, "paid": 1}, **options))
    system.add(KafkaServers("one:9092", bus))
    system.service("billing")(lambda env: env.main(main))
    system.entry(examples=["o1"])(lambda env, order: place())
    return system


def place_by_confluent():
    producer = confluent_kafka.Producer({"bootstrap.servers": "one:9092"})
    producer.produce("orders", b"o1", headers=HEADERS)
    producer.flush()


def by_confluent(does):
    def main():
        words = {"bootstrap.servers": "one:9092"}
        consumer = confluent_kafka.Consumer(
            {**words, "group.id": "billing", "auto.offset.reset": "earliest"}
        )
        consumer.subscribe(["orders"])
        producer = confluent_kafka.Producer(words)
        while True:
            message = consumer.poll(5)
            if message is not None and message.error() is None:
                producer.produce("paid", b"o1", headers=carried(does, message.headers()))
                producer.flush()

    return on_kafka(main, place_by_confluent)


def by_kafka_python(does):
    def main():
        words = {"bootstrap_servers": "one:9092"}
        consumer = kafka.KafkaConsumer(
            "orders", group_id="billing", auto_offset_reset="earliest", **words
        )
        producer = kafka.KafkaProducer(**words)
        for record in consumer:
            producer.send("paid", b"o1", headers=carried(does, record.headers)).get()

    return on_kafka(main, place_by_confluent)


def by_aiokafka(does):
    async def main():
        words = {"bootstrap_servers": "one:9092"}
        consumer = aiokafka.AIOKafkaConsumer(
            "orders", group_id="billing", auto_offset_reset="earliest", **words
        )
        async with consumer, aiokafka.AIOKafkaProducer(**words) as producer:
            async for record in consumer:
                headers = carried(does, [*record.headers])
                await producer.send_and_wait("paid", b"o1", headers=headers)

    return on_kafka(main, place_by_confluent)


# ---- RabbitMQ


def on_rabbitmq(main, place):
    system = System("shop")
    bus = system.add(RabbitMQ("bus", queues=["orders", "paid"]))
    system.add(AMQP("rabbit", bus))
    system.service("billing")(lambda env: env.main(main))
    system.entry(examples=["o1"])(lambda env, order: place())
    return system


def say_by_pika(properties, queue="orders"):
    def place():
        connection = pika.BlockingConnection(pika.ConnectionParameters("rabbit"))
        connection.channel().basic_publish("", queue, b"o1", properties)
        connection.close()

    return place


def by_pika(does, property):
    def main():
        connection = pika.BlockingConnection(pika.ConnectionParameters("rabbit"))
        channel = connection.channel()

        def on_order(channel, method, properties, body):
            words = pika.BasicProperties(
                correlation_id=carried(does, properties.correlation_id),
                headers=carried(does, properties.headers),
            )
            channel.basic_publish("", "paid", body, words)
            channel.basic_ack(method.delivery_tag)

        channel.basic_consume("orders", on_order)
        channel.start_consuming()

    words = {"correlation_id": ID} if property else {"headers": {"x-correlation-id": ID}}
    return on_rabbitmq(main, say_by_pika(pika.BasicProperties(**words)))


def by_pika_property(does):
    return by_pika(does, True)


def by_pika_header(does):
    return by_pika(does, False)


def by_aio_pika(does, property):
    async def main():
        connection = await aio_pika.connect("amqp://rabbit/")
        channel = await connection.channel()
        queue = await channel.get_queue("orders")
        async with queue.iterator() as messages:
            async for message in messages:
                async with message.process():
                    told = aio_pika.Message(
                        message.body,
                        correlation_id=carried(does, message.correlation_id),
                        headers=carried(does, message.headers),
                    )
                    await channel.default_exchange.publish(told, "paid")

    words = {"correlation_id": ID} if property else {"headers": {"x-correlation-id": ID}}
    return on_rabbitmq(main, say_by_pika(pika.BasicProperties(**words)))


def by_aio_pika_property(does):
    return by_aio_pika(does, True)


def by_aio_pika_header(does):
    return by_aio_pika(does, False)


# ---- AWS


def client(name):
    return boto3.client(name, region_name="eu-central-1")


ATTRIBUTES = {NAME: {"DataType": "String", "StringValue": ID}}
NEWS = "arn:aws:sns:eu-central-1:000000000000:news"


def on_aws(main, place, *, raw=True):
    system = System("shop")
    queues = system.add(SQS("queues", ["orders", "paid"]))
    rules = {"placed": EventRule({"source": ["shop"]}, "orders")}
    bus = system.add(EventBridge("bus", queues, rules))
    topics = system.add(SNS("topics", queues, {"news": [SNSSubscription("orders", raw=raw)]}))
    system.add(AWS(queues, topics, bus))
    system.service("billing")(lambda env: main(env, queues))
    system.entry(examples=["o1"])(lambda env, order: place())
    return system


def received(does, read):
    """Return a loop over what comes, of which `read(message)` gives the attributes to hand on."""

    def loop():
        sqs = client("sqs")
        url = "https://sqs/0/orders"
        while True:
            answer = sqs.receive_message(
                QueueUrl=url, WaitTimeSeconds=20, MessageAttributeNames=["All"]
            )
            for message in answer.get("Messages", ()):
                words = carried(does, {"MessageAttributes": read(message)}, {})
                sqs.send_message(QueueUrl="https://sqs/0/paid", MessageBody="o1", **words)
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    return lambda env, queues: env.main(loop)


def texts(words):
    return {
        name: {"DataType": "String", "StringValue": one["StringValue"]}
        for name, one in words.items()
    }


def by_sqs(does):
    def place():
        client("sqs").send_message(
            QueueUrl="https://sqs/0/orders", MessageBody="o1", MessageAttributes=ATTRIBUTES
        )

    return on_aws(received(does, lambda message: texts(message["MessageAttributes"])), place)


def tell():
    client("sns").publish(TopicArn=NEWS, Message="o1", MessageAttributes=ATTRIBUTES)


def by_sns_raw(does):
    return on_aws(received(does, lambda message: texts(message["MessageAttributes"])), tell)


def by_sns(does):
    def read(message):
        words = json.loads(message["Body"])["MessageAttributes"]
        return {
            name: {"DataType": one["Type"], "StringValue": one["Value"]}
            for name, one in words.items()
        }

    return on_aws(received(does, read), tell, raw=False)


def put():
    detail = json.dumps({"order": "o1", "metadata": {NAME: ID}})
    entry = {"Source": "shop", "DetailType": "Placed", "Detail": detail}
    client("events").put_events(Entries=[entry])


def by_eventbridge(does):
    def read(message):
        detail = json.loads(message["Body"])["detail"]
        return {NAME: {"DataType": "String", "StringValue": detail["metadata"][NAME]}}

    return on_aws(received(does, read), put)


def by_lambda(does):
    """EventBridge, a queue, and a function that puts the next event."""

    def handler(event, context):
        for record in event["Records"]:
            metadata = json.loads(record["body"])["detail"]["metadata"]
            detail = {"order": "o1", **carried(does, {"metadata": metadata}, {})}
            entry = {"Source": "billing", "DetailType": "Paid", "Detail": json.dumps(detail)}
            client("events").put_events(Entries=[entry])

    return on_aws(lambda env, queues: env.consume(queues, "orders", Lambda(handler)), put)


# ---- NATS


def by_nats(does):
    async def place(env, order):
        connection = await nats.connect("nats://one")
        await connection.jetstream().publish("orders", b"o1", headers={NAME: ID})

    async def main():
        connection = await nats.connect("nats://one")
        stream = connection.jetstream()
        orders = await stream.pull_subscribe("orders", durable="billing")
        while True:
            try:
                messages = await orders.fetch(1, timeout=5)
            except nats.errors.TimeoutError:
                continue
            for message in messages:
                await stream.publish("paid", b"o1", headers=carried(does, message.headers))
                await message.ack()

    system = System("shop")
    consumers = {"billing": NATSConsumer(filters="orders")}
    stream = NATSStream(subjects=["orders", "paid"], consumers=consumers)
    system.add(NATS("bus", {"ORDERS": stream}))
    system.service("billing")(lambda env: env.main(main))
    system.entry(examples=["o1"])(place)
    return system


def by_core_nats(does):
    async def place(env, order):
        await asyncio.sleep(1)
        connection = await nats.connect("nats://one")
        await connection.publish("orders", b"o1", headers={NAME: ID})

    async def main():
        connection = await nats.connect("nats://one")

        async def on_order(message):
            await connection.publish("paid", b"o1", headers=carried(does, message.headers))

        await connection.subscribe("orders", cb=on_order)

    system = System("shop")
    system.add(NATS("bus", {}))
    system.service("billing")(lambda env: env.main(main))
    system.entry(examples=["o1"])(place)
    return system


# ---- Redis Streams


def on_redis(main):
    system = System("shop")
    system.add(Redis("bus", ["orders", "paid"], url="redis://one"))
    system.service("billing")(lambda env: env.main(main))

    @system.entry(examples=["o1"])
    def place(env, order):
        redis.Redis("one").xadd("orders", {"order": order, NAME: ID})

    return system


def entries_of(answer):
    streams = answer.items() if isinstance(answer, dict) else answer or []
    return [entry for _, entries in streams for entry in entries]


def by_redis(does):
    def main():
        bus = redis.Redis("one")
        bus.xgroup_create("orders", "billing", id="0", mkstream=True)
        while True:
            answer = bus.xreadgroup("billing", "b-1", {"orders": ">"}, count=1, block=5_000)
            for name, fields in entries_of(answer):
                more = carried(does, {NAME: fields.get(NAME.encode(), b"")}, {})
                bus.xadd("paid", {"order": "o1", **more})
                bus.xack("orders", "billing", name)

    return on_redis(main)


def by_redis_asyncio(does):
    async def main():
        bus = redis.asyncio.Redis(host="one")
        await bus.xgroup_create("orders", "billing", id="0", mkstream=True)
        while True:
            answer = await bus.xreadgroup("billing", "b-1", {"orders": ">"}, count=1, block=5_000)
            for name, fields in entries_of(answer):
                more = carried(does, {NAME: fields.get(NAME.encode(), b"")}, {})
                await bus.xadd("paid", {"order": "o1", **more})
                await bus.xack("orders", "billing", name)

    return on_redis(main)


# ---- frameworks


def faststream_app(broker, does):
    """Return an application that answers on a topic, or that publishes by itself."""
    if does:

        @broker.subscriber("orders")
        @broker.publisher("paid")
        async def on_order(order: str) -> str:
            return order

    else:

        @broker.subscriber("orders")
        async def on_order(order: str) -> None:
            await broker.publish(order, "paid")  # under a correlation id that is made up for it

    return FastStream(broker)


def by_faststream_on_rabbit(does):
    async def main():
        await faststream_app(RabbitBroker("amqp://rabbit/"), does).run()

    return on_rabbitmq(main, say_by_pika(pika.BasicProperties(correlation_id=ID)))


def by_faststream_on_kafka(does):
    async def main():
        await faststream_app(KafkaBroker("one:9092"), does).run()

    return on_kafka(main, place_by_confluent, **FASTSTREAM)


def on_celery(bill, *, headers=None, also=None):
    """Return a system of two tasks, the first of which asks for the second."""
    app = Celery("shop", broker="amqp://guest:guest@rabbit//", set_as_current=False)

    def pay(self, order):
        return order

    def work(self, order):
        bill(self, paid, order)

    paid = app.task(bind=True, name="shop.pay", shared=False)(pay)
    billed = app.task(bind=True, name="shop.bill", shared=False)(work)
    system = System("shop", arrival_ms=0)
    bus = system.add(RabbitMQ("bus", queues=["paid"]))
    system.add(AMQP("rabbit", bus))
    argv = ["worker", "--pool=solo", "--concurrency=1"]
    system.service("workers")(lambda env: env.main(lambda: app.worker_main([*argv])))

    @system.entry(examples=["o1"])
    def place(env, order):
        billed.apply_async([order], headers=headers)

    return system


def by_celery(does):
    """Celery hands on the id of the first task, unless somebody says something else."""

    def bill(self, paid, order):
        paid.apply_async([order], root_id=carried(does, self.request.root_id, "another"))

    return on_celery(bill)


def by_celery_header(does):
    def bill(self, paid, order):
        paid.apply_async([order], headers=carried(does, self.request.headers))

    return on_celery(bill, headers={"x-correlation-id": ID})


CLIENTS = [
    *(by_confluent, by_kafka_python, by_aiokafka),
    *(by_pika_property, by_pika_header, by_aio_pika_property, by_aio_pika_header),
    *(by_sqs, by_sns_raw, by_sns, by_eventbridge, by_lambda),
    *(by_nats, by_core_nats, by_redis, by_redis_asyncio),
    *(by_faststream_on_rabbit, by_faststream_on_kafka, by_celery, by_celery_header),
]


@pytest.mark.parametrize("client", CLIENTS)
def test_an_id_that_is_handed_on_is_no_finding(client):
    run = client(True).run()
    assert run.ending.verdict == "quiet", run.ending
    run.check(ids_travel())
    assert ids_travel().is_tested(run.evidence())
    assert len([*run.history.of("publish")]) > 1


@pytest.mark.parametrize("client", CLIENTS)
def test_an_id_that_is_lost_is_a_finding(client):
    run = client(False).run()
    with pytest.raises(AssertionError, match=r"with(out the| another) correlation id"):
        run.check(ids_travel())


NAMES = {
    by_pika_header: "x-correlation-id",
    by_aio_pika_header: "x-correlation-id",
    by_celery_header: "x-correlation-id",
}
BY_NAME = [one for one in CLIENTS if one is not by_celery]  # whose tasks name their parents


def follows(client):
    """Claim that each event names the one before, by what this client hands on."""
    name = NAMES.get(client, NAME)
    return ids_travel(correlation="none", causation=name, message_id=name)


@pytest.mark.parametrize("client", BY_NAME)
def test_an_event_that_names_the_one_before_is_no_finding(client):
    run = client(True).run()
    run.check(follows(client))
    assert follows(client).is_tested(run.evidence())


@pytest.mark.parametrize("client", BY_NAME)
def test_an_event_that_does_not_say_what_it_follows_from_is_a_finding(client):
    run = client(False).run()
    with pytest.raises(AssertionError, match=f"says? that it follows from|follows from .* {ID}"):
        run.check(follows(client))


@pytest.mark.parametrize(
    ("follows", "right"), [("m-1", True), ("of the envelope", True), ("m-0", False)]
)
def test_what_a_topic_was_told_has_two_ids_of_its_own(follows, right):
    """The author's, and that of SNS in its envelope; an older one is neither."""
    attribute = {"DataType": "String", "StringValue": "m-1"}

    def place():
        client("sns").publish(
            TopicArn=NEWS, Message="o1", MessageAttributes={"message_id": attribute}
        )

    def read(message):
        named = follows
        if follows == "of the envelope":
            named = json.loads(message["Body"])["MessageId"]
        return {"causation_id": {"DataType": "String", "StringValue": named}}

    run = on_aws(received(True, read), place, raw=False).run()
    found = [one.kind for one in ids_travel().findings(run.evidence())]
    assert found == ([] if right else ["causation changed"])


def test_a_task_that_tells_somebody_outside_of_celery_loses_nothing():
    """Nobody chose the ids of tasks as correlation ids: they are compared among tasks alone."""

    def bill(self, paid, order):
        say_by_pika(pika.BasicProperties(), "paid")()

    run = on_celery(bill).run()
    assert [event.data["topic"] for event in run.history.of("publish")] == ["celery", "paid"]
    run.check(ids_travel())


def asks_for_more(self, paid, order):
    if self.request.retries < 1:
        raise self.retry(countdown=1, max_retries=3)
    paid.delay(order)


def chains(self, paid, order):
    chain(paid.si(order), paid.si(order)).delay()


def links(self, paid, order):
    group(paid.si(order), paid.si(order).on_error(paid.si(order))).delay()
    paid.apply_async((order,), link=paid.si(order))


@pytest.mark.parametrize("asks", [asks_for_more, chains, links])
@pytest.mark.parametrize("claim", [ids_travel(), ids_travel(causation="parent_id")])
def test_a_task_follows_from_the_one_that_asked_for_it(asks, claim):
    run = on_celery(asks).run()
    assert len([*run.history.of("publish")]) > 2, run.ending
    run.check(claim)
    assert claim.is_tested(run.evidence())


def test_a_task_that_names_another_parent_is_a_finding():
    def bill(self, paid, order):
        paid.apply_async((order,), parent_id="somebody else")

    run = on_celery(bill).run()
    with pytest.raises(AssertionError, match=r"follows from somebody else, and follows from"):
        run.check(ids_travel())


def test_an_id_inside_of_what_a_topic_was_told_is_met_too():
    """Not raw, what SNS puts into a queue is an envelope with the message as a text inside."""

    def place():
        client("sns").publish(TopicArn=NEWS, Message=json.dumps({"order": "o1", NAME: ID}))

    def read(message):
        told = json.loads(json.loads(message["Body"])["Message"])
        return {NAME: {"DataType": "String", "StringValue": told[NAME]}}

    on_aws(received(True, read), place, raw=False).run().check(ids_travel())
    with pytest.raises(AssertionError, match=f"without the correlation id {ID} of"):
        on_aws(received(False, read), place, raw=False).run().check(ids_travel())
