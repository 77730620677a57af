"""What EXISTS, TYPE, XPENDING and XINFO tell: looking changes nothing.

Source:
    redis/redis 7.0, `src/t_stream.c`: `xpendingCommand`, `xinfoCommand`; `src/rax.c`, for the nodes
    of the tree.

Not modelled:
    `inactive` of a consumer (7.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Final, Protocol

from chaosharness.machines.machine import Refusal
from chaosharness.machines.redis import ids, refusals
from chaosharness.machines.redis import operations as op
from chaosharness.machines.redis.ids import StreamId
from chaosharness.machines.redis.stream import Group, Kept, Stream

FULL_COUNT: Final = 10
HALF: Final = 8


class HasStreams(Protocol):
    """The machine, as far as it is looked at."""

    epoch_ms: int

    @property
    def streams(self) -> Mapping[str, Stream]:
        """All of them, by name."""


def _group(machine: HasStreams, stream: str, group: str) -> Group | None:
    found = machine.streams.get(stream)
    return None if found is None else found.groups.get(group)


# ---- keys


def exists(machine: HasStreams, operation: op.Exists, now: int) -> int:
    """Tell how many of these there are, each as often as it is named."""
    return sum(one in machine.streams for one in operation.names)


def kind(machine: HasStreams, operation: op.Type, now: int) -> str:
    """Tell what a key holds."""
    return "stream" if operation.stream in machine.streams else "none"


# ---- XPENDING


def pending_summary(
    machine: HasStreams, operation: op.PendingSummary, now: int
) -> op.Summary | Refusal:
    """Tell how many entries are pending, and for whom."""
    group = _group(machine, operation.stream, operation.group)
    if group is None:
        return refusals.no_group(operation.stream, operation.group)
    found = group.in_order()
    if not found:
        return op.Summary(0, None, None, {})
    counts: dict[str, int] = {}
    for one in found:
        counts[one.consumer] = counts.get(one.consumer, 0) + 1
    return op.Summary(len(found), found[0].id, found[-1].id, dict(sorted(counts.items())))


def pending_range(
    machine: HasStreams, operation: op.PendingRange, now: int
) -> list[op.PendingEntry] | Refusal:
    """Tell which entries are pending, each with its idle time."""
    bounds = ids.bounds(operation.start, operation.end)
    if bounds is None:
        return refusals.BAD_ID
    group = _group(machine, operation.stream, operation.group)
    if group is None:
        return refusals.no_group(operation.stream, operation.group)
    found = [
        op.PendingEntry(one.id, one.consumer, max(now - one.since_ms, 0), one.times)
        for one in group.in_order(bounds[0])
        if one.id <= bounds[1]
        and operation.consumer in (None, one.consumer)
        and now - one.since_ms >= operation.min_idle_ms
    ]
    return found[: max(operation.count, 0)]


# ---- XINFO


def stream(machine: HasStreams, operation: op.Streams, now: int) -> op.StreamInfo | Refusal:
    """Tell of a stream."""
    found = machine.streams.get(operation.stream)
    if found is None:
        return refusals.NOT_THERE
    kept = list(found)
    most = FULL_COUNT if operation.count < 0 else operation.count or None
    shown = kept[:most] if operation.full else [*kept[:1], *kept[-1:]]
    groups: int | list[op.GroupInfo] = len(found.groups)
    if operation.full:
        groups = [
            _full_group(machine, found, name, group, most, now)
            for name, group in sorted(found.groups.items())
        ]
    keys = found.node_keys
    return op.StreamInfo(
        len(found),
        len(keys),
        _nodes([_bytes_of(one) for one in keys]) if keys else 1,
        found.last,
        found.deleted,
        found.added,
        found.first,
        [_entry(one) for one in shown],
        groups,
    )


def groups(machine: HasStreams, operation: op.Groups, now: int) -> list[op.GroupInfo] | Refusal:
    """Tell of the groups of a stream."""
    found = machine.streams.get(operation.stream)
    if found is None:
        return refusals.NOT_THERE
    return [
        op.GroupInfo(name, len(one.consumers), len(one.pending), one.last, one.read, found.lag(one))
        for name, one in sorted(found.groups.items())
    ]


def consumers(
    machine: HasStreams, operation: op.Consumers, now: int
) -> list[op.ConsumerInfo] | Refusal:
    """Tell of the consumers of a group."""
    found = machine.streams.get(operation.stream)
    if found is None:
        return refusals.NOT_THERE
    group = found.groups.get(operation.group)
    if group is None:
        return refusals.no_group_of_key(operation.stream, operation.group)
    return _consumers(machine, group, now)


def _consumers(machine: HasStreams, group: Group, now: int) -> list[op.ConsumerInfo]:
    return [
        op.ConsumerInfo(
            name, len(group.of(name)), seen_ms + machine.epoch_ms, max(now - seen_ms, 0)
        )
        for name, seen_ms in sorted(group.consumers.items())
    ]


def _full_group(
    machine: HasStreams, there: Stream, name: str, group: Group, most: int | None, now: int
) -> op.GroupInfo:
    epoch_ms = machine.epoch_ms
    found = _consumers(machine, group, now)
    for one in found:
        mine = group.of(one.name)[:most]
        one.held = [(held.id, held.since_ms + epoch_ms, held.times) for held in mine]
    return op.GroupInfo(
        name,
        found,
        len(group.pending),
        group.last,
        group.read,
        there.lag(group),
        [
            (one.id, one.consumer, one.since_ms + epoch_ms, one.times)
            for one in group.in_order()[:most]
        ],
    )


def _entry(kept: Kept) -> op.Entry:
    return op.Entry(kept.id, kept.fields, kept.message)


# ---- the tree of nodes


def _bytes_of(one: StreamId) -> bytes:
    return one[0].to_bytes(HALF, "big") + one[1].to_bytes(HALF, "big")


def _nodes(keys: list[bytes]) -> int:
    """Return how many nodes a radix tree of these keys has: all are equally long, in order."""
    first, last = keys[0], keys[-1]
    if first == last:
        return 2 if first else 1
    shared = next(
        at for at, (one, other) in enumerate(zip(first, last, strict=True)) if one != other
    )
    below = groupby(keys, key=lambda one: one[shared])
    return bool(shared) + 1 + sum(_nodes([one[shared + 1 :] for one in some]) for _, some in below)
