"""kafka-python as it is: what its clients do by themselves, in virtual time and under faults."""

import json
import subprocess
import sys
import time

import kafka
import pytest
from kafka import (
    ConsumerRebalanceListener,
    KafkaConsumer,
    KafkaProducer,
    OffsetAndMetadata,
    TopicPartition,
)
from kafka.errors import (
    CommitFailedError,
    InvalidRecordError,
    KafkaError,
    KafkaTimeoutError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    ProducerFencedError,
)

from chaosharness import (
    Crash,
    ErrorReply,
    Kafka,
    KafkaServers,
    KafkaTopic,
    LostReply,
    LostRequest,
    LostWrites,
    Pause,
    Rebalance,
    Schedule,
    Site,
    System,
)
from chaosharness.adapters import dispatch
from chaosharness.adapters.kafka.kafka_python import LIBRARY
from chaosharness.errors import IllegalFault, InvalidDefinition
from tests.adapters import kafka_python_workers as workers
from tests.adapters.digests import printed_everywhere

SERVERS = {"bootstrap_servers": "one"}
GROUP = {**SERVERS, "group_id": "readers"}
BY_HAND = {**GROUP, "enable_auto_commit": False}
PUBLISH = "reader.main/bus.publish paid"
DELIVER = Site("bus.orders/deliver to readers")
COMMIT = "reader.main/bus.commit"
ORDERS = TopicPartition("orders", 0)
early = KafkaProducer(**SERVERS)


def ran(main, *faults, items=("o1",), replicas=1, topics=None, arrival_ms=10, **options):
    """Run a service with this main loop; it reads what an entry publishes, one after another."""
    system = System("shop", arrival_ms=arrival_ms)
    bus = system.add(Kafka("bus", topics or {"orders": 1, "paid": 1}, **options))
    system.add(KafkaServers("one:9092", bus))
    system.service("reader", replicas=replicas)(lambda env: env.main(main))

    @system.entry(examples=items)
    def place(env, item):
        env.publisher(bus)("orders", item, key=item)

    run = system.run(None, Schedule(faults))
    assert not run.unused
    return run


def stored(run, topic):
    return [one.data["value"] for one in run.history.of("publish") if one.data["topic"] == topic]


def acks(run):
    return [one.at_ms for one in run.history.of("ack")]


def reading(seen, *, config=BY_HAND, most=1, take=None):
    """Return a main loop that takes so many records, and keeps what it is handed."""

    def main():
        with KafkaConsumer("orders", **config) as consumer:
            for message in consumer:
                seen.append(message.value)
                if take is not None:
                    take(consumer, message)
                if len(seen) >= most:
                    break

    return main


def test_what_was_consumed_is_committed_inside_poll_and_at_the_end():
    seen = []
    config = {**GROUP, "consumer_timeout_ms": 20_000}
    run = ran(reading(seen, config=config, most=9, take=lambda *_: time.sleep(8)))
    assert acks(run) == [8_001, 28_001]  # its next poll, and its end
    assert acks(ran(reading([], config=BY_HAND))) == []
    crash = Crash(Site("reader.main/sleep", "after"))
    slow = reading([], config=GROUP, take=lambda *_: time.sleep(8))
    assert len([*ran(slow, crash).history.of("deliver")]) == 2  # it is not lost: it comes again


def test_an_error_on_the_way_out_commits_the_record_that_failed():
    """`with` closes the consumer, and to close commits what was handed out."""

    def fail(consumer, message):
        raise ValueError(message.value)

    def main():
        try:
            reading([], config=GROUP, take=fail)()
        except ValueError:
            time.sleep(1)

    run = ran(main)
    assert len(acks(run)) == 1 and len([*run.history.of("deliver")]) == 1


