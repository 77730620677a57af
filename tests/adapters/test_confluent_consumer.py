"""confluent-kafka's consumer beyond poll and commit: listeners, assignments, positions, its end.

Source: observed on librdkafka 2.16 and its mock cluster; documentation of `Consumer`.
"""

import time

import confluent_kafka
import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_INVALID,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from chaosharness import (
    Crash,
    Duplicate,
    Kafka,
    KafkaServers,
    LostReply,
    Pause,
    Rebalance,
    Schedule,
    Site,
    System,
)
from chaosharness.errors import IllegalFault

SERVERS = {"bootstrap.servers": "one:9092", "log_level": 0}
GROUP = {**SERVERS, "group.id": "readers"}
BY_HAND = {**GROUP, "enable.auto.commit": False}
DELIVER = Site("bus.orders/deliver to readers")
ORDERS = TopicPartition("orders", 0)


def ran(main, *faults, items=3, replicas=1, log_partitions=1, **options):
    system = System("shop", arrival_ms=1)
    bus = system.add(Kafka("bus", {"orders": log_partitions, "paid": 1}, **options))
    system.add(KafkaServers("one:9092", bus))
    system.service("reader", replicas=replicas)(lambda env: env.main(main))

    @system.entry(examples=range(1, items + 1))
    def place(env, item):
        env.publisher(bus)("orders", item)

    run = system.run(None, Schedule(faults))
    assert not run.unused
    return run


def reading(config, told, *, most=9, take=lambda consumer, message: None, **listeners):
    def main():
        consumer = confluent_kafka.Consumer(config)
        consumer.subscribe(["orders"], **listeners)
        for _ in range(most):
            message = consumer.poll(1.0)
            if message is None:
                continue
            if message.error():
                told.append(message.error().name())
                continue
            told.append(int(message.value()))
            take(consumer, message)
        consumer.close()

    return main


def says(told, what):
    return lambda consumer, partitions: told.append((what, [one.partition for one in partitions]))


def listeners(told):
    names = {"on_assign": "assign", "on_revoke": "revoke", "on_lost": "lost"}
    return {name: says(told, what) for name, what in names.items()}


def test_listeners_hear_inside_poll_what_is_given_lost_and_given_back_at_the_end():
    told = []
    ran(reading(BY_HAND, told, **listeners(told)), Rebalance(DELIVER))
    given, lost = ("assign", [0]), ("lost", [0])
    assert told == [given, lost, given, 1, 2, 3, ("revoke", [0])]


def test_without_a_listener_for_the_loss_it_is_revoked():
    told = []
    ran(reading(BY_HAND, told, on_revoke=says(told, "revoke")), Rebalance(DELIVER), items=1)
    assert told == [("revoke", [0]), 1, ("revoke", [0])]


def test_a_listener_may_say_where_to_go_on():
    told = []

    def from_the_beginning(consumer, partitions):
        for one in partitions:
            one.offset = OFFSET_BEGINNING
        consumer.assign(partitions)

    def twice():
        for _ in range(2):
            reading(GROUP, told, on_assign=from_the_beginning, most=4)()

    ran(twice)
    assert told == [1, 2, 3, 1, 2, 3]


def test_what_is_stored_is_committed_when_it_is_revoked_and_when_it_is_closed():
    told = []
    run = ran(reading(GROUP, told, most=4))
    assert [one.at_ms < 5_000 for one in run.history.of("ack")] == [True]
    run = ran(reading(BY_HAND, told, most=4))
    assert [*run.history.of("ack")] == []


def test_who_is_closed_leaves_at_once_and_another_goes_on():
    told = []
    run = ran(reading(GROUP, told, most=3), replicas=2, log_partitions=2, items=6)
    whys = [(one.at_ms, one.data["why"]) for one in run.history.of("rebalance")]
    assert any(why == "a member left" and at_ms < 45_000 for at_ms, why in whys)


def test_where_it_is_and_where_its_group_is():
    seen = []

    def take(consumer, message):
        if seen:
            return
        [at] = consumer.position([ORDERS])
        [stored] = consumer.committed([ORDERS], timeout=1)
        seen.extend([at.offset, stored.offset, consumer.get_watermark_offsets(ORDERS)[0]])
        consumer.commit(offsets=[TopicPartition("orders", 0, 2)], asynchronous=False)
        seen.append(consumer.committed([ORDERS])[0].offset)
        seen.append([(one.topic, one.partition) for one in consumer.assignment()])
        seen.append(consumer.memberid() is not None)

    ran(reading(BY_HAND, [], take=take))
    assert seen == [1, OFFSET_INVALID, 0, 2, [("orders", 0)], True]


def test_seek_pause_and_resume():
    told = []

    def take(consumer, message):
        if told == [1]:
            consumer.seek(TopicPartition("orders", 0, 0))
        elif told == [1, 1]:
            consumer.pause([ORDERS])
            assert consumer.poll(3.0) is None
            consumer.resume([ORDERS])

    ran(reading(BY_HAND, told, take=take))
    assert told == [1, 1, 2, 3]


