"""Channels, consumers and queues of a RabbitMQ node: whose turn it is.

Most of this is not in the documentation. It was observed on 3.10.8, and the conformance
tests compare it with a running broker.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from chaosharness.machines.rabbitmq.kept import Arguments, Kept
from chaosharness.machines.rabbitmq.orders import Order, limit_of, order_of
from chaosharness.machines.rabbitmq.versions import Version

LOW_WATER: Final = 0.8
"""A full quorum queue with `reject-publish` takes messages again below this share."""


class Channel:
    """A channel: what was handed out on it and is not settled yet.

    `connection` tells those apart that are of different connections: an exclusive queue is
    of one of them. `limit` is how much its consumers may have unacknowledged together
    (`basic.qos` with `global`), 0 for any number.
    """

    __slots__ = ("closed_because", "connection", "limit", "owner", "tag", "takers", "unacked")

    def __init__(self, owner: object = None, connection: object = None) -> None:
        self.closed_because = ""
        self.connection = self if connection is None else connection
        self.limit = 0
        self.owner = owner
        self.tag = 0
        self.takers: list[Taker] = []
        self.unacked: dict[int, Push] = {}

    @property
    def is_open(self) -> bool:
        """Whether it can still be used."""
        return not self.closed_because

    def forget(self) -> None:
        """Let go of everything, at the end of a run."""
        self.connection = self.owner = None
        self.takers.clear()
        self.unacked.clear()


class Taker:
    """A consumer as the broker sees it: `basic.consume` on a channel."""

    __slots__ = (
        "auto_ack",
        "channel",
        "exclusive",
        "position",
        "prefetch",
        "priority",
        "queue",
        "unacked",
    )

    def __init__(
        self,
        channel: Channel,
        queue: OpenQueue,
        prefetch: int,
        auto_ack: bool,
        priority: int = 0,
        exclusive: bool = False,
    ) -> None:
        self.channel = channel
        self.queue = queue
        self.prefetch = prefetch
        self.auto_ack = auto_ack
        self.priority = priority
        self.exclusive = exclusive
        self.position = 0
        self.unacked = 0

    def has_room(self) -> bool:
        """Say whether it may be handed one more message."""
        if self.auto_ack:
            return True
        prefetch, channel = self.prefetch, self.channel
        if prefetch and self.unacked >= prefetch:
            return False
        return not channel.limit or len(channel.unacked) < channel.limit


class Push:
    """One delivery on one channel."""

    __slots__ = ("at_ms", "channel", "copy", "queue", "redelivered", "tag", "taker")

    def __init__(
        self, channel: Channel, queue: OpenQueue, copy: Any, taker: Taker | None, at_ms: int
    ) -> None:
        self.tag = channel.tag = channel.tag + 1
        self.channel = channel
        self.queue = queue
        self.copy: Any = copy
        self.taker = taker
        self.redelivered = copy.redelivered
        self.at_ms = at_ms


class Rotation:
    """Whose turn it is, among the consumers of a queue.

    A consumer that has its prefetch leaves the rotation, and rejoins at the back when it
    settles something. A classic queue notices only when the turn comes to it; a quorum
    queue at once. Those of a higher priority come first, as long as one of them has room.

    Source: observed on 3.10.8. The documentation promises no more than "round-robin", and that
    consumers of lower priority get something only while all of higher priority are blocked
    ("Consumer Priorities").

    Not modelled: from 4.0 on, in a quorum queue with a single active consumer, one of higher
    priority takes over.
    """

    __slots__ = ("_all", "_ranked", "_turn", "had", "is_eager", "single")

    def __init__(self, definition: Arguments) -> None:
        self._all: list[Taker] = []
        self.had = False
        self._ranked = False
        self._turn: deque[Taker] = deque()
        self.is_eager = definition.kind == "quorum"
        self.single = definition.single_active_consumer

    def __len__(self) -> int:
        return len(self._all)

    def forget(self) -> None:
        """Let go of everything, at the end of a run."""
        self._all.clear()
        self._turn.clear()

    def join(self, taker: Taker) -> None:
        """Add a consumer, at the back."""
        self._all.append(taker)
        self._turn.append(taker)
        self.had = True
        self._ranked |= taker.priority != 0

    def all(self) -> list[Taker]:
        """Return all consumers, in the order in which they came."""
        return [*self._all]

    def leave(self, taker: Taker) -> None:
        """Take a consumer out for good."""
        self._all.remove(taker)
        if taker in self._turn:
            self._turn.remove(taker)

    def settled(self, taker: Taker) -> None:
        """Let a consumer that has room again rejoin."""
        if not taker.prefetch and not taker.channel.limit:
            return  # it never left
        if taker in self._all and taker not in self._turn and taker.has_room():
            self._turn.append(taker)

    def next(self) -> Taker | None:
        """Return the consumer that gets the next message, if any has room."""
        if self.single:
            first = self._all[0] if self._all else None
            return first if first is not None and first.has_room() else None
        turn = self._turn
        while turn:
            if self._ranked:
                taker = max(turn, key=lambda one: one.priority)  # the first of the highest
                turn.remove(taker)
            else:
                taker = turn.popleft()
            if taker.has_room():
                self._turn.append(taker)
                return taker
        return None

    def handed(self, taker: Taker) -> None:
        """Note that a consumer was handed a message."""
        if self.is_eager and not taker.has_room() and taker in self._turn:
            self._turn.remove(taker)


class OpenQueue:
    """A queue with what is in it.

    Attributes:
        definition: How it was declared.
        gone: Whether it was deleted: what comes back to it then is dropped.
        owner: The connection that an exclusive queue is of.
        used_ms: When it was last used, for `expires_ms`.
    """

    __slots__ = (
        "definition",
        "full",
        "gone",
        "limit",
        "name",
        "order",
        "owner",
        "takers",
        "used_ms",
    )

    def __init__(self, name: str, definition: Arguments, version: Version) -> None:
        self.name = name
        self.definition = definition
        self.limit = limit_of(definition, version)
        self.order: Order = order_of(definition, version)
        self.takers = Rotation(definition)
        self.full = False
        self.gone = False
        self.owner: object = None
        self.used_ms = 0

    def pop(self) -> Kept:
        """Take the message out that goes next."""
        copy = self.order.pop()
        if self.full and len(self.order) <= (self.definition.length_max or 0) * LOW_WATER:
            self.full = False
        return copy