def test_poll_hands_out_a_batch_and_commit_speaks_for_all_of_it():
    found = []

    def main():
        consumer = KafkaConsumer("orders", **BY_HAND)
        time.sleep(1)
        batch = consumer.poll(timeout_ms=5_000)
        for message in batch[ORDERS]:
            early.send("paid", message.value)
            consumer.commit()
            found.append(consumer.committed(ORDERS))
        early.flush()
        assert consumer.poll() == {}

    run = ran(main, items=("o1", "o2", "o3"))
    sent = [one for one in run.history.of("publish") if one.data["topic"] == "paid"]
    assert {one.entity: one.data["value"] for one in sent} == {1: b"o1", 2: b"o2", 3: b"o3"}
    assert found == [3, 3, 3]


def test_a_commit_that_is_refused_or_not_answered():
    raised = []

    def take(consumer, message):
        try:
            consumer.commit({ORDERS: OffsetAndMetadata(message.offset + 1)})
        except KafkaError as error:
            raised.append(type(error))

    for fault in (Rebalance(Site(COMMIT)), LostReply(Site(COMMIT, "after"))):
        ran(reading([], take=take), fault)
    assert raised == [CommitFailedError, KafkaTimeoutError]
    patient = {**BY_HAND, "request_timeout_ms": 60_000}
    assert acks(ran(reading([], config=patient, take=take), LostRequest(Site(COMMIT)))) == [30_101]
    assert len(raised) == 2


class Ears(ConsumerRebalanceListener):
    def __init__(self, told):
        self.told = told

    def on_partitions_revoked(self, revoked):
        self.told.append(("revoked", [one.partition for one in revoked]))

    def on_partitions_assigned(self, assigned):
        self.told.append(("assigned", [one.partition for one in assigned]))

    def on_partitions_lost(self, lost):
        self.told.append(("lost", [one.partition for one in lost]))


def test_who_has_nothing_holds_nothing():
    seen = []

    def main():
        consumer = kafka.KafkaConsumer(**BY_HAND)
        for hold in (consumer.pause, consumer.resume):
            seen.append(hold())
            with pytest.raises(KeyError) as caught:
                hold(ORDERS)
            seen.append(caught.value.args)
        seen.append(consumer.paused())

    ran(main)
    assert seen == [None, (ORDERS,), None, (ORDERS,), set()]


def test_listeners_hear_inside_poll_and_close():
    told = []

    def main():
        consumer = KafkaConsumer(**BY_HAND)
        consumer.subscribe(["orders"], listener=Ears(told))
        while len(told) < 4:
            told.extend(one.value for one in consumer.poll(timeout_ms=100).get(ORDERS, ()))
        consumer.close()

    ran(main, Rebalance(DELIVER))
    assert told == [("assigned", [0]), ("lost", [0]), ("assigned", [0]), b"o1", ("revoked", [0])]


def test_a_listener_that_fails_fails_the_poll():
    class Deaf(Ears):
        def on_partitions_assigned(self, assigned):
            raise RuntimeError("no")

    def main():
        consumer = KafkaConsumer(**BY_HAND)
        consumer.subscribe(["orders"], listener=Deaf([]))
        with pytest.raises(KafkaError, match="User rebalance callback throws an error"):
            consumer.poll(timeout_ms=100)

    ran(main)


def test_a_record_that_cannot_be_read_is_the_last_one():
    seen = []

    def main():
        consumer = KafkaConsumer("orders", value_deserializer=json.loads, **BY_HAND)
        while True:
            try:
                seen.append(consumer.poll(timeout_ms=1_000))
            except ValueError:
                seen.append("unreadable")

    run = ran(main, items=("{", "2"))
    assert seen == ["unreadable"]
    assert run.ending.verdict == "stuck"


def test_where_nothing_is_committed():
    def main():
        time.sleep(1)
        with pytest.raises(NoOffsetForPartitionError):
            KafkaConsumer("orders", **BY_HAND, auto_offset_reset="none").poll(timeout_ms=100)
        consumer = KafkaConsumer("orders", **SERVERS)
        assert consumer.poll(timeout_ms=100) == {}  # it begins at the end
        consumer.seek_to_beginning()
        assert [one.value for one in consumer.poll(timeout_ms=100)[ORDERS]] == [b"o1"]
        assert consumer.position(ORDERS) == 1

    ran(main, new_groups=True)


