"""Kafka as a machine, rule by rule; each rule names where it was read."""

import attrs
import pytest

from chaosharness.machines.kafka import ClusterSettings, KafkaMachine
from chaosharness.machines.kafka import operations as op
from chaosharness.machines.kafka.partitioners import log_partition_by_crc32, log_partition_for
from chaosharness.machines.machine import Moved, Recognised, Refusal, Stored

A, B = ("a", 0), ("a", 1)


@attrs.frozen
class Record:
    key: str | None
    body: bytes | None


class Client:
    """Asks a machine, at a time that only moves when a test says so."""

    def __init__(self, **settings):
        self.machine = KafkaMachine(ClusterSettings(topics={"a": 2, "b": 2}, **settings))
        self.now = 0

    def ask(self, operation):
        return self.machine.apply(operation, self.now)

    def code(self, operation):
        answer = self.ask(operation)
        return answer.code if isinstance(answer, Refusal) else answer

    def join(self, member, *topics, **more):
        topics = topics or ("a",)
        return self.ask(op.Join(group="g", member=member, topics=topics, **more))

    def given(self, member):
        found = self.ask(op.Look("g", member))
        return found if found is None or isinstance(found, Refusal) else found.places

    def put(self, record, place=A, **more):
        return self.ask(op.Produce(place, record, **more))

    def read(self, isolation="read_uncommitted", place=A, offset=0):
        found = self.ask(op.Fetch(place, offset, isolation=isolation))
        return [at for at, _ in found.records]


# ---- groups: protocol guide, JoinGroup and Heartbeat; KIP-62, KIP-134, KIP-345, KIP-429


def test_a_round_waits_until_all_have_joined_again():
    kafka = Client()
    assert kafka.join("m1").places == (A, B)
    assert kafka.join("m2") is None
    assert kafka.code(op.Heartbeat("g", "m1", 1)) == "REBALANCE_IN_PROGRESS"
    assert kafka.join("m1") == op.Given(2, (A,))
    assert kafka.given("m2") == (B,)


def test_one_group_id_is_one_group_over_all_topics():
    kafka = Client()
    kafka.join("m1", "a")
    kafka.join("m2", "b")
    assert kafka.join("m1", "a") == op.Given(2, (A, B))
    assert kafka.given("m2") == (("b", 0), ("b", 1))
    assert kafka.code(op.Commit("g", {A: 1}, "m1", 1)) == "ILLEGAL_GENERATION"


def test_who_is_silent_for_the_session_timeout_is_out_and_its_commit_is_refused():
    kafka = Client()
    kafka.join("m1", session_ms=10_000)
    kafka.now = 9_999
    assert kafka.ask(op.Heartbeat("g", "m1", 1)) is None
    assert kafka.machine.due() == 19_999
    kafka.now = 19_999
    assert kafka.code(op.Heartbeat("g", "m1", 1)) == "UNKNOWN_MEMBER_ID"
    assert kafka.code(op.Commit("g", {A: 1}, "m1", 1)) == "UNKNOWN_MEMBER_ID"


def test_who_does_not_join_again_in_time_is_left_behind():
    kafka = Client()
    kafka.join("m1", session_ms=60_000, rebalance_ms=20_000)
    kafka.join("m2", session_ms=60_000, rebalance_ms=20_000)
    kafka.now = 20_000
    assert kafka.given("m2") == (A, B)
    assert kafka.code(op.Heartbeat("g", "m1", 1)) == "UNKNOWN_MEMBER_ID"


def test_who_waits_for_the_end_of_a_round_need_send_no_heartbeat():
    kafka = Client()
    kafka.join("m1", session_ms=60_000)
    kafka.join("m2", session_ms=5_000)
    kafka.now = 30_000
    kafka.join("m1", session_ms=60_000)
    assert kafka.given("m2") == (B,)
    assert kafka.machine.due() == 35_000


def test_an_empty_group_waits_for_more_members():
    kafka = Client(initial_delay_ms=3_000)
    assert kafka.join("m1") is None
    assert kafka.join("m2") is None
    kafka.now = 3_000
    assert (kafka.given("m1"), kafka.given("m2")) == ((A,), (B,))
    assert kafka.ask(op.Look("g", "m1")).generation == 1


def test_who_leaves_is_gone_at_once():
    kafka = Client()
    kafka.join("m1")
    kafka.join("m2")
    kafka.join("m1")
    kafka.ask(op.Leave("g", "m2"))
    assert kafka.join("m1").places == (A, B)
    assert kafka.code(op.Leave("g", "m2")) == "UNKNOWN_MEMBER_ID"


def test_a_static_member_comes_back_without_a_rebalance_and_fences_the_one_before():
    kafka = Client()
    kafka.join("m1", instance="i1")
    assert kafka.join("m1b", instance="i1") == op.Given(1, (A, B))
    assert kafka.code(op.Heartbeat("g", "m1", 1)) == "FENCED_INSTANCE_ID"
    assert kafka.code(op.Commit("g", {A: 1}, "m1", 1)) == "FENCED_INSTANCE_ID"
    assert kafka.ask(op.Commit("g", {A: 1}, "m1b", 1)) is None


