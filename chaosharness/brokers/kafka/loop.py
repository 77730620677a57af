"""A consumer that a service's own main loop polls.

Source:
    Apache Kafka 3.9, javadoc of KafkaConsumer: position and committed offset, `seek`, `pause`,
    `assign` beside `subscribe`, `close`; KIP-345 (`group.instance.id`).

Not modelled:
    Requests for a committed offset, or for the ends of a log partition, are always answered, and so
    is the one to leave a group. A static member that should have polled leaves at
    once, and not when its session is over.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final, Literal, NoReturn, get_args

from chaosharness.brokers.batch import Batch, Taken
from chaosharness.brokers.events import not_settled, settled
from chaosharness.brokers.kafka.asking import AskedCommits, Then
from chaosharness.brokers.kafka.cluster import Cluster
from chaosharness.brokers.kafka.consumers import (
    ISOLATIONS,
    CommitFailed,
    InstanceFenced,
    UnknownLogPartition,
)
from chaosharness.brokers.kafka.errors import OffsetOutOfRange
from chaosharness.brokers.kafka.listeners import Call, Listener, Listeners, called
from chaosharness.brokers.kafka.members import Member, Standing
from chaosharness.brokers.kafka.offsets import take_offsets
from chaosharness.brokers.kafka.rows import LOOP_COMMIT
from chaosharness.brokers.kafka.whereabouts import RESETS, Reset, Whereabouts
from chaosharness.brokers.message import Decode, Delivery, Message, delivery
from chaosharness.brokers.trouble import one_of
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import told
from chaosharness.handlers.port import Nap, current_scope, operate, refuse_stranger, wait_of
from chaosharness.handlers.recall import of_stack
from chaosharness.handlers.script import Resume, Script
from chaosharness.kernel.agenda import Entry
from chaosharness.kernel.places import asked_at
from chaosharness.kernel.scope import SCOPE, Incarnation, Scope
from chaosharness.kernel.world import BACKGROUND
from chaosharness.machines.kafka.assignors import LogPartition
from chaosharness.machines.kafka.machine import named
from chaosharness.machines.kafka.operations import Isolation

OnUnreadable = Literal["raise", "skip", "dead-letter"]
ON_UNREADABLE: Final = get_args(OnUnreadable)
LOOP_OPTIONS: Final = (
    "group",
    "on_unreadable",
    "on_assign",
    "on_revoke",
    "on_lost",
    "instance",
    "reset",
    "isolation",
)


class Polled(dict[LogPartition, int]):
    """Where to go on behind everything that was polled."""


class Consumer(Whereabouts):
    """A consumer that a service's own main loop polls.

    In plain code the methods block; in `async` code `poll`, `commit` and `close` are awaited, and
    listeners may be `async` too.

    Args:
        on_unreadable: What a payload leads to that cannot be decoded. `raise`: `poll` raises
            what the decoder raised, once; the next one goes on behind it (as the
            DeserializingConsumer of confluent-kafka; Java and kafka-python stay there until
            one seeks). `skip`: it is left out. `dead-letter`: it goes to `<topic>.DLT`.
        on_assign: Called with the log partitions that it is given, inside `poll`.
        on_revoke: Likewise with those that it must give back, before anybody else has them.
        on_lost: Likewise with those that others have already; by default `on_revoke`.
        instance: Its name for life: who comes back by it within the session timeout has what it
            had, and no rebalance takes place (`group.instance.id`).
        reset: Where to go on where nothing is committed, or what was is gone: `earliest`,
            `latest` or `error` (`auto.offset.reset`).
        isolation: `read_uncommitted` (Java, aiokafka) sees records of aborted transactions too,
            and before they are decided; `read_committed` (librdkafka) does not.
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
        on_assign: Listener | None = None,
        on_revoke: Listener | None = None,
        on_lost: Listener | None = None,
        instance: str | None = None,
        reset: Reset = "latest",
        isolation: Isolation = "read_uncommitted",
    ) -> None:
        one_of(ON_UNREADABLE, on_unreadable=on_unreadable)
        one_of(RESETS, reset=reset)
        one_of(ISOLATIONS, isolation=isolation)
        self._committed_only = isolation == "read_committed"
        self._on_unreadable = on_unreadable
        self._broker = broker
        self._reset: Reset = reset
        self._listeners = Listeners(on_assign, on_revoke, on_lost)
        self._asked = AskedCommits(self.attend)
        self._attended = self._closed = False
        self._decode = decode
        self._buffer: list[tuple[Message, int]] = []
        self._left: tuple[Message, int] | None = None  # cannot be read: the next poll says so
        self._records_max = 1
        self._waiting: Resume | None = None
        self._join = partial(
            broker.groups.join, incarnation, topics, group, self._take, instance, reset
        )
        self.by_client = False
        """Whether a client library of the user's stands above it, which has words of its own."""
        self._group = group
        self._attach = partial(broker.groups.attach, incarnation, group, self._take, reset)
        self._member: Member | None = None  # it joins its group at the first poll

    def poll(self, records_max: int = 1, timeout_s: float | None = None) -> Any:
        """Return up to `records_max` deliveries; none if `timeout_s` passes first.

        Iterate over what comes back: the harness then knows on whose behalf code runs.
        """
        if records_max < 1:
            raise InvalidDefinition(f"records_max must be at least 1, not {records_max}")
        scope = current_scope(f"{self._broker.name}.poll", self._broker.world)
        frame = sys._getframe(1)
        if not (self._listeners.any or self._asked.any):
            return self._drive(scope, records_max, timeout_s, frame)
        if scope.colour.is_async:
            return self._poll_and_tell(scope, records_max, timeout_s, frame)
        due_ms = None if timeout_s is None else scope.world.now + round(timeout_s * 1000)
        self._ready()  # a static member may have something at once, and hears of it first
        while True:
            for listener, places in self._news(scope):
                if listener is not None:
                    listener(places)
            found = self._drive(scope, records_max, _left_s(scope, due_ms), frame)
            if found or not self._attended:
                return found

    async def _poll_and_tell(
        self, scope: Scope, records_max: int, timeout_s: float | None, frame: Any
    ) -> Any:
        due_ms = None if timeout_s is None else scope.world.now + round(timeout_s * 1000)
        self._ready()
        while True:
            for listener, places in self._news(scope):
                await called(listener, places)
            found = await self._drive(scope, records_max, _left_s(scope, due_ms), frame)
            if found or not self._attended:
                return found

    def _drive(self, scope: Scope, records_max: int, timeout_s: float | None, frame: Any) -> Any:
        nap: Nap = BACKGROUND
        if timeout_s is not None:
            timeout_ms, holds = self._lasts_ms(timeout_s), self._holds()
            nap = wait_of(scope, timeout_ms, of_stack, frame, holds=holds)
        return scope.colour.drive(self._poll(scope, records_max, timeout_s, nap), scope)

    def _lasts_ms(self, timeout_s: float) -> int:
        """Return how long a poll waits: one of no time at all finds what is there."""
        return max(round(timeout_s * 1000), self._broker.definition.latency_ms + 1)

    def _news(self, scope: Scope) -> Iterable[Call]:
        """Yield what listeners have to hear: they act on behalf of no record."""
        member = self._member
        if member is not None and self._listeners.due(member):
            scope.entity = 0
            scope.message = ""
            yield from self._listeners.calls(member)
        if self._asked.due:
            scope.entity = 0
            scope.message = ""
            yield from self._asked.calls()

    def attend(self) -> bool:
        """Have a poll that waits call the listeners, where there is news; say whether it does."""
        member = self._member
        if self._waiting is None or member is None:
            return False
        news = self._asked.due or (self._listeners.any and self._listeners.due(member))
        if not (news or member.fenced or member.unset_at >= 0):
            return False
        world = self._broker.world
        member.busy_since = world.now
        world.agenda.add(world.now, self._go_tell, member)
        if not member.watched:
            member.watched = True
            self._broker.groups.watch(member)
        return True

    def _go_tell(self, member: Member) -> None:
        if self._waiting is not None and member.incarnation.alive:
            self._attended = True
            self._wake()

    def _holds(self) -> bool:
        """Say whether it was handed out what it has not committed."""
        member = self._member
        if member is None or member.expelled:
            return False
        committed = member.group.committed
        for place, slot in member.slots.items():
            log = self._broker.machine.log(place)
            at: int | None = committed.get(place, log.start)
            if not log.plain:  # a mark at its end is nothing that it was handed
                at = log.next(at or 0, committed_only=member.committed_only)
            if at is not None and slot.position > at:
                return True
        return False

    def _poll(
        self, scope: Scope, records_max: int, timeout_s: float | None, nap: Nap
    ) -> Script[Batch]:
        broker = self._broker
        world = broker.world
        self._attended = False
        self._records_max = records_max
        scope.entity = 0
        scope.message = ""
        scope.hops = 0
        world.in_flight.pop(scope, None)

        member = self._ready()
        timer: Entry | None = None
        due_ms = None
        if timeout_s is not None:
            world.know_duration(round(timeout_s * 1000))
            due_ms = world.now + self._lasts_ms(timeout_s)

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
                    nap.woke()  # its loop goes on
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

    def enter(self) -> Member:
        """Join the group ahead of the first poll, as aiokafka does when it starts."""
        member = self._ready()
        member.busy_since = self._broker.world.now
        return member

    def _ready(self) -> Member:
        """Return the member that this is: it joins its group at the first poll."""
        if self._closed:
            raise RuntimeError(f"{self._broker.name}: this consumer has already been closed")
        member = self._member
        if member is None:
            self._member = member = self._join()
            member.attend = self.attend
            member.committed_only = self._committed_only
            member.crew.listens = member.crew.listens or self._listeners.any
        elif member.fenced:
            self._fence()
        elif member.unset is not None:
            if member.unset_at >= 0:
                raise OffsetOutOfRange(member.unset, member.unset_at)
            raise LookupError(
                f"no offset is committed for {named(member.unset)}, and reset='error'"
            )
        return member

    def _fence(self) -> NoReturn:
        raise InstanceFenced("fenced: another consumer has come with the same instance")

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

    # ---- committing

    def commit(
        self,
        upto: Delivery | None = None,
        *,
        offsets: Mapping[LogPartition, int] | None = None,
    ) -> Any:
        """Commit the offset after `upto`; without it, after everything polled so far.

        Args:
            upto: A delivery.
            offsets: Where to go on, for each log partition: `{("orders", 0): 7}`.

        Raises:
            CommitFailed: The group has moved on, or there is no such log partition.
            TimeoutError: No answer; it may have been committed.
        """
        action = f"{self._broker.name}.commit"
        if (scope := SCOPE.get()) is not None and scope.world is not self._broker.world:
            refuse_stranger(scope, f"{action} of a consumer", None)
        if upto is not None and offsets is not None:
            raise InvalidDefinition(f"commit takes upto or offsets, not both{asked_at()}")
        what = upto if offsets is None else offsets
        for place in () if self.by_client else offsets or ():
            self._broker.check((place[0],))
        return operate(action, self._commit, what, self._broker, LOOP_COMMIT)

    def commit_async(
        self,
        upto: Delivery | None = None,
        *,
        offsets: Mapping[LogPartition, int] | None = None,
        then: Then | None = None,
    ) -> None:
        """Ask for a commit, and wait for nothing: the same in plain and in `async` code.

        Commits are taken in the order in which they are asked for; one that is lost, or not
        answered, is not made again. `then(offsets, error)` is called in that order inside a later
        `poll` or `close`, with what was committed and with None or what `commit` would raise; in
        `async` code it may be `async`.

        Args:
            upto: As of `commit`.
            offsets: As of `commit`.
            then: Told what became of it.
        """
        scope = current_scope(f"{self._broker.name}.commit_async", self._broker.world)
        if upto is None and offsets is None and self._member is not None:
            offsets = Polled(self._positions(self._member))
        elif offsets is not None:
            offsets = dict(offsets)
        told = offsets if upto is None else {(upto.topic, upto.partition): upto.offset + 1}
        self._asked.ask(scope, partial(self.commit, upto, offsets=offsets), told, then)

    def _commit(self, scope: Scope, operation: str, attempt: int, what: Any) -> None:
        member = self._member
        broker = self._broker
        if member is None:
            raise CommitFailed(f"{operation}: not a member yet; poll first")
        group = member.group
        broker.suffer_rebalance(member, scope)
        if member.fenced:
            self._fence()
        has_nothing = what is None and not (member.slots or member.expelled)  # it asks for nothing
        moved_on = not has_nothing and (member.expelled or member.generation != group.generation)
        if moved_on or (member.solo and member.crew.group.members):
            error = "fenced: not a member any more"
            not_settled(scope, operation, attempt, error)
            failed = CommitFailed(f"{operation}: {error}; poll again to rejoin")
            if member.expelled:
                failed.why = "left" if self.was_too_slow else "unknown"
            elif member.solo:
                failed.why = "unknown"
            raise failed
        before = dict(group.committed)
        found = Polled(self._positions(member)) if what is None else what
        at_all = isinstance(found, Polled)
        absent = () if at_all or not isinstance(found, Mapping) else broker.absent(found)
        if absent:
            found = {place: offset for place, offset in found.items() if place not in absent}
        for message in take_offsets(group.committed, broker.logs, found, at_all=at_all):
            settled(scope, operation, attempt, message)
        if group.committed != before:
            broker.world.effects += 1
        if absent:
            error = f"there is no {', '.join(map(named, absent))}"
            not_settled(scope, operation, attempt, error)
            raise UnknownLogPartition(f"{operation}: {error}")

    def standing(self) -> tuple[Member, dict[LogPartition, int]]:
        """Return who it is in its group, and how far polls have come.

        Raises:
            CommitFailed: It has not polled yet.
        """
        if self._member is None:
            raise CommitFailed(f"{self._broker.name}: not a member yet; poll first")
        return self._member, self._positions(self._member)

    def standing_in_group(self) -> Standing | None:
        """Return who it is in its group; None before it is in one."""
        return None if self._member is None else self._member.standing()

    def _positions(self, member: Member) -> dict[LogPartition, int]:
        """Return how far polls have come: up to a record that none could return yet."""
        found = {place: one.position for place, one in member.slots.items()}
        if self._left is not None and self._is_mine(self._left[0]):
            left = self._left[0]
            found[left.topic, left.partition] = left.offset
        return found

    # ---- the end

    def close(self) -> Any:
        """Leave the group at once, and give back what it has; nothing is committed.

        A static member stays a member until its session is over.
        """
        scope = current_scope(f"{self._broker.name}.close", self._broker.world)
        if scope.colour.is_async:
            return self._close_and_tell()
        for listener, places in self._last_news():
            if listener is not None:
                listener(places)
        return self._leave()

    async def _close_and_tell(self) -> None:
        for listener, places in self._last_news():
            await called(listener, places)
        self._leave()

    def _last_news(self) -> Iterable[Call]:
        member = self._member
        if self._closed or member is None:
            return
        yield from self._asked.calls()
        yield from self._listeners.last(member)

    def _leave(self) -> None:
        self._closed = True
        if self._member is not None:
            self._broker.groups.depart(self._member)
        self._wake()  # another task may be waiting in a poll


def _left_s(scope: Scope, due_ms: int | None) -> float | None:
    """Return how much time a poll has left, in seconds."""
    return None if due_ms is None else max(due_ms - scope.world.now, 0) / 1000