def test_what_retention_took_is_out_of_range():
    def main():
        consumer = KafkaConsumer("orders", **BY_HAND, auto_offset_reset="none")
        assert consumer.poll(timeout_ms=500, max_records=1)
        time.sleep(90)
        with pytest.raises(OffsetOutOfRangeError):
            consumer.poll(timeout_ms=500)
            consumer.poll(timeout_ms=500)

    topics = {"orders": KafkaTopic(retention_ms=60_000), "paid": 1}
    ran(main, items=("o1", "o2"), topics=topics)


# ---- the producer


@pytest.mark.parametrize(
    ("acks", "lost"), [({}, False), ({"acks": "all"}, False), ({"acks": 1}, True)]
)
def test_a_record_that_its_leader_alone_has_may_be_lost(acks, lost):
    told = []

    def main():
        producer = KafkaProducer(**SERVERS, **acks)
        for body in (b"x", b"y"):
            told.append(producer.send("paid", body).get(timeout=10).offset)

    fault = LostWrites(Site(PUBLISH, "after", entity=0))
    if lost:
        ran(main, fault)
        assert told == [0, 0]
        return
    with pytest.raises(IllegalFault, match="can never happen"):
        ran(main, fault)


def test_a_compacted_topic_takes_no_record_without_a_key():
    def main():
        producer = KafkaProducer(**SERVERS)
        with pytest.raises(InvalidRecordError):
            producer.send("states", b"x").get(timeout=10)

    ran(main, topics={"orders": 1, "states": KafkaTopic(compacted=True)})


def test_a_future_tells_what_comes_of_a_record():
    said = []

    def main():
        producer = KafkaProducer(**SERVERS, linger_ms=20, value_serializer=json.dumps_bytes)
        future = producer.send("paid", {"a": 1}, headers=[("h", b"1")])
        future.add_callback(lambda told: said.append(("callback", told.offset)))
        said.append(future.is_done)
        told = future.get(timeout=1)
        time.sleep(0.01)
        said.append((told.topic, told.partition, told.offset, future.succeeded()))
        producer.send("paid", {"b": 2})
        producer.close()
        with pytest.raises(KafkaError):
            producer.send("paid", {"c": 3})

    json.dumps_bytes = lambda value: json.dumps(value).encode()
    run = ran(main)
    assert said == [False, ("callback", 0), ("paid", 0, 0, True)]
    assert stored(run, "paid") == [b'{"a": 1}', b'{"b": 2}']


@pytest.mark.parametrize(
    ("fault", "options", "copies", "raised"),
    [
        (ErrorReply(Site(PUBLISH, entity=0)), {}, 1, None),
        (LostRequest(Site(PUBLISH, entity=0)), {}, 1, None),
        (LostReply(Site(PUBLISH, "after", entity=0)), {}, 1, None),
        (LostReply(Site(PUBLISH, "after", entity=0)), {"enable_idempotence": False}, 2, None),
        (LostReply(Site(PUBLISH, "after", entity=0)), {"retries": 0}, 1, KafkaTimeoutError),
        (LostRequest(Site(PUBLISH, entity=0)), {"delivery_timeout_ms": 20}, 0, KafkaTimeoutError),
    ],
)
def test_what_is_sent_again_by_itself(fault, options, copies, raised):
    told = []

    def main():
        producer = KafkaProducer(**SERVERS, **options)
        try:
            told.append(producer.send("paid", b"x").get())
        except KafkaError as error:
            told.append(type(error))
        producer.flush()

    assert stored(ran(main, fault), "paid") == [b"x"] * copies
    assert told[0] is raised if raised else told[0].topic == "paid"


