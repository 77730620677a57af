"""SQS: queues whose messages are leased, deleted when done, and come again when not.

Source:
    Amazon SQS Developer Guide and API Reference; answers recorded from AWS. See the machine,
    `chaosharness/machines/sqs`, for the rules, and `rows.py` for what may strike where.

Not modelled:
    Permissions, encryption, tags, rates, costs; the time until a change of settings is seen
    everywhere; SDKs that repeat a receive by themselves (`ReceiveRequestAttemptId`) after its
    answer was lost. Queues are created, emptied and deleted while a system runs through `AWS` and
    boto3; the ports here use those that were declared.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from collections.abc import Mapping as Names
from functools import cached_property
from inspect import CO_VARARGS, CO_VARKEYWORDS
from types import FunctionType
from typing import Any, Final, Literal

import attrs

from chaosharness.brokers.intake import Intake, check_options
from chaosharness.brokers.lane import Publish
from chaosharness.brokers.message import (
    NO_HEADERS,
    POISON,
    Decode,
    Message,
    copied,
    encode,
    key_of,
)
from chaosharness.brokers.sqs.consumers import LOOP_OPTIONS, OPTIONS, Consumer, Subscription
from chaosharness.brokers.sqs.desk import Desk
from chaosharness.brokers.sqs.errors import answered
from chaosharness.brokers.sqs.function import Lambda, Mapping
from chaosharness.brokers.trouble import refuse_words, wired_wrongly
from chaosharness.errors import InvalidDefinition
from chaosharness.faults import Duplicate, Poison
from chaosharness.handlers.port import current_scope, operate_for
from chaosharness.kernel import allowed
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import World
from chaosharness.machines.sqs import QueueSettings
from chaosharness.machines.sqs import operations as op

FIFO: Final = ".fifo"
QUEUE: Final = re.compile(r"(?=.{1,80}$)[A-Za-z0-9_-]+(\.fifo)?")


@attrs.frozen(kw_only=True)
class SQSQueue:
    """A queue and its attributes. One whose name ends in `.fifo` is a FIFO queue.

    Args:
        visibility_ms: How long a received message is hidden from others: 0 to 12 hours.
        delay_ms: How long a new message is hidden at first: 0 to 15 minutes.
        retention_ms: How long a message is kept: a minute to 14 days.
        size_max: Bytes of a message with its attributes: 1,024 to 1,048,576.
        dead_letter: Name of the queue for messages that were received too often.
        receives_max: How often a message may be received; at the next receive it is a dead
            letter. 1 to 1,000.
        by_content: FIFO: whether equal bodies within 5 minutes are the same message.
        scope: FIFO: what a deduplication id is unique in: the `queue`, or the `messageGroup`.
        in_flight_max: Messages in hands at a time: 120,000.

    Raises:
        ValueError: A value is out of the range that AWS accepts.
    """

    visibility_ms: int = 30_000
    delay_ms: int = 0
    retention_ms: int = 345_600_000
    size_max: int = 1_048_576
    dead_letter: str | None = None
    receives_max: int = 10
    by_content: bool = False
    scope: Literal["queue", "messageGroup"] = "queue"
    in_flight_max: int = 120_000

    def __attrs_post_init__(self) -> None:
        self.settings(fifo=True)  # checks them

    def settings(self, *, fifo: bool, as_standard: bool = False) -> QueueSettings:
        """Return what the machine goes by."""
        return QueueSettings(fifo=fifo, as_standard=as_standard, **attrs.asdict(self))


def _queues(given: Any) -> dict[str, SQSQueue]:
    if isinstance(given, str):
        given = (given,)
    if isinstance(given, list | tuple | set | frozenset):
        given = {name: SQSQueue() for name in (sorted(given) if isinstance(given, set) else given)}
    if not isinstance(given, Names):
        right = 'names, or {"orders": SQSQueue(...)}'
        raise allowed.refused("SQS", "queues", right, given)
    for name, queue in given.items():
        if not isinstance(name, str) or not QUEUE.fullmatch(name):
            right = "letters, digits, '-' and '_', 80 at most, and perhaps '.fifo' (as AWS has it)"
            raise allowed.refused("SQS", "the name of a queue", right, name)
        if not isinstance(queue, SQSQueue):
            raise InvalidDefinition(f"queue {name!r} must be an SQSQueue, not {queue!r}")
    return dict(given)


@attrs.frozen
class SQS:
    """The SQS queues of an account.

    Options of `env.consume(sqs, queue, handler, ...)`: see `Subscription`'s, which are `batch`,
    `visibility_ms`, `acknowledge`, `on_error`, `retries_max`, `on_unreadable`, `backoff_ms` and
    `concurrency`. A `Lambda` as handler is called with batches, as its own options say.

    `env.consumer(sqs, queue, on_unreadable=...)` gives a loop `receive(most=1, wait_s=20,
    visibility_s=None)`, `delete(delivery)`, `delete_batch(deliveries)`,
    `change_visibility(delivery, seconds)` and, of a queue of dead letters, `redrive(to=None)`.

    Args:
        name: What reports call it.
        queues: Names, or an `SQSQueue` for each name: `{"orders.fifo": SQSQueue(by_content=True)}`.
        latency_ms: From a queue to a consumer that waits.
        timeout_ms: How long a caller waits for an answer.
        fifo: Whether queues that are named `.fifo` keep what FIFO promises. False: they take what
            a FIFO queue takes, and promise what a standard one does; see `System.weaker`.

    Raises:
        InvalidDefinition: A dead-letter queue is not there, or is not of the same kind.
    """

    name: str = attrs.field(validator=allowed.text())
    queues: Names[str, SQSQueue] = attrs.field(converter=_queues)
    latency_ms: int = attrs.field(default=1, validator=allowed.whole(0), kw_only=True)
    timeout_ms: int = attrs.field(default=30_000, validator=allowed.whole(1), kw_only=True)
    fifo: bool = attrs.field(default=True, validator=allowed.flag(), kw_only=True)

    def __attrs_post_init__(self) -> None:
        for name, queue in self.queues.items():
            to = queue.dead_letter
            if to is None:
                continue
            if to not in self.queues:
                known = ", ".join(sorted(self.queues))
                raise InvalidDefinition(
                    f"the dead letters of {name!r} go to {to!r}, but there is no such queue; "
                    f"there are: {known}"
                )
            if to.endswith(FIFO) != name.endswith(FIFO):
                raise InvalidDefinition(
                    f"the dead letters of {name!r} cannot go to {to!r}: those of a FIFO queue go "
                    "to a FIFO queue, those of a standard queue to a standard one"
                )

    @cached_property
    def settings(self) -> dict[str, QueueSettings]:
        """What the machine goes by, for each queue."""
        weak = not self.fifo
        return {
            name: one.settings(fifo=name.endswith(FIFO), as_standard=weak)
            for name, one in self.queues.items()
        }

    def open(self, world: World) -> OpenSQS:
        """Return these queues, empty, for one run."""
        return OpenSQS(self, world)


Draft = tuple[Message, str | None, str | None, int | None, str]
"""A message to be sent: its group, deduplication id and delay; and the message in hand."""


class OpenSQS(Desk):
    """The queues during one run, as services use them."""

    text_only = True
    """A body is a text: what is no text is sent in base64."""

    # ---- sending

    def publisher(self) -> Callable[..., Any]:
        """Return what sends messages. Requests do not wait for each other. See `publish`."""
        return Publish(self.publish)

    def publish(
        self,
        topic: str,
        value: Any,
        *,
        key: str | bytes | None = None,
        headers: Names[str, Any] | None = None,
        group: str | None = None,
        deduplication: str | None = None,
        delay_ms: int | None = None,
        **unknown: Any,
    ) -> Any:
        """Send a message to the queue `topic`, and wait for the answer.

        In an `async` handler, await it.

        Args:
            topic: Name of a queue.
            value: Payload.
            key: Correlates the message with its workload item; SQS does not see it.
            headers: Message attributes.
            group: MessageGroupId; on a FIFO queue by default the key.
            deduplication: MessageDeduplicationId (FIFO): the same within 5 minutes is accepted,
                and not delivered.
            delay_ms: How long it is hidden at first (standard): 0 to 15 minutes.

        Raises:
            AWSError: SQS refuses: a FIFO message without a group, one that is too long.
            UnserialisablePayload: The value has no JSON form.
            TimeoutError: No answer: it may have been stored.
            ConnectionError: Refused for now: it was not stored.
        """
        if unknown:
            refuse_words(self.publish, self.name, unknown)
        world = self.world
        scope = current_scope("publish", world)
        way = self.ways.get(topic)
        if way is None:
            self.check((topic,), scope.place)
        assert way is not None
        body = encode(value, topic)
        name, entity = None, scope.entity
        if key is not None:
            name = key_of(key, topic)
            entity = world.entity_for(name, entity)
        action, surface, fifo = way
        if fifo and group is None:
            group = name
        if delay_ms:
            world.know_duration(delay_ms)
        operation = scope.place + action
        message = Message(topic, name, headers or NO_HEADERS, body, entity, scope.hops + 1)
        draft = (message, group, deduplication, delay_ms, scope.message)
        return operate_for(scope, entity, operation, self._store, draft, self, surface)

    def _store(self, scope: Scope, operation: str, attempt: int, draft: Draft) -> None:
        """Send a message at a site where a fault may have changed what is sent."""
        message, group, deduplication, delay_ms, in_hand = draft
        body, headers = message.body, message.headers
        name = self.world.publications.name
        message.name = name(operation, message.entity, in_hand, body)
        again = bool(scope.struck) and self._spoiled(scope, message, group)
        topic, text = message.topic, body or b""
        size = len(text) + (_size(headers) if headers else 0)
        send = op.Send(topic, text, message, size, group, deduplication, delay_ms)
        answer = self.do(send, scope, operation, attempt)
        if type(answer) is not op.Sent:
            answered(operation, answer)
        if again:
            one = copied(message)
            one.name = name(operation, message.entity, in_hand, body)
            send = op.Send(topic, text, one, size, group, deduplication, delay_ms)
            answered(operation, self.do(send, scope, operation, attempt))

    def _spoiled(self, scope: Scope, message: Message, group: str | None) -> bool:
        """Suffer what changes what is sent; say whether it is sent twice."""
        again = False
        for fault in scope.struck:
            if isinstance(fault, Poison):
                self._poison(scope, message, group, fault)
            elif isinstance(fault, Duplicate):
                again = True
        return again

    def _poison(self, scope: Scope, message: Message, group: str | None, fault: Poison) -> None:
        """Send what nobody can read just ahead of another."""
        body = POISON[fault.content]
        poison = Message(message.topic, None, NO_HEADERS, body, 0, message.hops)
        poison.name = self.world.publications.poison_at(message.name)
        own, scope.entity = scope.entity, 0
        unique = f"poison-{len(self.world.raw)}" if message.topic.endswith(FIFO) else None
        self.do(op.Send(message.topic, body, poison, len(body), group, unique), scope)
        scope.entity = own

    # ---- consuming

    def consume(self, intake: Intake, queue: str, *, service: str, **options: Any) -> None:
        """Have a handler called per message: see `Subscription` for the options."""
        self.check((queue,), intake.place)
        try:
            if isinstance(intake.handler, Lambda):
                if options:
                    raise ValueError(f"give {', '.join(options)} to Lambda(...), not to consume")
                Mapping(self, intake, queue, service).begin()
                return
            if _takes_an_event(intake.handler):
                raise ValueError(
                    "a function of Lambda, handler(event, context), is given as Lambda(handler)"
                )
            check_options(options, OPTIONS)
            subscription = Subscription(
                desk=self, intake=intake, queue=queue, service=service, **options
            )
        except (TypeError, ValueError) as error:
            raise wired_wrongly(intake.place, repr(queue), error) from None
        subscription.begin()

    def consumer(
        self,
        incarnation: Incarnation,
        queues: tuple[str, ...],
        decode: Decode,
        *,
        service: str,
        **options: Any,
    ) -> Any:
        """Return a consumer for a main loop: see `Consumer` for the options."""
        self.check(queues, service)
        if len(queues) != 1:
            names = ", ".join(queues)
            raise InvalidDefinition(
                f"{service} consumes {names}: one consumer receives from one queue"
            )
        try:
            check_options(options, LOOP_OPTIONS)
            return Consumer(self, incarnation, queues[0], decode, service=service, **options)
        except (TypeError, ValueError) as error:
            raise wired_wrongly(service, repr(queues[0]), error) from None


def _takes_an_event(handler: Callable[..., Any]) -> bool:
    """Say whether a handler is written for Lambda, by the names that everybody gives there."""
    if type(handler) is FunctionType and not handler.__dict__:  # nothing wraps it
        code = handler.__code__
        count = code.co_argcount + code.co_kwonlyargcount
        starred = code.co_flags & (CO_VARARGS | CO_VARKEYWORDS)
        return not starred and code.co_varnames[:count] == ("event", "context")
    try:
        return [*inspect.signature(handler).parameters] == ["event", "context"]
    except (TypeError, ValueError):
        return False


def _size(headers: Names[str, Any]) -> int:
    """Return the bytes of message attributes: their names, types and values."""
    texts: Iterable[Any] = (text for pair in headers.items() for text in (*pair, "String"))
    return sum(len(str(text).encode()) for text in texts)
