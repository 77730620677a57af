"""What a cluster lets go of, as a handler and a loop see it: retention, compaction, failover."""

from pathlib import Path

import attrs
import pytest

from chaosharness import (
    Crash,
    Delay,
    InvalidRecord,
    Kafka,
    KafkaTopic,
    LostWrites,
    PartitionDelay,
    Pause,
    Schedule,
    Site,
    System,
    explore,
    nothing_acknowledged_lost,
)
from chaosharness.brokers.kafka.rows import ROWS
from chaosharness.errors import IllegalFault, InvalidDefinition
from chaosharness.handlers.legality import table

PUBLISH = "desk.store/bus.publish orders"
DELIVER = "bus.orders/deliver to reader"
MINUTE_MS = 60_000
KEPT = KafkaTopic(retention_ms=MINUTE_MS)


def reading(*values, topic=None, gap_ms=1_000, loop=False, reset="earliest", **options):
    """Return a system of one reader of `orders`, and what it read."""
    system = System("reading", arrival_ms=gap_ms)
    bus = system.add(Kafka("bus", {"orders": topic or 1}, **options))
    seen = []

    @system.service("reader")
    def reader(env):
        if not loop:
            env.consume(bus, "orders", seen.append, reset=reset)
            return
        consumer = env.consumer(bus, "orders", reset=reset)

        def run():
            while True:
                for delivery in consumer.poll(timeout_s=5):
                    seen.append(delivery.value)
                    consumer.commit(delivery)

        env.main(run)

    @system.service("desk")
    def desk(env):
        publish = env.publisher(bus)

        def store(value):
            key, body = value if isinstance(value, list | tuple) else (str(value), value)
            publish("orders", body, key=key)

        env.serve("store", store)

    @system.entry(examples=list(values))
    def place(env, value):
        env.call("desk", "store", value)

    return system, seen


def struck(system, *faults):
    return system.run(None, Schedule(faults))


# ---- acks=1: "Design" 4.7


@pytest.mark.parametrize("loop", [False, True])
def test_what_its_leader_alone_had_is_gone_though_its_producer_was_told_that_it_is_stored(loop):
    system, seen = reading(1, 2, 3, acks=1, loop=loop)
    run = struck(system, LostWrites(Site(PUBLISH, "after", entity=2)))
    assert seen == [1, 3]
    assert run.unused == ()
    assert not [*run.history.of("crash")]
    [gone] = run.history.of("dead")
    assert (gone.data["reason"], gone.data["to"], gone.entity) == ("failover", [], 2)
    assert [one.data["offset"] for one in run.history.of("publish")] == [0, 1, 1]
    assert [one.data["times"] for one in run.history.of("deliver")] == [1, 1]


@pytest.mark.parametrize("options", [{}, {"idempotent_producer": True}, {"client": "java"}])
def test_with_all_acknowledgements_nothing_is_lost(options):
    system, _ = reading(1, **options)
    with pytest.raises(IllegalFault, match="can never happen"):
        struck(system, LostWrites(Site(PUBLISH, "after")))


def test_a_record_that_somebody_has_read_is_on_every_replica_in_sync():
    system, seen = reading(1, 2, acks=1)
    site = Site(PUBLISH, "after")
    struck(system, Pause(site, lasting=500), LostWrites(site))
    assert seen == [1, 2]


def test_a_search_tries_it_and_names_what_is_lost():
    system, _ = reading(1, client="aiokafka")
    [found] = explore(
        system, properties=[nothing_acknowledged_lost()], faults_max=1, stop_at_first=True
    ).counterexamples
    assert [str(one) for one in found.schedule] == [f"lost writes after {PUBLISH} for item 1"]
    assert "failover" in found.findings[0].summary
    other, _ = reading(1, client="aiokafka", acks="all")
    assert explore(other, properties=[nothing_acknowledged_lost()], faults_max=1).result == "holds"


def test_a_publisher_says_for_itself_whose_answer_it_waits_for():
    system = System("two")
    bus = system.add(Kafka("bus", ["orders"]))

    @system.service("desk")
    def desk(env):
        publish = env.publisher(bus, acks=1)
        env.serve("store", lambda value: publish("orders", value))

    system.entry(examples=[1])(lambda env, value: env.call("desk", "store", value))
    [surface] = [one for name, one in system.run().surfaces.items() if "publish" in name]
    assert LostWrites in surface.searched_after
    for wrong in ({"acks": 1, "idempotent": True}, {"acks": 2}):
        broken = System("wrong")
        broken.add(bus)
        broken.entry(examples=[1])(lambda env, value, wrong=wrong: env.publisher(bus, **wrong))
        with pytest.raises(InvalidDefinition, match="acks"):
            broken.run()
    with pytest.raises(InvalidDefinition, match="acks=1 and an idempotent producer"):
        Kafka("bus", ["orders"], acks=1, idempotent_producer=True)


