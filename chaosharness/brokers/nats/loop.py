"""A consumer for a service's own main loop: it fetches, and settles what it fetched."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any, Final, Literal, get_args

import attrs

from chaosharness.brokers.arrivals import Arrivals, begin_wait, unread
from chaosharness.brokers.batch import Batch
from chaosharness.brokers.message import Decode, Delivery
from chaosharness.brokers.nats.desk import Desk, Held
from chaosharness.brokers.nats.settling import acknowledge, get, put_aside, settled_with, tell
from chaosharness.brokers.nats.subscription import check_dead_letters
from chaosharness.brokers.trouble import one_of
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.port import Nap, current_scope, wait_of
from chaosharness.handlers.recall import of_stack
from chaosharness.handlers.script import Script
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.machines.nats import ConsumerSettings
from chaosharness.machines.nats import operations as op

OnUnreadable = Literal["raise", "skip", "term", "dead-letter"]
ON_UNREADABLE: Final = get_args(OnUnreadable)
LOOP_OPTIONS: Final = ("deliver", "on_unreadable", "ordered")
SECOND_MS: Final = 1_000


@attrs.frozen
class Metadata:
    """What the server says about one delivery, as `msg.metadata` of nats-py.

    Attributes:
        stream: Its stream.
        consumer: Who handed it out.
        stream_seq: Of the message in its stream.
        consumer_seq: Of the delivery, among all of the consumer.
        num_delivered: How often the message was handed out, with this time.
        num_pending: Messages that the consumer had not handed out yet.
        stored_ms: When the stream took it, in milliseconds of the run.
    """

    stream: str
    consumer: str
    stream_seq: int
    consumer_seq: int
    num_delivered: int
    num_pending: int
    stored_ms: int


class Consumer:
    """A consumer for a service's own main loop.

    In plain code the methods block; in `async` code each is awaited.

    Args:
        on_unreadable: What a payload leads to that cannot be decoded. `raise`: `fetch` raises what
            the decoder raised, and the message comes again after AckWait. `skip`: it is
            acknowledged and left out. `term`: it is never handed out again. `dead-letter`: it is
            published to the `dead_subject` of its consumer, which must have one.
    """

    def __init__(
        self,
        desk: Desk,
        incarnation: Incarnation,
        source: str,
        decode: Decode,
        *,
        service: str,
        dead_subject: str | None = None,
        made: ConsumerSettings | None = None,
        on_unreadable: OnUnreadable = "raise",
    ) -> None:
        one_of(ON_UNREADABLE, on_unreadable=on_unreadable)
        check_dead_letters(dead_subject, on_unreadable=on_unreadable)
        self._desk = desk
        self._source = source
        self._decode = decode
        self._dead_subject = dead_subject
        self._on_unreadable = on_unreadable
        self._ordered = made is not None
        self._acks = made is None and desk.takes_acks(source)
        self._puller = desk.puller(incarnation, source, service, self._take, ordered=made)
        self._arrivals: Arrivals[Held] = Arrivals(desk.world, desk.lines)
        self._held: set[op.Handle] = set()

    # ---- fetching

    def fetch(self, most: int = 1, *, wait_s: float = 5.0) -> Any:
        """Return up to `most` deliveries; none if there are none for as long as it waits.

        Iterate over what comes back: the harness then knows on whose behalf code runs. (nats-py
        raises TimeoutError where none came.)

        Args:
            most: Messages at a time.
            wait_s: How long to wait for the first one.

        Raises:
            InvalidDefinition: A value is out of range.
        """
        if most < 1 or wait_s < 0:
            raise InvalidDefinition(
                f"{self._source}: fetch takes 1 message or more and waits 0 s or longer, not "
                f"{most!r} and {wait_s!r}"
            )
        desk = self._desk
        scope = current_scope(f"{desk.name}.fetch", desk.world)
        wait_ms = max(round(wait_s * SECOND_MS), desk.latency_ms + 1)  # what is there is found
        nap = wait_of(scope, wait_ms, of_stack, sys._getframe(1), holds=bool(self._held))
        return scope.colour.drive(self._fetch(scope, most, wait_ms, nap), scope)

    def _fetch(self, scope: Scope, most: int, wait_ms: int, nap: Nap) -> Script[Batch]:
        world = self._desk.world
        puller, arrivals = self._puller, self._arrivals
        begin_wait(scope)
        world.know_duration(wait_ms)
        puller.most = most
        due_ms = world.now + wait_ms
        aside = None if self._on_unreadable == "raise" else partial(self._leave_out, scope)
        while True:
            if not arrivals:
                yield from arrivals.wait(puller, due_ms, nap)
            nothing = not arrivals
            found = arrivals.read(self._decode, scope, aside)
            if found or nothing:
                return Batch(scope, found)

    def _take(self, held: list[Held]) -> None:
        if self._acks:
            self._held.update(one.handle for one in held)
        self._arrivals.take(held)

    def _leave_out(self, scope: Scope, held: Held, error: Exception) -> None:
        """Leave out a message that cannot be read, or put it aside."""
        desk = self._desk
        aside = unread(scope, held, f"{desk.name}.fetch", error)
        self._held.discard(held.handle)
        if self._on_unreadable == "dead-letter":
            assert self._dead_subject is not None
            put_aside(desk, held, self._dead_subject, aside, error)
        elif self._on_unreadable == "term":
            desk.do(op.Term(held.handle, type(error).__name__), aside)
        elif self._acks:
            desk.do(op.Ack(held.handle), aside)

    # ---- settling

    def ack(self, delivery: Delivery) -> Any:
        """Acknowledge a message: it is done. Nobody answers; it may be lost, and comes again.

        Of a consumer with `ack="all"` it acknowledges all messages before it too.
        """
        held = self._held_by(delivery)
        self._held -= settled_with(self._desk, held.handle, self._held)
        return self._tell("ack", op.Ack(held.handle), held)

    def ack_sync(self, delivery: Delivery) -> Any:
        """Acknowledge a message, and wait until the server says that it knows.

        Raises:
            TimeoutError: No answer; it may have been acknowledged.
        """
        held = self._held_by(delivery)
        self._held -= settled_with(self._desk, held.handle, self._held)
        self._check_acknowledges("ack_sync")
        return acknowledge(self._desk, held)

    def nak(self, delivery: Delivery, *, delay_s: float | None = None) -> Any:
        """Give a message back: it comes again, at once or after a time. Nobody answers."""
        held = self._held_by(delivery)
        self._held.discard(held.handle)
        delay_ms = None if delay_s is None else round(delay_s * SECOND_MS)
        self._desk.world.know_duration(delay_ms or 0)
        return self._tell("nak", op.Nak(held.handle, delay_ms), held)

    def term(self, delivery: Delivery, reason: str = "") -> Any:
        """Never have a message handed out again, done or not. Nobody answers."""
        held = self._held_by(delivery)
        self._held -= settled_with(self._desk, held.handle, self._held)
        return self._tell("term", op.Term(held.handle, reason), held)

    def in_progress(self, delivery: Delivery) -> Any:
        """Have AckWait begin anew for a message. Nobody answers."""
        held = self._held_by(delivery)
        return self._tell("in_progress", op.InProgress(held.handle), held)

    def get(self, stream: str, sequence: int) -> Any:
        """Read a message of any stream by its sequence; it has a `subject` and a `body`.

        Raises:
            NATSError: There is no such message any more (10037).
            TimeoutError: No answer.
        """
        return get(self._desk, stream, sequence)

    def metadata(self, delivery: Delivery) -> Metadata:
        """Return what the server says about a delivery."""
        held = self._held_by(delivery)
        one = held.handle
        return Metadata(
            one.stream,
            one.consumer,
            one.sequence,
            one.delivery,
            one.times,
            held.pending,
            held.stored_ms,
        )

    def _tell(self, action: str, operation: Any, held: Held) -> Any:
        self._check_acknowledges(action)
        desk = self._desk
        scope = current_scope(f"{desk.name}.{action}", desk.world)
        return tell(desk, scope, action, operation, held)

    def _check_acknowledges(self, action: str) -> None:
        if not self._acks:
            which = "an ordered consumer" if self._ordered else "a consumer with ack='none'"
            raise InvalidDefinition(
                f"{self._source}: {which} has no acknowledgements, so there is no "
                f"{action}(); use another consumer of the stream for that"
            )

    def _held_by(self, delivery: Delivery) -> Held:
        held = getattr(delivery, "receipt", None)
        if not isinstance(held, Held):
            raise InvalidDefinition(f"{self._source}: fetch() did not give {delivery!r}")
        return held
