"""A service's own main loop on RabbitMQ: it asks for messages, or has them pushed to it."""

from __future__ import annotations

import sys
from collections import deque
from typing import Any, Final

from chaosharness.brokers.message import Decode, Delivery, delivery
from chaosharness.brokers.rabbitmq.connection import Server
from chaosharness.brokers.rabbitmq.errors import ChannelClosed, ConsumerCancelled
from chaosharness.brokers.rabbitmq.link import Link, Settling
from chaosharness.brokers.rabbitmq.party import Party
from chaosharness.brokers.rabbitmq.subscription import (
    ON_UNREADABLE,
    Acknowledge,
    OnUnreadable,
    check_dead_letters,
)
from chaosharness.brokers.trouble import one_of
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.port import Nap, current_scope, wait_of
from chaosharness.handlers.recall import of_stack
from chaosharness.handlers.script import Resume, Script
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import BACKGROUND
from chaosharness.machines.machine import Refusal
from chaosharness.machines.rabbitmq.node import Start
from chaosharness.machines.rabbitmq.takers import Push

LOOP_OPTIONS: Final = (
    "prefetch",
    "acknowledge",
    "on_unreadable",
    "in_thread",
    "connection",
    "channel",
    "priority",
    "exclusive",
    "start",
)


class Consumer:
    """A consumer for a service's own main loop.

    Either asks for one message at a time with `get`, or has them pushed and takes them
    with `receive` or by iterating. In plain code the methods block; in `async` code each
    is awaited, and iteration is `async for`.

    After its connection was lost it connects anew by itself, the next time it is asked for
    a message.

    Args:
        prefetch: Unacknowledged messages at most, per queue; 0 for no limit.
        acknowledge: `after`: by calling `ack`. `before`: by the broker, once it is sent.
        on_unreadable: What a payload leads to that cannot be decoded. `raise`: it raises
            where it is asked for, and stays unacknowledged. `skip`: it is acknowledged and
            left out. `dead-letter`: it is rejected, to the dead-letter exchange of its queue,
            which must have one. `reject`: the same, but dropped where there is none.
        in_thread: Whether something else than the loop answers heartbeats.
        connection: The name of a connection to share in this process.
        channel: The name of a channel to share in this process.
        priority: Its `x-priority`.
        exclusive: Whether nobody else may consume from its queues meanwhile.
        start: Where it begins in a stream, each time it connects.
    """

    def __init__(
        self,
        broker: Server,
        incarnation: Incarnation,
        queues: tuple[str, ...],
        decode: Decode,
        *,
        service: str,
        prefetch: int = 0,
        acknowledge: Acknowledge = "after",
        on_unreadable: OnUnreadable = "raise",
        in_thread: bool = False,
        connection: str | None = None,
        channel: str | None = None,
        priority: int = 0,
        exclusive: bool = False,
        start: Start = "next",
    ) -> None:
        if not isinstance(prefetch, int) or prefetch < 0:
            raise ValueError(f"prefetch must be a whole number from 0, not {prefetch!r}")
        if acknowledge not in ("after", "before"):
            raise ValueError(f"acknowledge must be 'after' or 'before', not {acknowledge!r}")
        one_of(ON_UNREADABLE, on_unreadable=on_unreadable)
        for queue in queues:
            check_dead_letters(broker, queue, on_unreadable=on_unreadable)
        self._on_unreadable = on_unreadable
        self._broker = broker
        self._queues = queues
        self._decode = decode
        self._buffer: deque[tuple[Push, int]] = deque()
        self._pushed = False
        self._gone = False
        self._waiting: Resume | None = None
        self._auto_ack = acknowledge == "before"
        self._in_thread = in_thread
        self._link: Link = broker.link(incarnation, connection, channel)
        parties = [
            Party(
                queue,
                f"{broker.name}.{queue}/deliver to {service}",
                prefetch=prefetch,
                auto_ack=self._auto_ack,
                take=self._take,
                cancelled=self._cancelled,
                priority=priority,
                exclusive=exclusive,
                start=start,
            )
            for queue in queues
        ]
        self._link.attend(parties, self._wake)

    # ---- asking for messages

    def get(self) -> Any:
        """Return the next message, or None if there is none (`basic.get`).

        Raises:
            ConnectionError: The connection was lost before the message came.
        """
        if self._pushed:
            raise InvalidDefinition(
                "one consumer has messages either pushed (receive, iteration) or asked for (get)"
            )
        scope = current_scope(f"{self._broker.name}.get", self._broker.world)
        return scope.colour.drive(self._served(scope, self._get(scope)), scope)

    def receive(self, timeout_s: float | None = None) -> Any:
        """Return the next message pushed here; None if `timeout_s` passes first.

        Raises:
            ConsumerCancelled: The queue is gone. The next call consumes again.
            ChannelClosed: The broker refuses this consumer: no such queue (404), or another has it
                for itself (403, 405).
        """
        scope = current_scope(f"{self._broker.name}.receive", self._broker.world)
        nap: Nap = BACKGROUND
        if timeout_s is not None:
            frame = sys._getframe(1)
            holds = self._link.is_open and bool(self._link.channel.unacked)
            nap = wait_of(scope, round(timeout_s * 1000), of_stack, frame, holds=holds)
        script = self._receive(scope, timeout_s, nap)
        return scope.colour.drive(self._served(scope, script), scope)

    def process_data_events(self, time_limit_s: float = 0) -> Any:
        """Answer heartbeats, in the middle of long work: `BlockingConnection`'s method in pika.

        Raises:
            ChannelClosed: The connection is lost already, and so is what was in hand.
        """
        scope = current_scope(f"{self._broker.name}.process_data_events", self._broker.world)
        return scope.colour.drive(self._served(scope, self._process(scope, time_limit_s)), scope)

    def __iter__(self) -> Consumer:
        return self

    def __next__(self) -> Any:
        return self.receive()

    def __aiter__(self) -> Consumer:
        return self

    def __anext__(self) -> Any:
        return self.receive()

    def _served(self, scope: Scope, script: Script[Any]) -> Script[Any]:
        """Answer heartbeats while a method runs; afterwards nobody does, if messages are in hand.

        Without any in hand, a connection that is lost in between is not missed.
        """
        connection = self._link.connection
        connection.end(self)
        try:
            return (yield from script)
        finally:
            free = scope.colour.is_async or self._in_thread
            if not free and (self._link.channel.unacked or self._buffer):
                connection.begin(self)

    def _process(self, scope: Scope, time_limit_s: float) -> Script[None]:
        if not self._link.is_open and self._link.channel.tag:
            why = self._link.channel.closed_because
            place = f"{scope.place}/{self._broker.name}.process_data_events"
            raise ChannelClosed(place, why)
        if time_limit_s:
            yield round(time_limit_s * 1000)

    def _get(self, scope: Scope) -> Script[Delivery | None]:
        self._rest(scope)
        yield from self._connected()
        node = self._broker.node
        while True:
            for queue in self._queues:
                push = node.get(self._link.channel, queue, auto_ack=self._auto_ack)
                if isinstance(push, Refusal):
                    self._link.punish(push)
                    raise self._closed(scope, "get")
                if push is not None:
                    break
            else:
                return None
            self._broker.handed_out(push)
            while not self._buffer:
                if push.channel.closed_because:
                    raise ConnectionError(f"{self._broker.name}: the connection was lost")
                yield self._wait
            found, aside = yield from self._hand(scope)
            if not aside:
                return found

    def _receive(self, scope: Scope, timeout_s: float | None, nap: Nap) -> Script[Delivery | None]:
        world = self._broker.world
        self._rest(scope)
        expired = timer = None
        if timeout_s is not None:
            expired = _Expired(self, nap)
            timeout_ms = round(timeout_s * 1000)
            world.know_duration(timeout_ms)
            timer = world.timer(timeout_ms, expired, None, nap)
        while True:
            yield from self._connected(expired)
            if not self._link.is_open:
                return None  # there was no connection as long as anybody waited
            if not self._pushed:
                self._pushed = True
                self._link.consume(*self._queues)
                if not self._link.is_open:
                    self._pushed = False
                    raise self._closed(scope, "receive")
            if self._gone and not self._buffer:
                self._gone = self._pushed = False
                raise ConsumerCancelled(f"{scope.place}/{self._broker.name}.receive: cancelled")
            found, _ = yield from self._hand(scope)
            if found is not None or (expired is not None and expired.done):
                if timer is not None:
                    world.agenda.cancel(timer)
                return found
            yield self._wait

    def _connected(self, expired: _Expired | None = None) -> Script[None]:
        """Connect anew, if need be: until that works, or the caller's patience is over."""
        while not self._link.is_open and not (expired is not None and expired.done):
            yield self._broker.definition.reconnect_ms
            self._link.reopen()

    def _rest(self, scope: Scope) -> None:
        """Act on nobody's behalf while waiting."""
        scope.entity = 0
        scope.message = ""
        scope.hops = 0
        self._broker.world.in_flight.pop(scope, None)

    def _wait(self, resume: Resume) -> None:
        self._waiting = resume

    def _closed(self, scope: Scope, what: str) -> ChannelClosed:
        why = self._link.channel.closed_because
        return ChannelClosed(f"{scope.place}/{self._broker.name}.{what}", why)

    def _cancelled(self) -> None:
        self._gone = True
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting(None)

    def _take(self, push: Push, cause: int) -> None:
        self._buffer.append((push, cause))
        self._wake()

    def _hand(self, scope: Scope) -> Script[tuple[Delivery | None, bool]]:
        """Return the next message that is still ours, and act on its behalf from now on.

        Also whether one was put aside because nobody can read it.
        """
        aside = False
        while self._buffer:
            push, cause = self._buffer.popleft()
            seen = self._link.begin(push)
            if seen is None:
                continue
            scope.entity = seen.entity
            scope.message = seen.name
            scope.hops = seen.hops
            scope.cause = cause
            scope.steps = 0
            try:
                found = delivery(self._decode, seen, receipt=push)
            except Exception as error:
                if self._on_unreadable == "raise":
                    scope.world.in_flight[scope] = scope.place
                    raise
                aside = True
                yield from self._put_aside(push, scope, error)
                self._rest(scope)
                continue
            scope.world.in_flight[scope] = scope.place
            return found, aside
        return None, aside

    def _put_aside(self, push: Push, scope: Scope, error: Exception) -> Script[None]:
        """Leave out a message that cannot be read: acknowledged, or among the dead letters."""
        words = {"error": f"{type(error).__name__}: {error}"}
        scope.record("raised", f"{scope.place}/{self._broker.name}.receive", 0, words)
        if not self._auto_ack:
            what: Settling = "ack" if self._on_unreadable == "skip" else "reject"
            yield from self._link.settling(push, scope, what, requeue=False, multiple=False)

    # ---- settling them

    def ack(self, delivery: Delivery, *, multiple: bool = False) -> Any:
        """Acknowledge a message; with `multiple` also all that came before it.

        Nobody answers an acknowledgement: one that is lost is not noticed here.

        Raises:
            ChannelClosed: Its channel is closed already, or is closed now because the
                message was settled before (it has been requeued, or is somebody else's), or was
                given out by another consumer: a delivery tag is of its channel.
        """
        return self._settle(delivery, "ack", requeue=False, multiple=multiple)

    def nack(self, delivery: Delivery, *, requeue: bool = True, multiple: bool = False) -> Any:
        """Give a message back, or (`requeue=False`) dead-letter it.

        Raises:
            ChannelClosed: See `ack`.
        """
        return self._settle(delivery, "nack", requeue=requeue, multiple=multiple)

    def reject(self, delivery: Delivery, *, requeue: bool = True) -> Any:
        """Give a message back as failed, or (`requeue=False`) dead-letter it.

        Raises:
            ChannelClosed: See `ack`.
        """
        return self._settle(delivery, "reject", requeue=requeue, multiple=False)

    def _settle(self, delivery: Delivery, what: Settling, *, requeue: bool, multiple: bool) -> Any:
        push = getattr(delivery, "receipt", None)
        if not isinstance(push, Push):
            raise InvalidDefinition(f"{what} takes what get() or receive() gave, not {delivery!r}")
        scope = current_scope(f"{self._broker.name}.{what}", self._broker.world)
        script = self._settling(push, scope, what, requeue, multiple)
        return scope.colour.drive(self._served(scope, script), scope)

    def _settling(
        self, push: Push, scope: Scope, what: Settling, requeue: bool, multiple: bool
    ) -> Script[None]:
        done = yield from self._link.settling(push, scope, what, requeue=requeue, multiple=multiple)
        if not done:
            why = push.channel.closed_because or self._link.channel.closed_because
            raise ChannelClosed(f"{scope.place}/{self._broker.name}.{what}", why)


class _Expired:
    """Wakes a consumer whose patience is over. Nothing has changed by that."""

    __slots__ = ("consumer", "done", "nap")

    def __init__(self, consumer: Consumer, nap: Nap) -> None:
        self.consumer = consumer
        self.nap = nap
        self.done = False

    def __call__(self, _: Any) -> None:
        self.done = True
        self.nap.woke()
        self.consumer._wake()
