"""confluent-kafka as it is: what a client sees in virtual time, and what it does by itself."""

import sys
import time
from contextlib import suppress

import confluent_kafka
import pytest
from confluent_kafka import DeserializingConsumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.serialization import StringDeserializer, StringSerializer

from chaosharness import (
    Crash,
    ErrorReply,
    Kafka,
    KafkaServers,
    KafkaTopic,
    LostReply,
    LostRequest,
    LostWrites,
    Rebalance,
    Schedule,
    Site,
    System,
)
from chaosharness.adapters.kafka.confluent.settings import REALS
from chaosharness.errors import IllegalFault, InvalidDefinition
from tests.adapters.digests import printed_everywhere

with suppress(ImportError):  # the oldest versions lack it
    import confluent_kafka.aio

SERVERS = {"bootstrap.servers": "one:9092,two:9092", "log_level": 0}
PUBLISH = "reader.main/bus.publish paid"
GROUP = {**SERVERS, "group.id": "readers"}
BY_HAND = {**GROUP, "enable.auto.commit": False}
early = confluent_kafka.Producer(SERVERS)


def ran(main, *faults, items=("o1",), replicas=1, topics=None, **options):
    """Run a service with this main loop; it reads what an entry publishes, one after another."""
    system = System("shop")
    bus = system.add(Kafka("bus", topics or {"orders": 2, "paid": 1}, **options))
    system.add(KafkaServers("one:9092", bus))
    system.service("reader", replicas=replicas)(lambda env: env.main(main))

    @system.entry(examples=items)
    def place(env, item):
        env.publisher(bus)("orders", item, key=item, headers={"of": "shop"})

    run = system.run(None, Schedule(faults))
    assert not run.unused
    return run


def stored(run, topic):
    return [one.data["value"] for one in run.history.of("publish") if one.data["topic"] == topic]


def reading(*, config=BY_HAND, seen, most=5, take=lambda consumer, message: None):
    """Return a main loop that polls so often, and keeps what it is handed."""

    def main():
        consumer = confluent_kafka.Consumer(config)
        consumer.subscribe(["^ord"])
        for _ in range(most):
            message = consumer.poll(1.0)
            if message is not None:
                seen.append(message)
                take(consumer, message)

    return main


def test_a_record_is_read_as_the_client_shows_it():
    seen = []
    run = ran(reading(seen=seen))
    [message] = seen
    assert isinstance(message, confluent_kafka.Message)
    assert (message.topic(), message.key(), message.value()) == ("orders", b"o1", b"o1")
    assert (message.offset(), message.headers()) == (0, [("of", b"shop")])
    assert message.error() is None and len(message) == 2
    kind, at_ms = message.timestamp()
    assert kind == confluent_kafka.TIMESTAMP_CREATE_TIME and at_ms > 0
    assert run.spoken.keys() == {"confluent-kafka"}


def test_a_producer_sends_later_and_reports_when_it_is_polled():
    said = []

    def main():
        producer = confluent_kafka.Producer({**SERVERS, "linger.ms": 20})
        began = time.monotonic()

        def report(error, message):
            said.append((error, message.topic(), message.partition(), message.offset()))

        producer.produce("paid", "text", key="k", callback=report, headers={"a": b"1"})
        assert len(producer) == 1 and producer.poll(0) == 0
        assert producer.poll(5) == 1
        assert round(1000 * (time.monotonic() - began)) == 20
        producer.produce("paid", b"more")
        assert producer.flush() == 0
        with pytest.raises(TypeError):
            producer.produce("paid", {"no": "bytes"})

    assert stored(ran(main), "paid") == [b"text", b"more"]
    assert said == [(None, "paid", 0, 0)]


def test_what_was_not_sent_yet_dies_with_its_process():
    def main():
        early.produce("paid", b"x")
        time.sleep(1)

    assert stored(ran(main), "paid") == [b"x"]
    crash = Crash(Site(PUBLISH, entity=0))
    assert stored(ran(main, crash), "paid") == [b"x"]  # sent by the next life

    def hasty():
        early.produce("paid", b"x")
        time.sleep(0.004)

    died = Crash(Site("reader.hasty/sleep", "after", entity=0))
    assert len(stored(ran(hasty, died), "paid")) == 1  # only that of the next life


@pytest.mark.parametrize(
    ("fault", "idempotent", "copies"),
    [
        (LostRequest(Site(PUBLISH, entity=0)), False, 1),
        (ErrorReply(Site(PUBLISH, entity=0)), False, 1),
        (LostReply(Site(PUBLISH, "after", entity=0)), False, 2),
        (LostReply(Site(PUBLISH, "after", entity=0)), True, 1),
    ],
)
def test_the_client_sends_again_by_itself(fault, idempotent, copies):
    said = []

    def main():
        producer = confluent_kafka.Producer({**SERVERS, "enable.idempotence": idempotent})
        producer.produce("paid", b"x", on_delivery=lambda error, _: said.append(error))
        assert producer.flush() == 0

    assert stored(ran(main, fault), "paid") == [b"x"] * copies
    assert said == [None]


