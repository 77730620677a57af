"""Kafka's peers: clusters to compare the machine with, found, started, and asked the same.

`mock` is librdkafka's own cluster, which comes with confluent-kafka; `noida` is a broker from a
wheel (`pip install noida-db`). Neither is Apache Kafka: what is known of them is in `DEVIATIONS`,
with where it was read or seen, and a rule is sure where a peer and Kafka's own documents agree.
`Real` has the verbs of the machine's operations, and asks by Kafka's protocol.
"""

from __future__ import annotations

import ctypes
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from typing import Any, Final, Literal

import attrs

from benchmarks.kafka_connection import Connection
from chaosharness.machines.kafka import operations as op
from chaosharness.machines.kafka.assignors import LogPartition

Peer = Literal["mock", "noida"]
STARTS_S: Final = 10.0
LOG_PARTITIONS: Final = 4
"""Of each topic: as many as the mock makes by itself."""
SESSION_MS: Final = {"mock": 1_500, "noida": 30_000}
ANY: Final = "whatever"
FENCED: Final = {"INVALID_PRODUCER_EPOCH", "PRODUCER_FENCED"}
"""Which of the two a broker says is a matter of the request's version: to a client they are one."""


@attrs.frozen
class Deviation:
    """What a peer is known to do otherwise than Kafka.

    Attributes:
        peer: Who.
        what: In words.
        source: How it is known.
        leaves_out: The verbs that are not asked of it.
        answers: Which answer it gives in place of another: an operation, the answer of Kafka, its
            own.
    """

    peer: Peer
    what: str
    source: str
    leaves_out: tuple[str, ...] = ()
    answers: tuple[tuple[str, Any, Any], ...] = ()


