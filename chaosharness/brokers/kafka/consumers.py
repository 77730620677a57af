"""How services consume from Kafka: a handler called per message, or their own poll loop."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Literal, get_args

from chaosharness.brokers.batch import Batch, Taken
from chaosharness.brokers.intake import Intake
from chaosharness.brokers.kafka.cluster import Cluster
from chaosharness.brokers.kafka.faults import COMMIT, LOOP_COMMIT
from chaosharness.brokers.kafka.members import Member
from chaosharness.brokers.message import Decode, Delivery, Message, delivery
from chaosharness.brokers.trouble import one_of, policy_of
from chaosharness.errors import InvalidDefinition
from chaosharness.faults import LostRequest, Rebalance
from chaosharness.handlers.fingerprint import of_stack
from chaosharness.handlers.places import told
from chaosharness.handlers.port import (
    Nap,
    current_scope,
    operate,
    refuse_stranger,
    strikes,
    trouble,
    wait_of,
)
from chaosharness.handlers.script import Resume, Script, drive_in_kernel
from chaosharness.kernel.agenda import Entry
from chaosharness.kernel.scope import SCOPE, Incarnation, Scope
from chaosharness.kernel.world import BACKGROUND
from chaosharness.machines.kafka.assignors import LogPartition

BACKOFF_MS: Final = 1_000
BACKOFF_MS_MAX: Final = 60_000

Acknowledge = Literal["after", "before"]
OnError = Literal["retry", "skip", "dead-letter", "crash"]
OnUnreadable = Literal["raise", "skip", "dead-letter"]
ACKNOWLEDGE: Final = get_args(Acknowledge)
ON_UNREADABLE: Final = get_args(OnUnreadable)
OPTIONS: Final = ("group", "acknowledge", "on_error", "retries_max", "on_unreadable")
LOOP_OPTIONS: Final = ("group", "on_unreadable")


class CommitFailed(Exception):
    """The group has moved on: these log partitions belong to another member now."""


class Subscription:
    """A handler that Kafka calls per message.

    Args:
        acknowledge: `after`: the offset is committed when the handler has returned (at
            least once). `before`: on hand-over (at most once), as librdkafka's automatic
            commit and FastStream's `ACK_FIRST` do.
        on_error: What an exception of the handler leads to. `retry`: seek back, wait, try
            again, for ever; the log partition waits. `skip`: commit and go on.
            `dead-letter`: after `retries_max` tries, publish to `<topic>.DLT` and go on.
            `crash`: the process dies.
        retries_max: Tries before a message is dead-lettered.
        on_unreadable: What a payload leads to that cannot be decoded, as for `on_error`;
            the handler is not called with it. `dead-letter` does it at once: it will not
            get better. By default what `on_error` says.
    """

    __slots__ = (
        "acknowledge",
        "broker",
        "intake",
        "member",
        "operation",
        "policy",
        "tries",
    )

    def __init__(
        self,
        broker: Cluster,
        intake: Intake,
        *,
        acknowledge: Acknowledge = "after",
        on_error: OnError = "retry",
        retries_max: int = 3,
        on_unreadable: OnError | None = None,
    ) -> None:
        if acknowledge not in ACKNOWLEDGE:
            one_of(ACKNOWLEDGE, acknowledge=acknowledge)
        self.broker = broker
        self.intake = intake
        self.acknowledge = acknowledge
        self.policy = policy_of(on_error, retries_max, on_unreadable)
        self.operation = f"{intake.place}/{broker.name}.commit"
        self.member: Any = None
        self.tries: dict[int, int] = {}

    def take(self, member: Member, message: Message, cause: int) -> None:
        """Handle one message of a member, and acknowledge it when that is done."""
        self.member = member
        self.intake.take(message, cause, self._settle)

    def take_for_good(self, member: Member, message: Message, cause: int) -> None:
        """Acknowledge one message of a member, and handle it then."""
        self.member = member
        intake = self.intake
        world = intake.incarnation.world
        scope = Scope(world, intake.incarnation, intake.place, message.entity, cause, intake.colour)
        scope.message = message.name

        def begin(_: bool) -> None:
            if intake.incarnation.alive:
                intake.take(message, scope.cause, self._acknowledged)

        self._commit(message, scope, begin)

    def _settle(self, message: Message, scope: Scope, error: BaseException | None) -> None:
        if error is not None:
            self._failed(message, scope, error)
            return
        broker = self.broker
        member = self.member
        world = broker.world
        operation = self.operation
        if (
            operation in world.armed
            or operation not in world.surfaces
            or world.unreachable
            or member.stale
        ):
            self._commit(message, scope, self._free)
            return
        # What follows is `_commit` where nothing is the matter: every message comes by here.
        key = (operation, scope.entity, scope.message)
        world.counts[key] = attempt = world.counts.get(key, 0) + 1
        group = member.group
        if member.generation == group.generation:
            group.committed[message.topic, message.partition] = message.offset + 1
            raw = world.raw
            cause = scope.cause
            scope.cause = len(raw)
            data = {"message": message.published}
            label = scope.incarnation.label
            raw.append((world.now, "ack", label, operation, scope.entity, attempt, cause, data))
            world.effects += 1
        else:
            self._take_commit(message, scope, operation, attempt)
        broker.free(member)

    def _acknowledged(self, message: Message, scope: Scope, error: BaseException | None) -> None:
        """The handler of a message that was acknowledged on hand-over has ended."""
        if error is not None and self.policy.at(self.intake, message)[0] == "crash":
            self.broker.world.crash(scope.incarnation, "next", cause=scope.cause)
        self.broker.free(self.member)

    def _free(self, _: bool) -> None:
        self.broker.free(self.member)

    def _failed(self, message: Message, scope: Scope, error: BaseException) -> None:
        broker = self.broker
        tries = self.tries.get(message.published, 0) + 1
        self.tries[message.published] = tries
        policy, tries_max = self.policy.at(self.intake, message)
        match policy:
            case "crash":
                broker.world.crash(scope.incarnation, "next", cause=scope.cause)
            case "skip":
                self._commit(message, scope, self._free)
            case "dead-letter" if tries >= tries_max:
                broker.dead_letter(message, scope, error)
                self._commit(message, scope, self._free)
            case _:
                if policy != "dead-letter":
                    self.intake.refuse_hopeless(scope, error, tries)
                backoff_ms = min(BACKOFF_MS << min(tries - 1, 6), BACKOFF_MS_MAX)
                broker.again(self.member, message, backoff_ms)

    # ---- committing

    def _commit(self, message: Message, scope: Scope, then: Callable[[bool], None]) -> None:
        """Commit the offset after a message; `then(True)` if the coordinator took it."""
        world = self.broker.world
        operation = self.operation
        key = (operation, scope.entity, scope.message)
        world.counts[key] = attempt = world.counts.get(key, 0) + 1
        if operation not in world.surfaces:
            world.meet(operation, COMMIT)
        if operation in world.armed or world.unreachable:
            script = self._careful_commit(message, scope, operation, attempt)
            drive_in_kernel(script, world, then)
        else:
            then(self._take_commit(message, scope, operation, attempt))

    def _careful_commit(
        self, message: Message, scope: Scope, operation: str, attempt: int
    ) -> Script[bool]:
        broker = self.broker
        lost_request = broker.groups.cut(self.member)
        for fault in strikes(scope, operation, "before", attempt):
            if isinstance(fault, Rebalance):
                broker.groups.expel(self.member, "a heartbeat was missed")
            elif isinstance(fault, LostRequest):
                lost_request = True
            else:
                yield from trouble(scope, fault, broker)
        if lost_request:
            scope.record("nack", operation, attempt, {"error": "no answer to the commit"})
            return False
        done = self._take_commit(message, scope, operation, attempt)
        for fault in strikes(scope, operation, "after", attempt):
            yield from trouble(scope, fault, broker)
        return done

    def _take_commit(self, message: Message, scope: Scope, operation: str, attempt: int) -> bool:
        """Have the coordinator take an offset, if the member is still one."""
        group = self.member.group
        if self.member.expelled or self.member.generation != group.generation:
            scope.record("nack", operation, attempt, {"error": "fenced: not a member any more"})
            return False
        group.committed[message.topic, message.partition] = message.offset + 1
        scope.record("ack", operation, attempt, {"message": message.published})
        self.broker.world.effects += 1
        return True


class Consumer:
    """A consumer that a service's own main loop polls.

    In plain code the methods block; in `async` code each is awaited.

    Args:
        on_unreadable: What a payload leads to that cannot be decoded. `raise`: `poll` raises
            what the decoder raised, once; the next one goes on behind it (as the
            DeserializingConsumer of confluent-kafka; Java and kafka-python stay there until
            one seeks). `skip`: it is left out. `dead-letter`: it goes to `<topic>.DLT`.
    """

    def __init__(
        self,
        broker: Cluster,
        incarnation: Incarnation,
        topics: tuple[str, ...],
        group: str,
        decode: Decode,
        *,
        on_unreadable: OnUnreadable = "raise",
    ) -> None:
        one_of(ON_UNREADABLE, on_unreadable=on_unreadable)
        self._on_unreadable = on_unreadable
        self._broker = broker
        self._decode = decode
        self._buffer: list[tuple[Message, int]] = []
        self._left: tuple[Message, int] | None = None  # cannot be read: the next poll says so
        self._records_max = 1
        self._waiting: Resume | None = None
        self._join = partial(broker.groups.join, incarnation, topics, group, self._take)
        self._member: Member | None = None  # it joins its group at the first poll

    def poll(self, records_max: int = 1, timeout_s: float | None = None) -> Any:
        """Return up to `records_max` deliveries; none if `timeout_s` passes first.

        Iterate over what comes back: the harness then knows on whose behalf code runs.
        """
        if records_max < 1:
            raise InvalidDefinition(f"records_max must be at least 1, not {records_max}")
        scope = current_scope(f"{self._broker.name}.poll", self._broker.world)
        nap: Nap = BACKGROUND
        if timeout_s is not None:
            frame, holds = sys._getframe(1), self._holds()
            nap = wait_of(scope, round(timeout_s * 1000), of_stack, frame, holds=holds)
        script = self._poll(scope, records_max, timeout_s, nap)
        return scope.colour.drive(script, scope)

    def _holds(self) -> bool:
        """Say whether it was handed out what it has not committed."""
        member = self._member
        if member is None or member.expelled:
            return False
        committed, logs = member.group.committed, self._broker.machine.logs
        return any(
            slot.position > committed.get(place, logs[place[0]][place[1]].start)
            for place, slot in member.slots.items()
        )

    def _poll(
        self, scope: Scope, records_max: int, timeout_s: float | None, nap: Nap
    ) -> Script[Batch]:
        broker = self._broker
        world = broker.world
        self._records_max = records_max
        scope.entity = 0
        scope.message = ""
        scope.hops = 0
        world.in_flight.pop(scope, None)

        if self._member is None:
            self._member = self._join()
        member = self._member
        timer: Entry | None = None
        due_ms = None
        if timeout_s is not None:
            timeout_ms = round(timeout_s * 1000)
            world.know_duration(timeout_ms)
            due_ms = world.now + timeout_ms

        def give_up(_: Any) -> None:
            nap.woke()
            member.busy_since = world.now
            self._wake()

        def keep(resume: Resume) -> None:
            nonlocal timer
            self._waiting = resume
            if due_ms is not None:
                timer = world.timer(max(due_ms - world.now, 0), give_up, None, nap)
            broker.free(member)

        self._raise_left(scope)
        while True:
            if not self._buffer:
                try:
                    yield keep
                except GeneratorExit:  # the task that polled was cancelled
                    self._waiting = None
                    member.busy_since = world.now
                    raise
                finally:
                    if timer is not None:
                        world.agenda.cancel(timer)
            taken, self._buffer = self._buffer, []
            found = self._decoded(scope, taken)
            if found or not taken:
                return Batch(scope, found)

    def _raise_left(self, scope: Scope) -> None:
        """Raise what the decoder says about a record behind which the last batch ended."""
        left, self._left = self._left, None
        if left is None:
            return
        message, cause = left
        if self._is_mine(message):
            scope.world.effects += 1
            scope.entity, scope.hops, scope.cause = message.entity, message.hops, cause
            scope.message = message.name
            self._decode(message.body)

    def _is_mine(self, message: Message) -> bool:
        """Say whether a record is the last one that was fetched of a log partition of ours."""
        member = self._member
        slot = None if member is None else member.slots.get((message.topic, message.partition))
        return slot is not None and slot.position == message.offset + 1

    def _decoded(self, scope: Scope, taken: list[tuple[Message, int]]) -> list[Taken]:
        """Return the messages that can be read; do with the others as is wished."""
        found: list[Taken] = []
        for message, cause in taken:
            try:
                found.append((delivery(self._decode, message), message, cause))
            except Exception as error:
                if self._on_unreadable != "raise":
                    self._put_aside(scope, message, cause, error)
                    continue
                if found:
                    self._left = message, cause  # it is raised by the next poll
                    return found
                scope.entity, scope.hops, scope.cause = message.entity, message.hops, cause
                scope.message = message.name
                raise
        return found

    def _put_aside(self, scope: Scope, message: Message, cause: int, error: Exception) -> None:
        """Leave out a message that cannot be read, or put it among the dead letters."""
        aside = Scope(
            scope.world, scope.incarnation, scope.place, message.entity, cause, scope.colour
        )
        aside.message = message.name
        aside.record("raised", f"{scope.place}/{self._broker.name}.poll", 0, told(error))
        if self._on_unreadable == "dead-letter":
            self._broker.dead_letter(message, aside, error)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting(None)

    def _take(self, member: Member, message: Message, cause: int) -> None:
        first = not self._buffer
        self._buffer.append((message, cause))
        if not first:
            return
        while (
            len(self._buffer) < self._records_max
            and self._goes_on_behind(self._buffer[-1][0])
            and self._broker.hand_over(member)
        ):
            pass
        self._wake()

    def _goes_on_behind(self, message: Message) -> bool:
        """Say whether a batch may hold more after this message: it ends where `poll` raises."""
        if self._on_unreadable != "raise":
            return True
        try:
            self._decode(message.body)
        except Exception:
            return False
        return True

    def commit(self, upto: Delivery | None = None) -> Any:
        """Commit the offset after `upto`; without it, after everything polled so far.

        Raises:
            CommitFailed: The group has moved on.
            TimeoutError: No answer; it may have been committed.
        """
        action = f"{self._broker.name}.commit"
        if (scope := SCOPE.get()) is not None and scope.world is not self._broker.world:
            refuse_stranger(scope, f"{action} of a consumer", None)
        return operate(action, self._commit, upto, self._broker, LOOP_COMMIT)

    def _commit(self, scope: Scope, operation: str, attempt: int, upto: Any) -> None:
        member = self._member
        broker = self._broker
        if member is None:
            raise CommitFailed(f"{operation}: not a member yet; poll first")
        group = member.group
        broker.suffer_rebalance(member, scope)
        if member.expelled or member.generation != group.generation:
            error = "fenced: not a member any more"
            scope.record("nack", operation, attempt, {"error": error})
            raise CommitFailed(f"{operation}: {error}; poll again to rejoin")
        before = dict(group.committed)
        if upto is None:
            group.committed.update(self._positions(member))
        else:
            group.committed[upto.topic, upto.partition] = upto.offset + 1
        message = None if upto is None else upto.message.published
        scope.record("ack", operation, attempt, {"message": message})
        if group.committed != before:
            broker.world.effects += 1

    def _positions(self, member: Member) -> dict[LogPartition, int]:
        """Return how far polls have come: up to a record that none could return yet."""
        found = {place: one.position for place, one in member.slots.items()}
        if self._left is not None and self._is_mine(self._left[0]):
            left = self._left[0]
            found[left.topic, left.partition] = left.offset
        return found