def test_a_record_that_is_never_taken_times_out():
    said = []

    def main():
        config = {**SERVERS, "message.timeout.ms": 10_000}
        producer = confluent_kafka.Producer(config)
        producer.produce("paid", b"x", on_delivery=lambda error, _: said.append(error))
        assert producer.flush(1) == 1
        producer.flush()

    assert stored(ran(main, LostRequest(Site(PUBLISH, entity=0))), "paid") == []
    assert [one.code() for one in said] == [KafkaError._MSG_TIMED_OUT]


def committed(run):
    return [one.at_ms for one in run.history.of("ack")]


def test_it_commits_by_itself_what_it_has_handed_out():
    seen = []
    run = ran(reading(config=GROUP, seen=seen, take=lambda *_: time.sleep(8)))
    assert committed(run) == [seen[0].timestamp()[1] * 0 + 5_001]
    slow = reading(config=GROUP, seen=[], take=lambda *_: time.sleep(8))
    crash = Crash(Site("reader.main/sleep", "after"))
    assert len([*ran(slow, crash).history.of("deliver")]) == 1  # it is lost
    config = {**GROUP, "enable.auto.offset.store": "false"}
    assert committed(ran(reading(config=config, seen=[]))) == []

    def store(consumer, message):
        consumer.store_offsets(message)

    assert committed(ran(reading(config=config, seen=[], most=9, take=store))) == [5_001]


def test_commits_by_hand():
    def take(consumer, message):
        [behind] = consumer.commit(message, asynchronous=False)
        assert (behind.topic, behind.offset) == ("orders", 1)
        with pytest.raises(KafkaException, match="No offset stored"):
            consumer.commit(asynchronous=False)
        assert consumer.commit(message=message) is None
        where = TopicPartition("orders", message.partition(), 1)
        assert consumer.commit(offsets=[where], asynchronous=False)[0].offset == 1

    assert len(committed(ran(reading(seen=[], take=take)))) == 3


def test_a_commit_that_is_refused_or_not_answered():
    codes, words = [], []

    def take(consumer, message):
        try:
            consumer.commit(message, asynchronous=False)
        except KafkaException as error:
            codes.append(error.args[0].code())
            words.append(error.args[0].str())

    for fault in (
        Rebalance(Site("reader.main/bus.commit")),
        LostReply(Site("reader.main/bus.commit", "after")),
    ):
        ran(reading(seen=[], take=take), fault)
    assert codes == [KafkaError.UNKNOWN_MEMBER_ID, KafkaError._TIMED_OUT]
    assert words == [
        "Commit failed: Broker: Unknown member",
        "Commit failed: Local: Timed out",
    ]


def test_a_commit_that_nobody_waits_for_is_told_at_the_next_poll():
    told = []
    config = {**BY_HAND, "on_commit": lambda error, where: told.append((error, where[0].offset))}
    ran(reading(config=config, seen=[], take=lambda consumer, message: consumer.commit(message)))
    assert told == [(None, 1)]


def test_a_batch_works_on_behalf_of_each_record_in_turn():
    def main():
        with confluent_kafka.Consumer(BY_HAND) as consumer:
            consumer.subscribe(["orders"])
            for _ in range(4):
                for message in consumer.consume(10, timeout=1.0):
                    early.produce("paid", message.value())
            early.flush()

    run = ran(main, items=("o1", "o2", "o3"))
    sent = [one for one in run.history.of("publish") if one.data["topic"] == "paid"]
    mine = {one.entity: one.data["value"] for one in sent}
    assert mine == {1: b"o1", 2: b"o2", 3: b"o3"}


def test_serializers_and_deserializers():
    seen = []
    text = {"value.deserializer": StringDeserializer("utf_8")}

    def main():
        producer = confluent_kafka.SerializingProducer(
            {**SERVERS, "value.serializer": StringSerializer("utf_8")}
        )
        producer.produce("paid", value="naïve")
        producer.flush()
        consumer = DeserializingConsumer({**BY_HAND, **text})
        consumer.subscribe(["paid"])
        while not seen:
            message = consumer.poll(1.0)
            if message is not None:
                seen.append(message.value())

    ran(main)
    assert seen == ["naïve"]