BOTH: Final = tuple(
    Deviation(peer, what, source, leaves_out)
    for peer in ("mock", "noida")
    for what, source, leaves_out in (
        (
            "a follower that joins again begins a round, with nothing changed",
            "Apache Kafka 3.9, `GroupMetadataManager.classicGroupJoinExistingMember`: it is told "
            "what is; seen",
            ("follower joins again",),
        ),
        (
            "a commit while a round is under way is refused",
            "Apache Kafka 3.9, `ClassicGroup.validateOffsetCommit`: taken until the round is over, "
            "as of this generation; seen",
            ("commit in a round",),
        ),
    )
)
DEVIATIONS: Final[tuple[Deviation, ...]] = (
    *BOTH,
    Deviation(
        "mock",
        "transactions: readers of what is committed see open and aborted records, and offsets of a "
        "transaction are not kept",
        "librdkafka, `rdkafka_mock_handlers.c`: Fetch and TxnOffsetCommit; seen",
        ("named", "end", "offsets", "fenced offsets"),
    ),
    Deviation(
        "mock",
        "records of a numbered producer are stored whatever their numbers",
        "librdkafka, `rdkafka_mock_handlers.c`: Produce; seen",
        ("again", "gap"),
    ),
    Deviation(
        "mock",
        "a group that there is not is said to be so, where Kafka does not know the member",
        "Apache Kafka 3.9, `GroupMetadataManager.classicGroupLeave`; seen",
        answers=(
            ("Leave", "UNKNOWN_MEMBER_ID", "GROUP_ID_NOT_FOUND"),
            ("Heartbeat", "UNKNOWN_MEMBER_ID", "GROUP_ID_NOT_FOUND"),
        ),
    ),
    Deviation(
        "mock",
        "who has left may come back as somebody else: ids are places in memory",
        "librdkafka, `rdkafka_mock_cgrp.c`; seen",
        ("gone",),
    ),
    Deviation(
        "mock",
        "of a group that there is not a commit is taken from anybody; of one that all have left "
        "none is taken from who is in no group",
        "Apache Kafka 3.9, `OffsetMetadataManager.validateOffsetCommit`: the other way round; seen",
        ("stranger commits", "bare commit"),
    ),
    Deviation(
        "mock",
        "a member that hands in for its share after the leader is refused, with INVALID_REQUEST",
        "librdkafka, `rdkafka_mock_cgrp.c`, `rd_kafka_mock_cgrp_check_state`; Apache Kafka 3.9, "
        "`GroupMetadataManager.classicGroupSync`: a stable group tells it. Here the leader is last",
    ),
    Deviation(
        "mock",
        "nothing is deleted from a log by request",
        "librdkafka, `rdkafka_mock_handlers.c`: DeleteRecords is not among its requests",
        ("retain",),
    ),
    Deviation(
        "noida",
        "offsets of a transaction are taken from any generation, and from who is no member",
        "seen with noida-db 0.2.3; Kafka refuses them by KIP-447",
        ("fenced offsets",),
    ),
    Deviation(
        "noida",
        "offsets that an open transaction may move are answered, and not waited for",
        "KIP-447, `require_stable`: UNSTABLE_OFFSET_COMMIT; seen",
        answers=(("Committed", "UNSTABLE_OFFSET_COMMIT", ANY),),
    ),
    Deviation(
        "noida",
        "who is new to a log partition begins with 0",
        "Apache Kafka 3.9, `ProducerAppendInfo.checkSequence`: any number does; seen",
        ("first gap",),
    ),
    Deviation(
        "noida",
        "a generation begins with a round, and not at its end",
        "Apache Kafka 3.9, `ClassicGroup.initNextGeneration`; seen. What is compared is that a "
        "generation is another one than before",
    ),
    Deviation(
        "noida",
        "an aborted transaction of which only the beginning was deleted is seen again",
        "Apache Kafka 3.9, `TransactionIndex.collectAbortedTxns`: by where it ended; seen",
        ("retain amid a transaction",),
    ),
    Deviation(
        "noida",
        "who is no member and leaves begins a round",
        "Apache Kafka 3.9, `GroupMetadataManager.classicGroupLeave`: it is refused; seen",
        ("stranger leaves",),
    ),
    Deviation(
        "noida",
        "a group that nobody has joined yet has no generation, whatever was committed there",
        "Apache Kafka 3.9, `ClassicGroup.validateOffsetCommit`: UNKNOWN_MEMBER_ID; seen",
        answers=(("Commit", "UNKNOWN_MEMBER_ID", "ILLEGAL_GENERATION"),),
    ),
    Deviation(
        "noida",
        "while a round is under way, so is said to whoever is of an old generation",
        "Apache Kafka 3.9, `GroupMetadataManager.validateClassicGroupHeartbeat`; seen",
        answers=(("Heartbeat", "ILLEGAL_GENERATION", "REBALANCE_IN_PROGRESS"),),
    ),
    Deviation(
        "mock",
        "the first generation is the second",
        "seen. What is compared is that a generation is another one than before",
    ),
    Deviation(
        "noida",
        "a transaction that there is not may be ended",
        "Apache Kafka 3.9, `TransactionCoordinator.endTransaction`: INVALID_TXN_STATE; seen",
        answers=(("EndTransaction", "INVALID_TXN_STATE", None),),
    ),
)


def left_out(peer: Peer) -> set[str]:
    """Return the verbs that a peer is not asked."""
    return {verb for one in DEVIATIONS if one.peer == peer for verb in one.leaves_out}


def told_otherwise(peer: Peer, asked: Any, expected: Any, seen: Any) -> bool:
    """Say whether a peer is known to give this answer in place of the other."""
    known = [told for one in DEVIATIONS if one.peer == peer for told in one.answers]
    name = type(asked).__name__
    return (name, expected, seen) in known or (name, expected, ANY) in known


def missing(peer: Peer) -> str | None:
    """Return what is missing for a comparison, in one line; None if nothing is."""
    try:
        import kafka.protocol.consumer  # noqa: F401
    except ImportError:
        return "kafka-python is not installed, which speaks the protocol: pip install kafka-python"
    try:
        if peer == "mock":
            import confluent_kafka  # noqa: F401
        else:
            metadata.distribution("noida-db")
    except (ImportError, metadata.PackageNotFoundError):
        package = "confluent-kafka" if peer == "mock" else "noida-db"
        return f"{package} is not installed, which brings the cluster: pip install {package}"
    return None


@contextmanager
def running(peer: Peer) -> Iterator[int]:
    """Run a cluster of one broker, as long as this lasts; return its port."""
    with _mock() if peer == "mock" else _noida() as port:
        yield port