def test_get_and_flush_give_up_when_their_time_is_over():
    def main():
        future = early.send("paid", b"x")
        for call in (lambda: future.get(timeout=1), lambda: early.flush(timeout=1)):
            with pytest.raises(KafkaTimeoutError):
                call()
        assert future.get().offset == 0

    ran(main, LostRequest(Site(PUBLISH, entity=0)))


def test_what_was_not_sent_yet_dies_with_its_process():
    def main():
        for message in KafkaConsumer("orders", **BY_HAND):
            early.send("paid", message.value)
            consumer = KafkaConsumer(**BY_HAND)
            consumer.assign([ORDERS])
            time.sleep(0)

    crash = Crash(Site("reader.main/sleep"))
    assert len(stored(ran(main, crash), "paid")) == 1


def test_a_transaction_keeps_records_and_offsets_together():
    def main():
        producer = KafkaProducer(**SERVERS, transactional_id="t")
        producer.init_transactions()
        consumer = KafkaConsumer("orders", isolation_level="read_committed", **BY_HAND)
        for message in consumer:
            producer.begin_transaction()
            producer.send("paid", message.value)
            ends = {ORDERS: OffsetAndMetadata(message.offset + 1)}
            producer.send_offsets_to_transaction(ends, consumer.group_metadata())
            producer.commit_transaction()

    for fault in (
        Crash(Site("reader.main/bus.send_offsets", "after")),
        Crash(Site(PUBLISH, "after")),
        LostReply(Site("reader.main/bus.commit_transaction", "after")),
        LostRequest(Site("reader.main/bus.send_offsets")),
    ):
        run = ran(main, fault)
        gone = [one for event in run.history.of("rollback") for one in event.data["withdrawn"]]
        assert len(stored(run, "paid")) - len(gone) == 1, fault


def test_who_comes_later_fences_a_transaction_for_good():
    def main():
        first, second = (KafkaProducer(**SERVERS, transactional_id="t") for _ in range(2))
        first.init_transactions()
        first.begin_transaction()
        first.send("paid", b"1").get()
        second.init_transactions()
        for call in (first.commit_transaction, first.abort_transaction, first.begin_transaction):
            with pytest.raises(ProducerFencedError):
                call()

    ran(main)


# ---- what is not there


def consumer(**options):
    return KafkaConsumer("orders", **{**GROUP, **options})


def sent(**options):
    producer = KafkaProducer(**{**SERVERS, **options.pop("producer", {})})
    producer.send(**{"topic": "paid", "value": b"x", **options})


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (lambda: consumer(bootstrap_servers="x"), r"'x:9092' \(at tests/.*, and this system has"),
        (
            lambda: consumer().partition_count,
            r"kafka-python: KafkaConsumer.partition_count is not modelled \(at .*test_kafka_py",
        ),
        (lambda: consumer(session_timeout_ms=6_000), "its cluster session_timeout_ms=45000"),
        (
            lambda: KafkaConsumer("nothing", **GROUP).poll(timeout_ms=100),
            "bus has no topic 'nothing'; it has: orders, paid",
        ),
        (lambda: next(KafkaConsumer(**GROUP)), r"reading before subscribe\(\) is not modelled"),
        (
            lambda: sent(timestamp_ms=5),
            r"send\(timestamp_ms=5\) is not modelled \(at tests/adapters",
        ),
        (lambda: early.metrics(raw=True), r"KafkaProducer.metrics is not modelled"),
        (
            lambda: kafka.KafkaAdminClient(**SERVERS).delete_topics(["paid"]),
            r"KafkaAdminClient.delete_topics is not modelled \(at tests/",
        ),
    ],
)
def test_what_is_not_modelled_ends_the_run_with_its_place(main, words):
    def run():
        main()

    with pytest.raises(InvalidDefinition, match=words):
        ran(run)


def test_outside_a_run_it_is_the_real_library():
    real = kafka.KafkaProducer.real
    assert isinstance(early, KafkaProducer) and not isinstance(early, KafkaConsumer)
    assert KafkaProducer.DEFAULT_CONFIG is real.DEFAULT_CONFIG
    lost = KafkaProducer(bootstrap_servers="localhost:1", bootstrap_timeout_ms=100)
    with pytest.raises(KafkaError):
        lost.send("paid", b"x")


