"""Topics that programs make and look at when they start: the admin client of each Kafka library.

A broker is asked the same, by the same code.
"""

import asyncio
import importlib
import time

import pytest

from benchmarks.kafka_strict import running_strictly
from chaosharness import Kafka, KafkaServers, LostReply, Schedule, Site, System
from chaosharness.errors import InvalidDefinition
from chaosharness.machines.kafka.partitioners import log_partition_by_crc32
from tests.adapters.test_bad_input import told_in

aiokafka_admin = pytest.importorskip("aiokafka.admin")
confluent_kafka = pytest.importorskip("confluent_kafka")
confluent_admin = pytest.importorskip("confluent_kafka.admin")
kafka_admin = pytest.importorskip("kafka.admin")
aiokafka = pytest.importorskip("aiokafka")
kafka = pytest.importorskip("kafka")


def name_of(call):
    """Return what is given, or what is raised by its name, or its code."""
    try:
        return call()
    except confluent_kafka.KafkaException as error:
        return f"{error.args[0].name()}: {error.args[0].str()}"
    except kafka.errors.KafkaError as error:
        return type(error).__name__


def by_confluent(servers):
    admin = confluent_admin.AdminClient({"bootstrap.servers": servers})
    new, more = confluent_admin.NewTopic, confluent_admin.NewPartitions
    told = []
    for _ in range(2):
        made = admin.create_topics([new("orders", 3, 1), new("paid")])
        told += [name_of(one.result) for one in made.values()]
    told += [name_of(admin.create_topics([new("orders", 0, 1)])["orders"].result)]
    for topic, count in (("orders", 4), ("orders", 4), ("absent", 2)):
        told += [name_of(admin.create_partitions([more(topic, count)])[topic].result)]
    found = admin.list_topics(timeout=5).topics
    told += [sorted((one, len(found[one].partitions)) for one in found if one[0] != "_")]
    producer = confluent_kafka.Producer({"bootstrap.servers": servers})
    one = producer.list_topics("paid", timeout=5).topics["paid"]
    absent = producer.list_topics("absent", timeout=5).topics["absent"]
    told += [one.error, [*one.partitions], absent.error.name(), [*absent.partitions]]
    names = confluent_kafka.TopicCollection(["orders", "absent"])
    described = {topic: name_of(one.result) for topic, one in admin.describe_topics(names).items()}
    orders = described["orders"]
    return [*told, orders.name, [one.id for one in orders.partitions], described["absent"]]


def by_kafka_python(servers):
    admin = kafka.KafkaAdminClient(bootstrap_servers=servers)
    new = kafka_admin.NewTopic
    told = []
    for topics in ([new("orders", 3, 1)], [new("orders", 3, 1), new("paid", 1, 1)], ["paid"]):
        answer = name_of(lambda topics=topics: admin.create_topics(topics))
        told += [answer["topics"][0] if isinstance(answer, dict) else answer]
    for topic, count in (("orders", 4), ("orders", 4), ("absent", 2)):
        parts = {topic: kafka_admin.NewPartitions(count)}
        answer = name_of(lambda parts=parts: admin.create_partitions(parts))
        told += [answer if isinstance(answer, str) else "taken"]
    told += [sorted(one for one in admin.list_topics() if one[0] != "_")]
    orders, absent = admin.describe_topics(["orders", "absent"])
    admin.close()
    return [*told, len(orders["partitions"]), orders["error_code"], absent]


async def by_aiokafka(servers):
    admin = aiokafka_admin.AIOKafkaAdminClient(bootstrap_servers=servers)
    new = aiokafka_admin.NewTopic
    await admin.start()
    told = []
    for topics in ([new("orders", 3, 1)], [new("orders", 3, 1), new("paid", 1, 1)]):
        answer = await admin.create_topics(topics)
        told += answer.to_object()["topic_errors"]
    for topic, count in (("orders", 4), ("orders", 4), ("absent", 2)):
        try:
            await admin.create_partitions({topic: aiokafka_admin.NewPartitions(count)})
        except aiokafka.errors.KafkaError as error:
            told += [str(error)]
    told += [sorted(one for one in await admin.list_topics() if one[0] != "_")]
    orders, absent = await admin.describe_topics(["orders", "absent"])
    await admin.close()
    return [*told, orders["error_code"], len(orders["partitions"]), absent]


KEY = next(b"o%d" % one for one in range(99) if log_partition_by_crc32(b"o%d" % one, 4) == 2)
CLIENTS = [by_confluent, by_kafka_python, by_aiokafka]


def ours(ask):
    bus = Kafka("bus", [])

    def call():
        return ask("one:9092")

    async def later():
        return await ask("one:9092")

    call = later if asyncio.iscoroutinefunction(ask) else call
    return told_in(bus, call, KafkaServers("one:9092", bus))


