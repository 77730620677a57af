"""Log partitions and offsets, as confluent-kafka spells them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    KafkaError,
    TopicPartition,
)

from chaosharness.adapters.kafka.absent import is_absent
from chaosharness.adapters.kafka.confluent.message import refusal
from chaosharness.adapters.kafka.moments import first_since

Place = tuple[str, int]

RESETS: Final = {
    **dict.fromkeys(("smallest", "earliest", "beginning"), "earliest"),
    **dict.fromkeys(("largest", "latest", "end"), "latest"),
    "error": "error",
}
"""What `auto.offset.reset` may be, and what it means."""


TAIL: Final = -2_000
"""So many records before the end is so much less: `rdkafka.h`, `RD_KAFKA_OFFSET_TAIL_BASE`."""


def words_of(code: int) -> str:
    """Return the client's whole sentence for an error."""
    return str(KafkaError(code).str())


def place_of(one: Any) -> Place:
    """Return which log partition is meant."""
    return one.topic, one.partition


def places_of(partitions: Iterable[Any]) -> list[Place]:
    """Return which log partitions are meant.

    Raises:
        TypeError: They are no TopicPartitions.
    """
    if not isinstance(partitions, list):
        raise TypeError("requires list of TopicPartition")
    found = list(partitions)
    if not all(isinstance(one, TopicPartition) for one in found):
        raise TypeError("expected cimpl.TopicPartition")
    return [place_of(one) for one in found]


def shown(places: Iterable[Place]) -> list[TopicPartition]:
    """Return log partitions as listeners and `assignment` show them: without an offset."""
    return [TopicPartition(topic, index) for topic, index in places]


def behind(places: dict[Place, int], *, read: bool = False) -> list[TopicPartition]:
    """Return offsets as a commit shows them.

    Args:
        places: Of each log partition.
        read: Whether they are behind what was read: records have the epoch of their leader, 0.
    """
    found = []
    for (topic, index), offset in places.items():
        if read and offset >= 0:
            found.append(TopicPartition(topic, index, offset, leader_epoch=0))
        else:
            found.append(TopicPartition(topic, index, offset))
    return found


def since(cluster: Any, partitions: Iterable[Any], *, committed_only: bool) -> list[Any]:
    """Return the first record of each log partition that is no older than its `offset` says.

    That is in milliseconds since 1970, or one of the client's names for an end; where all records
    are older, it is the end.

    Raises:
        KafkaException: There is no such log partition, or none is named.
        TypeError: They are no TopicPartitions.
    """
    if not isinstance(partitions, list):
        raise TypeError("expected list of topic partition")
    found = {}
    for (topic, index), one in zip(places_of(partitions), partitions, strict=True):
        is_absent(cluster, topic)
        if not 0 <= index < len(cluster.machine.logs.get(topic, ())):
            code = KafkaError._UNKNOWN_PARTITION
            raise refusal(code, f"Failed to get offsets: {words_of(code)}")
        log = cluster.machine.log((topic, index))
        if one.offset == OFFSET_BEGINNING:
            found[topic, index] = log.start
        elif one.offset == OFFSET_END:
            found[topic, index] = log.stable if committed_only else log.end
        else:
            first = first_since(cluster, topic, index, one.offset, committed_only=committed_only)
            found[topic, index] = OFFSET_END if first is None else first[0]
    if not found:
        code = KafkaError._INVALID_ARG
        raise refusal(code, f"Failed to get offsets: {words_of(code)}")
    return behind(found)


def set_out(consumer: Any, partitions: Iterable[Any]) -> None:
    """Go on where an assignment says: at an offset, at an end, or where the group was."""
    for one in partitions:
        first, end = consumer.watermarks(one.topic, one.partition)
        if one.offset >= 0:
            consumer.seek(one.topic, one.partition, one.offset)
        elif one.offset == OFFSET_BEGINNING:
            consumer.seek(one.topic, one.partition, first)
        elif one.offset == OFFSET_END:
            consumer.seek(one.topic, one.partition, end)
        elif one.offset <= TAIL:
            consumer.seek(one.topic, one.partition, max(end + one.offset - TAIL, first))