@pytest.mark.parametrize(
    ("config", "use", "words"),
    [
        (
            {**GROUP, "bootstrap.servers": "x:1"},
            None,
            r"\(at tests/adapters/test_conf.* no such servers; it has: one:9092",
        ),
        (
            GROUP,
            lambda one: one.set_sasl_credentials(),
            r"Consumer.set_sasl_cred.* is not modelled",
        ),
        (
            GROUP,
            lambda one: [one.subscribe(["nothing"]), one.poll(), one.poll()],
            r"once told that bus has no topic 'nothing'; it has: .*: waits for ever.*test_conf",
        ),
        ({**GROUP, "session.timeout.ms": 6000}, None, r"say Kafka\(..., session_timeout_ms=6000\)"),
        (
            {**GROUP, "group.protocol": "consumer"},
            None,
            r"group.protocol=consumer \(at tests/adapters/test_conf.*KIP-848\) are not modelled",
        ),
        (GROUP, lambda one: one.poll(), r"poll\(\) before subscribe\(\) waits for ever.*test_conf"),
        (
            {**GROUP, "partition.assignment.strategy": "cooperative-sticky"},
            None,
            r"partition.assignment.strategy='cooperative-sticky' .*test_conf.* both must say",
        ),
    ],
)
def test_what_cannot_be_is_said_with_its_place(config, use, words):
    def main():
        consumer = confluent_kafka.Consumer(config)
        if use is not None:
            use(consumer)

    with pytest.raises(InvalidDefinition, match=words):
        ran(main)


async def consumes():
    confluent_kafka.aio.AIOConsumer(GROUP)


async def produces():
    confluent_kafka.aio.AIOProducer(SERVERS)


def shares():
    confluent_kafka.ShareConsumer(GROUP)


OTHER_KINDS = [  # what has it, in the versions that do
    ("aio", consumes, r"AIOConsumer \(at tests/adapters/test_conf.* Use Consumer, in a"),
    ("aio", produces, r"AIOProducer \(at tests/adapters/test_conf.* Use Producer, in a"),
    ("ShareConsumer", shares, r"ShareConsumer \(at tests/adapters/test_conf.*KIP-932\), is"),
]


@pytest.mark.parametrize(
    ("make", "words"),
    [(make, words) for has, make, words in OTHER_KINDS if hasattr(confluent_kafka, has)],
)
def test_a_client_of_another_kind_is_refused_by_its_name(make, words):
    """A real one would go on beside the run, in threads of its own, and nobody would hear of it."""
    with pytest.raises(InvalidDefinition, match=words):
        ran(make)


@pytest.mark.parametrize(
    ("acks", "lost"), [({}, False), ({"acks": "all"}, False), ({"acks": 1}, True)]
)
def test_a_record_that_its_leader_alone_has_may_be_lost(acks, lost):
    told = []

    def main():
        producer = confluent_kafka.Producer({**SERVERS, **acks})
        producer.produce("paid", b"x", on_delivery=lambda error, _: told.append(error))
        producer.flush()

    fault = LostWrites(Site(PUBLISH, "after", entity=0))
    if not lost:
        with pytest.raises(IllegalFault, match="can never happen"):
            ran(main, fault)
        return
    run = ran(main, fault)
    assert told == [None]
    assert stored(run, "paid") == [b"x"]


def test_acks_that_contradict_are_refused_in_the_client_s_words():
    def main():
        told = r"`acks` must be set to `all` when `enable.idempotence` is true"
        with pytest.raises(KafkaException, match=told):
            confluent_kafka.Producer({**SERVERS, "acks": 1, "enable.idempotence": True})
        for wrong in ("x", 1_001, -2):
            with pytest.raises(KafkaException, match=r"request\.required\.acks"):
                confluent_kafka.Producer({**SERVERS, "acks": wrong})

    ran(main)


def test_a_compacted_topic_reports_a_record_without_a_key():
    told = []

    def main():
        producer = confluent_kafka.Producer(SERVERS)
        report = lambda error, _: told.append(error and error.code())  # noqa: E731
        producer.produce("states", b"x", on_delivery=report)
        producer.produce("states", b"x", key=b"k", on_delivery=report)
        producer.flush()

    topics = {"orders": 1, "states": KafkaTopic(compacted=True)}
    ran(main, topics=topics)
    assert told == [KafkaError.INVALID_RECORD, None]


def test_the_client_s_own_errors_stay_its_own():
    def main():
        with pytest.raises(ValueError, match=r"group\.id must be set"):
            confluent_kafka.Consumer(SERVERS)
        with pytest.raises(TypeError):
            confluent_kafka.Consumer(3)
        consumer = confluent_kafka.Consumer(GROUP)
        with pytest.raises(TypeError):
            consumer.subscribe("orders")
        consumer.close()
        with pytest.raises(RuntimeError, match="closed"):
            consumer.poll(0)

    ran(main)