def test_what_confluent_kafka_is_told():
    told = ours(by_confluent)
    assert told[:2] == [None, None]
    assert told[2] == "TOPIC_ALREADY_EXISTS: Topic 'orders' already exists."
    assert told[6:8] == ["INVALID_PARTITIONS: Topic already has 4 partition(s).", told[7]]
    assert told[8] == [("orders", 4), ("paid", 1)]
    assert told[-5:-3] == ["UNKNOWN_TOPIC_OR_PART", []]
    absent = "UNKNOWN_TOPIC_OR_PART: Broker: Unknown topic or partition"
    assert told[-3:] == ["orders", [0, 1, 2, 3], absent]


def test_what_kafka_python_is_told():
    told = ours(by_kafka_python)
    assert told[1:3] == ["TopicAlreadyExistsError"] * 2
    assert told[3:7] == ["taken", "InvalidPartitionsError", "UnknownTopicOrPartitionError", told[6]]
    assert told[6:9] == [["orders", "paid"], 4, 0]


@pytest.mark.real_broker
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("ask", CLIENTS)
def test_a_broker_tells_each_the_same(ask):
    pytest.importorskip("noida_db", reason="no broker: pip install noida-db")
    with running_strictly() as port:
        found = ask(f"127.0.0.1:{port}")
        theirs = asyncio.run(found) if asyncio.iscoroutine(found) else found
    assert theirs == ours(ask)


# ---- a program that makes its topics when it starts


def shop(*faults, config=None):
    """Return a system of a reader, and a writer that makes the topic before it writes."""
    seen = []
    system = System("shop")
    bus = system.add(Kafka("bus", [], metadata_max_age_ms=5_000))
    system.add(KafkaServers("one:9092", bus))

    def write():
        admin = confluent_admin.AdminClient({"bootstrap.servers": "one:9092"})
        made = admin.create_topics([confluent_admin.NewTopic("orders", 2, 1, config=config or {})])
        try:
            made["orders"].result()
        except confluent_kafka.KafkaException as error:
            if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise
        producer = confluent_kafka.Producer({"bootstrap.servers": "one:9092"})
        for number in range(3):
            producer.produce("orders", b"%d" % number, key=b"o%d" % number)
        producer.flush()

    def read():
        words = {"bootstrap.servers": "one:9092", "group.id": "g", "auto.offset.reset": "earliest"}
        consumer = confluent_kafka.Consumer({**words, "topic.metadata.refresh.interval.ms": 5_000})
        consumer.subscribe(["orders"])
        while True:
            message = consumer.poll(1.0)
            if message is not None:
                error = message.error()
                seen.append(message.value() if error is None else error.name())

    system.service("reader")(lambda env: env.main(read))
    system.service("writer")(lambda env: env.main(write))
    system.entry(examples=[1])(lambda env, item: None)
    return system, seen


def test_who_subscribed_before_it_was_made_reads_it_all_the_same():
    system, seen = shop()
    run = system.run()
    assert run.ending.verdict == "quiet"
    assert seen[0] == "UNKNOWN_TOPIC_OR_PART"
    assert sorted(seen[1:]) == [b"0", b"1", b"2"]


def test_an_answer_that_is_lost_has_it_made_and_then_found():
    """The caller gives up, dies, is started again, and is told that it is there."""
    system, _ = shop()
    lost = LostReply(Site("writer.write/bus.create_topics orders", "after", entity=0))
    run = system.run(None, Schedule([lost]))
    assert not run.unused
    assert [one.data["topic"] for one in run.history.of("publish")] == ["orders"] * 3


@pytest.mark.parametrize(("learn", "places"), [("at once", [0, 2, 2]), ("by age", [0, 0, 2])])
def test_a_producer_that_is_older_than_the_change_may_not_know_of_it(learn, places):
    """One key, by a producer that was there before, and by one that is made since."""
    system = System("growing")
    bus = system.add(Kafka("bus", {"orders": 1}, partitioner="crc32", producers_learn=learn))
    system.add(KafkaServers("one:9092", bus))

    def main():
        words = {"bootstrap.servers": "one:9092"}
        older = confluent_kafka.Producer(words)
        older.produce("orders", b"1", key=KEY)
        older.flush()
        admin = confluent_admin.AdminClient(words)
        admin.create_partitions([confluent_admin.NewPartitions("orders", 4)])["orders"].result()
        younger = confluent_kafka.Producer(words)
        for producer in (older, younger):
            producer.produce("orders", b"2", key=KEY)
            producer.flush()

    system.service("worker")(lambda env: env.main(main))
    system.entry(examples=[1])(lambda env, item: None)
    sent = system.run().history.of("publish")
    assert [one.data["partition"] for one in sent] == places


# ---- how a topic keeps its records that is made at run time

WORDS = {"bootstrap.servers": "one:9092"}


def made_by_confluent(config):
    new = confluent_admin.NewTopic("late", 1, config=config)
    return name_of(confluent_admin.AdminClient(WORDS).create_topics([new])["late"].result)


def made_by_kafka_python(config):
    new = kafka_admin.NewTopic("late", 1, 1, topic_configs=config)
    admin = kafka.KafkaAdminClient(bootstrap_servers="one:9092")
    found = name_of(lambda: admin.create_topics([new]))
    return None if isinstance(found, dict) else found