@contextmanager
def _mock() -> Iterator[int]:
    """Run librdkafka's mock by its own functions: only they take away its 3 s of initial delay."""
    path = next(
        str(one.locate())
        for one in metadata.files("confluent-kafka") or ()
        if one.name.startswith("librdkafka") and ".so" in one.name
    )
    library = ctypes.CDLL(path)
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new"):
        getattr(library, name).restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    said = ctypes.create_string_buffer(512)
    configuration = ctypes.c_void_p(library.rd_kafka_conf_new())
    client = ctypes.c_void_p(library.rd_kafka_new(0, configuration, said, len(said)))
    cluster = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(client, 1))
    library.rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0)
    try:
        yield int(library.rd_kafka_mock_cluster_bootstraps(cluster).rpartition(b":")[2])
    finally:
        library.rd_kafka_mock_cluster_destroy(cluster)
        library.rd_kafka_destroy(client)


@contextmanager
def _noida() -> Iterator[int]:
    [program] = [
        str(one.locate())
        for one in metadata.files("noida-db") or ()
        if one.parts == ("noida_db", "noida-db")
    ]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        words = ["start", "--only", "kafka", "--kafka-port", str(port), "--data-dir", folder]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen([program, *words], **quiet) as server:  # type: ignore[call-overload]
            try:
                deadline = time.monotonic() + STARTS_S
                while True:
                    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                        break
                    if time.monotonic() > deadline or server.poll() is not None:
                        raise RuntimeError(f"{program} did not start")
                    time.sleep(0.01)
                yield port
            finally:
                server.terminate()


def code_of(number: int) -> str:
    """Return an error's name; empty where there is none."""
    from kafka.errors import for_code

    if not number:
        return ""
    name = str(for_code(number).message)
    return "FENCED" if name in FENCED else name


