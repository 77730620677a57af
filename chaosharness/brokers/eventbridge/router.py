"""A bus during one run: events come in, and each attempt at a target is a site."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from functools import partial
from typing import Any, Final, Literal, Protocol

import attrs

from chaosharness.brokers.eventbridge.rows import FAN_OUT, PUBLISH
from chaosharness.brokers.facts import Journal
from chaosharness.brokers.message import NO_HEADERS, Message, encode, key_of
from chaosharness.brokers.sqs.errors import answered
from chaosharness.brokers.sqs.sqs import OpenSQS
from chaosharness.brokers.strikes import struck
from chaosharness.errors import InvalidDefinition
from chaosharness.faults import Delay, Duplicate, ErrorReply
from chaosharness.handlers.port import current_scope, operate_for
from chaosharness.kernel.places import asked_at
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.kernel.world import World
from chaosharness.machines.eventbridge import EventBridgeMachine
from chaosharness.machines.eventbridge import machine as op
from chaosharness.machines.machine import Buried, HandedOut, Refusal, Settled
from chaosharness.machines.sqs.operations import Send


class Declared(Protocol):
    """A bus as it is declared."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def bus(self) -> str:
        """What code under test calls it."""

    @property
    def source(self) -> str:
        """Who sends, where a publish does not say."""

    @property
    def rules(self) -> Mapping[str, Any]:
        """By name."""

    @property
    def latency_ms(self) -> int:
        """From the bus to a queue."""

    @property
    def timeout_ms(self) -> int:
        """How long a caller waits for an answer."""


Draft = tuple[Message, op.PutEvent, str]
"""A message to be published, what the machine is asked for it, and the message in hand."""


