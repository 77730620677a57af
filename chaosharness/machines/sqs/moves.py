"""Moving dead letters back: message move tasks, which work while time passes."""

from __future__ import annotations

from typing import Literal, Protocol

import attrs

from chaosharness.machines.machine import Fact, Moved, Refusal
from chaosharness.machines.sqs import refusals
from chaosharness.machines.sqs.operations import CancelMove, StartMove
from chaosharness.machines.sqs.queue import ID, Queue, Record
from chaosharness.machines.sqs.settings import MOVES_PER_SECOND

Status = Literal["RUNNING", "COMPLETED", "CANCELLING", "CANCELLED", "FAILED"]
SECOND_MS = 1_000


class Account(Protocol):
    """What tasks need of the machine that they belong to."""

    queues: dict[str, Queue]

    def emit(self, fact: Fact) -> None:
        """Say that something happened."""

    def number(self) -> int:
        """Return the next number."""


@attrs.define
class Move:
    """A message move task."""

    number: int
    source: str
    to: str | None
    per_second_max: int | None
    started_ms: int
    to_move: int
    next_ms: int
    moved: int = 0
    status: Status = "RUNNING"
    failure: str = ""


class Moves:
    """The message move tasks of an account: one at a time for each source."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.tasks: list[Move] = []

    def start(self, operation: StartMove, now: int) -> Move | Refusal:
        """Begin to move the messages of a dead-letter queue."""
        queues = self.account.queues
        source = queues.get(operation.queue)
        if source is None:
            return Refusal(
                "ResourceNotFoundException",
                "The resource that you specified for the SourceArn parameter doesn't exist.",
            )
        if operation.to is not None and operation.to not in queues:
            return refusals.NO_DESTINATION
        if not any(one.settings.dead_letter == source.name for one in queues.values()):
            return refusals.NOT_A_DEAD_LETTER_QUEUE
        if any(one.source == source.name and one.status == "RUNNING" for one in self.tasks):
            return refusals.ALREADY_MOVING
        task = Move(
            len(self.tasks) + 1,
            source.name,
            operation.to,
            operation.per_second_max,
            now,
            len(source.records),
            now + SECOND_MS,
        )
        self.tasks.append(task)
        return task

    def cancel(self, operation: CancelMove, now: int) -> Move | Refusal:
        """Have a task stop: it moves on for a moment."""
        for task in self.tasks:
            if task.number == operation.task:
                if task.status != "RUNNING":
                    return Refusal("ResourceNotFoundException", "Task does not exist.")
                task.status = "CANCELLING"
                return task
        return refusals.NO_TASK

    def due(self) -> int | None:
        """Return when a task moves something next."""
        if not self.tasks:
            return None
        return min((task.next_ms for task in self._active()), default=None)

    def tick(self, now: int) -> None:
        """Move what is to be moved up to now."""
        if not self.tasks:
            return
        for task in self._active():
            while task.next_ms <= now and task.status in ("RUNNING", "CANCELLING"):
                self._step(task, now)
                task.next_ms += SECOND_MS

    def _active(self) -> list[Move]:
        return [one for one in self.tasks if one.status in ("RUNNING", "CANCELLING")]

    def _step(self, task: Move, now: int) -> None:
        queues = self.account.queues
        source = queues.get(task.source)
        records = [] if source is None else list(source.records.values())
        for record in records[: task.per_second_max or MOVES_PER_SECOND]:
            target = queues.get(task.to or record.died_in or "")
            if target is None or source is None:
                task.status = "FAILED"
                task.failure = "AWS.SimpleQueueService.NonExistentQueue"
                return
            self._move(record, source, target, now)
            task.moved += 1
        if task.status == "CANCELLING":
            task.status = "CANCELLED"
        elif source is None or not source.records:
            task.status = "COMPLETED"

    def _move(self, record: Record, source: Queue, target: Queue, now: int) -> None:
        """Give a message to another queue, as if it had been sent there now."""
        source.remove(record)
        record.number = self.account.number()
        record.id = f"{ID}{record.number:012x}"
        record.sent_ms = record.visible_ms = now
        record.receives = record.first_received_ms = 0
        record.died_in = None
        target.add(record, now)
        self.account.emit(Moved(record.message, source.name, target.name))
