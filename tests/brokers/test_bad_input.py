"""What is published where nothing is, and what is too large: told, whatever the code catches."""

import pytest

from chaosharness import NATS, SQS, Kafka, NATSStream, RabbitMQ, Redis, System
from chaosharness.brokers.rabbitmq import ChannelClosed
from chaosharness.errors import InvalidDefinition

PRODUCTS = {
    "kafka": (lambda: Kafka("bus", topics={"orders": 1}), "topic"),
    "rabbitmq": (lambda: RabbitMQ("bus", ["orders"]), "queue"),
    "redis": (lambda: Redis("bus", ["orders"]), "stream"),
    "sqs": (lambda: SQS("bus", ["orders"]), "queue"),
}


def said(broker, publish):
    """Return what an entry hears that catches everything."""
    heard = []
    system = System("shop")
    bus = system.add(broker)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        try:
            heard.append(publish(env.publisher(bus), order))
        except Exception as error:
            heard.append(error)

    system.run()
    return heard[0]


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_misspelt_name_ends_the_run_also_where_the_code_catches_everything(product):
    make, what = PRODUCTS[product]
    words = rf"no {what} 'ordres'.*it has: orders.*test_bad_input\.py:\d+"
    with pytest.raises(InvalidDefinition, match=words):
        said(make(), lambda publish, order: publish("ordres", order))


@pytest.mark.parametrize(
    ("version", "sends"), [("4.0", False), ("4.0", True), ("3.13", False), ("4.3", False)]
)
def test_rabbitmq_closes_the_channel_of_a_message_that_is_too_large(version, sends):
    size = 16_777_217

    def publish(publisher, order):
        (publisher.send if sends else publisher)("orders", b"x" * size)

    found = said(RabbitMQ("bus", ["orders"], version=version), publish)
    if version == "3.13":
        assert found is None, "128 MiB there"
        return
    assert isinstance(found, ChannelClosed)
    assert found.reply_code == 406
    words = f"message size {size} is larger than configured max size 16777216"
    assert found.reply_text == f"PRECONDITION_FAILED - {words}"


NATS_STREAM = {"ORDERS": NATSStream(subjects="orders")}
OF_PUBLISHERS = {
    "kafka": "idempotent, acks, transactional_id, transaction_timeout_ms, ",
    "rabbitmq": "connection, channel, ",
}


def wired(broker, **options):
    """Run a system with a service that makes a publisher with options."""
    system = System("shop")
    bus = system.add(broker)
    system.service("worker")(lambda env: env.publisher(bus, **options))
    system.entry(examples=[1])(lambda env, item: None)
    return system.run()


@pytest.mark.parametrize("product", [*PRODUCTS, "nats"])
def test_an_option_that_no_publisher_has_is_refused_with_those_there_are(product):
    make = (lambda: NATS("bus", NATS_STREAM)) if product == "nats" else PRODUCTS[product][0]
    place = r"\(at .*test_bad_input.py:\d+\)"
    known = f"there are: {OF_PUBLISHERS.get(product, '')}blocking, schemas$"
    with pytest.raises(
        InvalidDefinition,
        match=f"^worker publishes to bus {place}: there is no option 'confirms'; {known}",
    ):
        wired(make(), confirms=True)
    assert wired(make(), blocking=True).ending.verdict == "quiet"


@pytest.mark.parametrize(
    ("product", "name", "value", "words"),
    [
        ("kafka", "idempotent", "yes", "bool or None, not 'yes'"),
        ("kafka", "transactional_id", 7, "str or None, not 7"),
        ("kafka", "transaction_timeout_ms", "7", "int, not '7'"),
        ("rabbitmq", "channel", 7, "str or None, not 7"),
    ],
)
def test_a_value_that_no_publisher_takes_is_refused(product, name, value, words):
    with pytest.raises(
        InvalidDefinition, match=rf"^worker publishes to bus \(.*{name} must be {words}$"
    ):
        wired(PRODUCTS[product][0](), **{name: value})


@pytest.mark.parametrize("what", ["ack", "nack", "reject"])
def test_a_delivery_tag_is_of_its_channel(what):
    """Given to another consumer it is unknown there, and closes that one's channel."""
    system, heard = System("shop"), []
    bus = system.add(RabbitMQ("bus", ["orders"]))

    @system.service("worker")
    def worker(env):
        mine, other = env.consumer(bus, "orders"), env.consumer(bus, "orders")

        def work():
            delivery = mine.receive(5)
            try:
                getattr(other, what)(delivery)
            except ChannelClosed as error:
                heard.append((error.reply_code, error.reply_text))
            mine.ack(delivery)

        env.main(work)

    system.entry(examples=[{"id": "o1"}])(lambda env, order: env.publisher(bus)("orders", order))
    run = system.run()
    assert heard == [(406, "PRECONDITION_FAILED - unknown delivery tag 1")]
    assert run.ending.verdict == "quiet"
