"""How services consume from SQS: a handler called per message, or their own loop."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Literal, get_args

import attrs

from chaosharness.brokers.arrivals import Arrivals, begin_wait, on_behalf_of, unread
from chaosharness.brokers.batch import Batch
from chaosharness.brokers.events import not_settled
from chaosharness.brokers.intake import Intake
from chaosharness.brokers.message import Decode, Delivery, Message
from chaosharness.brokers.settling import ahead, carefully
from chaosharness.brokers.sqs.desk import Desk, Held, poller_for
from chaosharness.brokers.sqs.errors import answered
from chaosharness.brokers.sqs.rows import SURFACES
from chaosharness.brokers.trouble import Policy, one_of, policy_of
from chaosharness.brokers.turns import Turns, slots_of
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.port import Nap, current_scope, operate, refuse_stranger, wait_of
from chaosharness.handlers.recall import of_stack
from chaosharness.handlers.script import Script, drive_in_kernel
from chaosharness.kernel.scope import SCOPE, Incarnation, Scope
from chaosharness.machines.machine import Refusal
from chaosharness.machines.sqs import operations as op
from chaosharness.machines.sqs.settings import BATCH_MAX, VISIBILITY_MS_MAX, WAIT_MS_MAX, within

Acknowledge = Literal["after", "before"]
ACKNOWLEDGE: Final = get_args(Acknowledge)
OnError = Literal["retry", "skip", "dead-letter", "crash"]
OnUnreadable = Literal["raise", "skip", "dead-letter"]
ON_UNREADABLE: Final = get_args(OnUnreadable)
OPTIONS: Final = (
    "acknowledge",
    "backoff_ms",
    "batch",
    "concurrency",
    "on_error",
    "on_unreadable",
    "retries_max",
    "visibility_ms",
)
LOOP_OPTIONS: Final = ("on_unreadable",)
SECOND_MS: Final = 1_000
UNHEARD: Final = "no answer to the delete"

_optional: Final = attrs.validators.optional


def check_dead_letters(desk: Desk, queue: str, **given: str | None) -> None:
    """Refuse `dead-letter` where a queue has nowhere to put dead letters.

    Raises:
        ValueError: It has no dead-letter queue.
    """
    for option, word in given.items():
        if word == "dead-letter" and desk.machine.queues[queue].settings.dead_letter is None:
            raise ValueError(
                f"{option}='dead-letter' needs a queue that has dead letters: declare it as "
                f"SQSQueue(dead_letter='aside')"
            )


@attrs.define(kw_only=True, eq=False, on_setattr=attrs.setters.NO_OP)
class Subscription:
    """A handler that is called with each message of a queue.

    Args:
        batch: Messages per receive, 1 to 10. All of them are hidden from the moment of the
            receive, also those that wait for their turn here.
        visibility_ms: For these receives; by default what the queue says.
        acknowledge: `after`: a message is deleted when the handler has returned (at least
            once). `before`: before it is called (at most once).
        on_error: What an exception of the handler leads to. `retry`: it is left alone, and
            comes again when its time is over, until its queue buries it, if it has dead
            letters. `skip`: it is deleted. `dead-letter`: once it was received `retries_max`
            times it is sent to the dead letters of its queue, and deleted. `crash`: the
            process dies.
        retries_max: See `dead-letter`. SQS counts, so a restart forgets nothing.
        on_unreadable: The same for a payload that cannot be decoded, where `dead-letter` does
            it at once; by default what `on_error` says.
        backoff_ms: How long a message that failed stays hidden, by a change of its
            visibility; by default as long as it would have been anyway.
        concurrency: Messages handled at a time: 1 in plain code; in `async` code by default
            the whole batch.
    """

    desk: Desk
    intake: Intake
    queue: str
    service: str
    batch: int = attrs.field(default=1, validator=within(1, BATCH_MAX))
    visibility_ms: int | None = attrs.field(
        default=None, validator=_optional(within(0, VISIBILITY_MS_MAX))
    )
    acknowledge: Acknowledge = "after"
    on_error: OnError = "retry"
    retries_max: int = 3
    on_unreadable: OnError | None = None
    backoff_ms: int | None = attrs.field(
        default=None, validator=_optional(within(0, VISIBILITY_MS_MAX))
    )
    concurrency: int | None = attrs.field(default=None, validator=_optional(within(1, BATCH_MAX)))
    _policy: Policy = attrs.field(init=False)
    _poller: Any = attrs.field(init=False)
    _turns: Turns[Held] = attrs.field(init=False)
    _operation: str = attrs.field(init=False)
    _after: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        one_of(ACKNOWLEDGE, acknowledge=self.acknowledge)
        self._policy = policy_of(self.on_error, self.retries_max, self.on_unreadable)
        check_dead_letters(self.desk, self.queue, on_error=self.on_error)
        check_dead_letters(self.desk, self.queue, on_unreadable=self.on_unreadable)
        self._turns = Turns(
            self.intake.incarnation,
            slots_of(self.intake, self.concurrency, self.batch),
            handle=self._handle,
            more=self._ask,
            leave=self._leave,
        )
        self._after = self.acknowledge == "after"
        self._operation = f"{self.intake.place}/{self.desk.name}.delete"

    def begin(self) -> None:
        """Ask for messages."""
        world = self.desk.world
        world.know_timeout(self.visibility_ms or 0)
        world.know_duration(self.backoff_ms or 0)
        self._poller = poller_for(
            self.desk,
            self.intake.incarnation,
            self.queue,
            self.service,
            self._turns.take,
            most=self.batch,
            visibility_ms=self.visibility_ms,
        )
        self._ask()

    def _ask(self) -> None:
        self.desk.lines.ask(self._poller)

    def _leave(self) -> None:
        self.desk.lines.leave(self._poller)

    def _handle(self, held: Held) -> None:
        intake = self.intake
        if self._after:
            intake.take(held.message, held.cause, partial(self._ended, held))
            return
        scope, begin = ahead(intake, held, partial(self._ended, held))
        self._delete(held, scope, begin)

    def _ended(
        self, held: Held, message: Message, scope: Scope, error: BaseException | None
    ) -> None:
        """Do what the end of a handler leads to."""
        if error is None:
            if self._after:
                self._delete(held, scope, self._turns.free)
            else:
                self._turns.free()
            return
        word, tries_max = self._policy.at(self.intake, message)
        if word == "crash":
            self.desk.world.crash(scope.incarnation, "next", cause=scope.cause)
        elif self.acknowledge == "before":
            self._turns.free()
        elif word == "skip":
            self._delete(held, scope, self._turns.free)
        else:
            self._failed(held, scope, error, word, tries_max)

    def _failed(
        self, held: Held, scope: Scope, error: BaseException, word: str, tries_max: int
    ) -> None:
        desk = self.desk
        tries = held.received.receives
        if word == "dead-letter" and tries >= tries_max:
            desk.dead_letter(held, self.queue, scope, error)
        else:
            if word == "retry" and desk.machine.queues[self.queue].settings.dead_letter is None:
                self.intake.refuse_hopeless(scope, error, tries)
            if self.backoff_ms is not None:
                change = op.ChangeVisibility(self.queue, held.received.handle, self.backoff_ms)
                desk.do(change, scope)
        self._turns.free()

    # ---- deleting

    def _delete(self, held: Held, scope: Scope, then: Callable[[bool], None]) -> None:
        """Delete a message; then call `then(whether SQS did it)`."""
        desk, queue, operation = self.desk, self.queue, self._operation
        world = desk.world
        key = (operation, scope.entity, scope.message)
        world.counts[key] = attempt = world.counts.get(key, 0) + 1
        if operation not in world.surfaces:
            world.meet(operation, SURFACES[desk.profiles[queue], "delete"])
        if operation in world.armed or world.unreachable:
            do = partial(_delete, desk, held, queue, scope, operation, attempt)
            script = carefully(desk, scope, operation, attempt, held.message, UNHEARD, do)
            drive_in_kernel(script, world, then)
        else:
            then(delete(desk, held, queue, scope, operation, attempt) is None)


def delete(
    desk: Desk, held: Held, queue: str, scope: Scope, operation: str, attempt: int
) -> Refusal | None:
    """Have SQS delete a message; a refusal is written down."""
    answer: Refusal | None = desk.do(
        op.Delete(queue, held.received.handle), scope, operation, attempt
    )
    if answer is not None:
        not_settled(scope, operation, attempt, str(answer), held.message.published)
    return answer


def _delete(desk: Desk, held: Held, queue: str, scope: Scope, operation: str, attempt: int) -> bool:
    return delete(desk, held, queue, scope, operation, attempt) is None


class Consumer:
    """A consumer for a service's own main loop.

    In plain code the methods block; in `async` code each is awaited.

    Args:
        on_unreadable: What a payload leads to that cannot be decoded. `raise`: `receive` raises
            what the decoder raised, and the message comes again when its time is over.
            `skip`: it is deleted and left out. `dead-letter`: it is sent to the dead letters of
            its queue, which must have some.
    """

    def __init__(
        self,
        desk: Desk,
        incarnation: Incarnation,
        queue: str,
        decode: Decode,
        *,
        service: str,
        on_unreadable: OnUnreadable = "raise",
    ) -> None:
        one_of(ON_UNREADABLE, on_unreadable=on_unreadable)
        check_dead_letters(desk, queue, on_unreadable=on_unreadable)
        self._desk = desk
        self._queue = queue
        self._decode = decode
        self._on_unreadable = on_unreadable
        self._poller = poller_for(desk, incarnation, queue, service, self._take)
        self._arrivals: Arrivals[Held] = Arrivals(desk.world, desk.lines)
        self._held: set[op.Handle] = set()

    def receive(
        self, most: int = 1, *, wait_s: float = 20.0, visibility_s: float | None = None
    ) -> Any:
        """Return up to `most` deliveries; none if there are none for as long as it waits.

        Iterate over what comes back: the harness then knows on whose behalf code runs.

        Args:
            most: 1 to 10.
            wait_s: 0 to 20: a short poll, or a long one.
            visibility_s: How long they are hidden from others; by default as the queue says.

        Raises:
            InvalidDefinition: A value is out of range.
        """
        if not 1 <= most <= BATCH_MAX or not 0 <= wait_s * SECOND_MS <= WAIT_MS_MAX:
            raise InvalidDefinition(
                f"{self._queue}: receive takes 1 to 10 messages and waits 0 to 20 s, not "
                f"{most!r} and {wait_s!r}"
            )
        desk = self._desk
        scope = current_scope(f"{desk.name}.receive", desk.world)
        wait_ms = max(round(wait_s * SECOND_MS), desk.latency_ms + 1)  # a short poll finds too
        frame = sys._getframe(1)
        nap = wait_of(scope, wait_ms, of_stack, frame, holds=bool(self._held))
        visibility_ms = None if visibility_s is None else round(visibility_s * SECOND_MS)
        script = self._receive(scope, most, wait_ms, visibility_ms, nap)
        return scope.colour.drive(script, scope)

    def _receive(
        self, scope: Scope, most: int, wait_ms: int, visibility_ms: int | None, nap: Nap
    ) -> Script[Batch]:
        desk = self._desk
        world = desk.world
        poller, arrivals = self._poller, self._arrivals
        begin_wait(scope)
        world.know_duration(wait_ms)
        world.know_timeout(visibility_ms or 0)
        poller.most, poller.visibility_ms = most, visibility_ms
        due_ms = world.now + wait_ms
        aside = None if self._on_unreadable == "raise" else partial(self._put_aside, scope)
        while True:
            if not arrivals:
                yield from arrivals.wait(poller, due_ms, nap)
            nothing = not arrivals
            found = arrivals.read(self._decode, scope, aside)
            if found or nothing:
                return Batch(scope, found)

    def _take(self, held: list[Held]) -> None:
        self._held.update(one.received.handle for one in held)
        self._arrivals.take(held)

    def _put_aside(self, scope: Scope, held: Held, error: Exception) -> None:
        """Leave out a message that cannot be read, or put it among the dead letters."""
        desk = self._desk
        aside = unread(scope, held, f"{desk.name}.receive", error)
        if self._on_unreadable == "dead-letter":
            desk.dead_letter(held, self._queue, aside, error)
        else:
            desk.do(op.Delete(self._queue, held.received.handle), aside)

    # ---- settling

    def delete(self, delivery: Delivery) -> Any:
        """Delete a message: it is done.

        Raises:
            AWSError: Its receipt handle has expired (FIFO). On a standard queue nothing is said.
            TimeoutError: No answer; it may have been deleted.
        """
        return self._operate("delete", self._delete, self._held_by(delivery), "loop delete")

    def delete_batch(self, deliveries: Sequence[Delivery]) -> Any:
        """Delete several messages; return those that failed, each of which may fail alone.

        The call itself succeeds: who does not look at what it returns learns nothing.
        """
        desk = self._desk
        held = [self._held_by(one) for one in deliveries]
        scope = current_scope(f"{desk.name}.delete_batch", desk.world)
        script = self._delete_each(scope, list(zip(deliveries, held, strict=True)))
        return scope.colour.drive(script, scope)

    def _delete_each(
        self, scope: Scope, deliveries: list[tuple[Delivery, Held]]
    ) -> Script[list[Delivery]]:
        desk = self._desk
        world = desk.world
        operation = f"{scope.place}/{desk.name}.delete_batch"
        failed: list[Delivery] = []
        own = scope.entity, scope.hops, scope.cause, scope.message
        if operation not in world.surfaces:
            world.meet(operation, SURFACES[desk.profiles[self._queue], "delete"])
        for one, held in deliveries:
            on_behalf_of(scope, held)
            attempt = world.reach(operation, scope.entity, scope.message)

            def do(held: Held = held, attempt: int = attempt) -> bool:
                return delete(desk, held, self._queue, scope, operation, attempt) is None

            done = yield from carefully(
                desk, scope, operation, attempt, held.message, "InternalError", do
            )
            if done:
                self._held.discard(held.received.handle)
            else:
                failed.append(one)
        scope.entity, scope.hops, scope.cause, scope.message = own
        return failed

    def change_visibility(self, delivery: Delivery, seconds: float) -> Any:
        """Hide a message for so long from now on; 0 gives it back at once.

        Raises:
            AWSError: It is not in your hands any more, or the time is out of range.
            TimeoutError: No answer; it may have been done.
        """
        held = self._held_by(delivery)
        argument = (held, round(seconds * SECOND_MS))
        return self._operate("change_visibility", self._change, argument, "change")

    def redrive(self, to: str | None = None, *, per_second_max: int | None = None) -> Any:
        """Have SQS move what lies in this queue of dead letters back: StartMessageMoveTask.

        It goes on by itself, 500 messages a second at most. What is moved is as if it had been
        sent now: with a new id, behind what is there, and received never.

        Args:
            to: The queue; by default each message goes to where it died.
            per_second_max: How many a second.

        Raises:
            AWSError: It is no queue of dead letters, or is being moved already.
            TimeoutError: No answer; it may be moved.
        """
        move = op.StartMove(self._queue, to, per_second_max)
        return self._operate("redrive", self._redrive, move, "redrive")

    def _redrive(self, scope: Scope, operation: str, attempt: int, move: op.StartMove) -> None:
        answer = self._desk.do(move, scope, operation, attempt)
        answered(operation, answer if isinstance(answer, Refusal) else None)

    def _held_by(self, delivery: Delivery) -> Held:
        held = getattr(delivery, "receipt", None)
        if not isinstance(held, Held):
            raise InvalidDefinition(f"{self._queue}: receive() did not give {delivery!r}")
        return held

    def _operate(self, action: str, effect: Any, argument: Any, at: Any) -> Any:
        desk = self._desk
        name = f"{desk.name}.{action}"
        if (scope := SCOPE.get()) is not None and scope.world is not desk.world:
            refuse_stranger(scope, f"{name} of a consumer", None)
        return operate(name, effect, argument, desk, SURFACES[desk.profiles[self._queue], at])

    def _delete(self, scope: Scope, operation: str, attempt: int, held: Held) -> None:
        refusal = delete(self._desk, held, self._queue, scope, operation, attempt)
        self._held.discard(held.received.handle)
        answered(operation, refusal)

    def _change(
        self, scope: Scope, operation: str, attempt: int, argument: tuple[Held, int]
    ) -> None:
        held, visibility_ms = argument
        self._desk.world.know_timeout(visibility_ms)
        change = op.ChangeVisibility(self._queue, held.received.handle, visibility_ms)
        answer = self._desk.do(change, scope, operation, attempt)
        if not visibility_ms:
            self._held.discard(held.received.handle)
        answered(operation, answer)
