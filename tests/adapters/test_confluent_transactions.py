"""Transactions of confluent-kafka as they are: states, errors, fencing, what readers see.

Source: librdkafka 2.16 (confluent-kafka 2.16.1) beside a broker: codes and words were printed by
the real client.
"""

import time

import confluent_kafka
import pytest
from confluent_kafka import KafkaException, TopicPartition

from chaosharness import (
    Duplicate,
    Kafka,
    KafkaServers,
    LostReply,
    LostRequest,
    Schedule,
    Site,
    System,
    smallest,
)
from chaosharness.checkers import eventually
from chaosharness.errors import IllegalFault

SERVERS = {"bootstrap.servers": "one:9092", "log_level": 0}
NAMED = {**SERVERS, "transactional.id": "relay"}
GROUP = {**SERVERS, "group.id": "readers", "enable.auto.commit": False}
END = "reader.main/bus.commit_transaction"


def ran(main, *faults, replicas=1, **options):
    system = System("shop", arrival_ms=1)
    bus = system.add(Kafka("bus", {"orders": 1, "paid": 2}, **options))
    system.add(KafkaServers("one:9092", bus))
    system.service("reader", replicas=replicas)(lambda env: env.main(main))

    @system.entry(examples=["o1"])
    def place(env, item):
        env.publisher(bus)("orders", item)

    run = system.run(None, Schedule(faults))
    assert not run.unused
    return run


def error_of(call):
    """Return what the client says went wrong: its name, its words, and what that asks for."""
    with pytest.raises(KafkaException) as caught:
        call()
    error = caught.value.args[0]
    kinds = {"fatal": error.fatal(), "abort": error.txn_requires_abort()}
    kinds["again"] = error.retriable()
    return error.name(), error.str(), [kind for kind, is_so in kinds.items() if is_so]


def begun(**more):
    producer = confluent_kafka.Producer({**NAMED, **more})
    producer.init_transactions()
    producer.begin_transaction()
    return producer


PRODUCE = "Unable to produce message: Local: Erroneous state"
STATES = [
    ("Init", lambda one: one.begin_transaction(), "Operation not valid in state Init"),
    ("Init", lambda one: one.commit_transaction(), "Operation not valid in state Init"),
    ("Init", lambda one: one.abort_transaction(), "Operation not valid in state Init"),
    (
        "Init",
        lambda one: one.produce("paid", b"x"),
        "Unable to produce message: Local: Erroneous state",
    ),
    ("Ready", lambda one: one.init_transactions(), "Operation not valid in state Ready"),
    (
        "Ready",
        lambda one: one.produce("paid", b"x"),
        "Unable to produce message: Local: Erroneous state",
    ),
    ("Ready", lambda one: one.commit_transaction(), "Operation not valid in state Ready"),
    ("Ready", lambda one: one.abort_transaction(), "Operation not valid in state Ready"),
    ("Begun", lambda one: one.begin_transaction(), "Operation not valid in state InTransaction"),
]


@pytest.mark.parametrize(("state", "use", "words"), STATES)
def test_what_a_state_does_not_allow(state, use, words):
    def main():
        producer = confluent_kafka.Producer(NAMED)
        if state != "Init":
            producer.init_transactions()
        if state == "Begun":
            producer.begin_transaction()
        assert error_of(lambda: use(producer)) == ("_STATE", words, [])

    ran(main)


def test_configurations_that_contradict_themselves():
    def main():
        plain = confluent_kafka.Producer(SERVERS)
        for call in (plain.init_transactions, plain.begin_transaction, plain.commit_transaction):
            words = "The Transactional API requires transactional.id to be configured"
            assert error_of(call) == ("_NOT_CONFIGURED", words, [])
        for wrong, words in (
            (
                {"enable.idempotence": False},
                "`transactional.id` requires `enable.idempotence=true`",
            ),
            (
                {"transaction.timeout.ms": 1_000, "message.timeout.ms": 5_000},
                "`message.timeout.ms` must be set <= `transaction.timeout.ms`",
            ),
        ):
            name, said, _ = error_of(
                lambda wrong=wrong: confluent_kafka.Producer({**NAMED, **wrong})
            )
            assert (name, said) == ("_INVALID_ARG", f"Failed to create producer: {words}")
        with pytest.raises(KafkaException, match=r"isolation\.level"):
            confluent_kafka.Consumer({**GROUP, "isolation.level": "serializable"})

    ran(main)


