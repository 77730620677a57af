"""NATS JetStream as a pure machine: streams, consumers, leases, ids, and notices of deaths.

Source:
    nats-server 2.15 (`server/stream.go`, `server/consumer.go`), held against the running server:
    `python -m benchmarks nats`. NATS documentation, "JetStream model deep dive".

Not modelled:
    Push consumers and flow control, priority groups, pausing; mirrors, sources, schedules, what a
    stream says of messages whose own time is over (markers); accounts. A pull request that waits,
    and which of several that wait is answered: whoever drives the machine keeps them. Clusters:
    leaders that change, replicas that lag. A stream in memory, or one whose disk is synchronised
    now and then (every two minutes unless it says otherwise), may lose what it acknowledged at a
    power failure: here nothing is lost.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from chaosharness.machines.lease import Alarm
from chaosharness.machines.machine import (
    Buried,
    CameBack,
    Extended,
    Fact,
    HandedOut,
    Ignored,
    Recognised,
    Refusal,
    Settled,
    Stored,
)
from chaosharness.machines.nats import administration, refusals
from chaosharness.machines.nats import operations as op
from chaosharness.machines.nats.consumer import Consumer
from chaosharness.machines.nats.stream import Record, Stream

DEATHS: Final = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES"
"""Where notices of messages go that will never be handed out again: `DEATHS.STREAM.CONSUMER`."""
NOTICE: Final = "io.nats.jetstream.advisory.v1.max_deliver"
MAX_DELIVERIES: Final = "max deliveries"
TERMINATED: Final = "terminated"


def _plainly(subject: str, body: bytes, about: Any) -> Any:
    return f"notice of {about}"


def _none(message: Any) -> int:
    return 0


class NatsMachine:
    """The JetStream of one account.

    Args:
        notice: `notice(subject, body, about)` makes the message of a notice about another one.
        header_bytes: How many bytes the headers of a message take.

    Attributes:
        of: The consumers of each stream, as they came.
        keepers: Which stream keeps a subject, as far as asked.
    """

    def __init__(
        self,
        notice: Callable[[str, bytes, Any], Any] = _plainly,
        header_bytes: Callable[[Any], int] = _none,
    ) -> None:
        self.notice = notice
        self.header_bytes = header_bytes
        self.streams: dict[str, Stream] = {}
        self.consumers: dict[tuple[str, str], Consumer] = {}
        self.alarm = Alarm()
        self.of: dict[str, list[Consumer]] = {}
        self.keepers: dict[str, Stream] = {}
        self._facts: list[Fact] = []
        self._numbers = 0
        self._due: int | None = None
        self._moves = 0

    # ---- the contract

    def apply(self, operation: Any, now: int) -> Any:
        """Do what is asked for; return an answer, or a `Refusal`."""
        if self.alarm.not_before <= now:
            self.tick(now)
        do = DO.get(type(operation))
        if do is None:
            raise TypeError(f"{operation!r} is no operation of JetStream")
        return do(self, operation, now)

    def due(self) -> int | None:
        """Return when a message comes back; None for never.

        That one has been kept for too long wakes nobody: it is gone the next time anybody looks.
        """
        moves = self.alarm.moves
        if moves != self._moves:
            self._due = self._soonest()
            self._moves = moves
        return self._due

    def _soonest(self) -> int | None:
        soonest: int | None = None
        for one in self.consumers.values():
            due = one.leases.due()
            if due is not None and (soonest is None or due < soonest):
                soonest = due
        return soonest

    def _acts(self) -> int | None:
        """Return when time changes anything: a message comes back, or is too old."""
        soonest = self.due()
        for stream in self.streams.values():
            due = stream.ages()
            if due is not None and (soonest is None or due < soonest):
                soonest = due
        return soonest

    def tick(self, now: int) -> None:
        """Let messages come back and go, up to now, in the order in which they are due."""
        while (due := self._acts()) is not None and due <= now:
            self._act(due)
        self.alarm.settled(due)

    def _act(self, now: int) -> None:
        for stream in self.streams.values():
            for record in stream.too_old(now):
                stream.expired[record.subject] = record
                self.remove(stream, record, "expired", now)
        for consumer in [*self.consumers.values()]:
            for sequence, lease in consumer.leases.expired(now):
                if sequence not in consumer.stream.records:
                    gone = sequence < consumer.stream.first
                    consumer.lay(sequence) if gone else consumer.haunt(sequence, now)
                    continue
                if consumer.is_exceeded(sequence):
                    self._exceed(consumer, sequence, max(consumer.times.get(sequence, 0), 1), now)
                    continue
                consumer.back.append(sequence)
                record = consumer.stream.records[sequence]
                why = "AckWait" if lease.holder is not None else "its delay is over"
                self.emit(CameBack(record.message, consumer.place, lease.holder, why))

    def take(self) -> list[Fact]:
        """Return what happened since this was asked last, in order."""
        facts, self._facts = self._facts, []
        return facts

    def emit(self, fact: Fact) -> None:
        """Say that something happened."""
        self._facts.append(fact)

    def peek(self, stream: str, consumer: str, most: int, now: int) -> list[Record]:
        """Return what a fetch would find, without handing it out."""
        self.tick(now)
        return self.consumers[stream, consumer].peek(most)

    # ---- publishing

    def _publish(self, operation: op.Publish, now: int) -> op.Published | Refusal:
        subject, id = operation.subject, operation.id
        stream = self.keepers.get(subject) or self.keeper(subject)
        if stream is None:
            return refusals.NO_RESPONDERS
        message = operation.message
        self._numbers += 1
        if message is None:
            message = f"m{self._numbers}"
        if stream.settings.sealed:
            return refusals.SEALED
        if stream.is_limited and self._is_too_large(stream, operation, message):
            return refusals.TOO_LARGE
        expected, asks = operation.expected, operation.asks
        if expected is not None and expected.stream not in (None, stream.name):
            return refusals.OTHER_STREAM
        if id is not None and (known := stream.recognise(id, now)) is not None:
            sequence, first = known
            self.emit(Recognised(message, stream.name, first))
            return op.Published(stream.name, sequence, True)
        if expected is not None and (why := _unlike(stream, subject, expected)) is not None:
            return why
        if asks is not None and (why := _denied(stream, asks)) is not None:
            return why
        wanted, places = stream.readers.get(subject) or self._readers(stream, subject)
        if not wanted and stream.settings.retention == "interest":
            sequence = stream.skip()
        elif stream.is_limited and (why := self._no_room(stream, operation, message)) is not None:
            return why
        else:
            record = stream.append(subject, operation.body, message, now)
            sequence = record.sequence
            for one in wanted:
                one.offer(record)
            if asks is not None:
                self._grant(stream, record, asks, now)
        stream.last_id = id or ""
        if id is not None:
            stream.remember(id, sequence, message, now)
        self._facts.append(Stored(message, stream.name, places))
        if stream.is_limited:
            for record in stream.over_limits(subject):
                self.remove(stream, record, "limit reached", now)
        return op.Published(stream.name, sequence)

    def _grant(self, stream: Stream, record: Record, asks: op.Asks, now: int) -> None:
        """Do what a message asks for that has been stored."""
        if asks.ttl_ms is not None:
            stream.keep_until(record.sequence, now + asks.ttl_ms if asks.ttl_ms else None)
        if asks.rollup is not None:
            subject = record.subject if asks.rollup == "sub" else None
            for one in stream.rolled_up(subject, record.sequence):
                self.remove(stream, one, "rolled up", now)

    def _is_too_large(self, stream: Stream, operation: op.Publish, message: Any) -> bool:
        most = stream.settings.message_bytes_max
        return 0 < most < len(operation.body) + self.header_bytes(message)

    def _no_room(self, stream: Stream, operation: op.Publish, message: Any) -> Refusal | None:
        """Return why a stream cannot take a message; None if it can."""
        settings, subject = stream.settings, operation.subject
        if stream.is_full(subject):
            return refusals.FULL
        if settings.discard == "new" and settings.bytes_max > 0:
            size = stream.size(subject, operation.body, self.header_bytes(message))
            over = stream.bytes_kept() + size > settings.bytes_max
            if over and stream.gives_way(subject) < size:
                return refusals.FULL_OF_BYTES
        return None

    def keeper(self, subject: str) -> Stream | None:
        """Return the stream that keeps a subject: one at most does."""
        known = self.keepers.get(subject)
        if known is not None:
            return known
        if "" in subject.split("."):
            return None  # nobody hears what has no name
        for stream in self.streams.values():
            if stream.keeps(subject):
                self.keepers[subject] = stream
                return stream
        return None

    def _readers(
        self, stream: Stream, subject: str
    ) -> tuple[tuple[Consumer, ...], tuple[str, ...]]:
        """Return which consumers of a stream want a subject, and what facts call them."""
        wanted = tuple(one for one in self.of[stream.name] if one.wants(subject))
        found = stream.readers[subject] = wanted, tuple(one.place for one in wanted)
        return found

    def remove(self, stream: Stream, record: Record, reason: str, now: int) -> None:
        """Let a message go, whoever wants it still."""
        stream.remove(record.sequence)
        for consumer in self.of[stream.name]:
            sequence = record.sequence
            held = sequence in consumer.pending
            times = consumer.times.get(sequence, 0)
            self.lose(consumer, record, now)
            wanted = consumer.wants(record.subject)
            if wanted and (held or sequence >= consumer.next):
                self.emit(Buried(record.message, consumer.place, None, reason, times))

    def lose(self, consumer: Consumer, record: Record, now: int) -> None:
        """Have a consumer find that a message is gone."""
        sequence = record.sequence
        held = sequence in consumer.pending
        if held and not consumer.wants(record.subject):
            consumer.haunt(sequence, now)  # it was changed since: nobody tells it
        elif not (held and consumer.acks_all):
            consumer.release(sequence)
            consumer.times.pop(sequence, None)
        elif not self._settle_with(consumer, sequence, consumer.pending[sequence]):
            consumer.haunt(sequence, now)

    # ---- handing out

    def _fetch(self, operation: op.Fetch, now: int) -> list[op.Fetched] | Refusal:
        consumer = self.consumers.get((operation.stream, operation.consumer))
        if consumer is None:
            return refusals.NO_CONSUMER
        if not (consumer.back or consumer.ahead or consumer.new()):
            return []
        found: list[op.Fetched] = []
        most, holder = operation.most, operation.holder
        while len(found) < most:
            one = self._next(consumer, now)
            if one is None:
                break
            record, times = one
            found.append(self._hand_out(consumer, record, times, holder, now))
        return found

    def _next(self, consumer: Consumer, now: int) -> tuple[Record, int] | None:
        """Return the next message, and how often it will have been handed out."""
        while consumer.back:
            most = consumer.settings.deliver_max
            sequence = consumer.back.pop(0)
            if sequence not in consumer.stream.records:  # it is found to be gone, and done
                consumer.release(sequence)
                consumer.told = consumer.floor
                consumer.times.pop(sequence, None)
                continue
            consumer.times[sequence] = consumer.times.get(sequence, 0) + 1
            times = consumer.times[sequence] + 1
            if not 0 < most < times:
                return consumer.stream.records[sequence], times
            self._exceed(consumer, sequence, times - 1, now)
        if consumer.is_full():
            return None
        record = consumer.take_new()
        return None if record is None else (record, 1)

    def _hand_out(
        self, consumer: Consumer, record: Record, times: int, holder: Any, now: int
    ) -> op.Fetched:
        sequence, message = record.sequence, record.message
        delivery = consumer.hold(sequence, holder, now)
        stream = consumer.stream
        handle = op.Handle(stream.name, consumer.name, sequence, delivery, times)
        self._facts.append(HandedOut(message, consumer.place, holder, times, times > 1, handle))
        pending = consumer.new()
        if not consumer.acks:
            self.emit(Settled(message, consumer.place, holder))
            self.drop_if_done(stream, record)
        return op.Fetched(record.subject, record.body, handle, message, pending, record.stored_ms)

    def _exceed(self, consumer: Consumer, sequence: int, times: int, now: int) -> None:
        """Never hand a message out again: it stays in the stream, and a notice says so."""
        consumer.give_up(sequence)
        consumer.times[sequence] = times
        record = consumer.stream.records.get(sequence)
        if record is None or times != consumer.settings.deliver_max:
            return
        notice, to, places = self._advise(consumer, sequence, times, now)
        self.emit(Buried(record.message, consumer.place, to, MAX_DELIVERIES, times, notice, places))

    def _advise(
        self, consumer: Consumer, sequence: int, times: int, now: int
    ) -> tuple[Any, str | None, tuple[str, ...]]:
        """Publish a notice of a death; return it, and which stream keeps it, for whom."""
        about = consumer.stream.records[sequence].message
        words = {"stream": consumer.stream.name, "consumer": consumer.name}
        subject = ".".join((DEATHS, *words.values()))
        keeper = self.keeper(subject)
        if keeper is None or keeper.is_full(subject):
            return None, None, ()
        wanted, places = self._readers(keeper, subject)
        if keeper.settings.retention == "interest" and not wanted:
            keeper.skip()
            return None, None, ()
        self._numbers += 1
        words |= {"type": NOTICE, "id": f"m{self._numbers}"}
        body = json.dumps({**words, "stream_seq": sequence, "deliveries": times}).encode()
        message = self.notice(subject, body, about)
        record = keeper.append(subject, body, message, now)
        for one in wanted:
            one.offer(record)
        for old in keeper.over_limits(subject):
            self.remove(keeper, old, "limit reached", now)
        return message, keeper.name, places

    # ---- settling

    def _holder(self, handle: op.Handle) -> Consumer | Refusal:
        consumer = self.consumers.get((handle.stream, handle.consumer))
        return consumer if consumer is not None and consumer.acks else refusals.UNHEARD

    def _ack(self, operation: op.Ack, now: int) -> Refusal | None:
        return self._settle(operation.handle, now)

    def _term(self, operation: op.Term, now: int) -> Refusal | None:
        return self._settle(operation.handle, now, f"{TERMINATED} {operation.reason}".strip())

    def _settle(self, handle: op.Handle, now: int, reason: str = "") -> Refusal | None:
        """Be done with a message: acknowledged, or terminated for a reason."""
        consumer = self.consumers.get((handle.stream, handle.consumer))
        if consumer is None or not consumer.acks:
            return refusals.UNHEARD
        stream, sequence = consumer.stream, handle.sequence
        if sequence >= consumer.next:
            return None
        if consumer.acks_all:
            self._settle_all(consumer, handle, reason)
            return None
        lease = consumer.leases.held.get(sequence)
        held = consumer.release(sequence)
        again = consumer.times.pop(sequence, None)
        record = stream.records.get(sequence)
        if record is None:
            return None  # it is gone from the stream
        if not held and again is None:
            self.emit(Ignored(record.message, consumer.place, "it is settled"))
        elif reason:
            self.emit(Buried(record.message, consumer.place, None, reason))
        else:
            holder = lease.holder if lease is not None else None
            self._facts.append(Settled(record.message, consumer.place, holder))
        if stream.is_emptied:
            self.drop_if_done(stream, record)
        return None

    def _settle_all(self, consumer: Consumer, handle: op.Handle, reason: str) -> None:
        """Be done with a message and all before it, which were acknowledged with it."""
        stream, last = consumer.stream, handle.sequence
        record = stream.records.get(last)
        if not self._settle_with(consumer, last, handle.delivery, reason) and record is not None:
            self.emit(Ignored(record.message, consumer.place, "it is settled"))

    def _settle_with(self, consumer: Consumer, last: int, delivery: int, reason: str = "") -> bool:
        """Settle all up to a message; say whether there was any."""
        stream = consumer.stream
        found = consumer.settle_up_to(last, delivery)
        if found is None:
            return False
        for sequence, holder in found:
            one = stream.records.get(sequence)
            if one is None:
                continue  # it is gone from the stream
            if reason and sequence == last:
                self.emit(Buried(one.message, consumer.place, None, reason))
            else:
                self._facts.append(Settled(one.message, consumer.place, holder))
            self.drop_if_done(stream, one)
        if last in stream.records:
            self.drop_if_done(stream, stream.records[last])
        return True

    def drop_if_done(self, stream: Stream, record: Record) -> None:
        """Let a message go that a stream keeps for its consumers, once nobody needs it."""
        if stream.settings.retention == "limits":
            return
        others = self.of[stream.name]
        if record.sequence in stream.records and not any(one.needs(record) for one in others):
            stream.remove(record.sequence)
            for one in others:
                if one.wants(record.subject):  # one that was changed since is not told
                    one.release(record.sequence)
                    one.times.pop(record.sequence, None)

    def _nak(self, operation: op.Nak, now: int) -> Refusal | None:
        handle = operation.handle
        consumer = self._holder(handle)
        if isinstance(consumer, Refusal):
            return consumer
        sequence = handle.sequence
        record = consumer.stream.records.get(sequence)
        out_of_range = not consumer.floor[0] < handle.delivery <= consumer.deliveries
        if record is None or out_of_range or sequence not in consumer.pending:
            if record is None and not out_of_range and sequence in consumer.pending:
                if sequence not in consumer.back:
                    consumer.back.append(sequence)  # it is gone, which the next fetch finds out
            elif record is not None:
                self.emit(Ignored(record.message, consumer.place, "it is settled"))
            return None
        lease = consumer.leases.release(sequence)
        holder = lease.holder if lease is not None else None
        if operation.delay_ms:
            if sequence in consumer.back:
                consumer.back.remove(sequence)
            wait_ms = consumer.wait_ms(sequence) - consumer.settings.wait_ms
            until = now + operation.delay_ms + wait_ms  # the server counts from its AckWait
            consumer.leases.hold(sequence, None, now, max(until, now), consumer.deliveries)
            self.emit(Extended(record.message, consumer.place, until))
            return None
        if sequence not in consumer.back:
            consumer.back.append(sequence)
        self.emit(CameBack(record.message, consumer.place, holder, "nak"))
        return None

    def _in_progress(self, operation: op.InProgress, now: int) -> Refusal | None:
        handle = operation.handle
        consumer = self._holder(handle)
        if isinstance(consumer, Refusal):
            return consumer
        until = now + consumer.wait_ms(handle.sequence)
        if consumer.leases.extend(handle.sequence, until):
            record = consumer.stream.records.get(handle.sequence)
            if record is not None:  # else it is gone, which the consumer was not told of
                self.emit(Extended(record.message, consumer.place, until))
        return None

    # ---- looking

    def _get(self, operation: op.Get, now: int) -> Record | Refusal:
        stream = self.streams.get(operation.stream)
        if stream is None:
            return refusals.NO_STREAM
        return stream.records.get(operation.sequence, refusals.NO_MESSAGE)

    def _inspect_stream(self, operation: op.InspectStream, now: int) -> op.StreamState | Refusal:
        stream = self.streams.get(operation.stream)
        if stream is None:
            return refusals.NO_STREAM
        return op.StreamState(len(stream.records), stream.first, stream.last)

    def _inspect_consumer(
        self, operation: op.InspectConsumer, now: int
    ) -> op.ConsumerState | Refusal:
        consumer = self.consumers.get((operation.stream, operation.consumer))
        if consumer is None:
            return refusals.NO_CONSUMER
        redelivered = len(consumer.times) if consumer.settings.deliver_max != 1 else 0
        return op.ConsumerState(
            (consumer.deliveries, consumer.next - 1),
            consumer.floor_told,
            len(consumer.pending),
            redelivered,
            consumer.new(),
        )


Do = Callable[[NatsMachine, Any, int], Any]
DO: Final[dict[type, Do]] = {
    **administration.DO,
    op.Publish: NatsMachine._publish,
    op.Fetch: NatsMachine._fetch,
    op.Ack: NatsMachine._ack,
    op.Nak: NatsMachine._nak,
    op.InProgress: NatsMachine._in_progress,
    op.Term: NatsMachine._term,
    op.Get: NatsMachine._get,
    op.InspectStream: NatsMachine._inspect_stream,
    op.InspectConsumer: NatsMachine._inspect_consumer,
}


def _unlike(stream: Stream, subject: str, expected: op.Expected) -> Refusal | None:
    """Refuse a message that expects something else of its stream."""
    if expected.id is not None and expected.id != stream.last_id:
        return refusals.wrong_id(stream.last_id)
    if expected.sequence is not None and expected.sequence != stream.last:
        return refusals.wrong_sequence(stream.last)
    if expected.of_subject is not None:
        last = stream.last_of(subject)
        if expected.of_subject != last:
            return refusals.wrong_sequence(last)
    return None


def _denied(stream: Stream, asks: op.Asks) -> Refusal | None:
    """Refuse a message for whose place it wants to take, or how long it wants to be kept."""
    settings = stream.settings
    if asks.rollup is not None:
        if not settings.rolls_up:
            return refusals.NO_ROLLUPS
        if asks.rollup not in ("sub", "all"):
            return refusals.wrong_rollup(asks.rollup)
    if asks.ttl_ms is None:
        return None
    if not settings.takes_ttl:
        return refusals.NO_TTL
    return refusals.WRONG_TTL if asks.ttl_ms < 0 else None
