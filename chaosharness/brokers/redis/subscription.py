"""A handler that is called with each entry of a stream, as a worker's framework would do it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, Literal, get_args

import attrs

from chaosharness.brokers.events import set_aside
from chaosharness.brokers.intake import Intake
from chaosharness.brokers.message import Message, copied
from chaosharness.brokers.redis.desk import Desk, Held
from chaosharness.brokers.redis.reading import Start, ack, reader_for
from chaosharness.brokers.redis.rows import SURFACES
from chaosharness.brokers.settling import ahead, carefully
from chaosharness.brokers.trouble import Policy, one_of, policy_of
from chaosharness.brokers.turns import Turns
from chaosharness.handlers.script import drive_in_kernel
from chaosharness.kernel.scope import Scope
from chaosharness.machines.redis import operations as op

Acknowledge = Literal["after", "before"]
ACKNOWLEDGE: Final = get_args(Acknowledge)
OnError = Literal["retry", "skip", "dead-letter", "crash"]
UNHEARD: Final = "no answer to XACK"
OPTIONS: Final = (
    "acknowledge",
    "claim_ms",
    "count",
    "dead_letter",
    "group",
    "history",
    "name",
    "no_ack",
    "on_error",
    "on_unreadable",
    "retries_max",
    "start",
)


def _whole(least: int) -> Any:
    def check(_: Any, attribute: Any, value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{attribute.name} must be a whole number from {least}, not {value!r}")

    return check


@attrs.define(kw_only=True, eq=False, on_setattr=attrs.setters.NO_OP)
class Subscription:
    """A handler that is called with each entry of a stream, one after the other.

    Args:
        group: By default the name of the service.
        name: The consumer's; what is pending is so for this name.
        start: What a new group begins with: `0`, all that is there, or `$`, only what is new.
        count: Entries per read. All of them are pending from that moment on.
        no_ack: NOACK: nothing is ever pending. Whoever dies with an entry in hand loses it.
        history: Whether it begins with what is pending for its name from before (`XREADGROUP`
            from 0). False: it reads `>` only, as most examples do.
        claim_ms: From which idle time on it claims what is pending for anybody (XAUTOCLAIM), itself
            included; None: never.
        acknowledge: `after`: when the handler has returned. `before`: before it is called.
        on_error: What an exception of the handler leads to. `retry`: it stays pending, until it is
            claimed, or read by this name after a restart. `skip`: it is acknowledged.
            `dead-letter`: once it was handed out `retries_max` times it is added to `dead_letter`,
            and acknowledged; it needs `claim_ms`, or `retries_max=1`. `crash`: the process dies.
        retries_max: See `dead-letter`. Redis counts, so a restart forgets nothing.
        on_unreadable: The same for a payload that cannot be decoded, where `dead-letter` does it
            at once; by default what `on_error` says.
        dead_letter: The stream for what is put aside.
    """

    desk: Desk
    intake: Intake
    stream: str
    service: str
    group: str | None = None
    name: str | None = None
    start: Start = "0"
    count: int = attrs.field(default=10, validator=_whole(1))
    no_ack: bool = False
    history: bool = True
    claim_ms: int | None = attrs.field(default=None, validator=attrs.validators.optional(_whole(0)))
    acknowledge: Acknowledge = "after"
    on_error: OnError = "retry"
    retries_max: int = 3
    on_unreadable: OnError | None = None
    dead_letter: str | None = None
    _policy: Policy = attrs.field(init=False)
    _reader: Any = attrs.field(init=False)
    _turns: Turns[Held] = attrs.field(init=False)
    _operation: str = attrs.field(init=False)
    _after: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        one_of(ACKNOWLEDGE, acknowledge=self.acknowledge)
        self._policy = policy_of(self.on_error, self.retries_max, self.on_unreadable)
        aside = "dead-letter" in (self.on_error, self.on_unreadable)
        if aside and self.dead_letter is None:
            raise ValueError(
                "'dead-letter' needs dead_letter='a stream': Redis has no dead letters of its own"
            )
        if self.on_error == "dead-letter" and self.retries_max > 1 and self.claim_ms is None:
            raise ValueError(
                "on_error='dead-letter' waits for an entry to be handed out again, and a stream "
                "hands out nothing again by itself: say claim_ms=30_000, or retries_max=1"
            )
        self._turns = Turns(
            self.intake.incarnation, 1, handle=self._handle, more=self._ask, leave=self._leave
        )
        self._after = self.acknowledge == "after"
        self._operation = f"{self.intake.place}/{self.desk.name}.ack"
        self._reader = reader_for(
            self.desk,
            self.intake.incarnation,
            self.stream,
            self.service,
            self._turns.take,
            group=self.group,
            name=self.name,
            start=self.start,
        )

    def begin(self) -> None:
        """Ask for entries."""
        reader = self._reader
        reader.count = self.count
        reader.no_ack = self.no_ack
        reader.claim_ms = self.claim_ms
        reader.history = "0" if self.history and not self.no_ack else None
        self.desk.world.know_timeout(self.claim_ms or 0)
        self._ask()

    def _ask(self) -> None:
        self.desk.lines.ask(self._reader)

    def _leave(self) -> None:
        self.desk.lines.leave(self._reader)

    def _handle(self, held: Held) -> None:
        intake = self.intake
        if self._after:
            intake.take(held.message, held.cause, partial(self._ended, held))
            return
        scope, begin = ahead(intake, held, partial(self._ended, held))
        self._ack(held, scope, begin)

    def _ended(
        self, held: Held, message: Message, scope: Scope, error: BaseException | None
    ) -> None:
        """Do what the end of a handler leads to."""
        if error is None:
            if self._after and not self.no_ack:
                self._ack(held, scope, self._turns.free)
            else:
                self._turns.free()
            return
        word, tries_max = self._policy.at(self.intake, message)
        if word == "crash":
            self.desk.world.crash(scope.incarnation, "next", cause=scope.cause)
        elif self.acknowledge == "before" or self.no_ack:
            self._turns.free()
        elif word == "skip":
            self._ack(held, scope, self._turns.free)
        elif word == "dead-letter" and held.times >= tries_max:
            self._put_aside(held, scope, error)
            self._turns.free()
        else:
            if self.claim_ms is not None and word == "retry":
                self.intake.refuse_hopeless(scope, error, held.times)
            self._turns.free()

    def _put_aside(self, held: Held, scope: Scope, error: BaseException) -> None:
        """Add an entry to the dead letters, and acknowledge it."""
        to = self.dead_letter
        assert to is not None
        message = held.message
        set_aside(scope, message, to, error)
        letter = copied(message)
        letter.topic = to
        self.desk.do(op.Add(to, letter.body, message=letter), scope)
        self.desk.do(op.Ack(self.stream, self._reader.place[1], (held.id,)), scope)

    # ---- acknowledging

    def _ack(self, held: Held, scope: Scope, then: Callable[[bool], None]) -> None:
        """Acknowledge an entry; then call `then(whether Redis did it)`."""
        if self.no_ack:
            then(True)
            return
        desk, operation = self.desk, self._operation
        world = desk.world
        key = (operation, scope.entity, scope.message)
        world.counts[key] = attempt = world.counts.get(key, 0) + 1
        if operation not in world.surfaces:
            world.meet(operation, SURFACES[desk.profile, "acknowledge"])
        if operation in world.armed or world.unreachable:
            do = partial(ack, desk, self._reader, held, scope, operation, attempt)
            message = held.message
            script = carefully(desk, scope, operation, attempt, message, UNHEARD, do)
            drive_in_kernel(script, world, then)
        else:
            then(ack(desk, self._reader, held, scope, operation, attempt))
