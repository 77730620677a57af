"""Which record a log partition got first since a moment, as clients ask for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chaosharness.kernel.spans import EPOCH_MS


def times_of(timestamps: Mapping[Any, Any]) -> dict[Any, int]:
    """Return moments as whole milliseconds, as aiokafka and kafka-python read them.

    Raises:
        ValueError: One is negative, or is no number.
    """
    found = {}
    for place, at in timestamps.items():
        found[place] = int(at)
        if at < 0:
            raise ValueError(
                f"The target time for partition {place} is {at}. The target time cannot be "
                "negative."
            )
    return found


def first_since(
    cluster: Any, topic: str, index: int, at_ms: int, *, committed_only: bool
) -> tuple[int, int] | None:
    """Return the first record that is no older than a moment: its offset, and when it was sent.

    Args:
        cluster: Whose log it is.
        topic: The topic.
        index: Which log partition.
        at_ms: The moment, in milliseconds since 1970.
        committed_only: Whether it is asked by one that reads what is committed alone.
    """
    place = topic, index
    offset = cluster.since(place, at_ms - EPOCH_MS, committed_only=committed_only)
    if offset is None:
        return None
    record = cluster.machine.log(place).records[offset]
    return offset, EPOCH_MS + cluster.world.raw[record.published][0]
