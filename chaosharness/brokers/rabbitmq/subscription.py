"""A handler that RabbitMQ pushes messages to, and what its policies make of an error."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Literal, get_args

import attrs

from chaosharness.brokers.intake import Intake
from chaosharness.brokers.message import Message
from chaosharness.brokers.rabbitmq.connection import Server
from chaosharness.brokers.rabbitmq.link import Link, Settling
from chaosharness.brokers.rabbitmq.party import Party
from chaosharness.brokers.trouble import Policy, policy_of
from chaosharness.kernel.scope import Scope
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


def _start(_: Any, attribute: Any, value: Any) -> None:
    offset = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if value not in ("first", "last", "next") and not offset:
        raise ValueError(f"start must be 'first', 'last', 'next' or an offset, not {value!r}")


def checked(check: Callable[[Any, Any, Any], object]) -> dict[str, Any]:
    """Have the value of a field checked where somebody gives one: the default, in no run."""
    return {"check": check}


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
    prefetch: int = attrs.field(default=0, metadata=checked(_not_negative))
    acknowledge: Acknowledge = attrs.field(
        default="after", metadata=checked(_one_of("after", "before"))
    )
    on_error: OnError = "requeue"
    retries_max: int = 3
    on_unreadable: OnError | None = None
    backoff_ms: int = attrs.field(default=1_000, metadata=checked(_not_negative))
    concurrency: int | None = attrs.field(
        default=None, metadata=checked(attrs.validators.optional(attrs.validators.ge(1)))
    )
    in_thread: bool = attrs.field(
        default=False, metadata=checked(attrs.validators.instance_of(bool))
    )
    connection: str | None = None
    channel: str | None = None
    priority: int = attrs.field(default=0, metadata=checked(attrs.validators.instance_of(int)))
    exclusive: bool = attrs.field(
        default=False, metadata=checked(attrs.validators.instance_of(bool))
    )
    start: Start = attrs.field(default="next", metadata=checked(_start))
    on_cancel: str = attrs.field(default="resume", metadata=checked(_one_of("resume", "stop")))
    _blocks: bool = attrs.field(default=False, init=False)
    _policy: Policy = attrs.field(init=False)
    _link: Link = attrs.field(init=False)
    _buffer: deque[tuple[Push, int]] = attrs.field(factory=deque, init=False)
    _running: int = attrs.field(default=0, init=False)
    _slots: int = attrs.field(default=1, init=False)
    _taking: bool = attrs.field(default=False, init=False)
    _tries: dict[int, int] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._policy = policy_of(self.on_error, self.retries_max, self.on_unreadable, ON_ERROR)
        if "dead-letter" in (self.on_error, self.on_unreadable):
            words = {"on_error": self.on_error, "on_unreadable": self.on_unreadable}
            check_dead_letters(self.broker, self.queue, **words)
        if self.intake.colour.is_async:
            self._slots = self.concurrency or UNLIMITED
        elif (self.concurrency or 1) > 1:
            raise ValueError("a plain handler runs one message at a time: concurrency must be 1")

    def begin(self) -> None:
        """Connect and consume."""
        broker, intake, queue = self.broker, self.intake, self.queue
        broker.world.know_duration(self.backoff_ms)
        self._blocks = not (self.in_thread or intake.colour.is_async)
        self._link = link = broker.link(intake.incarnation, self.connection, self.channel)
        party = Party(
            queue,
            f"{broker.name}.{queue}/deliver to {self.service}",
            prefetch=self.prefetch,
            auto_ack=self.acknowledge == "before",
            take=self._take,
            cancelled=self._cancelled,
            priority=self.priority,
            exclusive=self.exclusive,
            start=self.start,
        )
        link.attend((party,), self._lost)
        link.consume(queue)
        intake.incarnation.takers.append(self)

    def cease(self) -> None:
        """Cancel the consumer: what is in hand is settled, the rest goes back with the channel."""
        self._link.cease(self.queue)
        self._buffer.clear()

    def is_busy(self) -> bool:
        """Say whether something is in hand."""
        return self._running > 0

    def _take(self, push: Push, cause: int) -> None:
        if self.intake.incarnation.stopping is not None:
            return
        self._buffer.append((push, cause))
        if not self._taking:
            self._next()

    def _next(self) -> None:
        """Begin to handle what has arrived, as far as there is a free slot.

        A handler that ends at once frees its slot before `take` returns: the next message
        is then left to the loop here, or a long queue would be as deep a recursion.
        """
        if self._taking or not self._buffer:
            return
        self._taking = True
        link, buffer, blocks, slots = self._link, self._buffer, self._blocks, self._slots
        connection = link.connection
        try:
            while buffer and self._running < slots:
                if blocks and connection.busy is not None:
                    connection.wait_for_thread(self._next)
                    return
                push, cause = buffer.popleft()
                seen = link.begin(push)
                if seen is not None:
                    self._running += 1
                    if blocks:
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
        incarnation = self.intake.incarnation
        if incarnation.alive and incarnation.stopping is None:
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
        if self._blocks:
            self._link.connection.end(self)
        if error is None:
            if self.acknowledge == "before":
                self._free(True)
                return
            if self._tries:
                self._tries.pop(push.copy.published, None)
            self._link.settle(push, scope, "ack", self._free, requeue=False)
            return
        word, tries_max = self._policy.at(self.intake, message)
        if word == "crash":
            self.broker.world.crash(scope.incarnation, "next", cause=scope.cause)
        elif self.acknowledge == "before":
            self._free(True)
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
        stopping = self.intake.incarnation.stopping
        if stopping is not None:
            stopping.look()
            return
        if self._link.channel.closed_because:
            self._lost()
        if not self._taking:
            self._next()


CHECKED: Final = {one.name: one for one in attrs.fields(Subscription) if "check" in one.metadata}


def check_given(options: Mapping[str, Any]) -> None:
    """Refuse options of `env.consume` that cannot be.

    Raises:
        TypeError: It is of another type.
        ValueError: It is out of range.
    """
    for name, value in options.items():
        field = CHECKED.get(name)
        if field is not None:
            field.metadata["check"](None, field, value)
