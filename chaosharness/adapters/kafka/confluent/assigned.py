"""What confluent-kafka refuses of an assignment by hand, in its words.

Source:
    confluent-kafka 2.16 and librdkafka, as observed on its mock cluster; `rdkafka_assignment.c`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_INVALID,
    OFFSET_STORED,
    KafkaError,
)

from chaosharness.adapters.kafka.confluent.message import refusal
from chaosharness.adapters.kafka.confluent.places import TAIL, Place, place_of, words_of

NAMED: Final = (OFFSET_BEGINNING, OFFSET_END, OFFSET_INVALID, OFFSET_STORED)
EAGER: Final = (
    "Changes to the current assignment must be made using assign() "
    "when rebalance protocol type is EAGER"
)


def check_assigned(partitions: Iterable[Any]) -> None:
    """Refuse a log partition that is named twice, or an offset that is none.

    Raises:
        KafkaException: There is one.
    """
    code = KafkaError._INVALID_ARG
    if _wrong(partitions, ()) is not None:
        raise refusal(code, f"Failed to set assignment: {words_of(code)}")


def check_added(partitions: Iterable[Any], before: Iterable[Place]) -> None:
    """Likewise, and refuse what is assigned already.

    Raises:
        KafkaException: There is one.
    """
    wrong = _wrong(partitions, set(before))
    if wrong is not None:
        raise refusal(*wrong)


def _wrong(partitions: Iterable[Any], before: Collection[Place]) -> tuple[int, str] | None:
    """Return what is wrong with the first of the log partitions, in their order, and a code."""
    last: Place | None = None
    for one in sorted(partitions, key=place_of):
        place, words = place_of(one), f"{one.topic} [{one.partition}]"
        if place == last:
            return KafkaError._INVALID_ARG, f"Duplicate {words} in input list"
        if place in before:
            return KafkaError._CONFLICT, f"{words} is already part of the current assignment"
        if TAIL < one.offset < 0 and one.offset not in NAMED:
            return KafkaError._INVALID_ARG, f"{words} has invalid start offset {one.offset}"
        last = place
    return None


def check_there(places: Iterable[Place], before: Iterable[Place]) -> None:
    """Refuse to take away what is not assigned.

    Raises:
        KafkaException: Some of it is not.
    """
    code, there = KafkaError._INVALID_ARG, set(before)
    gone = sorted(set(places) - there)
    if gone and not there:
        raise refusal(code, "Can't subtract from empty assignment")
    for topic, index in gone:
        words = f"{topic} [{index}] can't be unassigned since it is not in the current assignment"
        raise refusal(code, words)
