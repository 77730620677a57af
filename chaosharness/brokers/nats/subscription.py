"""A handler that is called with each message of a consumer, by the client's loop of pulls."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, Literal, get_args

import attrs

from chaosharness.brokers.intake import Intake
from chaosharness.brokers.message import Message
from chaosharness.brokers.nats.desk import Desk, Held
from chaosharness.brokers.nats.settling import put_aside, settle
from chaosharness.brokers.settling import ahead
from chaosharness.brokers.trouble import ON_ERROR, Policy, one_of, policy_of
from chaosharness.brokers.turns import Turns, slots_of
from chaosharness.kernel.scope import Scope
from chaosharness.machines.nats import ConsumerSettings
from chaosharness.machines.nats import operations as op
from chaosharness.machines.nats.settings import UNLIMITED, at_least

Acknowledge = Literal["after", "before"]
ACKNOWLEDGE: Final = get_args(Acknowledge)
OnError = Literal["retry", "nak", "skip", "term", "dead-letter", "crash"]
CHOICES: Final = (*ON_ERROR, "nak", "term")
OPTIONS: Final = (
    "acknowledge",
    "backoff_ms",
    "batch",
    "concurrency",
    "deliver",
    "on_error",
    "on_unreadable",
    "ordered",
    "retries_max",
)


def check_dead_letters(subject: str | None, **given: str | None) -> None:
    """Refuse `dead-letter` where a consumer has nowhere to put messages aside.

    Raises:
        ValueError: It has no subject for them.
    """
    for option, word in given.items():
        if word == "dead-letter" and subject is None:
            raise ValueError(
                f"{option}='dead-letter' needs a subject for what is put aside: declare it as "
                f"NATSConsumer(dead_subject='aside'). JetStream itself has no dead letters"
            )


@attrs.define(kw_only=True, eq=False, on_setattr=attrs.setters.NO_OP)
class Subscription:
    """A handler that is called with each message of a consumer.

    Args:
        batch: Messages per pull. AckWait runs for all of them from when they are handed out, also
            for those that wait for their turn here.
        acknowledge: `after`: a message is acknowledged when the handler has returned (at least
            once). `before`: before it is called (at most once). Where the consumer has
            `ack="none"` it is at most once, whatever this says; where it has `ack="all"` all
            messages before it are acknowledged with it, those that are still handled too.
        on_error: What an exception of the handler leads to. `retry`: it is left alone, and comes
            again after AckWait, until `deliver_max`. `nak`: it is given back, at once or after
            `backoff_ms`. `skip`: it is acknowledged. `term`: it is never handed out again.
            `dead-letter`: once it was handed out `retries_max` times it is published to the
            `dead_subject` of its consumer, and acknowledged; before, as `nak`. `crash`: the
            process dies.
        retries_max: See `dead-letter`. The server counts, so a restart forgets nothing.
        on_unreadable: The same for a payload that cannot be decoded, where `dead-letter` does
            it at once; by default what `on_error` says.
        backoff_ms: How long a message that is given back stays away.
        concurrency: Messages handled at a time: 1 in plain code; in `async` code by default
            the whole batch.
    """

    desk: Desk
    intake: Intake
    source: str
    service: str
    dead_subject: str | None = None
    made: ConsumerSettings | None = None
    deliver_max: int = UNLIMITED
    batch: int = attrs.field(default=1, validator=at_least(1))
    acknowledge: Acknowledge = "after"
    on_error: OnError = "retry"
    retries_max: int = 3
    on_unreadable: OnError | None = None
    backoff_ms: int | None = attrs.field(default=None, validator=at_least(0, or_none=True))
    concurrency: int | None = attrs.field(default=None, validator=at_least(1, or_none=True))
    _policy: Policy = attrs.field(init=False)
    _puller: Any = attrs.field(init=False)
    _turns: Turns[Held] = attrs.field(init=False)
    _none: bool = attrs.field(init=False)
    _acks: bool = attrs.field(init=False)
    _site: str = attrs.field(init=False)
    _ack_site: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        one_of(ACKNOWLEDGE, acknowledge=self.acknowledge)
        self._policy = policy_of(self.on_error, self.retries_max, self.on_unreadable, CHOICES)
        subject = self.dead_subject
        check_dead_letters(subject, on_error=self.on_error, on_unreadable=self.on_unreadable)
        self._none = self.made is not None or not self.desk.takes_acks(self.source)
        self._acks = not self._none and self.acknowledge == "after"
        self._site = f"{self.intake.place}/{self.desk.name}."
        self._ack_site = f"{self._site}ack"
        self._turns = Turns(
            self.intake.incarnation,
            slots_of(self.intake, self.concurrency, self.batch),
            handle=self._handle,
            more=self._ask,
            leave=self._leave,
        )

    def begin(self) -> None:
        """Pull."""
        self.desk.world.know_duration(self.backoff_ms or 0)
        self._puller = self.desk.puller(
            self.intake.incarnation,
            self.source,
            self.service,
            self._turns.take,
            ordered=self.made,
            most=self.batch,
        )
        self._ask()

    def _ask(self) -> None:
        self.desk.lines.ask(self._puller)

    def _leave(self) -> None:
        self.desk.lines.leave(self._puller)

    def _handle(self, held: Held) -> None:
        intake = self.intake
        if self._acks or self._none:
            intake.take(held.message, held.cause, partial(self._ended, held))
            return
        scope, begin = ahead(intake, held, partial(self._ended, held))
        settle(self.desk, scope, self._ack_site, op.Ack(held.handle), held, begin)

    def _ended(
        self, held: Held, message: Message, scope: Scope, error: BaseException | None
    ) -> None:
        """Do what the end of a handler leads to."""
        if error is None:
            if self._acks:
                ack = op.Ack(held.handle)
                settle(self.desk, scope, self._ack_site, ack, held, self._turns.free)
            else:
                self._turns.free()
            return
        word, tries_max = self._policy.at(self.intake, message)
        if word == "crash":
            self.desk.world.crash(scope.incarnation, "next", cause=scope.cause)
        elif not self._acks:
            self._turns.free()
        elif word == "skip":
            self._settle("ack", op.Ack(held.handle), held, scope, self._turns.free)
        elif word == "term":
            term = op.Term(held.handle, type(error).__name__)
            self._settle("term", term, held, scope, self._turns.free)
        else:
            self._failed(held, scope, error, word, tries_max)

    def _failed(
        self, held: Held, scope: Scope, error: BaseException, word: str, tries_max: int
    ) -> None:
        tries = held.handle.times
        if word == "dead-letter" and tries >= tries_max:
            assert self.dead_subject is not None
            put_aside(self.desk, held, self.dead_subject, scope, error)
            self._turns.free()
            return
        if word != "dead-letter" and self.deliver_max == UNLIMITED:
            self.intake.refuse_hopeless(scope, error, tries)
        if word == "retry":
            self._turns.free()
        else:
            nak = op.Nak(held.handle, self.backoff_ms)
            self._settle("nak", nak, held, scope, self._turns.free)

    def _settle(
        self, action: str, operation: Any, held: Held, scope: Scope, then: Callable[[Any], None]
    ) -> None:
        settle(self.desk, scope, f"{self._site}{action}", operation, held, then)
