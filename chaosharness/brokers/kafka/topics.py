"""The topics of a cluster: how many log partitions each has, and how long its records are kept.

Source:
    Apache Kafka 3.9, topic configuration: `cleanup.policy`, `retention.ms` (7 days),
    `retention.bytes` (`UnifiedLog.deleteRetentionSizeBreachedSegments`: no less than that is left),
    `min.compaction.lag.ms` (0), `delete.retention.ms` (24 hours); broker configuration:
    `log.cleaner.backoff.ms` (15 s); Design 4.8 (compaction).

Not modelled:
    Segments, and how often a broker looks: retention and the cleaner act as soon as they may. A
    record lives as long as is said, and in a real log often longer. Batches and compression: a
    record counts with all its bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import attrs

from chaosharness.brokers.kafka.rows import BOTH, COMPACTED, RETAINED
from chaosharness.errors import InvalidDefinition
from chaosharness.kernel import allowed
from chaosharness.kernel.places import asked_at

DAY_MS: Final = 86_400_000
CLEANER_BACKOFF_MS: Final = 15_000

_TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")


@attrs.frozen(kw_only=True)
class KafkaTopic:
    """A topic, and how long its records are kept.

    Args:
        partitions: Log partitions.
        retention_ms: `retention.ms`: what is older is gone, read or not; None: nothing is ever
            gone. Whoever had not come so far goes on where `auto.offset.reset` says.
        retention_bytes: `retention.bytes`: the oldest records of a log partition go, as long as
            so many bytes are left without them; None: there is no such limit. A record counts
            with its key, value, headers and 36 bytes.
        compacted: `cleanup.policy=compact`: of each key the last record stays, and a record
            without a value (a tombstone) for a while. Records must have keys. With
            `retention_ms` or `retention_bytes` it is `compact,delete`: the last record of a key
            goes too, when it is too old, or too much is behind it.
        compacted_after_ms: How long records are safe from the cleaner: the larger one of
            `min.compaction.lag.ms` (0) and the 15 s after which it looks again.
        tombstones_ms: `delete.retention.ms`: how long a tombstone stays.

    Raises:
        InvalidDefinition: A value is out of range.
    """

    partitions: int = attrs.field(default=1, validator=allowed.whole(1))
    retention_ms: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(allowed.whole(1))
    )
    retention_bytes: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(allowed.whole(1))
    )
    compacted: bool = attrs.field(default=False, validator=allowed.flag())
    compacted_after_ms: int = attrs.field(default=CLEANER_BACKOFF_MS, validator=allowed.whole(0))
    tombstones_ms: int = attrs.field(default=DAY_MS, validator=allowed.whole(0))

    @property
    def retained(self) -> bool:
        """Whether it lets go of records by their age, or by how many there are."""
        return self.retention_ms is not None or self.retention_bytes is not None

    @property
    def forgets(self) -> bool:
        """Whether it lets go of records."""
        return self.compacted or self.retained

    @property
    def kept(self) -> str:
        """How long its records are kept, as the rows of what may strike have it."""
        if self.compacted:
            return BOTH if self.retained else COMPACTED
        return RETAINED


class Topics(dict[str, int]):
    """How many log partitions each topic has; and those that let go of records, as declared."""

    def __init__(self, counts: Mapping[str, int], forgetful: Mapping[str, KafkaTopic]) -> None:
        super().__init__(counts)
        self.forgetful = dict(forgetful)
        self.compacted = frozenset(name for name, one in forgetful.items() if one.compacted)


def topics_of(topics: Any) -> Topics:
    """Read the topics of a cluster: names with their log partitions, or names alone (1 each).

    Raises:
        InvalidDefinition: They are something else.
    """
    if isinstance(topics, Topics):
        return topics
    if isinstance(topics, list | tuple | set | frozenset):
        topics = dict.fromkeys(topics if isinstance(topics, list | tuple) else sorted(topics), 1)
    if not isinstance(topics, Mapping):
        right = '{"orders": 8}: names with their log partitions; or a list of names (1 each)'
        raise allowed.refused("Kafka", "topics", right, topics)
    counts: dict[str, int] = {}
    for name, count in topics.items():
        if not isinstance(name, str) or not _TOPIC.fullmatch(name):
            right = "letters, digits, '.', '_' and '-', 249 at most (as Kafka has it)"
            raise allowed.refused("Kafka", "the name of a topic", right, name)
        counts[name] = count.partitions if isinstance(count, KafkaTopic) else count
        if not allowed.is_whole(counts[name], 1):
            raise InvalidDefinition(
                f"topic {name!r} must have at least 1 log partition: {count!r}{asked_at()}"
            )
    kept = {name: one for name, one in topics.items() if isinstance(one, KafkaTopic)}
    return Topics(counts, {name: one for name, one in kept.items() if one.forgets})
