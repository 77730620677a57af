"""Streams and consumers come, change, and go.

Source:
    nats-server 2.15, `server/stream.go` (`addStream`, `update`, `purge`, `jsa.configUpdateCheck`),
    `server/consumer.go` (`addConsumerWithAssignment`, `checkNewConsumerConfig`, `updateConfig`).

Not modelled:
    A stream that changes from keeping by limits to keeping by interest, or back: the server lets
    it, and whoever drives the machine does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from chaosharness.machines.lease import Alarm
from chaosharness.machines.machine import Buried, Fact, Refusal
from chaosharness.machines.nats import operations as op
from chaosharness.machines.nats import refusals
from chaosharness.machines.nats.consumer import Consumer
from chaosharness.machines.nats.creation import refusal_beside, refusal_of, refusal_of_change
from chaosharness.machines.nats.settings import StreamSettings
from chaosharness.machines.nats.stream import Record, Stream
from chaosharness.machines.nats.subjects import matches, overlap

PURGED: Final = "purged"
DELETED: Final = "deleted"
STREAM_DELETED: Final = "its stream is deleted"


class Shelf(Protocol):
    """The streams and consumers of a machine, as far as they are administered."""

    streams: dict[str, Stream]
    consumers: dict[tuple[str, str], Consumer]
    of: dict[str, list[Consumer]]
    keepers: dict[str, Stream]
    alarm: Alarm
    header_bytes: Callable[[Any], int]

    @property
    def emit(self) -> Callable[[Fact], None]:
        """Say that something happened."""

    @property
    def remove(self) -> Callable[[Stream, Record, str, int], None]:
        """Let a message go, whoever wants it still."""

    @property
    def lose(self) -> Callable[[Consumer, Record, int], None]:
        """Have a consumer find that a message is gone."""

    @property
    def drop_if_done(self) -> Callable[[Stream, Record], None]:
        """Let a message go that nobody needs."""


# ---- streams


def _create_stream(machine: Shelf, operation: op.CreateStream, now: int) -> Refusal | None:
    name, settings = operation.stream, operation.settings
    if name in machine.streams:
        same = machine.streams[name].settings == settings
        return None if same else refusals.NAME_TAKEN
    if _overlaps(machine, settings, name):
        return refusals.SUBJECTS_OVERLAP
    machine.streams[name] = Stream(name, settings, machine.alarm, machine.header_bytes)
    machine.of[name] = []
    return None


def _overlaps(machine: Shelf, settings: StreamSettings, name: str) -> bool:
    """Say whether another stream keeps a subject too."""
    others = [one for one in machine.streams.values() if one.name != name]
    theirs = [subject for one in others for subject in one.settings.subjects]
    return any(overlap(mine, other) for mine in settings.subjects for other in theirs)


def _update_stream(machine: Shelf, operation: op.UpdateStream, now: int) -> Refusal | None:
    stream = machine.streams.get(operation.stream)
    if stream is None:
        return refusals.NO_STREAM
    settings, before = operation.settings, stream.settings
    if settings.storage != before.storage:
        return refusals.wrong_stream("stream configuration update can not change storage type")
    if settings.retention != before.retention:
        if "workqueue" in (settings.retention, before.retention):
            return refusals.wrong_stream(
                "stream configuration update can not change retention policy to/from workqueue"
            )
        raise ValueError(f"{stream.name} changes its retention, which is not modelled")
    if _overlaps(machine, settings, stream.name):
        return refusals.SUBJECTS_OVERLAP
    stream.change(settings)
    machine.keepers.clear()
    for subject in dict.fromkeys(one.subject for one in stream.records.values()):
        for record in stream.over_limits(subject):
            machine.remove(stream, record, "limit reached", now)
    return None


def _delete_stream(machine: Shelf, operation: op.DeleteStream, now: int) -> Refusal | None:
    stream = machine.streams.pop(operation.stream, None)
    if stream is None:
        return refusals.NO_STREAM
    machine.keepers.clear()
    for consumer in machine.of.pop(stream.name):
        del machine.consumers[stream.name, consumer.name]
        for record in stream.records.values():
            if _waits(consumer, record):
                machine.emit(Buried(record.message, consumer.place, None, STREAM_DELETED))
    machine.alarm.moves += 1
    return None


def _purge_stream(machine: Shelf, operation: op.PurgeStream, now: int) -> int | Refusal:
    """Take messages out of a stream; return how many."""
    stream = machine.streams.get(operation.stream)
    if stream is None:
        return refusals.NO_STREAM
    if stream.settings.sealed:
        return refusals.SEALED
    subject, before, keep = operation.subject, operation.sequence, operation.keep
    if before and keep:
        return refusals.BAD_REQUEST
    found = [one for one in stream.records.values() if not before or one.sequence < before]
    if subject is not None:
        found = [one for one in found if matches(subject, one.subject)]
    found = found[: max(len(found) - keep, 0)]
    alone = subject is not None and len(found) == 1
    for record in found:
        stream.remove(record.sequence)
    if subject is None and before > stream.last + 1:
        stream.last = before - 1
    for consumer in machine.of[stream.name]:
        for record in found:
            if _waits(consumer, record):
                machine.emit(Buried(record.message, consumer.place, None, PURGED))
            consumer.ahead.pop(record.sequence, None)
        _purge_consumer(consumer, subject, now)
        if alone:  # seen of 2.15.1: one of a subject goes as if it were deleted, too
            machine.lose(consumer, found[0], now)
    return len(found)


def _waits(consumer: Consumer, record: Record) -> bool:
    """Say whether a consumer has a message in somebody's hands, or was to hand it out."""
    sequence = record.sequence
    if sequence in consumer.pending:
        return True
    return sequence >= consumer.next and consumer.wants(record.subject)