def test_an_assignment_of_ones_own_is_in_no_group():
    told = []

    def main():
        consumer = confluent_kafka.Consumer(GROUP)
        consumer.assign([TopicPartition("orders", 1, OFFSET_BEGINNING)])
        while (message := consumer.poll(1.0)) is not None:
            told.append(int(message.value()))
        consumer.unassign()
        assert consumer.assignment() == [] and consumer.poll(1.0) is None

    run = ran(main, log_partitions=2, items=4)
    assert [*run.history.of("rebalance")] == []
    assert len(told) == 2


def test_nothing_is_added_to_what_an_eager_group_gives():
    said = []

    def main():
        consumer = confluent_kafka.Consumer(GROUP)
        consumer.subscribe(["orders"])
        while consumer.poll(1.0) is not None:
            continue
        with pytest.raises(KafkaException) as caught:
            consumer.incremental_assign([TopicPartition("orders", 1)])
        said.append(caught.value.args[0].str())
        assert len(consumer.assignment()) == 2
        consumer.close()

    ran(main, log_partitions=2)
    assert said == [
        "Changes to the current assignment must be made using assign() "
        "when rebalance protocol type is EAGER"
    ]


def test_what_the_client_refuses_in_its_own_words():
    said = []

    def main():
        consumer = confluent_kafka.Consumer(GROUP)
        began = time.monotonic()
        assert consumer.poll(0.2) is None and consumer.consume(1, 0.2) == []
        assert round(time.monotonic() - began, 1) == 0.4
        assert consumer.assignment() == [] and consumer.memberid() is None
        assert consumer.position([ORDERS])[0].offset == OFFSET_INVALID
        for use in (
            lambda: consumer.seek(TopicPartition("orders", 0, 1)),
            lambda: consumer.commit(asynchronous=False),
            lambda: consumer.store_offsets(offsets=[TopicPartition("orders", 0, 1)]),
            lambda: consumer.get_watermark_offsets(TopicPartition("nothing", 0)),
            lambda: confluent_kafka.Consumer({**GROUP, "auto.offset.reset": "middle"}),
        ):
            with pytest.raises(KafkaException) as caught:
                use()
            said.append(caught.value.args[0].str())
        with pytest.raises(TypeError):
            consumer.assign(["orders"])

    ran(main)
    assert said == [
        "Failed to seek to offset 1: Local: Erroneous state",
        "Commit failed: Local: No offset stored",
        "StoreOffsets failed: Local: Invalid argument or configuration",
        "Failed to get watermark offsets: Local: Unknown partition",
        'Invalid value "middle" for configuration property "auto.offset.reset"',
    ]


def test_who_polls_too_late_is_told_so_once_and_joins_again():
    told = []

    def take(consumer, message):
        if told == [1]:
            time.sleep(400)

    ran(reading(BY_HAND, told, take=take, **{"on_lost": says(told, "lost")}))
    assert told == [1, "_MAX_POLL_EXCEEDED", ("lost", [0]), 1, 2, 3]


@pytest.mark.parametrize(("reset", "seen"), [("earliest", [1, 2, 3]), ("largest", [])])
def test_a_new_group_begins_where_its_policy_says(reset, seen):
    told = []

    def late():
        time.sleep(1)
        reading({**BY_HAND, "auto.offset.reset": reset}, told, most=4)()

    ran(late, new_groups=True)
    assert told == seen


def test_where_nothing_is_committed_and_the_policy_is_to_refuse_poll_says_so():
    told = []
    config = {**BY_HAND, "auto.offset.reset": "error"}
    ran(reading(config, told, most=2), new_groups=True)
    assert "_AUTO_OFFSET_RESET" in told


@pytest.mark.parametrize(("instance", "rounds"), [("me", 2), (None, 3)])
def test_a_static_member_comes_back_and_nobody_notices(instance, rounds):
    config = BY_HAND if instance is None else {**BY_HAND, "group.instance.id": instance}

    def main():
        consumer = confluent_kafka.Consumer(config)
        consumer.subscribe(["orders"])
        while True:
            message = consumer.poll(1.0)
            if message is not None:
                time.sleep(0.01)
                consumer.commit(message, asynchronous=False)

    crash = Crash(Site("reader.main/sleep", "after"), down=100)
    run = ran(main, crash, replicas=2, log_partitions=2)
    assert len([*run.history.of("rebalance")]) == rounds


def test_a_batch_is_nobodys_until_a_record_of_it_is_gone_to():
    def main():
        consumer = confluent_kafka.Consumer(BY_HAND)
        producer = confluent_kafka.Producer(SERVERS)
        consumer.subscribe(["orders"])
        batch = consumer.consume(3, timeout=1.0)
        while not batch:
            batch = consumer.consume(3, timeout=1.0)
        producer.produce("paid", b"nobody's")
        producer.flush()
        for message in batch:
            producer.produce("paid", message.value())
        producer.flush()

    run = ran(main)
    paid = [one for one in run.history.of("publish") if one.data["topic"] == "paid"]
    assert [one.entity for one in paid][:2] == [0, int(paid[1].data["value"])]


