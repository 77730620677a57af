"""What a client sends in the background: record after record, and again where that may help."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, Literal, Protocol

import attrs

from chaosharness.brokers.kafka.stored import stored_by
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.port import call_off
from chaosharness.handlers.unwaited import Done, standing, unwaited
from chaosharness.kernel.scope import Scope

BACKOFF_MS: Final = 100
Order = Literal["none", "pipelined", "one in flight"]


@attrs.frozen
class Stored:
    """Where the history has a record, and since when."""

    topic: str
    partition: int
    offset: int
    at_ms: int


Sent = Callable[[Stored | None, BaseException | None], None]


@attrs.define(eq=False)
class Record:
    """One record on its way.

    Attributes:
        scope: Who sends it; it keeps its item while that code goes on to others.
        due_ms: After this moment it is not sent again.
        sent: Told where it was stored, or why it was not.
        partition: Its log partition, where that is not left to the cluster.
        attempt: The scope in which it was sent last, and where the history was then.
    """

    scope: Scope
    topic: str
    value: bytes | None
    key: bytes | None
    headers: dict[str, Any] | None
    due_ms: int
    sent: Sent
    partition: int | None = None
    attempt: tuple[Scope, int] | None = None


class OnItsWay(Protocol):
    """A record of a client that is on its way."""

    scope: Scope
    topic: str
    attempt: tuple[Scope, int] | None


def stored_as(record: OnItsWay) -> Stored | None:
    """Return where the history has a record that was sent last; None if it was not stored."""
    if record.attempt is None:
        return None
    at = stored_by(*record.attempt)
    if at < 0:
        return None
    raw = record.scope.world.raw[at]
    data = raw[7]
    return Stored(record.topic, data["partition"], data["offset"], raw[0])


class Line:
    """The records of one producer that are on their way, in the order in which they were sent.

    Where the client keeps the order, those behind a record that was sent and is not stored, of the
    same topic, wait until it is, or is given up; with one request in flight, until it is answered.

    Source:
        KIP-98 (an idempotent producer keeps the order of a log partition, retries included);
        aiokafka 0.14, `sender.py`: a log partition is muted while a batch of it is under way.

    Not modelled:
        Those of other log partitions of the topic need not wait.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self._under_way: dict[OnItsWay, None] = {}
        self._kept: list[Callable[[Any], None]] = []

    def send(self, record: OnItsWay, port: Callable[[], Any], done: Done, after_ms: int) -> None:
        """Send a record, a little later, when nothing ahead of it is missing."""
        scope = record.scope
        since = len(scope.world.raw)
        waits = None
        if self._order != "none":
            self._under_way[record] = None
            waits = partial(self._waits, record)
        own = unwaited(scope, port, done, after_ms=after_ms, waits=waits)
        record.attempt = (own, since)

    def _waits(self, record: OnItsWay, begin: Callable[[Any], None]) -> bool:
        for one in self._under_way:
            if one is record:
                break
            over = self._order == "pipelined" and stored_as(one) is not None
            if one.topic == record.topic and not over:
                self._kept.append(begin)
                return True
        return False

    def leave(self, record: OnItsWay) -> None:
        """Take note that a record is stored, or given up; those that wait look again."""
        self._under_way.pop(record, None)
        kept, self._kept = self._kept, []
        for begin in kept:
            record.scope.world.after(0, begin)


@attrs.define(eq=False)
class Sender:
    """Sends the records of one producer, in the background.

    Attributes:
        publish: The producer at the broker.
        idempotent: Whether the broker recognises a record that comes again.
        asks_on: Whether a record that was not answered is sent again, where the broker would not
            recognise it.
        order: Of what it sends: none, where several are in flight and have no numbers; kept by
            numbers; or kept by having one in flight.
    """

    publish: Callable[..., Any]
    idempotent: bool
    asks_on: bool
    order: Order
    line: Line = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.line = Line(self.order)

    def send(self, record: Record, *, after_ms: int = 0) -> None:
        """Send a record, a little later; its `sent` is told."""

        def port() -> Any:
            return self.publish(
                record.topic,
                record.value,
                key=record.key,
                headers=record.headers,
                partition=record.partition,
            )

        def done(_: Any, error: BaseException | None) -> None:
            self._sent(record, error)

        self.line.send(record, port, done, after_ms)

    def _sent(self, record: Record, error: BaseException | None) -> None:
        stored = stored_as(record)
        world = record.scope.world
        if isinstance(error, InvalidDefinition):
            world.refuse(error)
            return
        if stored and self.idempotent and isinstance(error, OSError):
            error = None  # the broker recognises it when it comes again
        again = isinstance(error, OSError) and self._goes_on(error)
        if again and world.now + BACKOFF_MS < record.due_ms:
            self.send(record, after_ms=BACKOFF_MS)
            return
        self.line.leave(record)
        record.sent(stored, error)

    def _goes_on(self, error: OSError) -> bool:
        return self.asks_on or self.idempotent or not isinstance(error, TimeoutError)


def sender_of(scope: Scope) -> Scope:
    """Return the scope of a record that is handed over now."""
    return standing(scope, scope.colour)


def check_topic(cluster: Any, topic: str) -> None:
    """Refuse a topic that the cluster has not.

    Raises:
        InvalidDefinition: There is none such, which calls the run off.
    """
    try:
        cluster.check((topic,))
    except InvalidDefinition as error:
        call_off(error)
