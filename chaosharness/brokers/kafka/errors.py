"""What a producer sees of a record that is never taken, and a consumer of one that is gone."""

from __future__ import annotations

from chaosharness.machines.kafka.assignors import LogPartition
from chaosharness.machines.kafka.machine import named


class RecordTooLarge(ValueError):
    """A record is larger than its producer, or the cluster, takes."""


class InvalidRecord(ValueError):
    """A record has no key, and its topic is compacted (INVALID_RECORD)."""


class InvalidPartitions(ValueError):
    """A topic would not have more log partitions than before (INVALID_PARTITIONS)."""


class TopicExists(ValueError):
    """A topic is to be made that is there (TOPIC_ALREADY_EXISTS)."""


class OffsetOutOfRange(LookupError):
    """What a consumer would read next is gone, and `reset` is `error` (OFFSET_OUT_OF_RANGE)."""

    def __init__(self, place: LogPartition, offset: int) -> None:
        super().__init__(f"offset {offset} of {named(place)} is out of range, and reset='error'")
        self.place, self.offset = place, offset