def test_a_cluster_recognises_the_retries_of_an_idempotent_producer_and_of_no_other():
    def sends(idempotent):
        def main():
            producer = confluent_kafka.Producer({**SERVERS, "enable.idempotence": idempotent})
            producer.produce("paid", b"x")
            producer.flush()

        return main

    def paid(run):
        return [one for one in run.history.of("publish") if one.data["topic"] == "paid"]

    twice = Duplicate(Site("reader.main/bus.publish paid", entity=0))
    assert len(paid(ran(sends(False), twice))) == 2
    assert len(paid(ran(sends(False), twice, idempotent_producer=True))) == 2
    with pytest.raises(IllegalFault):
        ran(sends(True), twice)
    lost = LostReply(Site("reader.main/bus.publish paid", "after", entity=0))
    assert len(paid(ran(sends(True), lost))) == 1


def test_who_reads_nothing_may_set_the_offsets_of_a_group_that_is_empty():
    """As a tool does that has a group begin elsewhere."""
    told = []

    def main():
        consumer = confluent_kafka.Consumer({**BY_HAND, "group.id": "others"})
        place = TopicPartition("orders", 0, 2)
        told.append(consumer.commit(offsets=[place], asynchronous=False)[0].offset)
        told.append(consumer.committed([place])[0].offset)
        try:
            consumer.commit(asynchronous=False)
        except KafkaException as error:
            told.append(error.args[0].name())

    ran(main)
    assert told == [2, 2, "_NO_OFFSET"]


def test_a_zombie_of_a_stall_has_its_effect_and_is_refused():
    told = []

    def take(consumer, message):
        time.sleep(0.01)
        producer = confluent_kafka.Producer(SERVERS)
        producer.produce("paid", message.value())
        producer.flush()
        try:
            consumer.commit(message, asynchronous=False)
        except KafkaException as error:
            told.append(error.args[0].code())

    stall = Pause(Site("reader.main/sleep", "after"), lasting=60_000)
    run = ran(reading(BY_HAND, [], take=take, most=90), stall, replicas=2, items=1)
    paid = [one for one in run.history.of("publish") if one.data["topic"] == "paid"]
    assert (len(paid), told) == (2, [KafkaError.UNKNOWN_MEMBER_ID])


def test_the_client_of_a_dead_loop_is_closed():
    """A loop that its process outlives, or whose process is dead, sends and reads nothing more."""
    kept = []

    def main():
        consumer = confluent_kafka.Consumer(GROUP)
        consumer.subscribe(["orders"])
        kept.append(consumer)
        while True:
            if consumer.poll(1.0) is not None:
                time.sleep(0.01)

    run = ran(main, Crash(Site("reader.main/sleep", "after")), items=1)
    assert len(kept) == 2
    [crash] = run.history.of("crash")
    acks = [one for one in run.history.of("ack") if one.actor == "reader#1"]
    assert acks == [], "it had stored an offset, and its thread died with it"
    assert all(one.at_ms <= crash.at_ms for one in run.history if one.actor == "reader#1")


def test_ends_are_told_where_they_are_asked_for_and_again_once_it_has_read_on():
    def told(config):
        heard = []

        def main():
            consumer = confluent_kafka.Consumer(config)
            consumer.subscribe(["orders"])
            for _ in range(8):
                message = consumer.poll(1.0)
                if message is None:
                    heard.append(None)
                elif message.error() is None:
                    heard.append(message.offset())
                else:
                    assert message.error().code() == KafkaError._PARTITION_EOF
                    heard.append((message.topic(), message.partition(), message.offset()))

        ran(main, items=2)
        return heard

    assert told(BY_HAND)[:3] == [0, 1, None]
    asked = told(BY_HAND | {"enable.partition.eof": True})
    assert asked[:3] == [0, 1, ("orders", 0, 2)]
    assert set(asked[3:]) == {None}, "an end is told once"


def test_a_batch_that_ends_at_the_end_of_its_input_commits_its_transaction():
    copied = []

    def main():
        consumer = confluent_kafka.Consumer(BY_HAND | {"enable.partition.eof": True})
        consumer.assign([TopicPartition("orders", 0)])
        producer = confluent_kafka.Producer({**SERVERS, "transactional.id": "copies"})
        producer.init_transactions()
        producer.begin_transaction()
        while True:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if message.error():
                break
            producer.produce("paid", message.value())
        places = consumer.position(consumer.assignment())
        producer.send_offsets_to_transaction(places, consumer.consumer_group_metadata())
        producer.commit_transaction()
        copied.append([place.offset for place in places])

    ran(main, items=2, idempotent_producer=True)
    assert copied == [[2]]
