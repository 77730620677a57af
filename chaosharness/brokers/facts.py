"""How the facts of a machine become the history of a run: the one place for all products.

Checkers and reports read these events and know no product. A message is named by the event that
stored it; one that is put aside, or moved, is stored anew and gets a new name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from chaosharness.brokers.cycle import cycle
from chaosharness.brokers.message import Framed, Message, key_of
from chaosharness.kernel.history import plain
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import World
from chaosharness.machines.machine import (
    Buried,
    CameBack,
    Extended,
    Fact,
    HandedOut,
    Ignored,
    Moved,
    Recognised,
    Settled,
    Stored,
)


class Holder(Protocol):
    """Who was handed a message: what a machine is given as `holder`."""

    @property
    def label(self) -> str:
        """The incarnation."""

    @property
    def operation(self) -> str:
        """Of the site of a delivery to it."""


class Journal:
    """Writes facts of one broker into the history of a run.

    Args:
        world: The run.
        broker: The name of the broker: who did what no scope did.
        readers: Where a message that is stored in a place is read from. By default there: a
            queue. Of a log: each group that reads it.
    """

    def __init__(
        self, world: World, broker: str, readers: Callable[[str], list[str]] = lambda it: [it]
    ) -> None:
        self.world = world
        self.broker = broker
        self.readers = readers

    def write(
        self, fact: Fact, scope: Scope | None = None, operation: str = "", attempt: int = 0
    ) -> int:
        """Add what happened, by the code of a scope or by the broker; return the event's index."""
        self.world.effects += 1
        match fact:
            case Stored(message, place, places):
                read_at = self.readers(place) if places is None else [*places]
                return self._stored(message, read_at, scope, operation, attempt)
            case Recognised(message, place, first):
                data = {**self._words(message, []), "place": place, "same_as": first.published}
                return self._by(scope, "publish", operation, attempt, message, -1, data)
            case HandedOut():
                return self._handed_out(fact, operation, attempt)
            case Settled(message):
                data = {"message": message.published}
                return self._by(scope, "ack", operation, attempt, message, message.published, data)
            case Ignored(message, _, why):
                data = {"message": message.published, "error": f"void: {why}"}
                return self._by(scope, "nack", operation, attempt, message, -1, data)
            case CameBack(message, _, holder, why):
                return self._came_back(message, holder, why, scope, operation, attempt)
            case Buried():
                return self._buried(fact)
            case Moved(message, place, to):
                return self._again(message, to, message.published)
            case Extended():
                return -1  # nobody reads of it: who extends says so by coming back in time

    def _by(
        self,
        scope: Scope | None,
        kind: str,
        operation: str,
        attempt: int,
        message: Message,
        cause: int,
        data: dict[str, Any],
    ) -> int:
        if scope is not None:
            return scope.record(kind, operation, attempt, data)
        return self.world.record(kind, self.broker, entity=message.entity, cause=cause, data=data)

    def _words(self, message: Message, places: list[str]) -> dict[str, Any]:
        body = message.body
        words = {
            "broker": self.broker,
            "topic": message.topic,
            "queues": places,
            "key": key_of(message.key, message.topic),
            "value": body if type(body) is not Framed else body.told,
        }
        if message.headers:
            words["headers"] = plain(message.headers)
        return words

    def _stored(
        self, message: Message, places: list[str], scope: Scope | None, operation: str, attempt: int
    ) -> int:
        world = self.world
        cause = message.published
        data = self._words(message, places)
        index = self._by(scope, "publish", operation, attempt, message, cause, data)
        message.published = index
        if message.hops > world.budget.hops_max:
            world.end("budget", cycle(world.history, index, message.hops))
        return index

    def _handed_out(self, fact: HandedOut, operation: str, attempt: int) -> int:
        world = self.world
        message = fact.message
        data = {
            "message": message.published,
            "to": fact.holder.label,
            "group": fact.place,
            "times": fact.times,
            "topic": message.topic,
        }
        if fact.again:
            data["redelivered"] = True
        index = world.record(
            "deliver",
            self.broker,
            operation=operation,
            entity=message.entity,
            attempt=attempt,
            cause=message.published,
            data=data,
        )
        if fact.times > world.budget.deliveries_max:
            world.too_often(fact.times, operation)
        return index

    def _came_back(
        self,
        message: Message,
        holder: Holder | None,
        why: str,
        scope: Scope | None,
        operation: str,
        attempt: int,
    ) -> int:
        data: dict[str, Any] = {"message": message.published}
        if scope is not None:
            return scope.record("nack", operation, attempt, {**data, "requeue": True})
        if holder is not None:
            data["from"] = holder.label
        data["why"] = why
        return self._by(None, "nack", "", 0, message, message.published, data)

    def _buried(self, fact: Buried) -> int:
        message, to = fact.message, fact.to
        places = [] if to is None else [to]
        data = {
            "message": message.published,
            "queue": fact.place,
            "reason": fact.reason,
            "to": places,
        }
        index = self._by(None, "dead", "", 0, message, message.published, data)
        if to is None:
            return index
        if fact.letter is not None:
            read_at = places if fact.places is None else [*fact.places]
            return self._instead(fact.letter, message, read_at, index)
        return self._again(message, to, index)

    def _instead(self, letter: Message, message: Message, places: list[str], cause: int) -> int:
        """Store what stands for a message that was put aside: that one keeps its name."""
        data = {**self._words(letter, places), "instead_of": message.published}
        letter.published = self._by(None, "publish", "", 0, letter, cause, data)
        return letter.published

    def _again(self, message: Message, place: str, cause: int) -> int:
        """Store a message in another place, under a new name."""
        old = message.published
        message.topic = place
        data = {**self._words(message, self.readers(place)), "instead_of": old}
        message.published = self._by(None, "publish", "", 0, message, cause, data)
        return message.published
