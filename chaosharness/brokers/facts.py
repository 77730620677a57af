"""How the facts of a machine become the history of a run: the one place for all products.

Checkers and reports read these events and know no product. A message is named by the event that
stored it; one that is put aside, or moved, is stored anew and gets a new name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

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
        return WRITE[type(fact)](self, fact, scope, operation, attempt)

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
        body, key = message.body, message.key
        words = {
            "broker": self.broker,
            "topic": message.topic,
            "queues": places,
            "key": key if key is None else key_of(key, message.topic),
            "value": body if type(body) is not Framed else body.told,
        }
        if message.headers:
            words["headers"] = plain(message.headers)
        return words

    def _stored(self, fact: Stored, scope: Scope | None, operation: str, attempt: int) -> int:
        world = self.world
        world.effects += 1
        message, places = fact.message, fact.places
        body, key, topic = message.body, message.key, message.topic
        data = {
            "broker": self.broker,
            "topic": topic,
            "queues": self.readers(fact.place) if places is None else [*places],
            "key": key if key is None else key_of(key, topic),
            "value": body if type(body) is not Framed else body.told,
        }
        if message.headers:
            data["headers"] = plain(message.headers)
        if scope is not None:  # as `scope.record` does it: every message comes by here
            raw = world.raw
            cause, label = scope.cause, scope.incarnation.label
            scope.cause = index = len(raw)
            raw.append((world.now, "publish", label, operation, scope.entity, attempt, cause, data))
        else:
            cause = message.published
            index = self._by(None, "publish", operation, attempt, message, cause, data)
        message.published = index
        if message.hops > world.hops_max and world.too_far(message.hops):
            world.end("budget", cycle(world.history, index, message.hops))
        return index

    def _recognised(
        self, fact: Recognised, scope: Scope | None, operation: str, attempt: int
    ) -> int:
        self.world.effects += 1
        message, first = fact.message, fact.first
        data = {**self._words(message, []), "place": fact.place, "same_as": first.published}
        return self._by(scope, "publish", operation, attempt, message, -1, data)

    def _settled(self, fact: Settled, scope: Scope | None, operation: str, attempt: int) -> int:
        world = self.world
        world.effects += 1
        message = fact.message
        published = message.published
        data = {"message": published}
        if scope is None:
            return self._by(None, "ack", operation, attempt, message, published, data)
        raw = world.raw  # as `scope.record` does it
        cause, label = scope.cause, scope.incarnation.label
        scope.cause = index = len(raw)
        raw.append((world.now, "ack", label, operation, scope.entity, attempt, cause, data))
        return index

    def _ignored(self, fact: Ignored, scope: Scope | None, operation: str, attempt: int) -> int:
        self.world.effects += 1
        message = fact.message
        data = {"message": message.published, "error": f"void: {fact.why}"}
        return self._by(scope, "nack", operation, attempt, message, -1, data)

    def _extended(self, fact: Extended, scope: Scope | None, operation: str, attempt: int) -> int:
        """Write nothing: whoever extends says so by coming back in time."""
        self.world.effects += 1
        return -1

    def _handed_out(
        self, fact: HandedOut, scope: Scope | None, operation: str, attempt: int
    ) -> int:
        return self.handed_out(fact, operation, attempt)

    def handed_out(self, fact: HandedOut, operation: str, attempt: int) -> int:
        """Add a delivery at a site; return the event's index."""
        world = self.world
        world.effects += 1
        message, times = fact.message, fact.times
        published = message.published
        data = {
            "message": published,
            "to": fact.holder.label,
            "group": fact.place,
            "times": times,
            "topic": message.topic,
        }
        if fact.again:
            data["redelivered"] = True
        raw = world.raw  # as `world.record` does it: every delivery comes by here
        index = len(raw)
        whose, broker = message.entity, self.broker
        raw.append((world.now, "deliver", broker, operation, whose, attempt, published, data))
        if times > world.budget.deliveries_max:
            world.too_often(times, operation)
        return index

    def _came_back(self, fact: CameBack, scope: Scope | None, operation: str, attempt: int) -> int:
        self.world.effects += 1
        message: Message = fact.message
        holder: Holder | None = fact.holder
        data: dict[str, Any] = {"message": message.published}
        if scope is not None:
            return scope.record("nack", operation, attempt, {**data, "requeue": True})
        if holder is not None:
            data["from"] = holder.label
        data["why"] = fact.why
        return self._by(None, "nack", "", 0, message, message.published, data)

    def _buried(self, fact: Buried, scope: Scope | None, operation: str, attempt: int) -> int:
        self.world.effects += 1
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

    def _moved(self, fact: Moved, scope: Scope | None, operation: str, attempt: int) -> int:
        self.world.effects += 1
        return self._again(fact.message, fact.to, fact.message.published)

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


Write = Callable[[Journal, Any, Scope | None, str, int], int]
WRITE: Final[dict[type[Fact], Write]] = {
    Stored: Journal._stored,
    Recognised: Journal._recognised,
    HandedOut: Journal._handed_out,
    Settled: Journal._settled,
    Ignored: Journal._ignored,
    CameBack: Journal._came_back,
    Buried: Journal._buried,
    Moved: Journal._moved,
    Extended: Journal._extended,
}