@pytest.mark.parametrize(
    ("more", "most"),
    [
        ({}, 999_964),
        ({"key": b"abc"}, 999_961),
        ({"headers": {"abc": b"defgh"}}, 999_954),
        ({"headers": {"abc": b"defgh", "b": b"1"}}, 999_950),
        ({"headers": {"abc": None}}, 999_959),
    ],
)
def test_how_large_a_record_may_be(more, most):
    """The figures are those of the real client, to the byte."""

    def main():
        producer = confluent_kafka.Producer(SERVERS)
        producer.produce("paid", b"x" * most, **more)
        with pytest.raises(KafkaException) as caught:
            producer.produce("paid", b"x" * (most + 1), **more)
        error = caught.value.args[0]
        assert error.code() == KafkaError.MSG_SIZE_TOO_LARGE
        assert error.str() == "Unable to produce message: Broker: Message size too large"
        assert producer.flush() == 0

    assert len(stored(ran(main), "paid")) == 1


@pytest.mark.parametrize(
    ("partitioner", "places"),
    [({}, [6, 6, 0]), ({"partitioner": "murmur2_random"}, [4, 1, 4])],
)
def test_a_key_decides_as_the_client_has_it(partitioner, places):
    """The places are those of the real client beside a broker, of seven log partitions."""

    def main():
        producer = confluent_kafka.Producer({**SERVERS, **partitioner})
        for key in (b"order-1", b"order-2", b"order-3"):
            producer.produce("wide", b"x", key=key)
        producer.flush()

    system = System("shop")
    bus = system.add(Kafka("bus", {"wide": 7}))
    system.add(KafkaServers("one:9092", bus))
    system.service("reader")(lambda env: env.main(main))
    system.entry(examples=[1])(lambda env, item: None)
    sent = system.run().history.of("publish")
    assert [one.data["partition"] for one in sent] == places


def test_a_record_goes_to_the_log_partition_that_is_named():
    places = []

    def main():
        producer = confluent_kafka.Producer(SERVERS)
        for index in (1, 0, 1):
            report = lambda _, message: places.append((message.partition(), message.offset()))  # noqa: E731
            producer.produce("orders", b"x", key=b"k", partition=index, on_delivery=report)
            producer.flush()
        for wrong in (2, -5):
            with pytest.raises(KafkaException, match="Local: Unknown partition"):
                producer.produce("orders", b"x", partition=wrong)

    ran(main, items=())
    assert places == [(1, 0), (0, 0), (1, 1)]


def test_outside_a_run_it_is_the_real_library():
    real = REALS["Producer"]
    assert isinstance(early, confluent_kafka.Producer)
    assert type(early._now()) is real

    class Mine(confluent_kafka.Producer):
        pass

    assert isinstance(Mine(SERVERS), real)


def test_a_client_that_was_made_too_early_is_named(monkeypatch):
    made = REALS["Producer"]({})
    monkeypatch.setattr(sys.modules[__name__], "real", made, raising=False)
    with pytest.raises(InvalidDefinition, match=r"test_confluent_kafka.real is a real Producer"):
        KafkaServers("one:9092", Kafka("bus", ["orders"]))


@pytest.mark.parametrize("asked", ["one:9092,two:9092", "two:9092", "three:9092, two:9092"])
def test_a_cluster_of_several_servers_is_reached_by_any_of_them(asked):
    system = System("shop")
    bus = system.add(Kafka("bus", ["orders"]))
    system.add(KafkaServers("one:9092,two:9092", bus))

    def send():
        producer = confluent_kafka.Producer({"bootstrap.servers": asked})
        producer.produce("orders", b"{}")
        producer.flush()

    system.service("worker")(lambda env: env.main(send))
    system.entry(examples=[1])(lambda env, item: None)
    assert [one.data["topic"] for one in system.run().history.of("publish")] == ["orders"]


def test_an_address_needs_its_cluster():
    with pytest.raises(InvalidDefinition, match="needs the Kafka behind it"):
        KafkaServers("one:9092", None)
    with pytest.raises(InvalidDefinition, match="a server as clients name it"):
        KafkaServers("", Kafka("bus", ["orders"]))
    system = System("shop")
    system.add(KafkaServers("one:9092", Kafka("bus", ["orders"])))
    system.entry(examples=[1])(lambda env, item: None)
    with pytest.raises(InvalidDefinition, match="no part of this system"):
        system.run()


DIGESTS = """
from chaosharness import Crash, LostReply, Schedule, Site
from models.applications.billing.system import billing
faults = [
    Crash(Site("billing.run/bank.charge", "after")),
    LostReply(Site("billing.run/bus.publish paid", "after", 2)),
]
for number in range(3):
    for _ in range(2):
        print(number, billing().run(None, Schedule(faults[:number])).digest())
"""


def test_a_history_is_the_same_everywhere():
    first = printed_everywhere(DIGESTS)
    assert len(set(first)) == 3
