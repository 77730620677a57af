"""Offsets that a consumer commits, and which messages they speak for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chaosharness.brokers.message import Delivery, Message
from chaosharness.machines.kafka.assignors import LogPartition


def take_offsets(
    committed: dict[LogPartition, int],
    logs: Mapping[str, Sequence[Sequence[Message]]],
    what: Delivery | Mapping[LogPartition, int],
    *,
    at_all: bool,
) -> list[int | None]:
    """Commit offsets; the last writer wins.

    Args:
        committed: Where the group goes on, in each log partition.
        logs: The records.
        what: A delivery, behind which it goes on; or where, for each log partition.
        at_all: Whether it speaks for everything that was polled.

    Returns:
        The last message that each offset speaks for, by its `publish` event; -1 where there is
        none, None for everything that was polled.
    """
    if not isinstance(what, Mapping):
        committed[what.topic, what.partition] = what.offset + 1
        return [what.message.published]
    committed.update(what)
    if at_all:
        return [None]
    return [last_before(logs[topic][index], offset) for (topic, index), offset in what.items()]


def last_before(log: Sequence[Message], offset: int) -> int:
    """Return the message ahead of an offset, by its `publish` event; -1 where there is none."""
    record = log[offset - 1] if 0 < offset <= len(log) else None
    return -1 if record is None else record.published
