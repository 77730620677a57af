"""A consumer for a service's own main loop: XREADGROUP, XACK, XCLAIM and their like, as ports."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Literal, get_args

import attrs

from chaosharness.brokers.arrivals import Arrivals, begin_wait, unread
from chaosharness.brokers.batch import Batch
from chaosharness.brokers.message import Decode, Delivery
from chaosharness.brokers.redis.desk import Desk, Held
from chaosharness.brokers.redis.errors import answered
from chaosharness.brokers.redis.reading import Start, ack, reader_for, text_of
from chaosharness.brokers.redis.rows import SURFACES
from chaosharness.brokers.trouble import one_of
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.clocks import SECONDS, clock_read
from chaosharness.handlers.port import (
    Nap,
    current_scope,
    operate,
    refuse_stranger,
    wait_of,
)
from chaosharness.handlers.recall import of_stack
from chaosharness.handlers.script import Script
from chaosharness.kernel.scope import SCOPE, Incarnation, Scope
from chaosharness.machines.redis import StreamId, ids
from chaosharness.machines.redis import operations as op

OnUnreadable = Literal["raise", "skip"]
LOOP_OPTIONS: Final = ("group", "name", "on_unreadable", "start")
SECOND_MS: Final = 1_000


@attrs.frozen
class Pending:
    """An entry that was handed out and not acknowledged, as XPENDING tells it.

    Attributes:
        id: Where it stands in its stream.
        consumer: The name for which it is pending.
        idle_s: How long ago it was handed out last.
        times: How often it was handed out.
    """

    id: str
    consumer: str
    idle_s: float
    times: int


class Consumer:
    """A consumer of a group, for a service's own main loop.

    In plain code the methods block; in `async` code each is awaited.

    Args:
        group: By default the name of the service.
        name: The consumer's; what is pending is so for this name. By default the service and the
            number of its replica, the same after a restart.
        start: What a new group begins with: `0`, all that is there, or `$`, only what is new.
        on_unreadable: What a payload leads to that cannot be decoded. `raise`: the method that
            handed it out raises what the decoder raised, and it stays pending. `skip`: it is
            acknowledged and left out.
    """

    def __init__(
        self,
        desk: Desk,
        incarnation: Incarnation,
        stream: str,
        decode: Decode,
        *,
        service: str,
        group: str | None = None,
        name: str | None = None,
        start: Start = "0",
        on_unreadable: OnUnreadable = "raise",
    ) -> None:
        one_of(get_args(OnUnreadable), on_unreadable=on_unreadable)
        self._on_unreadable = on_unreadable
        self._desk = desk
        self._stream = stream
        self._decode = decode
        self._reader = reader_for(
            desk, incarnation, stream, service, self._take, group=group, name=name, start=start
        )
        self._arrivals: Arrivals[Held] = Arrivals(desk.world, desk.lines)
        self._held: set[StreamId] = set()

    # ---- reading

    def read(
        self, count: int = 10, *, block_s: float = 5.0, start: str = ">", no_ack: bool = False
    ) -> Any:
        """Return up to `count` deliveries (XREADGROUP); none if there are none for so long.

        Iterate over what comes back: the harness then knows on whose behalf code runs.

        Args:
            count: At most so many.
            block_s: How long to wait for something new. What is pending never waits.
            start: `>`: what nobody of the group was handed yet. An id, such as `0`: what is
                pending for this name, behind that id.
            no_ack: NOACK: it does not become pending.

        Raises:
            InvalidDefinition: A value is out of range.
        """
        if count < 1 or block_s < 0 or (start != ">" and ids.read(start) is None):
            raise InvalidDefinition(
                f"{self._stream}: read takes a count from 1, block_s from 0 and '>' or an id, not "
                f"{count!r}, {block_s!r} and {start!r}"
            )
        desk = self._desk
        scope = current_scope(f"{desk.name}.read", desk.world)
        wait_ms: int | None = None
        nap: Nap | None = None
        if start == ">":  # what is there is found, however short it waits
            wait_ms = max(round(block_s * SECOND_MS), desk.latency_ms + 1)
            nap = wait_of(scope, wait_ms, of_stack, sys._getframe(1), holds=bool(self._held))
        reader = self._reader
        reader.count, reader.no_ack = count, no_ack
        reader.history = None if start == ">" else start
        return scope.colour.drive(self._read(scope, wait_ms, nap), scope)

    def _read(self, scope: Scope, wait_ms: int | None, nap: Nap | None) -> Script[Batch]:
        desk = self._desk
        world = desk.world
        reader, arrivals = self._reader, self._arrivals
        begin_wait(scope)
        if wait_ms is None or nap is None:
            yield desk.latency_ms
            return self._decoded(scope, desk.read_again(reader))
        world.know_duration(wait_ms)
        if not arrivals:
            yield from arrivals.wait(reader, world.now + wait_ms, nap)
        return self._decoded(scope, [])

    def _take(self, held: list[Held]) -> None:
        if not self._reader.no_ack:
            self._held.update(one.id for one in held)
        self._arrivals.take(held)

    def _decoded(self, scope: Scope, held: list[Held]) -> Batch:
        """Return deliveries; what cannot be read is raised in its turn, and stays pending."""
        aside = None if self._on_unreadable == "raise" else partial(self._skip, scope)
        self._arrivals.keep(held)
        return Batch(scope, self._arrivals.read(self._decode, scope, aside))

    def _skip(self, scope: Scope, held: Held, error: Exception) -> None:
        """Acknowledge what cannot be read."""
        desk = self._desk
        aside = unread(scope, held, f"{desk.name}.read", error)
        self._held.discard(held.id)
        ack(desk, self._reader, held, aside, "", 0)

    # ---- acknowledging and claiming

    def ack(self, *deliveries: Delivery) -> Any:
        """Acknowledge (XACK); return how many were pending, for whichever consumer.

        Raises:
            TimeoutError: No answer; it may have been done.
        """
        held = [self._held_by(one) for one in deliveries]
        return self._operate("ack", self._ack, held, "loop acknowledge")

    def autoclaim(self, min_idle_s: float, *, count: int = 100, start: str = "0-0") -> Any:
        """Take over what has been pending for so long, for anybody (XAUTOCLAIM).

        Returns a batch of deliveries. Entries that were trimmed or deleted meanwhile are left out,
        and pending no more.

        Raises:
            RedisError: Redis refuses: a count below 1.
            TimeoutError: No answer; they may be pending for this consumer now.
        """
        stream, group = self._reader.place
        claim = op.AutoClaim(
            stream, group, self._reader.name, _ms(min_idle_s), start, count, holder=self._reader
        )
        return self._operate("autoclaim", self._claim, claim, "claim")

    def claim(self, min_idle_s: float, *ids: str) -> Any:
        """Take over these entries, if they have been pending for so long (XCLAIM).

        Returns a batch of deliveries.

        Raises:
            RedisError: Redis refuses: what is given is no id.
            TimeoutError: No answer; they may be pending for this consumer now.
        """
        stream, group = self._reader.place
        claim = op.Claim(
            stream, group, self._reader.name, _ms(min_idle_s), ids, holder=self._reader
        )
        return self._operate("claim", self._claim, claim, "claim")

    def pending(
        self, count: int = 100, *, consumer: str | None = None, min_idle_s: float = 0.0
    ) -> Any:
        """Return what is pending in the group, as `Pending`, the oldest first (XPENDING)."""
        if not min_idle_s:
            clock_read(sys._getframe(1), SECONDS)  # who looks at idle times may wait for one
        stream, group = self._reader.place
        asked = op.PendingRange(stream, group, count, consumer, _ms(min_idle_s))
        return self._operate("pending", self._pending, asked, "look")

    def delete_consumer(self, name: str) -> Any:
        """Delete a consumer (XGROUP DELCONSUMER); return how many entries were pending for it.

        Those are pending no more, for nobody: the group never sees them again.
        """
        stream, group = self._reader.place
        delete = op.DeleteConsumer(stream, group, text_of("name", name))
        return self._operate("delete_consumer", self._delete_consumer, delete, "manage")

    def _held_by(self, delivery: Delivery) -> Held:
        held = getattr(delivery, "receipt", None)
        if not isinstance(held, Held):
            raise InvalidDefinition(f"{self._stream}: read() did not give {delivery!r}")
        return held

    def _operate(
        self, action: str, effect: Callable[[Scope, str, int, Any], Any], argument: Any, at: str
    ) -> Any:
        desk = self._desk
        name = f"{desk.name}.{action}"
        if (scope := SCOPE.get()) is not None and scope.world is not desk.world:
            refuse_stranger(scope, f"{name} of a consumer", None)
        return operate(name, effect, argument, desk, SURFACES[desk.profile, at])

    def _ack(self, scope: Scope, operation: str, attempt: int, held: list[Held]) -> int:
        done = 0
        for one in held:
            self._held.discard(one.id)
            done += ack(self._desk, self._reader, one, scope, operation, attempt)
        return done

    def _claim(
        self, scope: Scope, operation: str, attempt: int, claim: op.Claim | op.AutoClaim
    ) -> Batch:
        held = self._desk.hand(self._reader, claim, {}, operation)
        self._held.update(one.id for one in held)
        return self._decoded(scope, held)

    def _pending(
        self, scope: Scope, operation: str, attempt: int, asked: op.PendingRange
    ) -> list[Pending]:
        desk = self._desk
        found = answered(operation, desk.do(asked))
        if asked.min_idle_ms:
            desk.foresee(self._reader.place, asked.min_idle_ms)
        return [
            Pending(ids.text(one.id), one.consumer, one.idle_ms / SECOND_MS, one.times)
            for one in found
        ]

    def _delete_consumer(
        self, scope: Scope, operation: str, attempt: int, delete: op.DeleteConsumer
    ) -> int:
        gone: int = answered(operation, self._desk.do(delete))
        return gone


def _ms(seconds: float) -> int:
    return max(round(seconds * SECOND_MS), 0)
