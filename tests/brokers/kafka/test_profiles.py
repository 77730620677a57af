"""Defaults of clients: as their own libraries have them, and told in reports."""

import inspect
from pathlib import Path

import attrs
import pytest

from chaosharness import Gateway, Kafka, System, never_charged_twice, smallest
from chaosharness.brokers.kafka.profiles import CLIENTS, PROFILES, Profile
from chaosharness.counterexample import Counterexample
from chaosharness.errors import InvalidDefinition
from chaosharness.machines.kafka.partitioners import log_partition_by_crc32, log_partition_for
from chaosharness.reporting import to_html, to_markdown, to_text


def test_every_client_has_a_profile_and_its_source():
    assert set(PROFILES.known) == set(CLIENTS)
    for one in PROFILES.known.values():
        assert one.name and one.source


def test_what_is_not_said_is_the_client_s_and_what_is_said_stays():
    named = Kafka("bus", ["a"], client="aiokafka", session_timeout_ms=6_000)
    assert named.assignment == "round-robin" and named.session_timeout_ms == 6_000
    assert "session 6,000 ms" in named.profile
    assert Kafka("bus", ["a"]).profile == ""
    with pytest.raises(InvalidDefinition, match="client"):
        Kafka("bus", ["a"], client="sarama")


def test_a_cluster_without_a_client_is_as_it_was():
    unnamed = Kafka("bus", ["a"])
    found = {one.name: getattr(unnamed, one.name) for one in attrs.fields(Profile)[2:]}
    assert found == {
        "session_timeout_ms": 45_000,
        "max_poll_interval_ms": 300_000,
        "idempotent_producer": False,
        "assignment": "range",
        "partitioner": "murmur2",
        "isolation": "read_uncommitted",
        "size_max": 1_048_588,
        "acks": "all",
        "finds_truncation": False,
    }


def test_aiokafka_s_are_those_of_the_library():
    aiokafka = pytest.importorskip("aiokafka")
    mine = PROFILES.known["aiokafka"]
    reads = inspect.signature(aiokafka.AIOKafkaConsumer.__init__).parameters
    sends = inspect.signature(aiokafka.AIOKafkaProducer.__init__).parameters
    assert reads["session_timeout_ms"].default == mine.session_timeout_ms
    assert reads["max_poll_interval_ms"].default == mine.max_poll_interval_ms
    assert reads["isolation_level"].default == mine.isolation
    assert reads["partition_assignment_strategy"].default[0].name == "roundrobin"
    assert sends["enable_idempotence"].default == mine.idempotent_producer
    assert mine.acks == 1  # of a producer that says nothing of it: see `AIOKafkaProducer`
    assert sends["max_request_size"].default == mine.size_max


def test_kafka_python_s_are_those_of_the_library():
    kafka = pytest.importorskip("kafka")
    mine = PROFILES.known["kafka-python"]
    reads, sends = kafka.KafkaConsumer.DEFAULT_CONFIG, kafka.KafkaProducer.DEFAULT_CONFIG
    assert reads["session_timeout_ms"] == mine.session_timeout_ms
    assert reads["max_poll_interval_ms"] == mine.max_poll_interval_ms
    assert reads["isolation_level"] == mine.isolation
    assert reads["partition_assignment_strategy"][0].name == mine.assignment
    assert sends["enable_idempotence"] == mine.idempotent_producer
    assert {-1: "all"}[sends["acks"]] == mine.acks
    assert sends["max_request_size"] == mine.size_max


def test_a_key_goes_where_the_client_sends_it():
    places = {}
    for client in ("aiokafka", "librdkafka"):
        system = System("keys")
        bus = system.add(Kafka("bus", {"a": 7}, client=client))
        system.entry(examples=["order-1"])(
            lambda env, key, bus=bus: env.publisher(bus)("a", 1, key=key)
        )
        [sent] = system.run().history.of("publish")
        places[client] = sent.data["partition"]
    assert places["aiokafka"] == log_partition_for("order-1", 7) == 4
    assert places["librdkafka"] == log_partition_by_crc32("order-1", 7) == 6


@pytest.mark.parametrize(("client", "seen"), [("aiokafka", 1), ("confluent-kafka", 0)])
def test_consumers_that_do_not_say_see_what_their_client_does(client, seen):
    system = System("seen", arrival_ms=1)
    bus = system.add(Kafka("bus", ["a", "b"], client=client))

    @system.service("writer")
    def writer(env):
        produce = env.publisher(bus, transactional_id="writer")

        def on_a(value: int):
            produce.begin()
            produce("b", value)
            env.sleep(1)
            produce.abort()

        env.consume(bus, "a", on_a)

    @system.service("called")
    def called(env):
        env.consume(bus, "b", lambda value: env.note("called"))

    @system.service("polls")
    def polls(env):
        consumer = env.consumer(bus, "b")

        def run():
            for _ in range(3):
                for _ in consumer.poll(timeout_s=1):
                    env.note("polled")

        env.main(run)

    system.entry(examples=[1])(lambda env, item: env.publisher(bus)("a", item))
    notes = [one.data["what"] for one in system.run().history.of("note")]
    assert sorted(notes) == ["called", "polled"] * seen


def charges(**options):
    system = System("shop")
    bus = system.add(Kafka("bus", ["orders"], **options))
    bank = system.add(Gateway("bank"))

    @system.service("pay")
    def pay(env):
        client = env.client(bank)
        env.consume(bus, "orders", lambda order: client.charge(order, 500), on_unreadable="skip")

    system.entry(examples=["o1"])(lambda env, order: env.publisher(bus)("orders", order))
    system.claim(never_charged_twice(bank))
    return system


def test_reports_say_whose_defaults_they_were():
    found = smallest(charges(client="aiokafka"), faults_max=1)
    words = "bus as by aiokafka 0.14: session 10,000 ms"
    assert found.profiles[0].startswith(words)
    for report in (to_text(found), to_markdown(found), to_html(found)):
        assert words in " ".join(report.split())
    assert Counterexample.decode(found.encode()).profiles == found.profiles
    nobody = smallest(charges(), faults_max=1)
    assert nobody.profiles == () and "Profile" not in to_text(nobody)


def test_the_profiles_are_those_of_the_page():
    page = Path(__file__).parents[3].joinpath("docs/how-to/kafka.md").read_text("utf-8")
    assert PROFILES.table() in page