# ---- unclean elections: KIP-320


UNCLEAN = {"unclean_elections": True}


def test_without_an_unclean_election_no_read_record_is_lost():
    system, _ = reading(1, acks=1)
    with pytest.raises(IllegalFault, match="can never happen"):
        struck(system, LostWrites(Site(DELIVER, "after")))


@pytest.mark.parametrize(
    ("reset", "finds", "expected"),
    [
        ("earliest", True, [1, 2, 3]),
        ("latest", True, [1, 2, 3]),
        ("earliest", False, [1, 2, 1, 3]),
        ("latest", False, [1, 2, 3]),
    ],
)
@pytest.mark.parametrize("loop", [False, True])
def test_who_had_read_further_goes_on_as_its_client_does(reset, finds, expected, loop):
    options = {**UNCLEAN, "finds_truncation": finds}
    system, seen = reading(1, 2, 3, reset=reset, loop=loop, **options)
    run = struck(system, LostWrites(Site(DELIVER, "after", entity=2)))
    assert seen == expected
    assert [one.data["offset"] for one in run.history.of("publish")] == [0, 1, 1]


def test_who_comes_back_by_an_offset_behind_the_end_misses_what_took_its_place():
    """It commits behind a record that is gone, dies, and the offset means another record now."""
    for finds, expected in ((True, [1, 2, 3, 4]), (False, [1, 2, 4])):
        options = {**UNCLEAN, "finds_truncation": finds, "session_timeout_ms": 6_000}
        system, seen = reading(1, 2, 3, 4, reset="latest", **options)
        name = next(one for one in system.run().surfaces if one.endswith("/bus.commit"))
        seen.clear()
        site = Site(name, "after", entity=2)
        struck(system, LostWrites(Site(DELIVER, "after", entity=2)), Crash(site, down=5_000))
        assert seen == expected, finds


def test_where_nobody_says_where_to_go_on_a_loop_is_told():
    options = {**UNCLEAN, "finds_truncation": False}
    system, seen = reading(1, 2, 3, reset="error", loop=True, **options)
    run = struck(system, LostWrites(Site(DELIVER, "after", entity=2)))
    raised = [one.data["error"] for one in run.history.of("raised", "crash") if "error" in one.data]
    assert any("offset 2 of orders[0] is out of range" in one for one in raised)
    assert seen[:2] == [1, 2]


def test_a_loop_that_is_told_may_seek_and_go_on():
    system = System("seeks", arrival_ms=40_000)
    bus = system.add(Kafka("bus", {"orders": KEPT}))
    seen = []

    @system.service("reader")
    def reader(env):
        consumer = env.consumer(bus, "orders", reset="error")

        def run():
            while True:
                try:
                    batch = consumer.poll(timeout_s=5)
                except LookupError as error:
                    seen.append(str(error))
                    consumer.seek("orders", 0, consumer.watermarks("orders", 0)[0])
                    continue
                for delivery in batch:
                    seen.append(delivery.value)
                    consumer.commit(delivery)

        env.main(run)

    system.entry(examples=[1, 2, 3])(lambda env, value: env.publisher(bus)("orders", value))
    struck(system, Delay(Site(DELIVER), lasting=90_000))
    assert seen == ["offset 0 of orders[0] is out of range, and reset='error'", 2, 3]


# ---- retention


@pytest.mark.parametrize(("reset", "expected"), [("earliest", [1, 4, 5, 6]), ("latest", [1, 6])])
@pytest.mark.parametrize("loop", [False, True])
def test_who_is_late_for_longer_than_records_are_kept_goes_on_where_it_says(reset, expected, loop):
    system, seen = reading(*range(1, 7), topic=KEPT, gap_ms=25_000, reset=reset, loop=loop)
    assert [*struck(system).history.of("dead")] == []
    seen.clear()
    run = struck(system, Delay(Site(DELIVER, entity=2), lasting=86_000))
    assert seen == expected
    assert {one.data["reason"] for one in run.history.of("dead")} == {"retention"}


