"""The order of a RabbitMQ queue: which message goes next, and where one stands that comes back.

Most of this is not in the documentation. It was observed on 3.10.8, and the conformance
tests compare it with a running broker; what is later than that is from the documentation and
the source (`versions.py`).
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from typing import Final, Protocol

from chaosharness.machines.rabbitmq.kept import Arguments, Kept
from chaosharness.machines.rabbitmq.versions import (
    NO_LIMIT,
    Return,
    Version,
    default_limit,
    is_3,
)

HIGH_FROM: Final = 5
"""From this priority on a message is of the high one, in a quorum queue of 4.0."""

HIGH_FOR_EACH_LOW: Final = 2
QUORUM_PRIORITY_MAX: Final = 31


class Order(Protocol):
    """The order of the messages of a queue that are ready."""

    def __len__(self) -> int: ...

    def append(self, copy: Kept) -> None:
        """Take a new message in."""

    def put_back(self, copies: list[Kept], how: Return) -> None:
        """Take messages back that were handed out, in the order of their delivery."""

    def head(self) -> Kept:
        """Return the message that goes next."""

    def pop(self) -> Kept:
        """Take it out."""

    def clear(self) -> list[Kept]:
        """Take all messages out, and return them in their order."""


class ClassicOrder:
    """By priority, then by age. A message that comes back has its original place again.

    Source: RabbitMQ documentation, "Consumer Acknowledgements", "Negative Acknowledgement
    and Requeuing"; observed on 3.10.8.
    """

    __slots__ = ("_heap", "_places", "_priority_max")

    def __init__(self, definition: Arguments, version: Version) -> None:
        self._heap: list[tuple[int, int, Kept]] = []
        self._places = 0
        self._priority_max = priority_max_of(definition)

    def __len__(self) -> int:
        return len(self._heap)

    def append(self, copy: Kept) -> None:
        self._places = copy.place = self._places + 1
        heappush(self._heap, (-min(copy.priority, self._priority_max), copy.place, copy))

    def put_back(self, copies: list[Kept], how: Return) -> None:
        for copy in copies:
            heappush(self._heap, (-min(copy.priority, self._priority_max), copy.place, copy))

    def head(self) -> Kept:
        return self._heap[0][2]

    def pop(self) -> Kept:
        return heappop(self._heap)[2]

    def clear(self) -> list[Kept]:
        found = [one[2] for one in sorted(self._heap)]
        self._heap.clear()
        heapify(self._heap)
        return found


class QuorumOrder:
    """Returned messages first, in the order they came back; then by age.

    Without a delivery limit, what a consumer gives back goes to the tail instead; what
    comes back because a channel closed is returned first even then.

    Source: RabbitMQ documentation, "Quorum Queues", "Repeated Requeues"; observed on 3.10.8.
    """

    __slots__ = ("_ready", "_returned", "_to_tail")

    def __init__(self, definition: Arguments, version: Version) -> None:
        self._ready: deque[Kept] = deque()
        self._returned: deque[Kept] = deque()
        self._to_tail = limit_of(definition, version) is None

    def __len__(self) -> int:
        return len(self._ready) + len(self._returned)

    def append(self, copy: Kept) -> None:
        self._ready.append(copy)

    def put_back(self, copies: list[Kept], how: Return) -> None:
        given_back = how in ("nack", "reject")
        (self._ready if self._to_tail and given_back else self._returned).extend(copies)

    def head(self) -> Kept:
        return (self._returned or self._ready)[0]

    def pop(self) -> Kept:
        return (self._returned or self._ready).popleft()

    def clear(self) -> list[Kept]:
        found = [*self._returned, *self._ready]
        self._returned.clear()
        self._ready.clear()
        return found


class Weighted:
    """A quorum queue from 4.0 on: returned ones first, then two of high priority for each low one.

    When the turn is the low one's, a high one that was published earlier still goes first.

    Source: `rabbit_fifo_q.erl`; RabbitMQ 4.0 documentation, "Quorum Queues", "Priorities".
    """

    __slots__ = ("_counter", "_high", "_low", "_places", "_returned", "_size", "_to_tail")

    def __init__(self, definition: Arguments, version: Version) -> None:
        self._counter = 0
        self._size = 0
        self._high: deque[Kept] = deque()
        self._low: deque[Kept] = deque()
        self._places = 0
        self._returned: deque[Kept] = deque()
        self._to_tail = limit_of(definition, version) is None

    def __len__(self) -> int:
        return self._size

    def append(self, copy: Kept) -> None:
        self._size += 1
        self._places = copy.place = self._places + 1
        (self._high if copy.priority >= HIGH_FROM else self._low).append(copy)

    def put_back(self, copies: list[Kept], how: Return) -> None:
        if self._to_tail and how in ("nack", "reject"):
            for copy in copies:
                self.append(copy)
            return
        self._size += len(copies)
        self._returned.extend(copies)

    def _next(self) -> deque[Kept]:
        if self._returned:
            return self._returned
        high, low = self._high, self._low
        if high and low and self._counter == HIGH_FOR_EACH_LOW:
            return high if high[0].place < low[0].place else low
        return high or low

    def head(self) -> Kept:
        return self._next()[0]

    def pop(self) -> Kept:
        self._size -= 1
        found = self._next()
        if found is not self._returned:
            self._counter = 0 if self._counter == HIGH_FOR_EACH_LOW else self._counter + 1
        return found.popleft()

    def clear(self) -> list[Kept]:
        found = [*self._returned, *self._high, *self._low]
        for one in (self._returned, self._high, self._low):
            one.clear()
        self._size = 0
        return found


class Strict:
    """A quorum queue from 4.3 on: returned ones first, then by priority (0 to 31), then by age.

    Source: RabbitMQ 4.3 documentation, "Quorum Queues", "Priorities".
    """

    __slots__ = ("_fresh", "_returned", "_to_tail")

    def __init__(self, definition: Arguments, version: Version) -> None:
        self._fresh = ClassicOrder(definition, version)
        self._returned: deque[Kept] = deque()
        self._to_tail = limit_of(definition, version) is None

    def __len__(self) -> int:
        return len(self._fresh) + len(self._returned)

    def append(self, copy: Kept) -> None:
        self._fresh.append(copy)

    def put_back(self, copies: list[Kept], how: Return) -> None:
        if self._to_tail and how in ("nack", "reject"):
            for copy in copies:
                self._fresh.append(copy)
            return
        self._returned.extend(copies)

    def head(self) -> Kept:
        return self._returned[0] if self._returned else self._fresh.head()

    def pop(self) -> Kept:
        return self._returned.popleft() if self._returned else self._fresh.pop()

    def clear(self) -> list[Kept]:
        found = [*self._returned, *self._fresh.clear()]
        self._returned.clear()
        return found


class StreamOrder:
    """A stream: an append-only log. Nothing is taken out; each consumer has a position.

    Source: RabbitMQ 4.3 documentation, "Streams"; compared with 3.10.8.
    """

    __slots__ = ("log",)

    def __init__(self, definition: Arguments, version: Version) -> None:
        self.log: list[Kept] = []

    def __len__(self) -> int:
        return len(self.log)

    def append(self, copy: Kept) -> None:
        copy.place = len(self.log)
        self.log.append(copy)

    def position_of(self, start: str | int) -> int:
        """Return where a consumer begins: an offset may lie beyond the end."""
        if isinstance(start, int):
            return start
        return {"first": 0, "last": max(len(self.log) - 1, 0)}.get(start, len(self.log))

    def put_back(self, copies: list[Kept], how: Return) -> None:
        """Do nothing: they never left."""

    def head(self) -> Kept:
        return self.log[0]

    def pop(self) -> Kept:
        raise AssertionError("nothing is taken out of a stream")

    def clear(self) -> list[Kept]:
        found, self.log = self.log, []
        return found


def priority_max_of(definition: Arguments) -> int:
    """Return the highest priority that a queue tells from the next lower one."""
    return QUORUM_PRIORITY_MAX if definition.kind == "quorum" else definition.priority_max or 0


def order_of(definition: Arguments, version: Version) -> Order:
    """Return the order of a new queue."""
    if definition.kind == "classic":
        return ClassicOrder(definition, version)
    if definition.kind == "stream":
        return StreamOrder(definition, version)
    if is_3(version):
        return QuorumOrder(definition, version)
    return Strict(definition, version) if version == "4.3" else Weighted(definition, version)


def limit_of(definition: Arguments, version: Version) -> int | None:
    """Return how often a message of a queue may come back; None for no limit."""
    if definition.kind != "quorum" or definition.delivery_limit == NO_LIMIT:
        return None
    if definition.delivery_limit is None:
        return default_limit(version)
    return definition.delivery_limit
