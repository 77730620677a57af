"""What a client sends in the background: record after record, and again where that may help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.port import call_off
from chaosharness.handlers.unwaited import standing, unwaited
from chaosharness.kernel.scope import Scope

BACKOFF_MS: Final = 100


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
        since: Where the history is, when it is sent.
    """

    scope: Scope
    topic: str
    value: bytes | None
    key: bytes | None
    headers: dict[str, Any] | None
    due_ms: int
    sent: Sent
    since: int = 0


@attrs.define(eq=False)
class Sender:
    """Sends the records of one producer, in the background.

    Attributes:
        publish: The producer at the broker.
        idempotent: Whether the broker recognises a record that comes again.
        asks_on: Whether a record that was not answered is sent again, where the broker would not
            recognise it.
    """

    publish: Callable[..., Any]
    idempotent: bool
    asks_on: bool

    def send(self, record: Record, *, after_ms: int = 0) -> None:
        """Send a record, a little later; its `sent` is told."""
        record.since = len(record.scope.world.raw)

        def port() -> Any:
            return self.publish(record.topic, record.value, key=record.key, headers=record.headers)

        def done(_: Any, error: BaseException | None) -> None:
            self._sent(record, error)

        unwaited(record.scope, port, done, after_ms=after_ms)

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
        record.sent(stored, error)

    def _goes_on(self, error: OSError) -> bool:
        return self.asks_on or self.idempotent or not isinstance(error, TimeoutError)


def stored_as(record: Record) -> Stored | None:
    """Return what the history holds of a record that was sent last; None if it was not stored."""
    scope = record.scope
    for raw in scope.world.raw[record.since :]:
        if raw[1] == "publish" and raw[2] == scope.incarnation.label and raw[4] == scope.entity:
            data = raw[7]
            if data["topic"] == record.topic and data["value"] == record.value:
                return Stored(record.topic, data["partition"], data["offset"], raw[0])
    return None


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