MAKERS = [made_by_confluent, made_by_kafka_python]


def read_later(make, config, after_s, records):
    """Return what is left of records, some time after they were written; or how they end."""
    seen = []
    system = System("late")
    bus = system.add(Kafka("bus", []))
    system.add(KafkaServers("one:9092", bus))

    def main():
        assert make(config) is None
        producer = confluent_kafka.Producer(WORDS)

        def told(error, message):
            if error is not None:
                seen.append(error.name())

        for key, value in records:
            producer.produce("late", value, key=key, on_delivery=told)
        producer.flush()
        time.sleep(after_s)
        words = {**WORDS, "group.id": "g", "auto.offset.reset": "earliest"}
        consumer = confluent_kafka.Consumer(words)
        consumer.subscribe(["late"])
        while (message := consumer.poll(5.0)) is not None:
            seen.append(message.value())

    system.service("worker")(lambda env: env.main(main))
    system.entry(examples=[1])(lambda env, item: None)
    system.run()
    return seen


RECORDS = [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("config", "after_s", "left"),
    [
        ({"retention.ms": "60000"}, 61, []),
        ({"retention.ms": "60000"}, 30, [b"1", b"2", b"3"]),
        ({"retention.ms": -1, "cleanup.policy": "delete"}, 90_000, [b"1", b"2", b"3"]),
        ({"retention.bytes": 38}, 1, [b"3"]),
        ({"cleanup.policy": "compact"}, 20, [b"2", b"3"]),
        ({"cleanup.policy": "compact", "min.compaction.lag.ms": "60000"}, 20, [b"1", b"2", b"3"]),
        ({"cleanup.policy": "compact,delete", "retention.ms": "60000"}, 61, []),
        ({"min.insync.replicas": "2"}, 61, [b"1", b"2", b"3"]),
    ],
)
def test_it_keeps_them_as_it_was_made(make, config, after_s, left):
    assert read_later(make, config, after_s, RECORDS) == left


@pytest.mark.parametrize("make", MAKERS)
def test_a_record_without_a_key_is_refused_where_it_is_compacted(make):
    """Also to a producer that was there before its topic."""
    told = read_later(make, {"cleanup.policy": "compact"}, 1, [(None, b"1"), (b"a", b"2")])
    assert told == ["INVALID_RECORD", b"2"]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"retention.mss": "1"}, "Unknown topic config name: retention.mss"),
        (
            {"retention.ms": "1 h"},
            "Invalid value 1 h for configuration retention.ms: Not a number of type LONG",
        ),
        (
            {"cleanup.policy": "compacted"},
            "Invalid value compacted for configuration cleanup.policy: String must be one of: "
            "compact, delete",
        ),
    ],
)
def test_a_slip_in_its_configuration_is_told(config, words):
    bus = Kafka("bus", [])
    servers = KafkaServers("one:9092", bus)
    assert told_in(bus, lambda: made_by_confluent(config), servers) == f"INVALID_CONFIG: {words}"
    told = told_in(bus, lambda: made_by_kafka_python(config), servers)
    assert told == "InvalidConfigurationError"


def test_a_size_of_its_own_is_said_of_the_cluster():
    system, _ = shop(config={"max.message.bytes": "100"})
    with pytest.raises(
        InvalidDefinition,
        match=r"'orders' with max\.message\.bytes of its own is .*test_kafka_topics.*size_max=",
    ):
        system.run()


# ---- admin clients that a module makes at its top

EARLY = """
import aiokafka.admin, confluent_kafka.admin as confluent_admin, kafka

by_confluent = confluent_admin.AdminClient({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
by_kafka_python = kafka.KafkaAdminClient(bootstrap_servers="127.0.0.1:1")
"""


def test_one_of_a_module_is_each_processes_own(tmp_path, monkeypatch):
    """It connects where it is used: to the cluster of each run; and, outside, for real."""
    (tmp_path / "early_admins.py").write_text(EARLY, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    early = importlib.import_module("early_admins")
    seen = []
    for name in ("here", "there"):
        system = System("early")
        bus = system.add(Kafka("bus", [name]))
        system.add(KafkaServers("127.0.0.1:1", bus))

        def main():
            seen.append([*early.by_confluent.list_topics().topics])
            seen.append(early.by_kafka_python.list_topics())

        system.service("worker", replicas=2)(lambda env: env.main(main))
        system.entry(examples=[1])(lambda env, item: None)
        assert system.run().ending.verdict == "quiet"
    assert seen == [["here"]] * 4 + [["there"]] * 4

    def reads():
        words = {"bootstrap.servers": "127.0.0.1:1", "group.id": "g"}
        consumer = confluent_kafka.Consumer(words)
        consumer.subscribe([*early.by_confluent.list_topics().topics])
        while True:
            consumer.poll(1.0)

    system.service("reader")(lambda env: env.main(reads))
    assert system.run().ending.ran_on == ()  # it is at rest: an admin client keeps nothing
    with pytest.raises(confluent_kafka.KafkaException):  # nobody listens there
        early.by_confluent.list_topics(timeout=0.2)