def test_a_cooperative_round_gives_what_changes_hands_only_in_a_second_one():
    kafka = Client(assignment="cooperative-sticky")
    kafka.join("m1")
    kafka.join("m2")
    assert kafka.join("m1", owned=(A, B)) == op.Given(2, (A,))
    assert kafka.given("m2") == ()
    kafka.join("m1", owned=(A,))
    kafka.join("m2")
    assert (kafka.given("m1"), kafka.given("m2")) == ((A,), (B,))


def test_a_consumer_in_no_group_commits_while_the_group_is_empty():
    kafka = Client()
    assert kafka.ask(op.Commit("g", {A: 3})) is None
    kafka.join("m1")
    assert kafka.code(op.Commit("g", {A: 4})) == "UNKNOWN_MEMBER_ID"
    assert kafka.ask(op.Committed("g", A)) == 3


def test_a_commit_of_a_member_of_no_group_there_ever_was():
    """`OffsetMetadataManager.validateOffsetCommit`: no group, no generation."""
    kafka = Client()
    assert kafka.code(op.Commit("g", {A: 3}, "m1", 1)) == "ILLEGAL_GENERATION"
    kafka.ask(op.Commit("g", {A: 3}))
    assert kafka.code(op.Commit("g", {A: 3}, "m1", 1)) == "UNKNOWN_MEMBER_ID"


def test_the_last_commit_stands_also_where_it_goes_back():
    kafka = Client()
    kafka.join("m1")
    for offset in (5, 2):
        kafka.ask(op.Commit("g", {A: offset}, "m1", 1))
    assert kafka.ask(op.Committed("g", A)) == 2


# ---- numbered producers and transactions: KIP-98, KIP-360, KIP-447


def test_a_repeat_of_a_numbered_producer_is_recognised_and_a_gap_is_refused():
    kafka = Client()
    me = kafka.ask(op.InitProducer())
    assert kafka.put("r", producer=me, sequence=0) == op.Appended(0)
    assert kafka.put("r", producer=me, sequence=0) == op.Appended(0, True)
    assert kafka.code(op.Produce(A, "s", me, 2)) == "OUT_OF_ORDER_SEQUENCE_NUMBER"
    assert [type(fact) for fact in kafka.machine.take()] == [Stored, Recognised]
    assert kafka.put("r") == op.Appended(1), "nobody recognises one without a number"


def test_a_record_of_an_aborted_transaction_is_seen_by_those_who_do_not_wait():
    kafka = Client()
    me = kafka.ask(op.InitProducer("t"))
    kafka.put("x", producer=me, sequence=0, transactional=True)
    kafka.put("after")
    assert kafka.read("read_committed") == [], "it stops at the last stable offset"
    assert kafka.read() == [0, 1]
    kafka.ask(op.EndTransaction(me, commit=False))
    assert kafka.read("read_committed") == [1]
    kafka.put("y", producer=me, sequence=1, transactional=True)
    kafka.ask(op.EndTransaction(me))
    assert kafka.read("read_committed") == [1, 3], "a mark takes an offset"


def test_a_newer_producer_of_the_same_name_fences_the_older_and_aborts_its_transaction():
    kafka = Client()
    old = kafka.ask(op.InitProducer("t"))
    kafka.put("x", producer=old, sequence=0, transactional=True)
    new = kafka.ask(op.InitProducer("t"))
    assert (new.number, new.epoch) == (old.number, old.epoch + 1)
    assert kafka.code(op.Produce(A, "y", old, 1, True)) == "PRODUCER_FENCED"
    assert kafka.code(op.EndTransaction(old)) == "PRODUCER_FENCED"
    assert kafka.read("read_committed") == []


def test_offsets_of_a_transaction_count_once_it_is_committed():
    kafka = Client()
    kafka.join("m1")
    me = kafka.ask(op.InitProducer("t"))
    assert kafka.ask(op.SendOffsets(me, "g", {A: 7}, "m1", 1)) is None
    assert kafka.code(op.Committed("g", A)) == "UNSTABLE_OFFSET_COMMIT"
    kafka.ask(op.EndTransaction(me, commit=False))
    assert kafka.ask(op.Committed("g", A)) is None
    kafka.ask(op.SendOffsets(me, "g", {A: 7}, "m1", 1))
    kafka.ask(op.EndTransaction(me))
    assert kafka.ask(op.Committed("g", A)) == 7
    assert kafka.code(op.SendOffsets(me, "g", {A: 8}, "m1", 0)) == "ILLEGAL_GENERATION"


def test_the_same_decision_again_is_the_same_one_and_another_is_refused():
    """`TransactionCoordinator.endTransaction`: what was decided may be asked for again."""
    kafka = Client()
    me = kafka.ask(op.InitProducer("t"))
    assert kafka.code(op.EndTransaction(me)) == "INVALID_TXN_STATE"
    kafka.put("x", producer=me, sequence=0, transactional=True)
    assert kafka.ask(op.EndTransaction(me)) is None
    assert kafka.ask(op.EndTransaction(me)) is None
    assert kafka.code(op.EndTransaction(me, commit=False)) == "INVALID_TXN_STATE"
    me = kafka.ask(op.InitProducer("t"))
    assert kafka.code(op.EndTransaction(me)) == "INVALID_TXN_STATE"