def test_a_consumer_that_is_down_for_longer_misses_what_is_gone():
    system, seen = reading(1, 2, 3, topic=KEPT, gap_ms=10_000, session_timeout_ms=6_000)
    name = next(one for one in system.run().surfaces if one.endswith("/bus.commit"))
    seen.clear()
    run = struck(system, Crash(Site(name, "after"), down=75_000))
    assert seen == [1, 3]
    [gone] = run.history.of("dead")
    assert (gone.entity, gone.data["queue"]) == (2, "reader")


def test_who_was_done_with_them_misses_nothing():
    system, seen = reading(1, 2, 3, topic=KEPT, gap_ms=100_000)
    assert not [*struck(system).history.of("dead")]
    assert seen == [1, 2, 3]


# ---- compaction


STATES = KafkaTopic(compacted=True, tombstones_ms=MINUTE_MS)
CHANGES = [("k", 1), ("l", 1), ("k", 2), ("l", None), ("k", 3), ("m", 1)]


def test_whoever_keeps_up_sees_every_record_of_a_compacted_topic():
    system, seen = reading(*CHANGES, topic=STATES, gap_ms=100_000)
    struck(system)
    assert seen == [1, 1, 2, None, 3, 1]


@pytest.mark.parametrize("loop", [False, True])
def test_whoever_is_late_sees_the_last_record_of_each_key(loop):
    system, seen = reading(*CHANGES, topic=STATES, gap_ms=1_000, loop=loop)
    run = struck(system, PartitionDelay(Site(DELIVER), lasting=40_000))
    assert seen == [None, 3, 1]
    assert [one.data["reason"] for one in run.history.of("dead")] == ["compaction"] * 3


def test_whoever_is_later_does_not_even_see_the_tombstone():
    system, seen = reading(*CHANGES, topic=STATES, gap_ms=1_000)
    struck(system, Delay(Site(DELIVER), lasting=90_000))
    assert seen == [3, 1]


def test_what_is_not_old_enough_is_left_alone():
    system, seen = reading(*CHANGES, topic=STATES, gap_ms=1_000)
    struck(system, Delay(Site(DELIVER), lasting=10_000))
    assert seen == [1, 1, 2, None, 3, 1]


def test_a_record_without_a_key_is_refused_by_a_compacted_topic():
    system = System("keyless")
    bus = system.add(Kafka("bus", {"states": KafkaTopic(compacted=True), "orders": 1}))
    told = []

    @system.entry(examples=[1])
    def place(env, value):
        env.publisher(bus)("orders", value)
        produce = env.publisher(bus, transactional_id="t")
        produce.begin()
        for publish in (env.publisher(bus), produce):
            try:
                publish("states", value)
            except InvalidRecord as error:
                told.append(str(error))

    run = system.run()
    assert told == ["bus: a record of states, which is compacted, has no key"] * 2
    assert [one.data["topic"] for one in run.history.of("publish")] == ["orders"]


# ---- both


BOTH = KafkaTopic(compacted=True, retention_ms=3 * MINUTE_MS, tombstones_ms=10 * MINUTE_MS)


@pytest.mark.parametrize(
    ("late_ms", "expected", "reasons"),
    [
        (10_000, [1, 1, 2, None, 3, 1], []),
        (70_000, [None, 3, 1], ["compaction"] * 3),
        (183_500, [3, 1], ["retention"] * 4),
        (300_000, [], ["retention"] * 6),
    ],
)
def test_the_last_record_of_a_key_goes_too_when_it_is_old(late_ms, expected, reasons):
    system, seen = reading(*CHANGES, topic=BOTH, gap_ms=1_000)
    run = struck(system, PartitionDelay(Site(DELIVER), lasting=late_ms))
    assert seen == expected
    assert [one.data["reason"] for one in run.history.of("dead")] == reasons


# ---- so many bytes


SIZE = 36 + len("1") + len(b"1")  # of a record with a key and a value of one byte each


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (SIZE, [6]),
        (SIZE + 1, [5, 6]),
        (3 * SIZE, [4, 5, 6]),
        (6 * SIZE, [1, 2, 3, 4, 5, 6]),
        (1, [6]),
    ],
)
@pytest.mark.parametrize("loop", [False, True])
def test_a_log_keeps_no_fewer_bytes_than_it_is_told_to(most, expected, loop):
    topic = KafkaTopic(retention_bytes=most)
    system, seen = reading(*range(1, 7), topic=topic, loop=loop)
    run = struck(system, Delay(Site(DELIVER), lasting=60_000))
    assert seen == expected
    assert {one.data["reason"] for one in run.history.of("dead")} == {"size"} - {
        "size" if len(expected) == 6 else ""
    }


