"""How Lambda reads a stream: a batch of a shard at a time, again and again until it goes well."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final, Protocol

import attrs

from chaosharness.brokers.dynamodb.event import notice_of
from chaosharness.brokers.dynamodb.rows import DELIVER
from chaosharness.brokers.events import died
from chaosharness.brokers.facts import Journal
from chaosharness.brokers.intake import Intake, check_options
from chaosharness.brokers.message import NO_HEADERS, Message
from chaosharness.brokers.sqs.function import Lambda
from chaosharness.brokers.sqs.sqs import OpenSQS
from chaosharness.brokers.strikes import struck
from chaosharness.faults import Delay
from chaosharness.handlers.stopping import LAMBDA, Unknown
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import World
from chaosharness.machines.dynamodb.stream import (
    KEPT_MS,
    Checkpoint,
    Record,
    StreamMachine,
)
from chaosharness.machines.machine import Buried, HandedOut
from chaosharness.machines.sqs.operations import Send
from chaosharness.machines.sqs.settings import within

PAUSE_MS_MAX: Final = 60_000
FOR_EVER: Final = 10_000

_optional: Final = attrs.validators.optional


@attrs.frozen(kw_only=True)
class Options:
    """What becomes of batches that fail."""

    retries_max: int | None = attrs.field(default=None, validator=_optional(within(0, FOR_EVER)))
    age_ms_max: int | None = attrs.field(
        default=None, validator=_optional(within(60_000, 604_800_000))
    )
    bisect: bool = False
    on_failure: str | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any], desk: OpenSQS | None) -> Options:
        """Return options as they were given to `env.consume`.

        Raises:
            ValueError: One is unknown or out of range, or there is no such queue.
        """
        check_options(given, tuple(one.name for one in attrs.fields(cls)))
        made = cls(**given)
        if made.on_failure is not None and (desk is None or made.on_failure not in desk.profiles):
            known = ", ".join(sorted(desk.profiles)) if desk is not None else "none"
            raise ValueError(
                f"on_failure={made.on_failure!r} is no queue: give the stream queues=...; they "
                f"have: {known}"
            )
        return made


class Stream(Protocol):
    """What a reader needs of the stream in a run."""

    world: World
    machine: StreamMachine
    journal: Journal
    desk: OpenSQS | None
    latency_ms: int

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def table(self) -> str:
        """Whose changes."""

    @property
    def timeout_ms(self) -> int:
        """How long a caller waits for an answer."""

    def lost(self, operation: str) -> BaseException:
        """Return what a caller sees when no answer comes."""

    def refused(self, operation: str) -> BaseException:
        """Return what a caller sees when it is refused for now."""

    def lose_writes(self, scope: Scope) -> None:
        """Lose what was written last."""


@attrs.define(eq=False)
class Shard:
    """How one shard is read.

    Attributes:
        number: Which one.
        busy: Whether a batch of it is under way, or waits for its next try.
        tries: How often what is first in it has failed.
        most: Records of the next batch at most, where one was cut in two; 0 for as many as ever.
    """

    number: int
    busy: bool = False
    tries: int = 0
    most: int = 0


class Environment(Protocol):
    """One execution environment of the function that reads."""

    intake: Intake
    function: Lambda
    shard: Shard | None

    def call(self, shard: Shard) -> None:
        """Call the function with the next batch of a shard."""


class Reader:
    """One function that reads a stream, over all its execution environments."""

    def __init__(self, stream: Stream, place: str, options: Options) -> None:
        self.stream = stream
        self.place = place
        self.options = options
        self.shards = [Shard(number) for number in range(len(stream.machine.shards))]
        self.idle: list[Environment] = []
        self._buried = -1

    def join(self, function: Environment) -> None:
        """Have one more environment."""
        self.idle.append(function)
        function.intake.incarnation.on_death.append(partial(self.leave, function))
        Unknown(function.intake.incarnation, LAMBDA)
        self.look()

    def leave(self, function: Environment) -> None:
        """Have one less: what it was at is tried again, by another."""
        if function in self.idle:
            self.idle.remove(function)
        shard = function.shard
        if shard is not None:
            function.shard = None
            self.again(shard)

    def look(self) -> None:
        """Have idle environments called with what there is."""
        world = self.stream.world
        for shard in self.shards:
            if shard.busy or not self.stream.machine.left(self.place, shard.number):
                continue
            shard.busy = True
            world.after(self.stream.latency_ms, self._begin, shard)

    def _begin(self, shard: Shard) -> None:
        """Read a batch, and call an environment with it, if one is idle; else as soon as one is."""
        if not self.idle:
            shard.busy = False
            return
        function = self.idle[0]
        window_ms = function.function.window_ms
        left = self.stream.machine.left(self.place, shard.number)
        full = len(left) >= function.function.batch
        world = self.stream.world
        if window_ms and not full and left and not shard.tries:
            due_ms = left[0].at_ms + self.stream.latency_ms + window_ms
            if due_ms > world.now:
                world.agenda.add(due_ms, self._begin, shard)
                return
        late_ms = self._late(shard, left[: shard.most or function.function.batch])
        if late_ms > world.now:
            world.until(late_ms, self._begin, shard)
            return
        self.idle.remove(function)
        function.call(shard)

    def _late(self, shard: Shard, records: list[Record]) -> int:
        """Let the faults before a delivery strike; return when the shard goes on."""
        stream = self.stream
        world = stream.world
        operation = self.operation
        if operation not in world.surfaces:
            world.meet(operation, DELIVER)
        due_ms = world.now
        for record in records if operation in world.armed else ():
            message = record.message
            attempt = world.reach(operation, message.entity, message.name)
            for fault in struck(
                world, stream.name, operation, "before", message, attempt, message.published
            ):
                if isinstance(fault, Delay):
                    due_ms = max(due_ms, world.due(fault.lasting))
        return due_ms

    @property
    def operation(self) -> str:
        """Of the site of a delivery."""
        return f"{self.stream.name}.{self.stream.table}/deliver to {self.place.partition('.')[0]}"

    def again(self, shard: Shard) -> None:
        """Have a batch tried again after a pause, or give it up."""
        shard.tries += 1
        world = self.stream.world
        left = self.stream.machine.left(self.place, shard.number)
        if left and self._is_over(shard, left[0]):
            self.give_up(shard)
            return
        pause_ms = min(1_000 << min(shard.tries - 1, 20), PAUSE_MS_MAX)
        world.agenda.add(world.now + pause_ms, self._begin, shard)

    def _is_over(self, shard: Shard, first: Record) -> bool:
        options = self.options
        if options.retries_max is not None and shard.tries > options.retries_max:
            return True
        age_ms = self.stream.world.now - first.at_ms
        return age_ms >= min(options.age_ms_max or KEPT_MS, KEPT_MS)

    def give_up(self, shard: Shard) -> None:
        """Go on behind a batch that failed too often; somebody may be told where it was."""
        stream = self.stream
        left = stream.machine.left(self.place, shard.number)
        batch = left[: shard.most or len(left)]
        batch = [one for one in batch if one.times.get(self.place)]
        to = self.options.on_failure
        over = "retries are over"
        done = Checkpoint(self.place, shard.number, batch[-1].number, given_up=over, to=to)
        self.apply(done, None, "", 0)
        if to is not None and stream.desk is not None:
            last = batch[-1].message
            body = notice_of(batch, stream.table)
            letter = Message(to, None, NO_HEADERS, body, last.entity, last.hops, self._buried)
            letter.name = last.name
            stream.desk.do(Send(to, body, letter, len(body)))
        shard.busy, shard.tries, shard.most = False, 0, 0
        self.look()

    def done(self, shard: Shard) -> None:
        """Go on behind a batch that went well."""
        shard.busy, shard.tries, shard.most = False, 0, 0
        self.look()

    def apply(self, operation: Any, scope: Scope | None, site: str, attempt: int) -> dict[int, int]:
        """Have the machine do something, and write it down; return what was handed out."""
        stream = self.stream
        stream.machine.apply(operation, stream.world.now)
        found: dict[int, int] = {}
        for fact in stream.machine.take():
            if isinstance(fact, Buried):
                self._bury(fact)
            elif isinstance(fact, HandedOut):
                message = fact.message
                reached = stream.world.reach(self.operation, message.entity, message.name)
                found[fact.receipt.number] = stream.journal.write(
                    fact, None, self.operation, reached
                )
            else:
                stream.journal.write(fact, scope, site, attempt)
        return found

    def _bury(self, fact: Buried) -> None:
        message, stream = fact.message, self.stream
        to = () if fact.to is None else (fact.to,)
        self._buried = died(stream.world, stream.name, message, fact.place, fact.reason, to)
