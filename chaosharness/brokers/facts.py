"""How the facts of a machine become the history of a run, in the words of `events.py`.

A message is named by the event that
stored it; one that is put aside, or moved, is stored anew and gets a new name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from chaosharness.brokers.cycle import cycle
from chaosharness.brokers.events import (
    came_back,
    delivered,
    died,
    given_back,
    not_settled,
    published,
    settled,
    settled_by,
    stored_by_itself,
    void,
    words_of,
)
from chaosharness.brokers.message import Message
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

AGAIN: Final = {"redelivered": True}


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

    def _words(self, message: Message, places: list[str]) -> dict[str, Any]:
        where = {"queues": places}
        return words_of(
            self.broker, message.topic, where, message.key, message.body, message.headers
        )

    def _publish(
        self,
        scope: Scope | None,
        operation: str,
        attempt: int,
        message: Message,
        cause: int,
        words: dict[str, Any],
    ) -> int:
        if scope is not None:
            return published(scope, operation, attempt, scope.entity, words)
        self.world.effects += 1
        return stored_by_itself(self.world, self.broker, message.entity, cause, words)

    def _stored(self, fact: Stored, scope: Scope | None, operation: str, attempt: int) -> int:
        world, broker = self.world, self.broker
        message, places = fact.message, fact.places
        where = {"queues": self.readers(fact.place) if places is None else [*places]}
        words = words_of(broker, message.topic, where, message.key, message.body, message.headers)
        if scope is not None:  # as `_publish` does it: every message comes by here
            index = published(scope, operation, attempt, scope.entity, words)
        else:
            world.effects += 1
            cause = message.published
            index = stored_by_itself(world, broker, message.entity, cause, words)
        message.published = index
        if message.hops > world.hops_max and world.too_far(message.hops):
            world.end("budget", cycle(world.history, index, message.hops))
        return index

    def _recognised(
        self, fact: Recognised, scope: Scope | None, operation: str, attempt: int
    ) -> int:
        message, first = fact.message, fact.first
        words = {**self._words(message, []), "place": fact.place, "same_as": first.published}
        return self._publish(scope, operation, attempt, message, -1, words)

    def _settled(self, fact: Settled, scope: Scope | None, operation: str, attempt: int) -> int:
        world = self.world
        world.effects += 1
        message = fact.message
        if scope is None:
            return settled_by(world, self.broker, message, message.published)
        return settled(scope, operation, attempt, message.published)

    def _ignored(self, fact: Ignored, scope: Scope | None, operation: str, attempt: int) -> int:
        self.world.effects += 1
        message, error = fact.message, f"void: {fact.why}"
        if scope is None:
            return void(self.world, self.broker, message, error)
        return not_settled(scope, operation, attempt, error, message.published)

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
        world, times, again = self.world, fact.times, AGAIN if fact.again else None
        to, group = fact.holder.label, fact.place
        index = delivered(
            world, self.broker, operation, attempt, fact.message, to, group, times, again
        )
        if times > world.budget.deliveries_max:
            world.too_often(times, operation)
        return index

    def _came_back(self, fact: CameBack, scope: Scope | None, operation: str, attempt: int) -> int:
        self.world.effects += 1
        message: Message = fact.message
        holder: Holder | None = fact.holder
        if scope is not None:
            return given_back(scope, operation, attempt, message.published)
        of = None if holder is None else holder.label
        return came_back(self.world, self.broker, message, of, fact.why)

    def _buried(self, fact: Buried, scope: Scope | None, operation: str, attempt: int) -> int:
        self.world.effects += 1
        message, to = fact.message, fact.to
        places = [] if to is None else [to]
        index = died(self.world, self.broker, message, fact.place, fact.reason, places)
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
        letter.published = stored_by_itself(self.world, self.broker, letter.entity, cause, data)
        return letter.published

    def _again(self, message: Message, place: str, cause: int) -> int:
        """Store a message in another place, under a new name."""
        old = message.published
        message.topic = place
        data = {**self._words(message, self.readers(place)), "instead_of": old}
        message.published = stored_by_itself(self.world, self.broker, message.entity, cause, data)
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
