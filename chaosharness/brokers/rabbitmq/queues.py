"""A RabbitMQ queue: which message goes next, and whose turn it is.

Most of this is not in the documentation. It was observed on 3.10.8, and the conformance
tests compare it with a running broker.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import Final, Literal, Protocol

from chaosharness.brokers.rabbitmq.copies import Copy
from chaosharness.brokers.rabbitmq.topology import NO_LIMIT, Queue, Version

Return = Literal["nack", "reject", "closed", "timeout"]
"""How a message comes back: given back by its consumer, or because its channel went."""

DELIVERY_LIMIT: Final = 20
"""From 4.0 on, for quorum queues that say nothing else."""

LOW_WATER: Final = 0.8
"""A full quorum queue with `reject-publish` takes messages again below this share."""


class Channel:
    """A channel: what was handed out on it and is not settled yet."""

    __slots__ = ("closed_because", "owner", "tag", "takers", "unacked")

    def __init__(self, owner: object = None) -> None:
        self.closed_because = ""
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
        self.owner = None
        self.takers.clear()
        self.unacked.clear()


class Taker:
    """A consumer as the broker sees it: `basic.consume` on a channel."""

    __slots__ = ("auto_ack", "channel", "prefetch", "queue", "unacked")

    def __init__(self, channel: Channel, queue: OpenQueue, prefetch: int, auto_ack: bool) -> None:
        self.channel = channel
        self.queue = queue
        self.prefetch = prefetch
        self.auto_ack = auto_ack
        self.unacked = 0

    def has_room(self) -> bool:
        """Say whether it may be handed one more message."""
        return not self.prefetch or self.auto_ack or self.unacked < self.prefetch


class Push:
    """One delivery on one channel."""

    __slots__ = ("at_ms", "channel", "copy", "queue", "redelivered", "tag", "taker")

    def __init__(
        self, channel: Channel, queue: OpenQueue, copy: Copy, taker: Taker | None, at_ms: int
    ) -> None:
        channel.tag += 1
        self.tag = channel.tag
        self.channel = channel
        self.queue = queue
        self.copy = copy
        self.taker = taker
        self.redelivered = copy.redelivered
        self.at_ms = at_ms


class Order(Protocol):
    """The order of the messages of a queue that are ready."""

    def __len__(self) -> int: ...

    def append(self, copy: Copy) -> None:
        """Take a new message in."""

    def put_back(self, copies: list[Copy], how: Return) -> None:
        """Take messages back that were handed out, in the order of their delivery."""

    def head(self) -> Copy:
        """Return the message that goes next."""

    def pop(self) -> Copy:
        """Take it out."""


class ClassicOrder:
    """By priority, then by age. A message that comes back has its original place again.

    Source: RabbitMQ documentation, "Consumer Acknowledgements", "Negative Acknowledgement
    and Requeuing"; observed on 3.10.8.
    """

    __slots__ = ("_heap", "_places", "_priority_max")

    def __init__(self, definition: Queue, version: Version) -> None:
        self._heap: list[tuple[int, int, Copy]] = []
        self._places = 0
        self._priority_max = definition.priority_max or 0

    def __len__(self) -> int:
        return len(self._heap)

    def append(self, copy: Copy) -> None:
        self._places = copy.place = self._places + 1
        heappush(self._heap, (-min(copy.priority, self._priority_max), copy.place, copy))

    def put_back(self, copies: list[Copy], how: Return) -> None:
        for copy in copies:
            heappush(self._heap, (-min(copy.priority, self._priority_max), copy.place, copy))

    def head(self) -> Copy:
        return self._heap[0][2]

    def pop(self) -> Copy:
        return heappop(self._heap)[2]


class QuorumOrder:
    """Returned messages first, in the order they came back; then by age.

    Without a delivery limit, what a consumer gives back goes to the tail instead; what
    comes back because a channel closed is returned first even then.

    Source: RabbitMQ documentation, "Quorum Queues", "Repeated Requeues"; observed on 3.10.8.
    """

    __slots__ = ("_ready", "_returned", "_to_tail")

    def __init__(self, definition: Queue, version: Version) -> None:
        self._ready: deque[Copy] = deque()
        self._returned: deque[Copy] = deque()
        self._to_tail = limit_of(definition, version) is None

    def __len__(self) -> int:
        return len(self._ready) + len(self._returned)

    def append(self, copy: Copy) -> None:
        self._ready.append(copy)

    def put_back(self, copies: list[Copy], how: Return) -> None:
        given_back = how in ("nack", "reject")
        (self._ready if self._to_tail and given_back else self._returned).extend(copies)

    def head(self) -> Copy:
        return (self._returned or self._ready)[0]

    def pop(self) -> Copy:
        return (self._returned or self._ready).popleft()


def limit_of(definition: Queue, version: Version) -> int | None:
    """Return how often a message of a queue may come back; None for no limit."""
    if definition.kind == "classic" or definition.delivery_limit == NO_LIMIT:
        return None
    if definition.delivery_limit is None:
        return None if version == "3.10" else DELIVERY_LIMIT
    return definition.delivery_limit


def counts(how: Return, version: Version) -> bool:
    """Say whether this way of coming back counts towards the delivery limit.

    Source: RabbitMQ 4.3 documentation, "Quorum Queues", "When is delivery count
    incremented?".
    """
    return version != "4.3" or how in ("reject", "closed")


class Rotation:
    """Whose turn it is, among the consumers of a queue.

    A consumer that has its prefetch leaves the rotation, and rejoins at the back when it
    settles something. A classic queue notices only when the turn comes to it; a quorum
    queue at once.

    Source: observed on 3.10.8. The documentation promises no more than "round-robin".
    """

    __slots__ = ("_all", "_eager", "_turn", "single")

    def __init__(self, definition: Queue) -> None:
        self._all: list[Taker] = []
        self._turn: deque[Taker] = deque()
        self._eager = definition.kind == "quorum"
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

    def leave(self, taker: Taker) -> None:
        """Take a consumer out for good."""
        self._all.remove(taker)
        if taker in self._turn:
            self._turn.remove(taker)

    def settled(self, taker: Taker) -> None:
        """Let a consumer that has room again rejoin."""
        if not taker.prefetch:
            return  # it never left
        if taker in self._all and taker not in self._turn and taker.has_room():
            self._turn.append(taker)

    def next(self) -> Taker | None:
        """Return the consumer that gets the next message, if any has room."""
        if self.single:
            first = self._all[0] if self._all else None
            return first if first is not None and first.has_room() else None
        while self._turn:
            taker = self._turn.popleft()
            if taker.has_room():
                self._turn.append(taker)
                return taker
        return None

    def handed(self, taker: Taker) -> None:
        """Note that a consumer was handed a message."""
        if self._eager and not taker.has_room() and taker in self._turn:
            self._turn.remove(taker)


class OpenQueue:
    """A queue with what is in it."""

    __slots__ = ("definition", "full", "limit", "name", "order", "takers")

    def __init__(self, name: str, definition: Queue, version: Version) -> None:
        self.name = name
        self.definition = definition
        self.limit = limit_of(definition, version)
        self.order: Order = (
            ClassicOrder(definition, version)
            if definition.kind == "classic"
            else QuorumOrder(definition, version)
        )
        self.takers = Rotation(definition)
        self.full = False

    def pop(self) -> Copy:
        """Take the message out that goes next."""
        copy = self.order.pop()
        if self.full and len(self.order) <= (self.definition.length_max or 0) * LOW_WATER:
            self.full = False
        return copy
