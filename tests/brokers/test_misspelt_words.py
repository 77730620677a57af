"""A keyword that publishing does not take is said in one line, whoever would catch the error."""

import pytest

from chaosharness import NATS, SQS, Kafka, NATSStream, RabbitMQ, Redis, System
from chaosharness.errors import InvalidDefinition

BROKERS = {
    "kafka": (lambda: Kafka("bus", ["orders"]), "keey", "key"),
    "rabbitmq": (lambda: RabbitMQ("bus", queues=["orders"]), "exchagne", "exchange"),
    "sqs": (lambda: SQS("bus", ["orders"]), "groupp", "group"),
    "nats": (lambda: NATS("bus", {"S": NATSStream(subjects="orders")}), "mesage_id", "message_id"),
    "redis": (lambda: Redis("bus", ["orders"]), "maxlength", "maxlen"),
}


@pytest.mark.parametrize("name", BROKERS)
def test_a_misspelt_word_of_publishing_ends_the_run_with_what_is_meant(name):
    broker, slip, meant = BROKERS[name]
    system = System("shop")
    bus = system.add(broker())

    def loop(publish):
        try:
            publish("orders", {}, **{slip: "x"})
        except Exception:
            return

    system.service("worker")(lambda env: env.main(lambda: loop(env.publisher(bus))))
    system.entry(examples=[1])(lambda env, item: None)
    with pytest.raises(InvalidDefinition) as told:
        system.run()
    said = str(told.value)
    assert said.startswith("to publish to bus (at ") and "test_misspelt_words.py" in said
    assert f"takes no {slip!r}. Is {meant!r} meant? It takes: key, headers, " in said
    assert "lane" not in said and "surface" not in said
