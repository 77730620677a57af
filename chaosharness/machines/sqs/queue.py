"""The messages of one SQS queue: which are there, which are hidden, and in which order they go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from heapq import heappop, heappush, nsmallest
from itertools import islice
from typing import Any, Final

import attrs

from chaosharness.machines.lease import Alarm, Leases, LeaseSettings
from chaosharness.machines.sqs.operations import Handle
from chaosharness.machines.sqs.settings import (
    DEDUPLICATION_MS,
    VISIBILITY_MS_MAX,
    QueueSettings,
)

ID: Final = "00000000-0000-4000-8000-"
"""How the id of a message begins; the rest is its number."""


@attrs.define(eq=False)
class Record:
    """One message in a queue. A copy of it is a record of its own, with the same id."""

    number: int
    id: str
    body: str | bytes
    message: Any
    group: str | None
    deduplication: str | None
    sequence: int
    sent_ms: int
    attributes: Mapping[str, Any]
    system_attributes: Mapping[str, Any]
    visible_ms: int
    receives: int = 0
    first_received_ms: int = 0
    died_in: str | None = None


@attrs.frozen
class Seen:
    """A message that was accepted, as the table of FIFO deduplication remembers it."""

    at_ms: int
    record: Record


class Queue:
    """One queue and its messages. FIFO: a message waits for all earlier ones of its group.

    Args:
        name: Its name.
        settings: What it goes by.
        alarm: Of its machine.
    """

    def __init__(self, name: str, settings: QueueSettings, alarm: Alarm) -> None:
        self.name = name
        self._alarm = alarm
        self.settings = settings
        self.scope = settings.scope  # as created: recorded from AWS, a later change has no effect
        self.records: dict[int, Record] = {}
        self.leases = Leases(
            LeaseSettings(lasts_ms=settings.visibility_ms, total_ms_max=VISIBILITY_MS_MAX), alarm
        )
        self.seen: dict[tuple[str, str | None], Seen] = {}
        self.attempts: dict[str, tuple[int, list[int]]] = {}
        self.purged_ms: int | None = None
        self._ages: list[tuple[int, int]] = []
        self._hidden: list[tuple[int, int]] = []
        self._ready: list[int] = []
        self._groups: dict[str, dict[int, Record]] = {}

    # ---- coming and going

    def add(self, record: Record, now: int) -> None:
        """Keep a message; it is hidden until its time."""
        number, ages = record.number, self._ages
        self.records[number] = record
        heappush(ages, (record.sent_ms, number))
        if ages[0][1] == number:
            gone_ms = record.sent_ms + self.settings.retention_ms
            self._alarm.not_before = min(self._alarm.not_before, gone_ms)
        in_order = self.settings.keeps_order
        if in_order:
            self._groups.setdefault(record.group or "", {})[number] = record
        if record.visible_ms > now or self._hidden:
            self.show(record, now)
        elif not in_order:
            heappush(self._ready, number)

    def show(self, record: Record, now: int) -> None:
        """Put a message where it can be handed out, now or at its time."""
        if record.visible_ms > now:
            heappush(self._hidden, (record.visible_ms, record.number))
            self._alarm.at(record.visible_ms)
            return
        if self._hidden:
            self._alarm.moves += 1  # it may have been hidden until a later moment
        if not self.settings.keeps_order:
            heappush(self._ready, record.number)

    def remove(self, record: Record) -> None:
        """Let go of a message."""
        self.leases.forget(record.number)
        del self.records[record.number]
        if self._hidden:
            self._alarm.moves += 1
        if self.settings.keeps_order:
            group = self._groups[record.group or ""]
            del group[record.number]
            if not group:
                del self._groups[record.group or ""]

    def is_visible(self, record: Record, now: int) -> bool:
        """Say whether a message could be handed out."""
        return record.visible_ms <= now and self.leases.of(record.number) is None

    def ages(self) -> int | None:
        """Return when the oldest message may be too old: it may be gone by then."""
        return self._ages[0][0] + self.settings.retention_ms if self._ages else None

    def appear(self, now: int) -> None:
        """Let messages appear whose time has come."""
        hidden = self._hidden
        while hidden and hidden[0][0] <= now:
            due, number = heappop(hidden)
            record = self.records.get(number)
            if record is not None and record.visible_ms == due and not self.settings.keeps_order:
                heappush(self._ready, number)

    def appears(self) -> int | None:
        """Return when the next message appears by itself; None if none does."""
        hidden = self._hidden
        while hidden:
            due, number = hidden[0]
            record = self.records.get(number)
            if record is not None and record.visible_ms == due:
                return due
            heappop(hidden)
        return None

    def too_old(self, now: int) -> list[Record]:
        """Return what has been kept for longer than the queue keeps anything."""
        found: list[Record] = []
        ages = self._ages
        while ages and now - ages[0][0] >= self.settings.retention_ms:
            _, number = heappop(ages)
            if number in self.records:
                found.append(self.records[number])
        return found

    # ---- in which order

    def look(self, most: int, now: int) -> list[Record]:
        """Return the first messages that can be handed out, without taking them."""
        if self.settings.keeps_order:
            return list(islice(self._next_of_groups(now), most))
        return nsmallest(
            most,
            (one for one in self.records.values() if self.is_visible(one, now)),
            key=lambda one: one.number,
        )

    def next(self, now: int) -> Callable[[], Record | None]:
        """Return what gives the next message that can be handed out, in order, and None at the end.

        Whoever asks takes each before the next, or shows it again.
        """
        if not self.settings.keeps_order:
            return partial(self._take, now)
        groups = self._next_of_groups(now)
        return lambda: next(groups, None)

    def _take(self, now: int) -> Record | None:
        """Take the first message out that can be handed out, and all before that cannot."""
        ready, records, held = self._ready, self.records, self.leases.held
        while ready:
            number = heappop(ready)
            record = records.get(number)
            if record is not None and number not in held and record.visible_ms <= now:
                return record
        return None

    def _first(self, now: int) -> Record | None:
        """Return the first message that can be handed out; leave out what cannot be any more."""
        ready, records, held = self._ready, self.records, self.leases.held
        while ready:
            number = ready[0]
            record = records.get(number)
            if record is not None and number not in held and record.visible_ms <= now:
                return record
            heappop(ready)
        return None

    def _next_of_groups(self, now: int) -> Iterator[Record]:
        """Yield the first messages of each group, up to one that is hidden: the oldest group first.

        As many of one group as there are, then the next group.
        """
        for group in sorted(self._groups.values(), key=lambda one: next(iter(one))):
            for record in list(group.values()):
                if not self.is_visible(record, now):
                    break
                yield record

    def has_some(self, now: int) -> bool:
        """Say whether there is anything that can be handed out."""
        if self.settings.keeps_order:
            heads = (next(iter(group.values())) for group in self._groups.values())
            return any(self.is_visible(head, now) for head in heads)
        return self._first(now) is not None

    def waiting(self, now: int) -> int:
        """Count the messages that are visible."""
        return sum(self.is_visible(record, now) for record in self.records.values())

    # ---- FIFO deduplication

    def recognise(self, key: str, group: str | None, now: int) -> Seen | None:
        """Return the message that was accepted under an id within 5 minutes."""
        seen = self.seen.get((key, group if self.scope == "messageGroup" else None))
        return seen if seen is not None and now - seen.at_ms < DEDUPLICATION_MS else None

    def remember(self, key: str, group: str | None, record: Record, now: int) -> None:
        """Remember a message that was accepted."""
        self.seen[key, group if self.scope == "messageGroup" else None] = Seen(now, record)

    # ---- receipts

    def handle(self, record: Record) -> Handle:
        """Return the receipt handle of the last time a message was received."""
        return Handle(self.name, record.number, self.leases.fence(record.number))