def _purge_consumer(consumer: Consumer, subject: str | None, now: int) -> None:
    """Have a consumer begin behind what was purged, if it is concerned."""
    stream = consumer.stream
    if subject is None:
        consumer.purge(stream.first, stream.last, now, wider=False)
        return
    filters = consumer.settings.filters
    if filters and all(matches(subject, one) for one in filters):
        left = (one.sequence for one in stream.records.values() if matches(subject, one.subject))
        consumer.purge(next(left, 0), stream.last, now, wider=False)
    elif not filters or any(overlap(subject, one) for one in filters):
        consumer.purge(stream.first, stream.last, now, wider=True)


def _delete_message(machine: Shelf, operation: op.DeleteMessage, now: int) -> Refusal | None:
    stream = machine.streams.get(operation.stream)
    if stream is None:
        return refusals.NO_STREAM
    record = stream.records.get(operation.sequence)
    if record is None:
        in_file = stream.settings.storage == "file"  # each store says it in its own way
        return refusals.NOTHING_TO_DELETE if in_file else refusals.no_sequence(operation.sequence)
    machine.remove(stream, record, DELETED, now)
    return None


# ---- consumers


def _create_consumer(machine: Shelf, operation: op.CreateConsumer, now: int) -> Refusal | None:
    stream = machine.streams.get(operation.stream)
    if stream is None:
        return refusals.NO_STREAM
    key = operation.stream, operation.consumer
    settings = operation.settings
    there = machine.consumers.get(key)
    if there is not None:
        if there.settings == settings:
            return None
        if not operation.or_update:
            return refusals.CONSUMER_TAKEN
    others = [one for one in machine.of[stream.name] if one is not there]
    refusal = refusal_of(settings, stream.settings)
    if refusal is None and there is not None:
        refusal = refusal_of_change(there.settings, settings)
    if refusal is not None:
        return refusal
    if there is None and 0 < stream.settings.consumers_max <= len(others):
        return refusals.TOO_MANY_CONSUMERS
    refusal = refusal_beside(settings, stream.settings, (one.settings for one in others))
    if refusal is not None:
        return refusal
    if there is not None:
        there.change(settings)
        stream.readers.clear()
        machine.alarm.moves += 1
        _drop_done(machine, stream)
        return None
    place = operation.place or operation.consumer
    consumer = Consumer(operation.consumer, settings, stream, place, now, machine.alarm)
    machine.consumers[key] = consumer
    machine.of[stream.name].append(consumer)
    stream.readers.clear()
    return None


def _drop_done(machine: Shelf, stream: Stream) -> None:
    """Let messages go that no consumer needs any more, where they are kept for these."""
    if stream.settings.retention == "interest":
        for record in [*stream.records.values()]:
            machine.drop_if_done(stream, record)


def _delete_consumer(machine: Shelf, operation: op.DeleteConsumer, now: int) -> Refusal | None:
    consumer = machine.consumers.pop((operation.stream, operation.consumer), None)
    if consumer is None:
        return refusals.NO_CONSUMER
    stream = consumer.stream
    machine.of[stream.name].remove(consumer)
    stream.readers.clear()
    machine.alarm.moves += 1
    _drop_done(machine, stream)
    return None


DO: Final[dict[type, Callable[[Any, Any, int], Any]]] = {
    op.CreateStream: _create_stream,
    op.UpdateStream: _update_stream,
    op.DeleteStream: _delete_stream,
    op.PurgeStream: _purge_stream,
    op.DeleteMessage: _delete_message,
    op.CreateConsumer: _create_consumer,
    op.DeleteConsumer: _delete_consumer,
}
