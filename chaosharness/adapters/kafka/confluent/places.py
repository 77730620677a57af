"""Log partitions and offsets, as confluent-kafka spells them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_INVALID,
    OFFSET_STORED,
    KafkaError,
    TopicPartition,
)

from chaosharness.adapters.kafka.confluent.message import refusal

Place = tuple[str, int]

RESETS: Final = {
    **dict.fromkeys(("smallest", "earliest", "beginning"), "earliest"),
    **dict.fromkeys(("largest", "latest", "end"), "latest"),
    "error": "error",
}
"""What `auto.offset.reset` may be, and what it means."""


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
    found = list(partitions)
    if not all(isinstance(one, TopicPartition) for one in found):
        raise TypeError("expected list of TopicPartition")
    return [place_of(one) for one in found]


def shown(places: Iterable[Place]) -> list[TopicPartition]:
    """Return log partitions as listeners and `assignment` show them: without an offset."""
    return [TopicPartition(topic, index) for topic, index in places]


def behind(places: dict[Place, int]) -> list[TopicPartition]:
    """Return offsets as a commit shows them."""
    return [TopicPartition(topic, index, offset) for (topic, index), offset in places.items()]


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
        elif one.offset not in (OFFSET_STORED, OFFSET_INVALID):
            raise refusal(KafkaError._INVALID_ARG, f"offset {one.offset} is none")
