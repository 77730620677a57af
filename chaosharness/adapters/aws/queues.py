"""SQS as the SDK speaks with it: its actions on the queues of a system.

Source:
    Amazon SQS API Reference; answers recorded from AWS, which the machine is held against.

Not modelled:
    What the machine's `wire.py` names (permissions, encryption); a message that somebody
    else sends and nobody can read (`Poison`), at a send of the SDK; `ReceiveRequestAttemptId` of a
    receive that is repeated; messages that AWS still hands to a long poll after its client has
    given up (`read_timeout` below `WaitTimeSeconds`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from chaosharness.adapters.aws.answers import Said, Unheard, refusal
from chaosharness.adapters.aws.asking import Line, Request
from chaosharness.adapters.aws.entries import failing, with_failed, without
from chaosharness.adapters.aws.received import Received
from chaosharness.brokers.arrivals import Arrivals, begin_wait
from chaosharness.brokers.message import Message, Text
from chaosharness.brokers.sqs.desk import Desk, Held, Poller, poller_for
from chaosharness.brokers.sqs.rows import SURFACES
from chaosharness.brokers.sqs.sqs import FIFO, OpenSQS
from chaosharness.faults import ErrorReply
from chaosharness.handlers.attribution import adopt
from chaosharness.handlers.legality import At
from chaosharness.handlers.port import (
    Nap,
    Surface,
    cut,
    refused,
    strikes,
    trouble,
    wait_of,
)
from chaosharness.handlers.recall import of_stack
from chaosharness.handlers.script import Script
from chaosharness.kernel.places import is_own
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.machines.machine import Refusal
from chaosharness.machines.sns.machine import text_of, type_of
from chaosharness.machines.sqs import operations as op
from chaosharness.machines.sqs import refusals
from chaosharness.machines.sqs.attributes import name_of
from chaosharness.machines.sqs.settings import BATCH_MAX
from chaosharness.machines.sqs.wire import ACTIONS, SqsWire, answer_of

BATCHES: Final = ("SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch")
QUERY_CODES: Final = {
    "AWS.SimpleQueueService.NonExistentQueue": "QueueDoesNotExist",
    "QueueAlreadyExists": "QueueNameExists",
    "AWS.SimpleQueueService.QueueDeletedRecently": "QueueDeletedRecently",
    "AWS.SimpleQueueService.EmptyBatchRequest": "EmptyBatchRequest",
    "AWS.SimpleQueueService.PurgeQueueInProgress": "PurgeQueueInProgress",
    "AWS.SimpleQueueService.BatchRequestTooLong": "BatchRequestTooLong",
    "AWS.SimpleQueueService.TooManyEntriesInBatchRequest": "TooManyEntriesInBatchRequest",
    "AWS.SimpleQueueService.InvalidBatchEntryId": "InvalidBatchEntryId",
    "AWS.SimpleQueueService.BatchEntryIdsNotDistinct": "BatchEntryIdsNotDistinct",
}
"""The exception of a client (`client.exceptions.QueueDoesNotExist`), where its name is another."""


class Queues:
    """The queues of a run, as the SDK sees them."""

    def __init__(self, desk: OpenSQS) -> None:
        self.name = desk.name
        self.desk = desk
        self._acting = Acting(desk)
        weak = not desk.definition.fifo
        self._wire = SqsWire(self._acting, EPOCH_MS, as_standard=weak)  # type: ignore[arg-type]
        for queue in desk.profiles:
            self._wire.know(queue)
        self._pollers: dict[tuple[Scope, str], tuple[Poller, Arrivals[Held]]] = {}

    def knows(self, action: str) -> bool:
        """Say whether an action is modelled."""
        return action in ACTIONS

    def about(self, request: Request) -> str:
        """Return the queue that a request is about."""
        given = request.given
        for name in ("QueueUrl", "QueueName", "SourceArn"):
            if name in given:
                return name_of(given[name])
        return ""

    def refused(self, request: Request) -> Said:
        """Return what SQS says where it does nothing for now: of FIFO queues, that it is too much.

        Those have a quota of requests a second, and standard ones have none.
        """
        if self.about(request).endswith(FIFO):
            words = {"Code": "RequestThrottled", "Message": "Request is throttled."}
            return Said(403, words | {"Type": "Sender"})
        words = {"Code": "ServiceUnavailable", "Message": "Service is temporarily unavailable."}
        return Said(503, words | {"Type": "Receiver"})

    def do(self, request: Request, scope: Scope, operation: str, attempt: int) -> dict[str, Any]:
        """Do what is asked for.

        Raises:
            Said: SQS refuses.
        """
        desk, acting = self.desk, self._acting
        acting.scope, acting.operation, acting.attempt = scope, operation, attempt
        given, failed = request.given, set[int]()
        if request.action in BATCHES and given["Entries"]:
            queue = self.about(request)
            surface = self._surface(queue, "entry of a batch")
            failed = failing(self.name, queue, request, scope, given["Entries"], surface)
            given = without(request, "Entries", failed) if failed else given
        answer: dict[str, Any] | Refusal = {}
        if not failed or given["Entries"]:
            answer = self._wire.call(request.action, given, desk.world.now)
        if isinstance(answer, Refusal):
            raise refusal(answer, QUERY_CODES.get(answer.code, ""))
        for queue in desk.machine.queues.keys() - desk.profiles.keys():
            desk.opened(queue)
        desk.settle()
        return with_failed(answer, request.given["Entries"], failed) if failed else answer

    # ---- receiving

    def waits(self, request: Request) -> Callable[[Scope, Line], Any] | None:
        """Return what receives."""
        if request.action != "ReceiveMessage":
            return None

        def receive(scope: Scope, line: Line) -> Any:
            frame = sys._getframe(1)
            while frame.f_back is not None and not is_own(frame):
                frame = frame.f_back
            script = self._receive(scope, line, request, frame)
            return scope.colour.drive(script, scope)

        return receive

    def _surface(self, queue: str, at: At) -> Surface:
        return SURFACES[self.desk.profiles.get(queue, "standard"), at]

    def _receive(self, scope: Scope, line: Line, request: Request, frame: Any) -> Script[Any]:
        desk = self.desk
        world = desk.world
        queue, given = self.about(request), request.given
        begin_wait(scope)
        operation = f"{scope.place}/{desk.name}.receive_message {queue}"
        attempt = world.reach(operation, 0, "")
        if operation not in world.surfaces:
            world.meet(operation, self._surface(queue, "receive"))
        for fault in strikes(scope, operation, "before", attempt):
            if isinstance(fault, ErrorReply):
                yield line.latency_ms
                raise refused(scope, operation, attempt, line)
            yield from trouble(scope, fault, line)
        if cut(scope, line, "out") or cut(scope, line, "back"):
            error = line.lost(operation)
            yield line.timeout_ms
            raise error
        wait_ms = self._wait_ms(queue, given)
        asked = self._asked(queue, given, wait_ms)
        if isinstance(asked, Refusal):
            yield line.latency_ms
            raise refusal(asked, QUERY_CODES.get(asked.code, ""))
        wait_ms = max(wait_ms, desk.latency_ms + 1)  # what is there is found by a short poll too
        lasts_ms = min(wait_ms, line.timeout_ms)
        busy = scope.incarnation in self._acting.held or lasts_ms < wait_ms  # that ends in an error
        nap = wait_of(scope, lasts_ms, of_stack, frame, holds=busy)
        poller, arrivals = self._poller(scope, queue)
        poller.most, poller.visibility_ms = asked.most, asked.visibility_ms
        yield from self._wait(poller, arrivals, lasts_ms, nap)
        if poller.unheard:
            yield max(line.timeout_ms - wait_ms, 1)
            raise Unheard(f"{operation}: the answer is lost", connected=True)
        held = arrivals.all()
        if not held and lasts_ms < wait_ms:
            raise Unheard(f"{operation}: no answer within {lasts_ms / 1000:g} s", connected=True)
        return self._answer(scope, held, given)

    def _wait(
        self, poller: Poller, arrivals: Arrivals[Held], wait_ms: int, nap: Nap
    ) -> Script[None]:
        world = self.desk.world
        world.know_duration(wait_ms)
        world.know_timeout(poller.visibility_ms or 0)
        poller.unheard = False
        poller.lost = self.desk.lines.leave
        yield from arrivals.wait(poller, world.now + wait_ms, nap)

    def _wait_ms(self, queue: str, given: Mapping[str, Any]) -> int:
        seconds = given.get("WaitTimeSeconds")
        if seconds is not None:
            return int(seconds) * 1000
        found = self.desk.machine.queues.get(queue)
        return 0 if found is None else found.settings.wait_ms

    def _asked(self, queue: str, given: Mapping[str, Any], wait_ms: int) -> op.Receive | Refusal:
        """Return what the machine is asked for, or what AWS says of it at once."""
        if queue not in self.desk.machine.queues:
            return refusals.NO_QUEUE
        if not 0 <= wait_ms <= 20_000:
            reason = "Must be >= 0 and <= 20, if provided."
            return refusals.invalid_value(wait_ms // 1000, "WaitTimeSeconds", reason)
        most = given.get("MaxNumberOfMessages", 1)
        if not 1 <= most <= BATCH_MAX:
            reason = "Must be between 1 and 10, if provided."
            return refusals.invalid_value(most, "MaxNumberOfMessages", reason)
        seconds = given.get("VisibilityTimeout")
        if seconds is not None and not 0 <= seconds <= 43_200:
            reason = "Must be >= 0 and <= 43200, if provided."
            return refusals.invalid_value(seconds, "VisibilityTimeout", reason)
        return op.Receive(queue, None, most, None if seconds is None else seconds * 1000)

    def _poller(self, scope: Scope, queue: str) -> tuple[Poller, Arrivals[Held]]:
        """Return who asks a queue for a loop; another one, where two tasks ask at a time."""
        found = self._pollers.get((scope, queue))
        if found is None or found[0].waiting:
            desk = self.desk
            arrivals: Arrivals[Held] = Arrivals(desk.world, desk.lines)
            service = scope.incarnation.service
            found = poller_for(desk, scope.incarnation, queue, service, arrivals.take), arrivals
            self._pollers[scope, queue] = found
        return found

    def _answer(self, scope: Scope, held: list[Held], given: Mapping[str, Any]) -> dict[str, Any]:
        if not held:
            return {}
        acting = self._acting
        for one in held:
            acting.hold(scope, one)

        def go_to(index: int) -> None:
            acting.go_to(scope, held[index])

        go_to(0)
        return {
            "Messages": Received([answer_of(_spelled(one), given, EPOCH_MS) for one in held], go_to)
        }


class Acting:
    """The machine as `SqsWire` asks it: what it does is done by the code of a scope."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._machine = desk.machine
        self.scope: Scope | None = None
        self.operation = ""
        self.attempt = 0
        self.held: dict[Any, dict[op.Handle, Held]] = {}

    @property
    def queues(self) -> Any:
        """All queues."""
        return self._machine.queues

    @property
    def moves(self) -> Any:
        """All tasks that move dead letters back."""
        return self._machine.moves

    def tick(self, now: int) -> None:
        """Let time act; what it does is written down."""
        self._desk.settle()

    def hold(self, scope: Scope, held: Held) -> None:
        """Take note of a message in hand."""
        self.held.setdefault(scope.incarnation, {})[held.received.handle] = held

    def go_to(self, scope: Scope, held: Held) -> None:
        """Act on behalf of a message, if it is not in hand already."""
        message = held.message
        if scope.cause != held.cause or scope.message != message.name:
            adopt(
                scope,
                entity=message.entity,
                message=message.name,
                cause=held.cause,
                hops=message.hops,
            )

    def apply(self, operation: Any, now: int) -> Any:
        """Do what is asked for, for the scope that asks."""
        scope = self.scope
        assert scope is not None
        desk = self._desk
        match operation:
            case op.Send():
                operation = self._named(operation, scope)
            case op.ChangeVisibility():
                desk.world.know_timeout(operation.visibility_ms)
        answer = desk.do(operation, scope, self.operation, self.attempt)
        if isinstance(operation, op.Delete):
            self._deleted(operation, scope, answer)
        elif isinstance(operation, op.ChangeVisibility) and not operation.visibility_ms:
            self._let_go(scope, operation.handle)
        return answer

    def _named(self, send: op.Send, scope: Scope) -> op.Send:
        """Give a message its name, and the item that it belongs to."""
        body = Text(str(send.body).encode("utf-8", "surrogatepass"))
        headers = {name: _plain(one) for name, one in send.attributes.items()}
        message = Message(send.queue, None, headers, body, scope.entity, scope.hops + 1)
        names = self._desk.world.publications
        message.name = names.name(self.operation, scope.entity, scope.message, body)
        self._desk.world.know_duration(send.delay_ms or 0)
        return attrs.evolve(send, message=message)

    def _deleted(self, operation: op.Delete, scope: Scope, answer: Any) -> None:
        held = self._let_go(scope, operation.handle)
        if isinstance(answer, Refusal) and held is not None:
            data = {"message": held.message.published, "error": str(answer)}
            scope.record("nack", self.operation, self.attempt, data)

    def _let_go(self, scope: Scope, handle: op.Handle) -> Held | None:
        mine = self.held.get(scope.incarnation)
        if mine is None:
            return None
        held = mine.pop(handle, None)
        if not mine:
            del self.held[scope.incarnation]
        return held


def _plain(attribute: Mapping[str, Any]) -> Any:
    """Return the value of a message attribute, as handlers of a system see it."""
    return attribute.get("StringValue", attribute.get("BinaryValue"))


def _field_of(value: Any) -> str:
    return "BinaryValue" if isinstance(value, bytes) else "StringValue"


def _written(value: Any) -> Any:
    return value if isinstance(value, bytes) else text_of(value)


def _spelled(held: Held) -> op.Received:
    """Return a message as a receive answers it: with text, and with typed attributes."""
    received = held.received
    body, attributes = received.body, received.attributes
    if isinstance(body, bytes):
        body = body.decode("utf-8", "replace")
    if not attributes and held.message.headers:
        attributes = {
            name: {"DataType": type_of(value), _field_of(value): _written(value)}
            for name, value in held.message.headers.items()
        }
    return attrs.evolve(received, body=body, attributes=attributes)
