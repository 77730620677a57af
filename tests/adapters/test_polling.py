"""Loops that look now and then: a calm run goes on until all is written, and ends by itself.

Each was not quiet, stuck, or quiet too early once: it holds what it takes for a while, makes a
connection or a membership each time round, or waits in somebody else's time.
"""

import pytest

from chaosharness import (
    AMQP,
    AWS,
    NATS,
    SQS,
    Books,
    Kafka,
    KafkaServers,
    NATSConsumer,
    NATSStream,
    RabbitMQ,
    Redis,
    SQLite,
    SQSQueue,
    System,
)
from tests.adapters import polling_amqp, polling_kafka, polling_others


def written_by(loop, system: System, send) -> None:
    """Run a loop without any fault, and see that it has written all, and that the run ends."""
    system.add(SQLite("written", "CREATE TABLE written (id TEXT PRIMARY KEY)", url="written.db"))
    system.service("g")(lambda env: env.main(loop))
    system.entry(examples=[{"id": "1"}, {"id": "2"}, {"id": "3"}])(send)
    run = system.run()
    assert run.ending.verdict == "quiet", run.ending
    assert [row["id"] for row in Books(run.history).rows("written", "written")] == ["1", "2", "3"]


def by_topic(bus, topic="in"):
    def send(env, one):
        env.publisher(bus)(topic, one, key=one["id"])

    return send


def ids(loops):
    return [one.__name__ for one in loops]


@pytest.mark.parametrize("loop", polling_kafka.LOOPS, ids=ids(polling_kafka.LOOPS))
def test_on_kafka(loop):
    system = System("polling")
    bus = system.add(Kafka("bus", {"in": 2}))
    system.add(KafkaServers("kafka:9092", bus))
    written_by(loop, system, by_topic(bus))


@pytest.mark.parametrize("loop", polling_amqp.LOOPS, ids=ids(polling_amqp.LOOPS))
def test_on_rabbitmq(loop):
    system = System("polling")
    bus = system.add(RabbitMQ("bus", queues=["in"]))
    system.add(AMQP("rabbit", bus))
    written_by(loop, system, by_topic(bus))


@pytest.mark.parametrize("loop", polling_others.LOOPS, ids=ids(polling_others.LOOPS))
def test_on_others(loop):
    system = System("polling")
    if loop.__name__.startswith("boto3"):
        bus = system.add(SQS("bus", {"in": SQSQueue()}))
        system.add(AWS(bus))
        written_by(loop, system, by_topic(bus))
    elif loop.__name__.startswith("nats"):
        streams = {"IN": NATSStream(subjects="in.*", consumers={"g": NATSConsumer()})}
        bus = system.add(NATS("bus", streams, url="nats://nats.internal"))
        written_by(loop, system, lambda env, one: env.publisher(bus)("in.x", one))
    else:
        system.add(Redis("bus", ["in"], url="redis://redis.internal"))

        def add(env, one):
            redis = polling_others.redis.Redis("redis.internal")
            redis.xadd("in", {"body": f'{{"id": "{one["id"]}"}}'})

        written_by(loop, system, add)
