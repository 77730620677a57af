"""Workers on boto3, confluent-kafka and FastStream, beside the same on ports."""

import json
from contextlib import suppress

import boto3
import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from faststream import AckPolicy, FastStream
from faststream.rabbit import RabbitBroker, RabbitQueue

from chaosharness import (
    AMQP,
    AWS,
    SQS,
    CommitFailed,
    Crash,
    Gateway,
    Kafka,
    KafkaServers,
    LostReply,
    LostRequest,
    Pause,
    RabbitMQ,
    Redeliver,
    Schedule,
    Site,
    System,
)

ORDERS = [{"id": "o1"}, {"id": "o2"}, {"id": "o3"}]
CHARGE = "till.main/bank.charge"


def shop(bus, service, *servers):
    system = System("shop")
    system.add(bus)
    bank = system.add(Gateway("bank"))
    for one in servers:
        system.add(one)
    system.service("till")(lambda env: service(env, bus, env.client(bank).charge))

    @system.entry(examples=ORDERS)
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def happened(system, faults):
    """Return what happened to messages and to the bank, by item."""
    run = system.run(ORDERS, Schedule(faults))
    assert (run.ending.verdict, run.unused) == ("quiet", ())
    kinds = ("publish", "deliver", "ack", "nack", "effect", "fault", "crash")
    kept = [one for one in run.history if one.kind in kinds]
    found = sorted((one.entity, one.kind, named(one.operation), one.attempt) for one in kept)
    assert {one[0] for one in found if one[1] == "effect"} == {1, 2, 3}
    return found


def named(operation):
    """Return an operation's name on ports: boto3's says the request, and which queue."""
    return operation.replace("bus.delete_message orders", "bus.delete")


def by_boto3(env, bus, charge):
    def main():
        sqs = boto3.client("sqs")
        while True:
            found = sqs.receive_message(QueueUrl="sqs/orders", WaitTimeSeconds=20)
            for one in found.get("Messages", []):
                order = json.loads(one["Body"])
                charge(order["id"], 5, key=order["id"])
                sqs.delete_message(QueueUrl="sqs/orders", ReceiptHandle=one["ReceiptHandle"])

    env.main(main)


def by_sqs_port(env, bus, charge):
    consumer = env.consumer(bus, "orders", read_as=dict)

    def main():
        while True:
            for one in consumer.receive(1, wait_s=20):
                charge(one.value["id"], 5, key=one.value["id"])
                consumer.delete(one)

    env.main(main)


SQS_FAULTS = {
    "none": [],
    "crash": [Crash(Site(CHARGE, "after", 2))],
    "paused": [Pause(Site(CHARGE, "before", 2), lasting=40_000)],
}


@pytest.mark.parametrize("name", SQS_FAULTS)
def test_boto3(name):
    mine, ported = SQS("bus", ["orders"]), SQS("bus", ["orders"])
    faults = SQS_FAULTS[name]
    found = happened(shop(mine, by_boto3, AWS(mine)), faults)
    assert found == happened(shop(ported, by_sqs_port), faults)


def by_confluent(env, bus, charge):
    def main():
        options = {"bootstrap.servers": "kafka:9092", "group.id": "till"}
        consumer = Consumer({**options, "enable.auto.commit": False})
        producer = Producer({"bootstrap.servers": "kafka:9092"})
        consumer.subscribe(["orders"])
        while True:
            message = consumer.poll(1.0)
            if message is None:
                continue
            order = json.loads(message.value())["id"]
            charge(order, 5, key=order)
            producer.produce("paid", message.value(), key=message.key())
            producer.flush()
            with suppress(KafkaException):
                consumer.commit(message, asynchronous=False)

    env.main(main)


def by_kafka_port(env, bus, charge):
    consumer, publish = env.consumer(bus, "orders", read_as=bytes), env.publisher(bus)

    def main():
        while True:
            for one in consumer.poll():
                order = json.loads(one.value)["id"]
                charge(order, 5, key=order)
                publish("paid", one.value, key=one.key)
                with suppress(CommitFailed):
                    consumer.commit(one)

    env.main(main)


KAFKA_FAULTS = {
    "none": [],
    "crash": [Crash(Site(CHARGE, "after", 2))],
    "published": [Crash(Site("till.main/bus.publish paid", "after", 1))],
    "paused": [Pause(Site(CHARGE, "before", 3), lasting=3_000)],
}


@pytest.mark.parametrize("name", KAFKA_FAULTS)
def test_confluent_kafka(name):
    topics = {"orders": 1, "paid": 1}
    mine, ported = Kafka("bus", topics), Kafka("bus", topics)
    faults = KAFKA_FAULTS[name]
    found = happened(shop(mine, by_confluent, KafkaServers("kafka:9092", mine)), faults)
    assert found == happened(shop(ported, by_kafka_port), faults)


def by_faststream(env, bus, charge):
    broker = RabbitBroker("amqp://rabbit/")

    @broker.subscriber(RabbitQueue("orders", declare=False), ack_policy=AckPolicy.NACK_ON_ERROR)
    async def on_order(order: dict):
        await charge(order["id"], 5, key=order["id"])
        await broker.publish(order, "paid")

    env.main(FastStream(broker).run)


def by_rabbit_port(env, bus, charge):
    publish = env.publisher(bus)

    async def on_order(order: dict):
        await charge(order["id"], 5, key=order["id"])
        await publish("paid", order)

    env.consume(bus, "orders", on_order)


HANDLED = "till.on_order/bank.charge"
RABBIT_FAULTS = {
    "none": [],
    "crash": [Crash(Site(HANDLED, "after", 2))],
    "handled": [Crash(Site("till.on_order/bus.ack", "after", 1))],
    "no answer": [LostReply(Site(HANDLED, "after", 3))],
}


@pytest.mark.parametrize("name", RABBIT_FAULTS)
def test_faststream(name):
    queues = ["orders", "paid"]
    mine, ported = RabbitMQ("bus", queues=queues), RabbitMQ("bus", queues=queues)
    faults = RABBIT_FAULTS[name]
    found = happened(shop(mine, by_faststream, AMQP("rabbit", mine)), faults)
    assert found == happened(shop(ported, by_rabbit_port), faults)


@pytest.mark.parametrize(
    "fault",
    [
        LostRequest(Site("till.on_order/bus.ack", "before", 1)),
        Redeliver(Site("bus.orders/deliver to till", "after", 3)),
    ],
)
def test_aio_pika_calls_off_what_is_in_hand_when_its_connection_is_lost(fault):
    queues = ["orders", "paid"]
    mine, ported = RabbitMQ("bus", queues=queues), RabbitMQ("bus", queues=queues)
    systems = [shop(mine, by_faststream, AMQP("rabbit", mine)), shop(ported, by_rabbit_port)]
    called_off, published = [], []
    for system in systems:
        run = system.run(ORDERS, Schedule([fault]))
        raised = [one.data["error"] for one in run.history.of("raised")]
        called_off.append(raised.count("CancelledError: "))
        paid = [one for one in run.history.of("publish") if one.data["topic"] == "paid"]
        published.append(sorted(one.entity for one in paid))
    assert called_off == [2, 0]
    assert published == [[1, 1, 2, 3], [1, 1, 2, 2, 3, 3]]
