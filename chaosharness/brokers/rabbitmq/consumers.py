"""How services consume from RabbitMQ: a handler called per message, or their own loop."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Literal, get_args

import attrs

from chaosharness.brokers.intake import Intake
from chaosharness.brokers.message import POISON_BODIES, Decode, Delivery, Message, delivery
from chaosharness.brokers.rabbitmq.connection import Server
from chaosharness.brokers.rabbitmq.errors import ChannelClosed, ConsumerCancelled
from chaosharness.brokers.rabbitmq.link import Link, Party, Settling
from chaosharness.brokers.trouble import Policy, one_of
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.fingerprint import of_stack
from chaosharness.handlers.port import Nap, current_scope, wait_of
from chaosharness.handlers.script import Resume, Script
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import BACKGROUND
from chaosharness.machines.machine import Refusal
from chaosharness.machines.rabbitmq.node import Start
from chaosharness.machines.rabbitmq.takers import Push

BACKOFF_MS_MAX: Final = 60_000
UNLIMITED: Final = 1_000_000

Acknowledge = Literal["after", "before"]
OnError = Literal["retry", "requeue", "skip", "reject", "dead-letter", "crash"]
ON_ERROR: Final = get_args(OnError)
OnUnreadable = Literal["raise", "skip", "reject", "dead-letter"]
ON_UNREADABLE: Final = get_args(OnUnreadable)
AT_ONCE: Final = ("reject", "dead-letter")


def _not_negative(_: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{attribute.name} must be a whole number from 0, not {value!r}")


def _one_of(*choices: str) -> Callable[[Any, Any, Any], None]:
    def check(_: Any, attribute: Any, value: Any) -> None:
        if value not in choices:
            known = ", ".join(map(repr, choices))
            raise ValueError(f"{attribute.name} must be one of {known}, not {value!r}")

    return check


OPTIONS: Final = (
    "prefetch",
    "acknowledge",
    "on_error",
    "retries_max",
    "on_unreadable",
    "backoff_ms",
    "concurrency",
    "in_thread",
    "connection",
    "channel",
    "priority",
    "exclusive",
    "start",
    "on_cancel",
)
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


def _start(_: Any, attribute: Any, value: Any) -> None:
    offset = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if value not in ("first", "last", "next") and not offset:
        raise ValueError(f"start must be 'first', 'last', 'next' or an offset, not {value!r}")


def check_dead_letters(broker: Server, queue: str, **given: str | None) -> None:
    """Refuse `dead-letter` where a queue has nowhere to put dead letters.

    Raises:
        ValueError: It has no dead-letter exchange.
    """
    for option, word in given.items():
        if word == "dead-letter" and not broker.has_dead_letters(queue):
            raise ValueError(
                f"{option}='dead-letter' needs a queue that has dead letters: declare it as "
                "Queue(dead_letter='aside'), or say 'reject', which drops the message"
            )


@attrs.define(kw_only=True, eq=False, on_setattr=attrs.setters.NO_OP)
class Subscription:
    """A handler that is called with each message of a queue.

    Args:
        prefetch: Unacknowledged messages at most; 0 for no limit, which is what pika and
            aio-pika do unless told otherwise.
        acknowledge: `after`: when the handler has returned (at least once). `before`: the
            broker takes a message as acknowledged once it is sent, and prefetch does not
            count (at most once; `auto_ack=True` in pika, `no_ack=True` in aio-pika).
        on_error: What an exception of the handler leads to. `retry`, or `requeue`, as
            RabbitMQ says: back into the queue, for ever, or until the delivery limit of a
            quorum queue. `skip`: acknowledge it and go on. `dead-letter`: back into the queue
            until it was tried `retries_max` times here, then to the dead-letter exchange of
            the queue, which must have one. `reject`: there at once, or dropped where there
            is none (aio-pika's `process()`). `crash`: the process dies.
        retries_max: Tries before `dead-letter` puts a message aside, as this consumer
            remembers them: a restart forgets.
        on_unreadable: What a payload leads to that cannot be decoded, as for `on_error`;
            the handler is not called with it. `dead-letter` does it at once: it will not
            get better. By default what `on_error` says.
        backoff_ms: How long the consumer waits before it gives a message back, doubled each
            time up to a minute, as long as it remembers. 0: at once.
        concurrency: Messages handled at a time: 1 in plain code; in `async` code by default
            as many as prefetch lets in.
        in_thread: Whether a plain handler leaves its connection free to answer heartbeats.
        connection: The name of a connection to share in this process.
        channel: The name of a channel to share in this process.
        priority: Its `x-priority`: those of a lower one get something only while all of a
            higher one have what they may have.
        exclusive: Whether nobody else may consume from the queue meanwhile.
        start: Where it begins in a stream, each time it connects: `first`, `last`, `next` (what
            comes from now on) or an offset.
        on_cancel: What the consumer does when the broker cancels it, because its queue is
            gone. `resume`: declare it and consume again after `reconnect_ms` (aio-pika's robust
            channels). `stop`: nothing (a callback of pika that nobody set).
    """

    broker: Server
    intake: Intake
    queue: str
    service: str
    prefetch: int = attrs.field(default=0, validator=_not_negative)
    acknowledge: Acknowledge = attrs.field(default="after", validator=_one_of("after", "before"))
    on_error: OnError = "requeue"
    retries_max: int = 3
    on_unreadable: OnError | None = None
    backoff_ms: int = attrs.field(default=1_000, validator=_not_negative)
    concurrency: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
    )
    in_thread: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    connection: str | None = None
    channel: str | None = None
    priority: int = attrs.field(default=0, validator=attrs.validators.instance_of(int))
    exclusive: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    start: Start = attrs.field(default="next", validator=_start)
    on_cancel: str = attrs.field(default="resume", validator=_one_of("resume", "stop"))
    _blocks: bool = attrs.field(default=False, init=False)
    _policy: Policy = attrs.field(init=False)
    _link: Link = attrs.field(init=False)
    _buffer: deque[tuple[Push, int]] = attrs.field(factory=deque, init=False)
    _running: int = attrs.field(default=0, init=False)
    _slots: int = attrs.field(default=1, init=False)
    _taking: bool = attrs.field(default=False, init=False)
    _tries: dict[int, int] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._policy = Policy(self.on_error, self.retries_max, self.on_unreadable, ON_ERROR)
        check_dead_letters(self.broker, self.queue, on_error=self.on_error)
        check_dead_letters(self.broker, self.queue, on_unreadable=self.on_unreadable)
        if self.intake.colour.is_async:
            self._slots = self.concurrency or UNLIMITED
        elif (self.concurrency or 1) > 1:
            raise ValueError("a plain handler runs one message at a time: concurrency must be 1")

    def begin(self) -> None:
        """Connect and consume."""
        self.broker.world.know_duration(self.backoff_ms)
        self._blocks = not (self.in_thread or self.intake.colour.is_async)
        self._link = self.broker.link(self.intake.incarnation, self.connection, self.channel)
        party = Party(
            self.queue,
            f"{self.broker.name}.{self.queue}/deliver to {self.service}",
            prefetch=self.prefetch,
            auto_ack=self.acknowledge == "before",
            take=self._take,
            cancelled=self._cancelled,
            priority=self.priority,
            exclusive=self.exclusive,
            start=self.start,
        )
        self._link.attend((party,), self._lost)
        self._link.consume(self.queue)

    def _take(self, push: Push, cause: int) -> None:
        self._buffer.append((push, cause))
        self._next()

    def _next(self) -> None:
        """Begin to handle what has arrived, as far as there is a free slot.

        A handler that ends at once frees its slot before `take` returns: the next message
        is then left to the loop here, or a long queue would be as deep a recursion.
        """
        if self._taking:
            return
        self._taking = True
        connection = self._link.connection
        try:
            while self._buffer and self._running < self._slots:
                if self._blocks and not connection.take_thread(self._next):
                    return
                push, cause = self._buffer.popleft()
                seen = self._link.begin(push)
                if seen is not None:
                    self._running += 1
                    if self._blocks:
                        connection.begin(self)
                    self.intake.take(seen, cause, partial(self._ended, push))
        finally:
            self._taking = False

    def _lost(self) -> None:
        """Come back after a loss: a plain consumer only once its handler has returned."""
        if not self._running or self.intake.colour.is_async:
            world = self.broker.world
            world.after(self.broker.definition.reconnect_ms, self._reconnect)

    def _reconnect(self, _: Any) -> None:
        if self.intake.incarnation.alive:
            self._link.reopen()

    def _cancelled(self) -> None:
        if self.on_cancel == "resume":
            world = self.broker.world
            world.after(self.broker.definition.reconnect_ms, self._consume_again)

    def _consume_again(self, _: Any) -> None:
        if self.intake.incarnation.alive:
            self._link.consume(self.queue)

    def _ended(
        self, push: Push, message: Message, scope: Scope, error: BaseException | None
    ) -> None:
        """Do what the end of a handler leads to."""
        word, tries_max = "", 0
        if self._blocks:
            self._link.connection.end(self)
        if error is not None:
            word, tries_max = self._policy.at(self.intake, message)
        if word == "crash":
            self.broker.world.crash(scope.incarnation, "next", cause=scope.cause)
        elif self.acknowledge == "before":
            self._free(True)
        elif error is None:
            self._tries.pop(push.copy.published, None)
            self._settle(push, scope, "ack")
        else:
            self._failed(push, scope, error, word, tries_max)

    def _failed(
        self, push: Push, scope: Scope, error: BaseException, word: str, tries_max: int
    ) -> None:
        """Do with a message what the policy says, where its handler raised."""
        tries = self._tries.get(push.copy.published, 0) + 1
        if word == "skip":
            self._settle(push, scope, "ack")
        elif word == "reject" or (word == "dead-letter" and tries >= tries_max):
            self._tries.pop(push.copy.published, None)
            self._settle(push, scope, "reject")
        else:
            self._tries[push.copy.published] = tries
            if word != "dead-letter" and push.queue.limit is None:
                self.intake.refuse_hopeless(scope, error, tries)
            self._give_back(push, scope, tries)

    def _give_back(self, push: Push, scope: Scope, tries: int) -> None:
        if not self.backoff_ms:
            self._settle(push, scope, "nack")
            return

        def go(_: Any) -> None:
            if scope.incarnation.alive:
                self._settle(push, scope, "nack")

        self.broker.world.after(min(self.backoff_ms << min(tries - 1, 16), BACKOFF_MS_MAX), go)

    def _settle(self, push: Push, scope: Scope, what: Settling) -> None:
        self._link.settle(push, scope, what, self._free, requeue=what == "nack")

    def _free(self, _: bool) -> None:
        self._running -= 1
        if not self._link.is_open:
            self._lost()
        self._next()


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
        scope.poisoned = False
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
            scope.poisoned = seen.body in POISON_BODIES
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
                message was settled before: it has been requeued, or is somebody else's.
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
            why = push.channel.closed_because
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