class Real:
    """The running cluster, asked for one operation after the other."""

    def __init__(self, port: int, peer: Peer) -> None:
        self.port = port
        self.peer = peer
        self.one = Connection(port)
        self._names: dict[op.Numbered, str | None] = {}

    def close(self) -> None:
        """Close its connection."""
        self.one.close()

    def make_topic(self, name: str) -> None:
        """Make a topic; the mock makes it when it is asked about."""
        from kafka.protocol.admin.topics import CreateTopicsRequest
        from kafka.protocol.metadata import MetadataRequest

        if self.peer == "mock":
            made = MetadataRequest[4].MetadataRequestTopic(name=name)
            self.one.ask(MetadataRequest[4](topics=[made], allow_auto_topic_creation=True))
            return
        request = CreateTopicsRequest[2]
        topic = request.CreatableTopic(
            name=name,
            num_partitions=LOG_PARTITIONS,
            replication_factor=1,
            assignments=[],
            configs=[],
        )
        answer = self.one.ask(request(topics=[topic], timeout_ms=5_000, validate_only=False))
        assert not answer.topics[0].error_code, answer

    def apply(self, operation: Any) -> Any:
        """Do an operation; return what a client can see of its answer: a refusal is a name."""
        return getattr(self, f"_{type(operation).__name__.lower()}")(operation)

    # ---- producing

    def _initproducer(self, operation: op.InitProducer) -> Any:
        from kafka.protocol.producer import InitProducerIdRequest

        answer = self.one.ask(
            InitProducerIdRequest[1](
                transactional_id=operation.name, transaction_timeout_ms=operation.timeout_ms
            )
        )
        if answer.error_code:
            return code_of(answer.error_code)
        found = op.Numbered(answer.producer_id, answer.producer_epoch)
        self._names[found] = operation.name
        return found

    def _produce(self, operation: op.Produce) -> Any:
        from kafka.protocol.producer import AddPartitionsToTxnRequest, ProduceRequest
        from kafka.record.memory_records import MemoryRecordsBuilder

        (topic, index), producer = operation.place, operation.producer
        numbers: dict[str, Any] = {}
        name = None
        if producer is not None:
            numbers = {
                "producer_id": producer.number,
                "producer_epoch": producer.epoch,
                "base_sequence": operation.sequence,
                "transactional": operation.transactional,
            }
            name = self._names[producer]
        if producer is not None and operation.transactional:
            request = AddPartitionsToTxnRequest[1]
            added = request.AddPartitionsToTxnTopic(name=topic, partitions=[index])
            answer = self.one.ask(
                request(
                    v3_and_below_transactional_id=name,
                    v3_and_below_producer_id=producer.number,
                    v3_and_below_producer_epoch=producer.epoch,
                    v3_and_below_topics=[added],
                )
            )
            [of_topic] = answer.results_by_topic_v3_and_below
            number = of_topic.results_by_partition[0].partition_error_code
            if number:
                return code_of(number)
        builder = MemoryRecordsBuilder(2, 0, 1 << 20, **numbers)
        builder.append(None, None, operation.record)
        builder.close()
        put = ProduceRequest[7]
        of_place = put.TopicProduceData.PartitionProduceData(index=index, records=builder.buffer())
        answer = self.one.ask(
            put(
                transactional_id=name if operation.transactional else None,
                acks=-1,
                timeout_ms=5_000,
                topic_data=[put.TopicProduceData(name=topic, partition_data=[of_place])],
            )
        )
        found = answer.responses[0].partition_responses[0]
        return code_of(found.error_code) or found.base_offset

    def _sendoffsets(self, operation: op.SendOffsets) -> Any:
        from kafka.protocol.producer import AddOffsetsToTxnRequest, TxnOffsetCommitRequest

        who = {
            "transactional_id": self._names[operation.producer],
            "producer_id": operation.producer.number,
            "producer_epoch": operation.producer.epoch,
            "group_id": operation.group,
        }
        answer = self.one.ask(AddOffsetsToTxnRequest[1](**who))
        if answer.error_code:
            return code_of(answer.error_code)
        request = TxnOffsetCommitRequest[3]
        topics = [
            request.TxnOffsetCommitRequestTopic(
                name=topic,
                partitions=[
                    request.TxnOffsetCommitRequestTopic.TxnOffsetCommitRequestPartition(
                        partition_index=index, committed_offset=offset, committed_metadata=""
                    )
                ],
            )
            for (topic, index), offset in operation.offsets.items()
        ]
        answer = self.one.ask(
            request(
                **who,
                generation_id=operation.generation,
                member_id=operation.member,
                group_instance_id=None,
                topics=topics,
            )
        )
        return code_of(answer.topics[0].partitions[0].error_code) or None

    def _endtransaction(self, operation: op.EndTransaction) -> Any:
        from kafka.protocol.producer import EndTxnRequest

        answer = self.one.ask(
            EndTxnRequest[1](
                transactional_id=self._names[operation.producer],
                producer_id=operation.producer.number,
                producer_epoch=operation.producer.epoch,
                committed=operation.commit,
            )
        )
        return code_of(answer.error_code) or None

    # ---- reading

    def _fetch(self, operation: op.Fetch) -> Any:
        from kafka.protocol.consumer import FetchRequest

        topic, index = operation.place
        committed_only = operation.isolation == "read_committed"
        request = FetchRequest[4]
        read: list[tuple[int, Any]] = []
        position = operation.offset
        while True:
            of_place = request.FetchTopic.FetchPartition(
                partition=index, fetch_offset=position, partition_max_bytes=1 << 20
            )
            answer = self.one.ask(
                request(
                    replica_id=-1,
                    max_wait_ms=0,
                    min_bytes=0,
                    max_bytes=1 << 20,
                    isolation_level=int(committed_only),
                    topics=[request.FetchTopic(topic=topic, partitions=[of_place])],
                )
            )
            found = answer.responses[0].partitions[0]
            if found.error_code:
                return code_of(found.error_code)
            gone = found.aborted_transactions if committed_only else None
            more, behind = visible(found.records, position, gone or ())
            read += more
            end = found.last_stable_offset if committed_only else found.high_watermark
            if behind <= position or behind >= end:
                return read
            position = behind

    def _listoffsets(self, operation: op.ListOffsets) -> Any:
        from kafka.protocol.consumer import ListOffsetsRequest

        topic, index = operation.place
        request = ListOffsetsRequest[2]
        of_place = request.ListOffsetsTopic.ListOffsetsPartition(
            partition_index=index, timestamp=-2 if operation.which == "earliest" else -1
        )
        answer = self.one.ask(
            request(
                replica_id=-1,
                isolation_level=int(operation.isolation == "read_committed"),
                topics=[request.ListOffsetsTopic(name=topic, partitions=[of_place])],
            )
        )
        found = answer.topics[0].partitions[0]
        return code_of(found.error_code) or found.offset

    def _deletebefore(self, operation: op.DeleteBefore) -> Any:
        from kafka.protocol.admin.topics import DeleteRecordsRequest

        topic, index = operation.place
        request = DeleteRecordsRequest[1]
        of_place = request.DeleteRecordsTopic.DeleteRecordsPartition(
            partition_index=index, offset=operation.offset
        )
        topics = [request.DeleteRecordsTopic(name=topic, partitions=[of_place])]
        answer = self.one.ask(request(topics=topics, timeout_ms=5_000))
        return code_of(answer.topics[0].partitions[0].error_code) or None

    # ---- groups

    def _commit(self, operation: op.Commit) -> Any:
        from kafka.protocol.consumer import OffsetCommitRequest

        request = OffsetCommitRequest[2]
        topics = [
            request.OffsetCommitRequestTopic(
                name=topic,
                partitions=[
                    request.OffsetCommitRequestTopic.OffsetCommitRequestPartition(
                        partition_index=index, committed_offset=offset, committed_metadata=""
                    )
                ],
            )
            for (topic, index), offset in operation.offsets.items()
        ]
        answer = self.one.ask(
            request(
                group_id=operation.group,
                generation_id_or_member_epoch=operation.generation,
                member_id=operation.member,
                retention_time_ms=-1,
                topics=topics,
            )
        )
        return code_of(answer.topics[0].partitions[0].error_code) or None

    def _committed(self, operation: op.Committed) -> Any:
        from kafka.protocol.consumer import OffsetFetchRequest

        topic, index = operation.place
        request = OffsetFetchRequest[3 if self.peer == "mock" else 7]
        wanted = request.OffsetFetchRequestTopic(name=topic, partition_indexes=[index])
        stable = {} if self.peer == "mock" else {"require_stable": True}
        answer = self.one.ask(request(group_id=operation.group, topics=[wanted], **stable))
        if answer.error_code:
            return code_of(answer.error_code)
        found = answer.topics[0].partitions[0]
        if found.error_code:
            return code_of(found.error_code)
        return None if found.committed_offset < 0 else found.committed_offset

    def _heartbeat(self, operation: op.Heartbeat) -> Any:
        from kafka.protocol.consumer import HeartbeatRequest

        answer = self.one.ask(
            HeartbeatRequest[1](
                group_id=operation.group,
                generation_id=operation.generation,
                member_id=operation.member,
            )
        )
        return code_of(answer.error_code) or None

    def _leave(self, operation: op.Leave) -> Any:
        from kafka.protocol.consumer import LeaveGroupRequest

        answer = self.one.ask(
            LeaveGroupRequest[1](group_id=operation.group, member_id=operation.member)
        )
        return code_of(answer.error_code) or None