def test_whoever_keeps_up_misses_nothing_however_small_a_log_is():
    system, seen = reading(*range(1, 7), topic=KafkaTopic(retention_bytes=1))
    assert not [*struck(system).history.of("dead")]
    assert seen == [1, 2, 3, 4, 5, 6]


# ---- since when


def test_a_loop_asks_which_record_is_the_first_since_a_moment():
    found = {}
    system = System("since", arrival_ms=1_000)
    bus = system.add(Kafka("bus", {"orders": 2}))

    @system.service("reader")
    def reader(env):
        consumer = env.consumer(bus, "orders", reset="earliest")

        def run():
            env.sleep(10)
            place, other = ("orders", 0), ("orders", 1)
            for at_ms in (0, 1_000, 1_001, 2_000, 3_000, 3_001):
                found[at_ms] = consumer.offsets_for_times({place: at_ms, other: 0})[place]
            found["empty"] = consumer.offsets_for_times({other: 0})[other]
            consumer.poll()
            consumer.seek("orders", 0, consumer.offsets_for_times({place: 2_500})[place])
            [found["then"]] = [one.value for one in consumer.poll()]

        env.main(run)

    @system.entry(examples=[1, 2, 3, 4])
    def place(env, value):
        env.publisher(bus)("orders", value, partition=0)

    system.run()
    at = {0: 0, 1_000: 1, 1_001: 2, 2_000: 2, 3_000: 3, 3_001: None}
    assert found == {**at, "empty": None, "then": 4}


@pytest.mark.parametrize(("isolation", "expected"), [("read_committed", None), (None, 1)])
def test_what_is_committed_alone_ends_where_a_transaction_is_open(isolation, expected):
    found = []
    system = System("open", arrival_ms=1_000)
    bus = system.add(Kafka("bus", {"orders": 1}))

    @system.service("reader")
    def reader(env):
        words = {"isolation": isolation} if isolation else {}
        consumer = env.consumer(bus, "orders", reset="earliest", **words)

        def run():
            produce = env.publisher(bus, transactional_id="t")
            env.publisher(bus)("orders", 0)
            env.sleep(1)
            produce.begin()
            produce("orders", 1)
            found.append(consumer.offsets_for_times({("orders", 0): 500})["orders", 0])
            produce.commit()
            found.append(consumer.offsets_for_times({("orders", 0): 500})["orders", 0])

        env.main(run)

    system.entry(examples=[1])(lambda env, value: None)
    system.run()
    assert found == [expected, 1]


@pytest.mark.parametrize(
    ("topic", "words"),
    [
        (KafkaTopic(partitions=2), None),
        (0, "at least 1 log partition"),
        ("two", "at least 1 log partition"),
    ],
)
def test_a_topic_is_a_number_or_says_how_long_it_keeps(topic, words):
    if words is None:
        assert Kafka("bus", {"a": topic}).topics == {"a": 2}
        return
    with pytest.raises(InvalidDefinition, match=words):
        Kafka("bus", {"a": topic})


@pytest.mark.parametrize(
    "wrong",
    [
        {"partitions": 0},
        {"retention_ms": 0},
        {"compacted": 1},
        {"tombstones_ms": -1},
        {"compacted_after_ms": "1 s"},
        {"retention_bytes": 0},
        {"retention_bytes": True},
    ],
)
def test_how_long_a_topic_keeps_is_checked(wrong):
    with pytest.raises(InvalidDefinition):
        KafkaTopic(**wrong)


def test_the_same_cluster_with_one_thing_changed_keeps_as_long():
    bus = Kafka("bus", {"a": KEPT, "b": 2})
    again = attrs.evolve(bus, idempotent_producer=True)
    assert again.topics == {"a": 1, "b": 2}
    assert again.topics.forgetful == bus.topics.forgetful == {"a": KEPT}


def test_the_rows_are_on_the_page():
    page = Path(__file__).parents[3].joinpath("docs/how-to/kafka.md").read_text("utf-8")
    assert table(ROWS) in page
