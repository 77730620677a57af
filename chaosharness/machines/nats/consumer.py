"""One consumer: what it has handed out, what is to come back, and what it looks at next.

Source:
    nats-server 2.15, `server/consumer.go`: `getNextMsg`, `deliverMsg`, `trackPending`,
    `processAckMsg`, `processNak`, `checkPending`, `hasMaxDeliveries`, `moveAckFloor`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from math import inf
from typing import Any

from chaosharness.machines.lease import Alarm, Leases, LeaseSettings
from chaosharness.machines.nats.settings import ConsumerSettings
from chaosharness.machines.nats.stream import Record, Stream
from chaosharness.machines.nats.subjects import matches


class Consumer:
    """The state of a consumer.

    Attributes:
        next: The sequence that is looked at next.
        deliveries: Deliveries so far, of all messages.
        acks: Whether what it hands out is to be acknowledged.
        acks_all: Whether an acknowledgement settles all before it too.
        floor: Up to which delivery, and which sequence, all is settled.
        told: The floor as the consumer's store has it, where an acknowledgement is one of all: it
            takes no note of what was given up.
        pending: What is in hands or on its way back: sequence, and its first delivery. They are in
            their order, for that is how they are handed out first.
        times: How often a message was handed out again.
        back: What comes before anything new, in this order.
        ahead: What it wants of the stream and has never handed out, by sequence, in order; without
            the last ones of their subjects that it begins with.
    """

    def __init__(
        self,
        name: str,
        settings: ConsumerSettings,
        stream: Stream,
        place: str,
        now: int,
        alarm: Alarm,
    ) -> None:
        self.name = name
        self.stream = stream
        self.place = place
        self.deliveries = 0
        self.pending: dict[int, int] = {}
        self.times: dict[int, int] = {}
        self.back: list[int] = []
        self.leases = Leases(LeaseSettings(lasts_ms=settings.wait_ms), alarm)
        self._chosen: list[int] = []
        self._wants: dict[str, bool] = {}
        self._given_up: set[int] = set()
        self._ghosts: dict[int, int] = {}
        self._go_by(settings)
        self.next = self._start(now)
        self.passed = 0
        self.floor = self.told = (0, self.next - 1)
        first = self._chosen[-1] + 1 if self._chosen else self.next
        self.ahead = {one.sequence: one for one in self._wanted(first)}

    def _go_by(self, settings: ConsumerSettings) -> None:
        self.settings = settings
        self.acks = settings.ack != "none"
        self.acks_all = settings.ack == "all"
        self._wait_ms = 0 if settings.backoff_ms else settings.ack_wait_ms
        limited = self.acks and settings.ack_pending_max > 0
        self._pending_max: float = settings.ack_pending_max if limited else inf

    def change(self, settings: ConsumerSettings) -> None:
        """Go by other settings from now on; what is in hands stays there for its time."""
        filters = self.settings.filters
        self._go_by(settings)
        if settings.filters != filters:
            self._wants.clear()
            self._chosen.clear()
            first = max(self.next, self.passed + 1)
            self.ahead = {one.sequence: one for one in self._wanted(first)}

    # ---- where it begins

    def _start(self, now: int) -> int:
        """Return the first sequence to look at."""
        stream, settings = self.stream, self.settings
        match settings.deliver:
            case "all":
                first = stream.first
            case "last_per_subject" if stream.settings.msgs_per_subject_max == 1:
                first = stream.first  # what is there is the last of its subject
            case "new":
                first = stream.last + 1
            case "last":
                wanted = [one.sequence for one in self._wanted(1)]
                first = (wanted or [0])[-1] if settings.filters else stream.last
            case "last_per_subject":
                last = {one.subject: one.sequence for one in self._wanted(1)}
                self._chosen = sorted(last.values())
                first = self._chosen[0] if self._chosen else stream.last
            case "by_start_time":
                assert settings.start is not None
                since = settings.start
                later = (one.sequence for one in stream.records.values() if one.stored_ms >= since)
                first = next(later, stream.last + 1)
            case _:
                assert settings.start is not None
                return max(settings.start, stream.first, 1)
        return max(min(first, stream.last + 1), stream.first, 1)

    def wants(self, subject: str) -> bool:
        """Say whether messages of a subject are for it."""
        wants = self._wants.get(subject)
        if wants is None:
            filters = self.settings.filters
            wants = not filters or any(matches(pattern, subject) for pattern in filters)
            self._wants[subject] = wants
        return wants

    def offer(self, record: Record) -> None:
        """Take note of a message that has come to the stream, and that it wants."""
        if record.sequence >= self.next:
            self.ahead[record.sequence] = record

    def _wanted(self, first: int) -> Iterator[Record]:
        for record in self.stream.records.values():
            if record.sequence >= first and self.wants(record.subject):
                yield record

    # ---- what there is

    def new(self) -> int:
        """Count what it wants and has never handed out."""
        if not self._chosen:
            return len(self.ahead)
        return sum(one in self.stream.records for one in self._chosen) + len(self.ahead)

    def is_full(self) -> bool:
        """Say whether so much is in hands that nothing new is handed out."""
        return len(self.pending) >= self._pending_max

    def has_some(self) -> bool:
        """Say whether a fetch would find something, or see to it that something is given up."""
        if self.back:
            return True
        return (bool(self.ahead) or self.new() > 0) and not self.is_full()

    def peek(self, most: int) -> list[Record]:
        """Return what a fetch would find, without handing it out."""
        limit, records = self.settings.deliver_max, self.stream.records
        again = [
            seq
            for seq in self.back
            if seq in records and (limit < 1 or self.times.get(seq, 0) + 2 <= limit)
        ]
        found = [records[seq] for seq in again[:most]]
        room = most - len(found)
        room = int(min(room, max(self._pending_max - len(self.pending), 0)))
        if self._chosen:
            found += [records[one] for one in self._chosen[:room] if one in records]
            return found
        found += islice(self.ahead.values(), max(room, 0))
        return found

    def take_new(self) -> Record | None:
        """Return what comes next, for the first time; None where there is nothing.

        Seen of 2.15.1: of the last ones of their subjects, one that is gone ends a fetch. A fetch
        that asks for more than there is has passed over all that was filtered out: that does not
        come back where the filters change.
        """
        if self._chosen:
            sequence = self._chosen.pop(0)
            self.next = sequence + 1
            return self.stream.records.get(sequence)
        for sequence in self.ahead:
            self.next = sequence + 1
            return self.ahead.pop(sequence)
        self.passed = self.stream.last
        return None

    # ---- handing out

    def wait_ms(self, sequence: int) -> int:
        """Return how long a message may be held, by how often it was handed out again."""
        backoff = self.settings.backoff_ms
        if not backoff:
            return self.settings.ack_wait_ms
        return backoff[min(self.times.get(sequence, 0), len(backoff) - 1)]

    def hold(self, sequence: int, holder: Any, now: int) -> int:
        """Put a message into somebody's hands; return the number of the delivery."""
        self.deliveries = delivery = self.deliveries + 1
        if self.acks:
            if sequence not in self.pending:
                self.pending[sequence] = delivery
            until = now + (self._wait_ms or self.wait_ms(sequence))
            self.leases.hold(sequence, holder, now, until, delivery)
        else:
            self.floor = (delivery, sequence)
        return delivery

    def is_exceeded(self, sequence: int) -> bool:
        """Say whether a message whose time is over was handed out as often as it may be."""
        most = self.settings.deliver_max
        return 0 < most <= max(self.times.get(sequence, 0), 1)

    # ---- letting go

    def release(self, sequence: int) -> bool:
        """Take a message out of all hands, for good; say whether it was in any."""
        self.leases.release(sequence)
        if sequence in self.back:
            self.back.remove(sequence)
        delivery = self.pending.pop(sequence, None)
        if delivery is None:
            self.ahead.pop(sequence, None)
            return False
        self._move_floor(delivery, sequence)
        return True

    def settle_up_to(self, sequence: int, delivery: int) -> list[tuple[int, Any]] | None:
        """Be done with a message and all before it; return what was in hands, and in whose.

        None where it is behind the floor already. The floor is one of deliveries too: once what
        came back is settled, the first deliveries of what comes after it are behind the floor.
        """
        if delivery <= self.floor[0] or sequence <= self.floor[1]:
            return None
        gap, pending = sequence - self.floor[1], self.pending
        if sequence in pending and delivery > self.told[0] and sequence > self.told[1]:
            self.told = (delivery, sequence)  # of what it gave up, its store takes no note
        self.floor = (delivery, sequence)
        held = [one for one in pending if one <= sequence]
        if gap <= len(pending):  # the server walks the shorter way: here it meets what it gave up
            last = held[0] if len(held) == len(pending) else sequence - gap + 1
            for one in range(sequence, last - 1, -1):
                self.times.pop(one, None)
        found = []
        for one in held:
            lease = self.leases.release(one)
            found.append((one, lease.holder if lease is not None else None))
            if one in self.back:
                self.back.remove(one)
            del pending[one]
            self.times.pop(one, None)
        return found

    def haunt(self, sequence: int, now: int) -> None:
        """Count a message still that is gone from its stream, and that cannot be settled.

        Its first delivery is behind the floor: what came back before it was settled. AckWait is
        over again and again, until all that the stream has is newer.
        """
        if sequence in self.back:
            self.back.remove(sequence)
        lease = self.leases.release(sequence)
        until = now + self.settings.wait_ms
        if lease is not None and lease.until is not None and lease.until > now:
            until = lease.until
        self.leases.hold(sequence, None, now, until, self.pending[sequence])

    def lay(self, sequence: int) -> None:
        """Count a message no longer that is gone, and older than all that the stream has."""
        delivery = self.pending.pop(sequence)
        self.times.pop(sequence, None)
        self.floor = (max(self.floor[0], delivery), max(self.floor[1], sequence))
        if not self.pending:
            self.floor = (self.deliveries, self.next - 1)
        self.told = self.floor

    def purge(self, first: int, last: int, now: int, *, wider: bool) -> None:
        """Begin behind what was purged.

        Args:
            first: The first that is left; 0: none of those that were asked for.
            last: The last one there was.
            now: The time.
            wider: Whether it wants more subjects than were purged.

        Seen of 2.15.1: what was to be handed out again loses its place, and comes after AckWait.
        """
        first = first or last + 1
        self.next = max(self.next, first)
        self.ahead = {at: one for at, one in self.ahead.items() if at >= self.next}
        deliveries, floor = self.floor
        told = self.told
        if floor < first:
            floor = first - 1
            for sequence, delivery in [*self.pending.items()]:
                if sequence <= floor or (wider and sequence not in self.stream.records):
                    deliveries = max(deliveries, delivery)
                    told = max(told, (delivery, sequence))
                    self.leases.release(sequence)
                    del self.pending[sequence]
                    self.times.pop(sequence, None)
            for one in [one for one in self.times if one <= floor]:
                del self.times[one]
            given_up = {one for one in self._given_up if one <= floor}
            self._given_up -= given_up
            if given_up and self.pending:
                deliveries = max(deliveries, min(self.pending.values()) - 1)
            self.floor = (deliveries, floor)
        if not self.pending:
            self.times.clear()
            self.floor = (self.deliveries, self.next - 1)
        older = self.acks_all and self.floor[1] < told[1]
        self.told = told if older else self.floor  # to go back, the store refuses
        self._ghosts.clear()
        for sequence in self.back:
            if sequence in self.pending:
                until = now + self.wait_ms(sequence)
                self.leases.hold(sequence, None, now, until, self.pending[sequence])
        self.back = [one for one in self.back if one >= self.next]

    def give_up(self, sequence: int) -> None:
        """Take a message out of all hands that was handed out as often as it may be.

        Seen of 2.15.1: the floor stays where it is, until the next one is settled.
        """
        delivery = self.pending.pop(sequence, None)
        self._given_up.add(sequence)
        self.leases.release(sequence)
        if self.acks_all and delivery is not None:
            self._move_floor(delivery, sequence)

    @property
    def floor_told(self) -> tuple[int, int]:
        """The floor, as its store has it."""
        return self.told if self.acks_all or self._ghosts else self.floor

    def _move_told(self, delivery: int, sequence: int) -> None:
        """Move the floor of the store, which takes no note of what is behind it already.

        *Source*: nats-server 2.15, `server/memstore.go` (`UpdateAcks`). A purge of one subject
        lifts the floor past deliveries that are in hands still: these stay in the store's books.
        """
        ghosts = self._ghosts
        if not ghosts:
            self.told = self.floor
        if delivery <= self.told[0]:
            ghosts[sequence] = delivery
        elif delivery == self.told[0] + 1:
            self.told = (delivery, sequence)
            left = sorted({**self.pending, **ghosts}.items())
            for later, first in left:
                if later > sequence:
                    self.told = (first - 1, later - 1)
                    break

    def _move_floor(self, delivery: int, sequence: int) -> None:
        pending = self.pending
        if (delivery <= self.floor[0] or self._ghosts) and not self.acks_all:
            self._move_told(delivery, sequence)
        if not pending:
            self.floor = (self.deliveries, self.next - 1)
        elif delivery == self.floor[0] + 1:
            for later in pending:
                if later > sequence:
                    self.floor = (pending[later] - 1, later - 1)
                    return
            self.floor = (delivery, sequence)

    def needs(self, record: Record) -> bool:
        """Say whether a stream that keeps messages for its consumers keeps one for this one."""
        if not self.wants(record.subject):
            return False
        sequence = record.sequence
        if self.acks_all:
            return sequence > self.floor[1] or sequence in self.times
        if sequence > self.floor[1] and (sequence >= self.next or sequence in self.pending):
            return True
        return sequence in self.times