def test_a_client_that_was_made_too_early_is_named(monkeypatch):
    made = object.__new__(kafka.KafkaConsumer.real)
    monkeypatch.setattr(sys.modules[__name__], "real", made, raising=False)
    with pytest.raises(InvalidDefinition, match=r"test_kafka_python.real is a real KafkaConsumer"):
        KafkaServers("one:9092", Kafka("bus", ["orders"]))
    made._closed = True


def test_a_version_before_3_is_refused_by_name(monkeypatch):
    monkeypatch.delattr(kafka.KafkaConsumer.real, "bootstrap")
    words = r"kafka-python [\d.]+ is not as its adapter knows it: KafkaConsumer.bootstrap\(self, "
    seam = LIBRARY.seams[0]
    with pytest.raises(InvalidDefinition, match=words):
        dispatch._found(LIBRARY, seam.where, seam.takes)


def test_a_package_of_the_project_that_is_called_kafka_is_left_alone(tmp_path):
    (tmp_path / "kafka.py").write_text("TOPIC = 'orders'")
    code = """
from chaosharness import Kafka, KafkaServers
import kafka
KafkaServers("one:9092", Kafka("bus", [kafka.TOPIC]))
import sys
print(kafka.TOPIC, "chaosharness.adapters.kafka.kafka_python" in sys.modules)
"""
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.stdout == "orders False\n", ran.stderr


# ---- beside the same on ports


RUN_COMMIT = "billing.run/bus.commit"
FAULTS = {
    "none": [],
    "crash": [Crash(Site("billing.run/bank.charge", "after"))],
    "fenced": [Rebalance(Site(RUN_COMMIT, entity=3))],
    "moved": [Rebalance(Site("bus.orders/deliver to billing", entity=2))],
    "paused": [Pause(Site("billing.run/bank.charge"), lasting=3_000)],
    "committed": [Crash(Site(RUN_COMMIT, "after", 2))],
}


def happened(run):
    """Return what happened to messages and third parties, without when."""
    kinds = ("publish", "deliver", "ack", "nack", "effect", "fault", "crash")
    kept = [one for one in run.history if one.kind in kinds]
    return sorted((one.entity, one.kind, one.operation, str(told_of(one))) for one in kept)


def told_of(one):
    """Return what an event says; messages by what they are, and not by their number."""
    return {name: value for name, value in one.data.items() if name != "message"}


@pytest.mark.parametrize("name", FAULTS)
def test_it_does_what_the_same_code_does_on_ports(name):
    schedule = Schedule(FAULTS[name])
    runs = [workers.shop(one).run(None, schedule) for one in (workers.charged, workers.ported)]
    assert all(run.ending.verdict == "quiet" and not run.unused for run in runs)
    mine, ported = map(happened, runs)
    assert mine == ported


DIGESTS = """
from chaosharness import Schedule
from tests.adapters.kafka_python_workers import charged, shop
from tests.adapters.test_kafka_python import FAULTS
for name, faults in FAULTS.items():
    for _ in range(2):
        print(name, shop(charged).run(None, Schedule(faults)).digest())
"""


def test_a_history_is_the_same_everywhere():
    first = printed_everywhere(DIGESTS)
    assert len(set(first)) == len(FAULTS)


def test_a_seek_to_an_offset_that_is_not_there_is_heard_of_by_the_next_poll():
    def main():
        consumer = KafkaConsumer("orders", **BY_HAND, auto_offset_reset="none")
        assert consumer.poll(timeout_ms=500, max_records=1)
        consumer.seek(ORDERS, 7)
        with pytest.raises(OffsetOutOfRangeError):
            consumer.poll(timeout_ms=500)
        consumer.seek(ORDERS, 0)
        assert consumer.poll(timeout_ms=500)

    ran(main)