def values(consumer, most=3):
    found = [consumer.poll(1.0) for _ in range(most)]
    return [one.value() for one in found if one is not None]


def reader(name, **more):
    consumer = confluent_kafka.Consumer({**GROUP, "group.id": name, **more})
    consumer.subscribe(["paid"])
    return consumer


def test_a_reader_sees_what_is_committed_unless_it_says_otherwise():
    seen = {}

    def main():
        producer = begun()
        producer.produce("paid", b"undecided", key=b"k")
        producer.flush()
        plain = confluent_kafka.Producer(SERVERS)
        plain.produce("paid", b"behind it", key=b"k")
        plain.flush()
        eager = reader("eager", **{"isolation.level": "read_uncommitted"})
        careful = reader("careful")
        seen["eager"], seen["before"] = values(eager), values(careful)
        place = TopicPartition("paid", int(producer is None))
        ends = [one.get_watermark_offsets(place) for one in (eager, careful)]
        producer.abort_transaction()
        seen["after"], seen["ends"] = values(careful), ends
        producer.begin_transaction()
        producer.produce("paid", b"decided", key=b"k")
        producer.commit_transaction()
        seen["last"] = values(careful)

    ran(main)
    assert seen["eager"] == [b"undecided", b"behind it"] and seen["before"] == []
    assert seen["after"] == [b"behind it"] and seen["last"] == [b"decided"]
    assert sorted(seen["ends"]) in ([(0, 0), (0, 0)], [(0, 0), (0, 2)])


def test_a_newer_producer_of_the_same_id_fences_this_one_for_good():
    reports = []

    def main():
        old = begun()
        old.produce("paid", b"open")
        old.flush()
        begun()
        old.produce("paid", b"late", on_delivery=lambda error, _: reports.append(error.name()))
        words = "Local: This instance has been fenced by a newer instance"
        for call in (old.commit_transaction, old.abort_transaction, old.begin_transaction):
            assert error_of(call) == ("_FENCED", words, ["fatal"])
        assert error_of(lambda: old.produce("paid", b"x"))[0] == "_FATAL"

    run = ran(main)
    assert reports == ["_PURGE_QUEUE"]
    assert [one.data["withdrawn"] for one in run.history.of("rollback")]


def test_replicas_share_a_configuration_and_do_not_fence_each_other():
    def main():
        producer = begun()
        time.sleep(5)
        producer.produce("paid", b"x")
        producer.commit_transaction()

    sent = [one for one in ran(main, replicas=2).history.of("publish") if one.data["value"] == b"x"]
    assert {one.actor for one in sent} == {"reader#1", "reader#2"}


def test_a_transaction_that_takes_too_long_is_aborted_by_the_cluster():
    def main():
        producer = begun(**{"transaction.timeout.ms": 2_000})
        producer.produce("paid", b"x")
        producer.flush()
        time.sleep(3)
        assert error_of(producer.commit_transaction)[0] == "_FENCED"

    ran(main)


def test_what_was_not_sent_is_purged_by_an_abort():
    reports = []

    def main():
        producer = begun(**{"linger.ms": 500})
        producer.produce("paid", b"x", on_delivery=lambda error, _: reports.append(error.name()))
        producer.abort_transaction()
        producer.begin_transaction()
        producer.commit_transaction()

    run = ran(main)
    assert reports == ["_PURGE_QUEUE"]
    assert not [one for one in run.history.of("publish") if one.data["topic"] == "paid"]


def test_a_record_that_is_not_delivered_in_time_asks_for_an_abort():
    def main():
        producer = begun(**{"transaction.timeout.ms": 10_000})
        producer.produce("paid", b"x")
        assert error_of(producer.commit_transaction) == (
            "_MSG_TIMED_OUT",
            "Local: Message timed out",
            ["abort"],
        )
        assert error_of(lambda: producer.produce("paid", b"x"))[0] == "_STATE"
        producer.abort_transaction()
        producer.begin_transaction()
        producer.produce("paid", b"y")
        producer.commit_transaction()

    lost = LostRequest(Site("reader.main/bus.publish paid", entity=0))
    stored = [one.data["value"] for one in ran(main, lost).history.of("publish")]
    assert stored == [b"o1", b"y"]