class OpenEventBridge:
    """The bus during one run, as services use it."""

    def __init__(self, definition: Declared, world: World, desk: OpenSQS) -> None:
        self.definition = definition
        self.name: Final = definition.name
        self.timeout_ms: Final = definition.timeout_ms
        self.latency_ms = definition.latency_ms
        self.world = world
        self.desk = desk
        self.machine = EventBridgeMachine(definition.bus, EPOCH_MS)
        self.journal = Journal(world, definition.name)
        self._armed_ms: int | None = None
        world.know_duration(definition.timeout_ms)
        for name, rule in definition.rules.items():
            answered(name, _none(self.machine.apply(op.PutRule(name, rule.settings()), 0)))
            for number, target in enumerate(rule.targets, 1):
                put = op.PutTarget(name, str(number), target.settings())
                answered(name, self.machine.apply(put, 0))

    def close(self) -> None:
        """Let go of nothing: what was to be handed on is on the agenda of the run."""

    # ---- as a peer

    def lost(self, operation: str) -> BaseException:
        """Return what a caller sees when no answer comes."""
        return TimeoutError(f"{operation}: no answer from {self.name}")

    def refused(self, operation: str) -> BaseException:
        """Return what a caller sees when EventBridge refuses for now."""
        return ConnectionError(f"{operation}: {self.name} refused (ThrottlingException)")

    def lose_writes(self, scope: Scope) -> None:
        """Lose nothing: an event is kept on several servers before EventBridge answers."""

    def consume(self, intake: Any, source: str, **_: Any) -> None:
        """Refuse to consume from a bus: its events are in the queues that rules lead to."""
        raise self._no_consumers(source)

    def consumer(self, incarnation: Any, sources: tuple[str, ...], decode: Any, **_: Any) -> Any:
        """Refuse to consume from a bus."""
        raise self._no_consumers(sources[0])

    def _no_consumers(self, source: str) -> InvalidDefinition:
        return InvalidDefinition(
            f"{self.name} has no consumers: the events of {source!r} are in the queues that its "
            f"rules lead to; consume from one of {self.desk.name}{asked_at()}"
        )

    # ---- publishing

    def publisher(self) -> Callable[..., Any]:
        """Return what publishes. Requests do not wait for each other. See `publish`."""
        return partial(self.publish)

    def publish(
        self,
        detail_type: str,
        detail: Any,
        *,
        key: str | bytes | None = None,
        headers: Mapping[str, Any] | None = None,
        source: str | None = None,
        resources: tuple[str, ...] = (),
    ) -> Any:
        """Put an event on the bus. That it was taken says nothing about who gets it: maybe nobody.

        In an `async` handler, await it.

        Args:
            detail_type: What happened: `OrderPlaced`.
            detail: What is said of it: an object.
            key: Correlates the event with its workload item; EventBridge does not see it.
            headers: There are none: an event has no attributes beside its parts.
            source: Who says so; by default as the bus says.
            resources: What it is about: ARNs.

        Raises:
            AWSError: EventBridge refuses: the detail is no object, the event is too long.
            UnserialisablePayload: The detail has no JSON form.
            TimeoutError: No answer: it may have been taken.
            ConnectionError: Refused for now: it was not taken.
        """
        if headers:
            raise InvalidDefinition(f"{self.name}: events have no headers{asked_at()}")
        scope = current_scope("publish", self.world)
        body = encode(detail, detail_type)
        name = key_of(key, detail_type)
        entity = scope.entity
        if name is not None:
            entity = self.world.entity_for(name, entity)
        operation = f"{scope.place}/{self.name}.publish {detail_type}"
        message = Message(detail_type, name, NO_HEADERS, body, entity, scope.hops + 1)
        text = body.decode("utf-8", "surrogateescape")
        who = self.definition.source if source is None else source
        asked = op.PutEvent(who, detail_type, text, message, tuple(resources))
        draft = (message, asked, scope.message)
        return operate_for(scope, entity, operation, self._store, draft, self, PUBLISH)

    def _store(self, scope: Scope, operation: str, attempt: int, draft: Draft) -> None:
        message, asked, in_hand = draft
        names = self.world.publications
        message.name = names.name(operation, message.entity, in_hand, message.body)
        answered(operation, op.too_long(op.size_of(asked)))
        copies = 1 + any(isinstance(fault, Duplicate) for fault in scope.struck)
        for nth in range(copies):
            one = asked
            if nth:
                again = copy(message)
                again.name = names.name(operation, message.entity, in_hand, message.body)
                one = attrs.evolve(asked, message=again)
            answered(operation, _none(self.do(one, scope, operation, attempt)))

    def do(self, asked: Any, scope: Scope, operation: str, attempt: int) -> Any:
        """Have the machine do what is asked for; return its answer, or its `Refusal`."""
        answer = self.machine.apply(asked, self.world.now)
        self._tell(scope, operation, attempt)
        return answer

    def _tell(self, scope: Scope | None = None, operation: str = "", attempt: int = 0) -> None:
        """Write down what happened, and set out to deliver what is due."""
        for fact in self.machine.take():
            match fact:
                case HandedOut():
                    self.world.after(self.latency_ms, self._deliver, fact.receipt)
                case Settled():
                    pass  # the queue has it, and says so
                case _:
                    self.journal.write(fact, scope, operation, attempt)
        due = self.machine.due()
        if due is not None and due != self._armed_ms:
            self._armed_ms = due
            self.world.agenda.add(due, self._tick)

    def _tick(self, _: Any) -> None:
        self._armed_ms = None
        self.machine.tick(self.world.now)
        self._tell()

    # ---- delivering

    def _deliver(self, attempt: op.Attempt) -> None:
        """Deliver, at a site where faults may strike."""
        world = self.world
        operation = f"{self.name}.{attempt.rule}/deliver to {attempt.target.queue}"
        message = attempt.message
        nth = world.reach(operation, message.entity, message.name)
        if operation not in world.surfaces:
            world.meet(operation, FAN_OUT)
        due_ms = world.now
        for fault in self._struck(operation, "before", attempt, nth):
            if isinstance(fault, Delay):
                due_ms = max(due_ms, world.due(fault.lasting))
            elif isinstance(fault, ErrorReply):
                self._end(attempt, op.Failed(attempt))
                return
        arriving = (attempt, operation, nth)
        if due_ms > world.now:
            world.until(due_ms, self._arrive, arriving)
        else:
            self._arrive(arriving)

    def _arrive(self, arriving: tuple[op.Attempt, str, int]) -> None:
        attempt, operation, nth = arriving
        answer = self._send(attempt)
        for fault in self._struck(operation, "after", attempt, nth):
            if isinstance(fault, Duplicate):
                self._send(attempt)
        gone = isinstance(answer, Refusal)
        self._end(attempt, op.Failed(attempt, for_good=True) if gone else op.Delivered(attempt))

    def _end(self, attempt: op.Attempt, how: op.Delivered | op.Failed) -> None:
        """Say how it went; what is given up is a dead letter, or dropped."""
        self.machine.apply(how, self.world.now)
        for fact in self.machine.take():
            match fact:
                case Buried():
                    self._bury(attempt, fact)
                case HandedOut():
                    self.world.after(self.latency_ms, self._deliver, fact.receipt)
        self._tell()

    def _send(self, attempt: op.Attempt) -> Any:
        """Have the queue take it, as a message of its own."""
        target = attempt.target
        message = self._letter(attempt, target.queue, attempt.message.published)
        body = message.body or b""
        return self.desk.do(Send(target.queue, body, message, len(body), target.group))

    def _letter(self, attempt: op.Attempt, queue: str, cause: int) -> Message:
        message = attempt.message
        body = attempt.body.encode("utf-8", "surrogateescape")
        made = Message(queue, message.key, NO_HEADERS, body, message.entity, message.hops, cause)
        made.name = message.name
        return made

    def _bury(self, attempt: op.Attempt, fact: Buried) -> None:
        message = attempt.message
        data = {
            "message": message.published,
            "queue": attempt.target.queue,
            "reason": fact.reason,
            "to": [] if fact.to is None else [fact.to],
        }
        index = self.world.record(
            "dead", self.name, entity=message.entity, cause=message.published, data=data
        )
        if fact.to is None:
            return
        letter = self._letter(attempt, fact.to, index)
        words = op.letter_of(attempt, self.machine.arn(attempt.rule), fact.reason)
        letter.headers = words
        body = letter.body or b""
        self.desk.do(Send(fact.to, body, letter, len(body)))

    def _struck(
        self, operation: str, phase: Literal["before", "after"], attempt: op.Attempt, nth: int
    ) -> Iterator[Any]:
        message = attempt.message
        return struck(self.world, self.name, operation, phase, message, nth, message.published)


def _none(answer: Any) -> Refusal | None:
    return answer if isinstance(answer, Refusal) else None
