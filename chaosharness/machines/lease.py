"""The lease: who holds what, until when, and under which number.

What RabbitMQ calls unacknowledged, SQS invisible, JetStream waiting for its acknowledgement and
Redis pending is one thing with four settings. So is the task of an orchestrator's worker.
"""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heappop, heappush
from math import inf
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class LeaseSettings:
    """What holding means in a product.

    Attributes:
        lasts_ms: How long a holder may keep a thing; None: as long as it is connected.
        total_ms_max: How long it may keep it in all, however often it asks for more.
        lost_with_holder: Whether it comes back as soon as its holder is gone.
    """

    lasts_ms: int | None = None
    total_ms_max: int | None = None
    lost_with_holder: bool = False


@attrs.define
class Lease:
    """One thing in somebody's hands. `fence` grows by one each time it is handed out."""

    holder: Any
    fence: int
    since: int
    until: int | None


class Leases:
    """Things in hands, by key. A key that is released keeps its last fence."""

    __slots__ = ("_by_key", "_fences", "_heap", "not_before", "settings")

    def __init__(self, settings: LeaseSettings) -> None:
        self.settings = settings
        self._by_key: dict[Hashable, Lease] = {}
        self._fences: dict[Hashable, int] = {}
        self._heap: list[tuple[int, Any]] = []
        self.not_before: float = inf
        """Nothing comes out of anybody's hands sooner, by itself."""

    def __len__(self) -> int:
        return len(self._by_key)

    def hold(self, key: Any, holder: Any, now: int, until: int | None) -> Lease:
        """Put a thing into somebody's hands."""
        fence = self._fences[key] = self._fences.get(key, 0) + 1
        lease = self._by_key[key] = Lease(holder, fence, now, until)
        if until is not None:
            heappush(self._heap, (until, key))
            if until < self.not_before:
                self.not_before = until
        return lease

    def of(self, key: Hashable) -> Lease | None:
        """Return who holds a thing, if anybody does."""
        return self._by_key.get(key)

    def fence(self, key: Hashable) -> int:
        """Return the number under which a thing was handed out last; 0 for never."""
        return self._fences.get(key, 0)

    def extend(self, key: Any, until: int) -> bool:
        """Let a thing be held until another moment; say whether anybody holds it."""
        lease = self._by_key.get(key)
        if lease is None:
            return False
        lease.until = until
        heappush(self._heap, (until, key))
        if until < self.not_before:
            self.not_before = until
        return True

    def release(self, key: Hashable) -> Lease | None:
        """Take a thing out of the hands it is in."""
        return self._by_key.pop(key, None)

    def forget(self, key: Hashable) -> None:
        """Let go of all that is known of a thing that is gone for good."""
        self._by_key.pop(key, None)
        self._fences.pop(key, None)

    def due(self) -> int | None:
        """Return when the next thing comes out of its holder's hands by itself."""
        heap = self._heap
        while heap:
            until, key = heap[0]
            lease = self._by_key.get(key)
            if lease is not None and lease.until == until:
                return until
            heappop(heap)
        return None

    def is_due(self, now: int) -> bool:
        """Say whether something comes out of its holder's hands by itself, up to now."""
        if self.not_before > now:
            return False
        due = self.due()
        self.not_before = inf if due is None else due
        return self.not_before <= now

    def expired(self, now: int) -> list[tuple[Any, Lease]]:
        """Take what has been held for too long out of all hands, the longest due first."""
        found: list[tuple[Any, Lease]] = []
        while (until := self.due()) is not None and until <= now:
            _, key = heappop(self._heap)
            found.append((key, self._by_key.pop(key)))
        return found