@pytest.mark.parametrize("fault", [LostRequest(Site(END)), LostReply(Site(END, "after"))])
def test_an_end_that_is_not_answered_is_asked_for_again(fault):
    def main():
        producer = begun()
        producer.produce("paid", b"x")
        name, _, kinds = error_of(lambda: producer.commit_transaction(5))
        assert (name, kinds) == ("_TIMED_OUT", ["again"])
        producer.commit_transaction()
        producer.begin_transaction()
        producer.produce("paid", b"y")
        producer.commit_transaction(60)

    run = ran(main, fault.__class__(Site(END, fault.site.phase, entity=0)))
    assert len([one for one in run.history.of("publish") if one.data["topic"] == "paid"]) == 2


def test_offsets_of_another_generation_ask_for_an_abort():
    said = []

    def main():
        consumer = confluent_kafka.Consumer(GROUP)
        assert consumer.consumer_group_metadata() == b"CGMDv2:\xff\xff\xff\xffreaders\0\0\x01"
        consumer.subscribe(["orders"])
        producer = begun()
        message = consumer.poll(5.0)
        metadata = consumer.consumer_group_metadata()
        assert metadata.startswith(b"CGMDv2:\1\0\0\0readers\0rdkafka-reader#1")
        behind = [TopicPartition("orders", 0, message.offset() + 1)]
        with pytest.raises(TypeError):
            producer.send_offsets_to_transaction(behind, "no bytes")
        producer.produce("paid", b"x")
        consumer.unsubscribe()
        said.append(error_of(lambda: producer.send_offsets_to_transaction(behind, metadata)))
        said.append(error_of(producer.commit_transaction))
        producer.abort_transaction()
        consumer.close()

    ran(main)
    generation = "Broker: Specified group generation id is not valid"
    assert said == [("ILLEGAL_GENERATION", generation, ["abort"])] * 2


def test_the_cluster_recognises_its_retries():
    def main():
        producer = begun()
        producer.produce("paid", b"x")
        producer.commit_transaction()

    with pytest.raises(IllegalFault):
        ran(main, Duplicate(Site("reader.main/bus.publish paid", entity=0)))


# ---- a relay, right and wrong


def relay(how):
    """Copy orders to `paid`; a careful reader lists what it sees."""

    def run():
        consumer = confluent_kafka.Consumer({**GROUP, "group.id": "relay"})
        consumer.subscribe(["orders"])
        producer = confluent_kafka.Producer({**NAMED, "message.timeout.ms": 2_000})
        producer.init_transactions()
        while True:
            message = consumer.poll(5.0)
            if message is None or message.error():
                continue
            producer.begin_transaction()
            try:
                producer.produce("paid", message.value(), key=b"paid")
                if how != "apart":
                    positions = consumer.position(consumer.assignment())
                    metadata = consumer.consumer_group_metadata()
                    producer.send_offsets_to_transaction(positions, metadata)
                producer.commit_transaction()
            except KafkaException as error:
                if not error.args[0].txn_requires_abort():
                    raise
                producer.abort_transaction()
                if how != "goes on":  # its position is behind a record that nobody has copied
                    consumer.unsubscribe()
                    consumer.subscribe(["orders"])
            if how == "apart":
                consumer.commit(asynchronous=False)

    return run


def copies(how):
    system = System("copies", arrival_ms=1)
    options = {"timeout_ms": 3_000, "idempotent_producer": True}
    bus = system.add(Kafka("bus", {"orders": 1, "paid": 1}, **options))
    system.add(KafkaServers("one:9092", bus))
    system.service("relay", replicas=2)(lambda env: env.main(relay(how)))

    @system.service("reader")
    def reader(env):
        env.consume(
            bus,
            "paid",
            lambda order: env.note("read", order=order),
            isolation="read_committed",
            on_unreadable="skip",
        )

    @system.entry(examples=["o1", "o2"])
    def place(env, order):
        env.publisher(bus)("orders", order)

    def once(history):
        """Judge what was stored in `paid` and not withdrawn."""
        gone = {one for event in history.of("rollback") for one in event.data["withdrawn"]}
        kept = [
            event.data["value"]
            for event in history.of("publish")
            if event.data["topic"] == "paid" and event.index not in gone
        ]
        return [kept.count(order) for order in (b"o1", b"o2")] == [1, 1]

    system.claim(eventually("each order is copied once", once))
    return system


def test_a_relay_that_decides_both_together_copies_each_order_once():
    assert smallest(copies("together"), faults_max=1) is None


@pytest.mark.parametrize("how", ["apart", "goes on"])
def test_a_relay_that_gets_it_wrong_is_found_by_one_fault(how):
    found = smallest(copies(how), faults_max=1)
    assert found is not None and len(found.schedule) == 1