def test_a_transaction_that_takes_too_long_is_aborted_and_its_producer_fenced():
    kafka = Client()
    me = kafka.ask(op.InitProducer("t", timeout_ms=60_000))
    kafka.put("x", producer=me, sequence=0, transactional=True)
    assert kafka.machine.due() == 60_000
    kafka.now = 60_000
    assert kafka.code(op.EndTransaction(me)) == "PRODUCER_FENCED"
    assert kafka.read("read_committed") == []


# ---- what becomes of records: "Design" 4.8


def test_compaction_keeps_the_last_of_each_key_and_no_order_changes():
    kafka = Client()
    for key, body in (("k", b"1"), ("l", b"1"), ("k", b"2"), ("l", None)):
        kafka.put(Record(key, body))
    kafka.ask(op.Compact(A))
    assert kafka.read() == [2, 3]
    kafka.ask(op.Compact(A, tombstones=True))
    assert kafka.read() == [2]


def test_the_cleaner_looks_no_further_than_an_offset():
    kafka = Client()
    for key, body in (("k", b"1"), ("k", b"2"), ("k", b"3"), ("l", None)):
        kafka.put(Record(key, body))
    kafka.ask(op.Compact(A, before=2))
    assert kafka.read() == [1, 2, 3]
    kafka.ask(op.Compact(A, tombstones=True, before=3))
    assert kafka.read() == [2, 3]
    assert kafka.code(op.Compact(("c", 0))) == "UNKNOWN_TOPIC_OR_PARTITION"


def test_a_compacted_topic_takes_no_record_without_a_key():
    kafka = Client(compacted=frozenset({"a"}))
    assert kafka.code(op.Produce(A, Record(None, b"1"))) == "INVALID_RECORD"
    assert kafka.put(Record("k", b"1")) == op.Appended(0)
    assert kafka.put(Record(None, b"1"), ("b", 0)) == op.Appended(0)


def test_what_a_new_leader_lacks_of_a_transaction_is_not_there_for_anybody():
    kafka = Client()
    me = kafka.ask(op.InitProducer("t"))
    kafka.put(Record("k", b"1"))
    kafka.put(Record("k", b"2"), producer=me, transactional=True)
    assert kafka.read("read_committed") == [0]
    kafka.ask(op.Failover(A, 1))
    kafka.put(Record("k", b"3"))
    assert kafka.read("read_committed") == kafka.read() == [0, 1]
    assert kafka.ask(op.EndTransaction(me)) is None
    assert kafka.ask(op.ListOffsets(A)) == 2


def test_what_retention_took_is_out_of_range():
    kafka = Client()
    for _ in range(3):
        kafka.put(Record("k", b"1"))
    kafka.ask(op.DeleteBefore(A, 2))
    assert kafka.code(op.Fetch(A, 0)) == "OFFSET_OUT_OF_RANGE"
    assert kafka.ask(op.ListOffsets(A, "earliest")) == 2
    assert kafka.read(offset=2) == [2]


def test_a_new_leader_may_lack_the_last_records():
    kafka = Client()
    for _ in range(3):
        kafka.put(Record("k", b"1"))
    kafka.ask(op.Failover(A, 1))
    assert kafka.ask(op.ListOffsets(A)) == 1
    assert kafka.code(op.Fetch(A, 3)) == "OFFSET_OUT_OF_RANGE"


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        (op.Produce(("c", 0), "r"), "UNKNOWN_TOPIC_OR_PARTITION"),
        (op.Produce(("a", 2), "r"), "UNKNOWN_TOPIC_OR_PARTITION"),
        (op.Produce(A, "r", size=2_000_000), "MESSAGE_TOO_LARGE"),
        (op.Fetch(A, 1), "OFFSET_OUT_OF_RANGE"),
        (op.Commit("g", {("c", 0): 1}), "UNKNOWN_TOPIC_OR_PARTITION"),
        (op.Join(group="g", member="m", topics=("c",)), "UNKNOWN_TOPIC_OR_PARTITION"),
        (op.Heartbeat("g", "m", 1), "UNKNOWN_MEMBER_ID"),
    ],
)
def test_what_is_refused(operation, code):
    assert Client().code(operation) == code


def test_facts_say_who_has_what():
    kafka = Client()
    kafka.join("m1")
    assert kafka.machine.take() == [Moved(None, "a[0]", "m1"), Moved(None, "a[1]", "m1")]


def test_two_clients_send_one_key_to_two_log_partitions():
    """librdkafka's default is CRC32, that of Java and aiokafka murmur2."""
    assert log_partition_by_crc32("123456789", 1 << 32) == 0xCBF43926  # the check value of CRC32
    assert log_partition_for("order-1", 7) != log_partition_by_crc32("order-1", 7)
