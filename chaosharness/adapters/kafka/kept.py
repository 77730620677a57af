"""How a topic that is made at run time keeps its records, by the configuration it is made with.

Source:
    Apache Kafka 3.9, `LogConfig`, `ConfigDef` and `ControllerConfigurationValidator`: names, and
    the words for a wrong name or value; topic configuration: what each says.

Not modelled:
    What a configuration says about segments, flushing, compression, timestamps and copies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from chaosharness.brokers.kafka.topics import CLEANER_BACKOFF_MS, DAY_MS, KafkaTopic

SIZE: Final = "max.message.bytes"
"""The one that would change what is taken, and is said of a cluster as a whole here."""

_POLICIES: Final = ("compact", "delete")
_LONGS: Final = (
    *("delete.retention.ms", "file.delete.delay.ms", "flush.messages", "flush.ms"),
    *("local.retention.bytes", "local.retention.ms", "max.compaction.lag.ms"),
    *("message.timestamp.after.max.ms", "message.timestamp.before.max.ms"),
    *("message.timestamp.difference.max.ms", "min.compaction.lag.ms", "retention.bytes"),
    *("retention.ms", "segment.jitter.ms", "segment.ms"),
)
_OTHERS: Final = (
    *("cleanup.policy", "compression.gzip.level", "compression.lz4.level", "compression.type"),
    *("compression.zstd.level", "follower.replication.throttled.replicas", "index.interval.bytes"),
    *("leader.replication.throttled.replicas", SIZE, "message.downconversion.enable"),
    *("message.format.version", "message.timestamp.type", "min.cleanable.dirty.ratio"),
    *("min.insync.replicas", "preallocate", "remote.log.copy.disable"),
    *("remote.log.delete.on.disable", "remote.storage.enable", "segment.bytes"),
    *("segment.index.bytes", "unclean.leader.election.enable"),
)


def slip_in(config: Mapping[str, Any]) -> str | None:
    """Return what a broker says about a configuration that it does not take; None if it does."""
    for name in config:
        if name not in _LONGS and name not in _OTHERS:
            return f"Unknown topic config name: {name}"
    for name in _LONGS:
        if name in config and not _is_number(config[name]):
            wrong = f"Invalid value {config[name]} for configuration {name}"
            return f"{wrong}: Not a number of type LONG"
    for one in _policies(config):
        if one not in _POLICIES:
            wrong = f"Invalid value {one} for configuration cleanup.policy"
            return f"{wrong}: String must be one of: {', '.join(_POLICIES)}"
    return None


def kept_of(count: int, config: Mapping[str, Any]) -> KafkaTopic:
    """Return a topic as such a configuration has it. What it says of no time is for ever."""
    policies = _policies(config)
    lets_go = "delete" in policies
    return KafkaTopic(
        partitions=count,
        retention_ms=_limit(config, "retention.ms") if lets_go else None,
        retention_bytes=_limit(config, "retention.bytes") if lets_go else None,
        compacted="compact" in policies,
        compacted_after_ms=max(int(config.get("min.compaction.lag.ms", 0)), CLEANER_BACKOFF_MS),
        tombstones_ms=int(config.get("delete.retention.ms", DAY_MS)),
    )


def _policies(config: Mapping[str, Any]) -> list[str]:
    return [one.strip() for one in str(config.get("cleanup.policy", "delete")).split(",")]


def _limit(config: Mapping[str, Any], name: str) -> int | None:
    most = int(config.get(name, -1))
    return None if most < 0 else max(most, 1)


def _is_number(value: Any) -> bool:
    try:
        int(str(value))
    except ValueError:
        return False
    return True