def visible(records: Any, offset: int, gone: Any) -> tuple[list[tuple[int, Any]], int]:
    """Return what a consumer hands out of a fetched piece of a log, and where it goes on.

    Args:
        records: The bytes of its batches.
        offset: Where it was asked from: a batch may begin before.
        gone: Which transactions were aborted, by their producers, and where each began.
    """
    from kafka.record.memory_records import MemoryRecords

    batches = MemoryRecords(bytes(records or b""))
    waiting = sorted((one.first_offset, one.producer_id) for one in gone)
    aborted: set[int] = set()
    found: list[tuple[int, Any]] = []
    behind = offset
    while (batch := batches.next_batch()) is not None:
        behind = batch.base_offset + batch.last_offset_delta + 1
        while waiting and waiting[0][0] <= batch.base_offset:
            aborted.add(waiting.pop(0)[1])
        if batch.is_control_batch:
            aborted.discard(batch.producer_id)
            continue
        if batch.is_transactional and batch.producer_id in aborted:
            continue
        found += [(one.offset, one.value) for one in batch if one.offset >= offset]
    return found, behind


def subscription(topics: tuple[str, ...]) -> bytes:
    """Return what a member says it wants, as consumers pack it."""
    names = b"".join(len(one).to_bytes(2, "big") + one.encode() for one in topics)
    return b"\0\0" + len(topics).to_bytes(4, "big") + names + b"\0\0\0\0"


def packed(places: tuple[LogPartition, ...]) -> bytes:
    """Return an assignment: opaque to a broker, which hands it on."""
    return ",".join(f"{topic}[{index}]" for topic, index in places).encode()
