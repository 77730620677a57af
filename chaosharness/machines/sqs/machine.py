"""SQS as a pure machine: standard and FIFO queues, leases, dead letters and their way back.

Source:
    Amazon SQS API Reference and Developer Guide ("FIFO delivery logic", "Visibility timeout",
    "Dead-letter queues"); answers recorded from AWS, which the tests replay where they are found.

Not modelled:
    Which messages a short poll of a standard queue misses is a free choice (`Withhold`), as are
    second copies (`Copy`): in calm, the machine finds everything and hands it out once, the oldest
    first. A FIFO receive looks at the first 120,000 messages of a queue only; here at all. Rates
    (300 calls a second on FIFO), permissions, encryption, tags and approximate counts. What becomes
    of a message that was moved back is documented, not recorded: it has a new id and no receives.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
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
from chaosharness.machines.sqs import operations as op
from chaosharness.machines.sqs import refusals
from chaosharness.machines.sqs.moves import Move, Moves
from chaosharness.machines.sqs.queue import ID, Queue, Record
from chaosharness.machines.sqs.settings import (
    BATCH_MAX,
    DEDUPLICATION_MS,
    DELAY_MS_MAX,
    DELETED_MS,
    PURGE_MS,
    VISIBILITY_MS_MAX,
    QueueSettings,
)


class SqsMachine:
    """All queues of one account and region."""

    def __init__(self) -> None:
        self.queues: dict[str, Queue] = {}
        self.deleted: dict[str, int] = {}
        self.moves = Moves(self)
        self.alarm = Alarm()
        self._facts: list[Fact] = []
        self._numbers = 0
        self._due: int | None = None
        self._moves = 0

    # ---- the contract

    def apply(self, operation: Any, now: int) -> Any:
        """Do what is asked for; return an answer, or a `Refusal`."""
        if self.alarm.not_before <= now:
            self.tick(now)
        try:
            do = DO[type(operation)]
        except KeyError:
            raise TypeError(f"{operation!r} is no operation of SQS") from None
        return do(self, operation, now)

    def due(self) -> int | None:
        """Return when a message comes back, appears or is moved by itself; None for never.

        That a message has been kept for too long wakes nobody: it is gone the next time anybody
        looks.
        """
        moves = self.alarm.moves
        if moves != self._moves:
            self._due = self._soonest()
            self._moves = moves
        return self._due

    def _soonest(self) -> int | None:
        dues = [self.moves.due()]
        for queue in self.queues.values():
            dues += queue.leases.due(), queue.appears()
        return min((due for due in dues if due is not None), default=None)

    def tick(self, now: int) -> None:
        """Let messages come back, appear, be moved and be forgotten, up to now."""
        self._act(now)
        self.alarm.moves += 1
        ages = [queue.ages() for queue in self.queues.values()]
        dues = [due for due in (self.due(), *ages) if due is not None]
        self.alarm.settled(min(dues, default=None))

    def _act(self, now: int) -> None:
        for queue in self.queues.values():
            queue.appear(now)
            for number, lease in queue.leases.expired(now):
                record = queue.records[number]
                record.visible_ms = now
                queue.show(record, now)
                self.emit(CameBack(record.message, queue.name, lease.holder, "visibility timeout"))
            self._forget_old(queue, now)
        self.moves.tick(now)

    def take(self) -> list[Fact]:
        """Return what happened since this was asked last, in order."""
        facts, self._facts = self._facts, []
        return facts

    def emit(self, fact: Fact) -> None:
        """Say that something happened."""
        self._facts.append(fact)

    def number(self) -> int:
        """Return the next number: messages are told apart and ordered by it."""
        self._numbers += 1
        return self._numbers

    def peek(self, queue: str, most: int, now: int) -> list[Record]:
        """Return what a receive would find, dead letters included, without handing it out."""
        self.tick(now)
        return self.queues[queue].look(most, now)

    def _forget_old(self, queue: Queue, now: int) -> None:
        """Drop what has been kept for too long."""
        for record in queue.too_old(now):
            queue.remove(record)
            self.emit(Buried(record.message, queue.name, None, "expired", record.receives))

    # ---- queues

    def _configure(self, operation: op.Configure, now: int) -> Refusal | None:
        settings = operation.settings
        queue = self.queues.get(operation.queue)
        if queue is None:
            gone_ms = self.deleted.get(operation.queue)
            if gone_ms is not None and now - gone_ms < DELETED_MS:
                return refusals.DELETED_RECENTLY
            self.queues[operation.queue] = Queue(operation.queue, settings, self.alarm)
        else:
            queue.settings = settings
        self.alarm.at(now)  # what it keeps may be too old from now on
        return None

    def _delete_queue(self, operation: op.DeleteQueue, now: int) -> Refusal | None:
        if operation.queue not in self.queues:
            return refusals.NO_QUEUE
        queue = self.queues.pop(operation.queue)
        self.alarm.moves += 1
        self.deleted[operation.queue] = now
        for record in queue.records.values():
            self.emit(Buried(record.message, queue.name, None, "queue deleted", record.receives))
        return None

    def _purge(self, operation: op.Purge, now: int) -> Refusal | None:
        queue = self.queues.get(operation.queue)
        if queue is None:
            return refusals.NO_QUEUE
        if queue.purged_ms is not None and now - queue.purged_ms < PURGE_MS:
            return refusals.purging(queue.name)
        queue.purged_ms = now
        for record in list(queue.records.values()):
            queue.remove(record)
            self.emit(Buried(record.message, queue.name, None, "purged", record.receives))
        queue.seen.clear()
        return None

    # ---- sending

    def _send(self, operation: op.Send, now: int) -> op.Sent | Refusal:
        queue = self.queues.get(operation.queue)
        if queue is None:
            return refusals.NO_QUEUE
        settings = queue.settings
        delay_ms, group, key = operation.delay_ms, operation.group, operation.deduplication
        fifo = settings.fifo
        told = fifo or delay_ms is not None or key is not None
        if told or not 0 <= operation.size <= settings.size_max:
            refusal = self._refuse(operation, settings)
            if refusal is not None:
                return refusal
        if settings.keeps_order:
            key = self._key(operation, settings)
            seen = queue.recognise(key, group, now)
            if seen is not None:
                first = seen.record
                self.emit(Recognised(operation.message, queue.name, first.message))
                return op.Sent(first.id, first.sequence, True)
        else:
            key = None
        self._numbers = number = self._numbers + 1
        if delay_ms is None or (fifo and not delay_ms):
            delay_ms = settings.delay_ms
        id, message = f"{ID}{number:012x}", operation.message
        if message is None:
            message = id
        sequence = number if fifo else 0
        record = Record(
            number,
            id,
            operation.body,
            message,
            group,
            key,
            sequence,
            now,
            operation.attributes,
            operation.system_attributes,
            now + delay_ms,
        )
        if key is not None:
            queue.remember(key, group, record, now)
        queue.add(record, now)
        self._facts.append(Stored(message, queue.name))
        return op.Sent(id, sequence, False)

    def _refuse(self, operation: op.Send, settings: QueueSettings) -> Refusal | None:
        """Return why a message is not taken."""
        size, delay_ms = operation.size, operation.delay_ms
        if size < 0:
            size = _size(operation.body)
        if size > settings.size_max:
            return refusals.too_long(settings.size_max)
        if delay_ms is not None and not 0 <= delay_ms <= DELAY_MS_MAX:
            reason = "DelaySeconds must be >= 0 and <= 900."
            return refusals.invalid_value(delay_ms // 1000, "DelaySeconds", reason)
        if not settings.fifo:
            if operation.deduplication is None:
                return None
            wrong = operation.deduplication
            return refusals.invalid_value(wrong, "MessageDeduplicationId", refusals.NOT_HERE)
        if operation.group is None:
            return refusals.missing("MessageGroupId")
        if operation.deduplication is None and not settings.by_content:
            return refusals.NO_DEDUPLICATION
        if delay_ms:
            return refusals.invalid_value(delay_ms // 1000, "DelaySeconds", refusals.NOT_HERE)
        return None

    def _key(self, operation: op.Send, settings: QueueSettings) -> str:
        """Return the id by which a message is recognised when it is sent again, in a FIFO queue."""
        if operation.deduplication is not None:
            return operation.deduplication
        body = operation.body
        return sha256(body if isinstance(body, bytes) else body.encode()).hexdigest()

    # ---- receiving

    def _receive(self, operation: op.Receive, now: int) -> list[op.Received] | Refusal:
        queue = self.queues.get(operation.queue)
        if queue is None:
            return refusals.NO_QUEUE
        settings = queue.settings
        visibility_ms = operation.visibility_ms
        if visibility_ms is None:
            visibility_ms = settings.visibility_ms
        if not 1 <= operation.most <= BATCH_MAX:
            reason = "Must be between 1 and 10, if provided."
            return refusals.invalid_value(operation.most, "MaxNumberOfMessages", reason)
        if not 0 <= visibility_ms <= VISIBILITY_MS_MAX:
            reason = "Must be between 0 and 43200, if provided."
            return refusals.invalid_value(visibility_ms // 1000, "VisibilityTimeout", reason)
        attempt = operation.attempt if settings.keeps_order else None
        if attempt is not None:
            again = self._same_attempt(queue, operation, now, visibility_ms)
            if again is not None:
                return again
        found: list[op.Received] = []
        most, next_one = operation.most, queue.next(now)
        while len(found) < most and (record := next_one()) is not None:
            if settings.dead_letter is not None and record.receives >= settings.receives_max:
                self._bury(queue, record, settings.dead_letter, now)
                continue
            if len(queue.leases.held) >= settings.in_flight_max:
                queue.show(record, now)
                if not settings.keeps_order and not operation.long_poll and not found:
                    return refusals.OVER_LIMIT
                break
            found.append(self._hand_out(queue, record, operation, now, visibility_ms))
        if attempt is not None and found:
            numbers = [one.handle.number for one in found]
            queue.attempts[attempt] = (now, numbers)
        if visibility_ms == 0:
            self.tick(now)
        return found

    def _hand_out(
        self, queue: Queue, record: Record, operation: op.Receive, now: int, visibility_ms: int
    ) -> op.Received:
        number, holder, name = record.number, operation.holder, queue.name
        record.receives = receives = record.receives + 1
        if receives == 1:
            record.first_received_ms = now
        nth = queue.leases.hold(number, holder, now, now + visibility_ms)
        handle = op.Handle(name, number, nth)
        self._facts.append(HandedOut(record.message, name, holder, receives, False, handle))
        return received(record, handle)

    def _same_attempt(
        self, queue: Queue, operation: op.Receive, now: int, visibility_ms: int
    ) -> list[op.Received] | None:
        """Return what the same receive brought, where its answer may have been lost."""
        assert operation.attempt is not None
        at_ms, numbers = queue.attempts.get(operation.attempt, (now - DEDUPLICATION_MS, []))
        if now - at_ms >= DEDUPLICATION_MS:
            return None
        records = [queue.records.get(number) for number in numbers]
        held = [one for one in records if one is not None and queue.leases.of(one.number)]
        if len(held) < len(numbers):
            return None  # some of them are deleted, or visible again
        for record in held:
            queue.leases.extend(record.number, now + visibility_ms)
        return [received(record, queue.handle(record)) for record in held]

    def _bury(self, queue: Queue, record: Record, to: str, now: int) -> None:
        """Put a message among the dead letters: same id, same count, same time of sending."""
        queue.remove(record)
        self.emit(Buried(record.message, queue.name, to, "received too often", record.receives))
        target = self.queues.get(to)
        if target is None:
            return  # the dead-letter queue was deleted: the message is lost
        record.died_in = queue.name
        record.number = self.number()
        record.visible_ms = now
        if target.settings.keeps_order:
            record.sent_ms = now  # a standard queue keeps the age of what died
        target.add(record, now)

    # ---- settling

    def _delete(self, operation: op.Delete, now: int) -> Refusal | None:
        queue = self.queues.get(operation.queue)
        if queue is None:
            return refusals.NO_QUEUE
        handle = operation.handle
        number, leases = handle.number, queue.leases
        record = queue.records.get(number)
        if handle.queue != queue.name:
            return refusals.handle_invalid(str(handle))
        if record is None:
            return None  # deleted already: deleting twice is no error
        lease = leases.held.get(number)
        if lease is None or lease.fence != handle.nth:
            if queue.settings.keeps_order:
                return refusals.handle_expired(handle)
            if lease is not None or leases.fence(number) != handle.nth:
                self.emit(Ignored(record.message, queue.name, "an old receipt handle"))
                return None
        queue.remove(record)
        holder = None if lease is None else lease.holder
        self._facts.append(Settled(record.message, queue.name, holder))
        return None

    def _change_visibility(self, operation: op.ChangeVisibility, now: int) -> Refusal | None:
        queue = self.queues.get(operation.queue)
        if queue is None:
            return refusals.NO_QUEUE
        handle, visibility_ms = operation.handle, operation.visibility_ms
        if not 0 <= visibility_ms <= VISIBILITY_MS_MAX:
            reason = "VisibilityTimeout must be an integer between 0 and 43200"
            return refusals.invalid_value(visibility_ms // 1000, "VisibilityTimeout", reason)
        record = queue.records.get(handle.number)
        if record is None:
            return refusals.gone(handle)
        lease = queue.leases.of(record.number)
        latest = queue.leases.fence(record.number) == handle.nth
        if queue.settings.keeps_order and (lease is None or not latest):
            return refusals.handle_expired(handle)
        if not latest:
            self.emit(Ignored(record.message, queue.name, "an old receipt handle"))
            return None
        if lease is None:  # its time is over, and nobody else has it yet: recorded, AWS says yes
            record.visible_ms = now + visibility_ms
            queue.show(record, now)
            return None
        if now + visibility_ms - lease.since > VISIBILITY_MS_MAX:
            total = "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]"
            return refusals.invalid_value(visibility_ms // 1000, "VisibilityTimeout", total)
        if visibility_ms:
            queue.leases.extend(record.number, now + visibility_ms)
            self.emit(Extended(record.message, queue.name, now + visibility_ms))
            return None
        queue.leases.release(record.number)
        record.visible_ms = now
        queue.show(record, now)
        self.emit(CameBack(record.message, queue.name, lease.holder, "given back"))
        return None

    # ---- what servers do by themselves

    def _copy(self, operation: op.Copy, now: int) -> Refusal | None:
        queue = self.queues[operation.handle.queue]
        if queue.settings.keeps_order:
            return refusals.NOT_LEGAL_ON_FIFO
        record = queue.records.get(operation.handle.number)
        if record is None:
            return None
        number = self.number()
        copy = Record(
            number,
            record.id,
            record.body,
            record.message,
            record.group,
            None,
            0,
            record.sent_ms,
            record.attributes,
            record.system_attributes,
            now,
            record.receives,
            record.first_received_ms,
            record.died_in,
        )
        queue.add(copy, now)
        return None

    def _withhold(self, operation: op.Withhold, now: int) -> Refusal | None:
        queue = self.queues[operation.queue]
        if queue.settings.keeps_order:
            return refusals.NOT_LEGAL_ON_FIFO
        record = queue.records[operation.number]
        record.visible_ms = operation.until
        queue.show(record, now)
        return None

    def _surface(self, operation: op.Surface, now: int) -> Refusal | None:
        queue = self.queues[operation.queue]
        record = queue.records.get(operation.number)
        if record is not None and record.visible_ms > now:
            record.visible_ms = now
            queue.show(record, now)
        return None

    # ---- moving dead letters back

    def _start_move(self, operation: op.StartMove, now: int) -> Move | Refusal:
        self.alarm.at(now)
        return self.moves.start(operation, now)

    def _cancel_move(self, operation: op.CancelMove, now: int) -> Move | Refusal:
        self.alarm.at(now)
        return self.moves.cancel(operation, now)


Do = Callable[[SqsMachine, Any, int], Any]
DO: Final[dict[type, Do]] = {
    op.Send: SqsMachine._send,
    op.Receive: SqsMachine._receive,
    op.Delete: SqsMachine._delete,
    op.ChangeVisibility: SqsMachine._change_visibility,
    op.Purge: SqsMachine._purge,
    op.Configure: SqsMachine._configure,
    op.DeleteQueue: SqsMachine._delete_queue,
    op.StartMove: SqsMachine._start_move,
    op.CancelMove: SqsMachine._cancel_move,
    op.Copy: SqsMachine._copy,
    op.Withhold: SqsMachine._withhold,
    op.Surface: SqsMachine._surface,
}


def received(record: Record, handle: op.Handle) -> op.Received:
    """Return a message as a receive answers it."""
    return op.Received(
        record.id,
        record.body,
        handle,
        record.message,
        record.receives,
        record.sent_ms,
        record.first_received_ms,
        record.group,
        record.deduplication,
        record.sequence,
        record.attributes,
        record.system_attributes,
        record.died_in,
    )


def _size(body: str | bytes) -> int:
    return len(body if isinstance(body, bytes) else body.encode())
