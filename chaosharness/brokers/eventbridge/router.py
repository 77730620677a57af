"""A bus during one run: events come in, and each attempt at a target is a site."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import attrs

from chaosharness.brokers.eventbridge.rows import FAN_OUT, PUBLISH
from chaosharness.brokers.message import NO_HEADERS, Message, encode, key_of
from chaosharness.brokers.relay import Relay, twin_of
from chaosharness.brokers.sqs.errors import answered
from chaosharness.brokers.sqs.sqs import OpenSQS
from chaosharness.brokers.trouble import refuse_words
from chaosharness.errors import InvalidDefinition
from chaosharness.faults import Duplicate
from chaosharness.handlers.port import Surface, current_scope, operate_for
from chaosharness.kernel.places import asked_at
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.kernel.world import World
from chaosharness.machines.eventbridge import EventBridgeMachine
from chaosharness.machines.eventbridge import machine as op
from chaosharness.machines.machine import Buried, Fact, HandedOut, Refusal, Settled
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


class OpenEventBridge(Relay):
    """The bus during one run, as services use it."""

    refusal = "ThrottlingException"
    where = "the events of {} are in the queues that its rules lead to"
    ended = (op.Delivered, op.Failed)
    machine: EventBridgeMachine

    def __init__(self, definition: Declared, world: World, desk: OpenSQS) -> None:
        super().__init__(definition, world, desk, EventBridgeMachine(definition.bus, EPOCH_MS))
        world.know_duration(definition.timeout_ms)
        for name, rule in definition.rules.items():
            answered(name, _none(self.machine.apply(op.PutRule(name, rule.settings()), 0)))
            for number, target in enumerate(rule.targets, 1):
                put = op.PutTarget(name, str(number), target.settings())
                answered(name, self.machine.apply(put, 0))

    def close(self) -> None:
        """Let go of nothing: what was to be handed on is on the agenda of the run."""

    # ---- publishing

    def publish(
        self,
        detail_type: str,
        detail: Any,
        *,
        key: str | bytes | None = None,
        headers: Mapping[str, Any] | None = None,
        source: str | None = None,
        resources: tuple[str, ...] = (),
        **unknown: Any,
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
        if unknown:
            refuse_words(self.publish, self.name, unknown)
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
                name = names.name(operation, message.entity, in_hand, message.body)
                one = attrs.evolve(asked, message=twin_of(message, name))
            answered(operation, _none(self.do(one, scope, operation, attempt)))

    def _take_note(self, fact: Fact, scope: Scope | None, operation: str, attempt: int) -> None:
        match fact:
            case HandedOut():
                self.world.after(self.latency_ms, self._deliver, fact.receipt)
            case Settled():
                pass  # the queue has it, and says so
            case _:
                self.journal.write(fact, scope, operation, attempt)

    # ---- delivering

    def site(self, attempt: op.Attempt) -> tuple[str, Surface]:
        """Return the operation of an attempt, and what may strike there."""
        return f"{self.name}.{attempt.rule}/deliver to {attempt.target.queue}", FAN_OUT

    def end(self, attempt: op.Attempt, how: op.Delivered | op.Failed) -> None:
        """Say how it went; what is given up is a dead letter, or dropped."""
        self.machine.apply(how, self.world.now)
        for fact in self.machine.take():
            match fact:
                case Buried():
                    self._bury(attempt, fact)
                case HandedOut():
                    self.world.after(self.latency_ms, self._deliver, fact.receipt)
        self._tell()

    def send(self, attempt: op.Attempt) -> Any:
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
        index = self.buried(attempt.message, attempt.target.queue, fact.to, fact.reason)
        if fact.to is None:
            return
        letter = self._letter(attempt, fact.to, index)
        words = op.letter_of(attempt, self.machine.arn(attempt.rule), fact.reason)
        letter.headers = words
        body = letter.body or b""
        self.desk.do(Send(fact.to, body, letter, len(body)))


def _none(answer: Any) -> Refusal | None:
    return answer if isinstance(answer, Refusal) else None
