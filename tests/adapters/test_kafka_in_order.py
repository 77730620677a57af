"""What one producer sends by a client stays in its order, wherever the client keeps that."""

import pytest

from chaosharness import (
    ErrorReply,
    Kafka,
    KafkaServers,
    LostReply,
    LostRequest,
    Schedule,
    Site,
    System,
)

confluent_kafka = pytest.importorskip("confluent_kafka")
aiokafka = pytest.importorskip("aiokafka")
kafka = pytest.importorskip("kafka")

PUBLISH = "sender.main/bus.publish paid"
BODIES = [b"a", b"b", b"c"]


def by_confluent(told, **options):
    def main():
        options.setdefault("enable.idempotence", False)
        settings = {"bootstrap.servers": "one:9092", "log_level": 0, **options}
        producer = confluent_kafka.Producer(settings)
        for body in BODIES:
            producer.produce("paid", body, key=b"k", on_delivery=lambda *one: told.append(one[0]))
        producer.flush()

    return main


def by_aiokafka(told, **options):
    async def main():
        async with aiokafka.AIOKafkaProducer(bootstrap_servers="one:9092", **options) as producer:
            sent = [await producer.send("paid", body, key=b"k") for body in BODIES]
            for one in sent:
                try:
                    await one
                    told.append(None)
                except aiokafka.errors.KafkaError as error:
                    told.append(error)

    return main


def by_kafka_python(told, **options):
    def main():
        producer = kafka.KafkaProducer(bootstrap_servers="one:9092", **options)
        sent = [producer.send("paid", body, key=b"k") for body in BODIES]
        producer.flush()
        told.extend(one.exception for one in sent)

    return main


def stored(client, fault, **options):
    """Return what is stored of three records when this befalls the first, and what was told."""
    told = []
    system = System("shop")
    bus = system.add(Kafka("bus", {"orders": 1, "paid": 1}))
    system.add(KafkaServers("one:9092", bus))
    main = client(told, **options)
    system.service("sender")(lambda env: env.main(main))
    system.entry(examples=[1])(lambda env, item: env.publisher(bus)("orders", item))
    run = system.run(None, Schedule([fault]))
    assert not run.unused
    sent = [one.data for one in run.history.of("publish") if one.data["topic"] == "paid"]
    return [one["value"] for one in sent], told


FIRST = [
    ErrorReply(Site(PUBLISH, entity=0)),
    LostRequest(Site(PUBLISH, entity=0)),
    LostReply(Site(PUBLISH, "after", entity=0)),
]
KEEPS = {
    "confluent": (by_confluent, {"enable.idempotence": True}),
    "confluent, one in flight": (by_confluent, {"max.in.flight.requests.per.connection": 1}),
    "aiokafka": (by_aiokafka, {"enable_idempotence": True}),
    "kafka-python": (by_kafka_python, {}),
}


@pytest.mark.parametrize("fault", FIRST, ids=lambda one: one.kind)
@pytest.mark.parametrize("name", KEEPS)
def test_what_is_sent_again_holds_back_what_follows(name, fault):
    """KIP-98. What was lost on its way is told to be stored only when it is."""
    client, options = KEEPS[name]
    bodies, told = stored(client, fault, **options)
    repeats = "one in flight" in name and isinstance(fault, LostReply)
    assert bodies == ([b"a", *BODIES] if repeats else BODIES)
    assert told == [None] * 3


def test_aiokafka_has_one_batch_under_way_for_each_log_partition():
    assert stored(by_aiokafka, FIRST[0]) == (BODIES, [None] * 3)


@pytest.mark.parametrize(
    ("client", "options"),
    [
        (by_confluent, {}),
        (by_kafka_python, {"enable_idempotence": False}),
    ],
)
@pytest.mark.parametrize("fault", FIRST, ids=lambda one: one.kind)
def test_who_has_several_in_flight_and_no_numbers_may_swap_them(client, options, fault):
    """And whoever has no answer stores it twice, with the others in between."""
    before = [b"a"] if isinstance(fault, LostReply) else []
    assert stored(client, fault, **options) == ([*before, b"b", b"c", b"a"], [None] * 3)
