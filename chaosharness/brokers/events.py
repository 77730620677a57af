"""What becomes of messages, as the events of a history: the one place for all products.

Checkers and reports read these events and know no product. A message is named by the event that
stored it. `facts.py` has the facts of a machine written so; who drives a machine by hand, since
nearly all that happens goes one way, says here itself what happened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from chaosharness.brokers.message import Framed, key_of
from chaosharness.kernel.history import plain
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import World


class Stored(Protocol):
    """A message that is kept: which workload item it is of, and the event that stored it."""

    @property
    def topic(self) -> str:
        """What it was published to."""

    @property
    def entity(self) -> int:
        """The workload item."""

    @property
    def published(self) -> int:
        """The event."""


def words_of(
    broker: str,
    topic: str,
    where: Mapping[str, Any],
    key: str | bytes | None,
    body: bytes | None,
    headers: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what a history says of a message that is stored: `where` in the product's words."""
    words = {
        "broker": broker,
        "topic": topic,
        **where,
        "key": key if type(key) is not bytes else key_of(key, topic),
        "value": body if type(body) is not Framed else body.told,
    }
    if headers:
        words["headers"] = plain(headers)
    return words


def published(scope: Scope, operation: str, attempt: int, entity: int, words: Any) -> int:
    """Write that code has published a message of a workload item; return the event's index."""
    world = scope.world
    raw = world.raw  # as `scope.record` does it: every message comes by here
    cause, label = scope.cause, scope.incarnation.label
    scope.cause = index = len(raw)
    raw.append((world.now, "publish", label, operation, entity, attempt, cause, words))
    world.effects += 1
    return index


def stored_by_itself(world: World, broker: str, entity: int, cause: int, words: Any) -> int:
    """Write that a broker has stored a message by itself; return the event's index."""
    return world.record("publish", broker, entity=entity, cause=cause, data=words)


def delivered(
    world: World,
    broker: str,
    operation: str,
    attempt: int,
    message: Stored,
    to: str,
    group: str,
    times: int,
    more: Mapping[str, Any] | None = None,
) -> int:
    """Write that a message was handed to an incarnation; return the event's index."""
    index_of = message.published
    data = {"message": index_of, "to": to, "group": group, "times": times, "topic": message.topic}
    if more is not None:
        data |= more
    raw = world.raw  # as `world.record` does it: every delivery comes by here
    index = len(raw)
    raw.append((world.now, "deliver", broker, operation, message.entity, attempt, index_of, data))
    world.effects += 1
    return index


def settled(scope: Scope, operation: str, attempt: int, message: int | None) -> int:
    """Write that code has settled a message for good; return the event's index."""
    world = scope.world
    raw = world.raw  # as `scope.record` does it
    cause, label = scope.cause, scope.incarnation.label
    scope.cause = index = len(raw)
    data = {"message": message}
    raw.append((world.now, "ack", label, operation, scope.entity, attempt, cause, data))
    return index


def settled_by(world: World, broker: str, message: Stored, cause: int, **more: Any) -> int:
    """Write that a broker has settled a message by itself; return the event's index."""
    data = {"message": message.published, **more}
    return world.record("ack", broker, entity=message.entity, cause=cause, data=data)


def not_settled(
    scope: Scope, operation: str, attempt: int, error: str, message: int | None = None
) -> int:
    """Write that code has settled in vain: a message, or whatever it had; return the index."""
    data: dict[str, Any] = {"error": error}
    if message is not None:
        data = {"message": message, **data}
    return scope.record("nack", operation, attempt, data)


def void(world: World, broker: str, message: Stored, error: str) -> int:
    """Write that a message was settled in vain by nobody who runs; return the event's index."""
    data = {"message": message.published, "error": error}
    return world.record("nack", broker, entity=message.entity, data=data)


def given_back(
    scope: Scope, operation: str, attempt: int, message: int, *, requeue: bool = True
) -> int:
    """Write that code has given a message back; return the event's index."""
    return scope.record("nack", operation, attempt, {"message": message, "requeue": requeue})


def came_back(world: World, broker: str, message: Stored, of: str | None, why: str) -> int:
    """Write that a message comes back from an incarnation by itself; return the event's index."""
    data: dict[str, Any] = {"message": message.published}
    if of is not None:
        data["from"] = of
    data["why"] = why
    cause = message.published
    return world.record("nack", broker, entity=message.entity, cause=cause, data=data)


def died(
    world: World, broker: str, message: Stored, place: str, reason: str, to: Sequence[str]
) -> int:
    """Write that a message is done with, for a reason of the broker's; return the event's index."""
    data = {"message": message.published, "queue": place, "reason": reason, "to": [*to]}
    cause = message.published
    return world.record("dead", broker, entity=message.entity, cause=cause, data=data)


def set_aside(scope: Scope, message: Stored, to: str, error: BaseException) -> None:
    """Write that a consumer puts a message aside because of what its handler raised."""
    data = {"message": message.published, "to": to, "error": type(error).__name__}
    scope.record("dead", "", 0, data)


def unroutable(scope: Scope, message: Stored, *, absent: bool = False) -> None:
    """Write that a message was taken for nobody, and is gone; `absent`: what it was sent to is."""
    data: dict[str, Any] = {"message": message.published, "reason": "unroutable", "to": []}
    if absent:
        data["absent"] = True
    scope.record("dead", "", 0, data)
