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


class Alarm:
    """When time changes something in a machine whose parts have moments of their own.

    Attributes:
        not_before: Nothing happens sooner. It may be too early, and is never too late.
        moves: How often the next moment may have become another: as long as this stays the same,
            so does what the machine is due.
    """

    __slots__ = ("moves", "not_before")

    def __init__(self) -> None:
        self.not_before: float = inf
        self.moves = 0

    def at(self, moment_ms: int) -> None:
        """Know that something happens then."""
        self.moves += 1
        if moment_ms < self.not_before:
            self.not_before = moment_ms

    def settled(self, due_ms: int | None) -> None:
        """Know when the next thing happens, now that all is done that was due."""
        self.not_before = inf if due_ms is None else due_ms


class Leases:
    """Things in hands, by key. A key that is released keeps its last fence.

    Things that end at one moment lie together, so that a moment is put in order once, however many
    they are, and one that is settled in time is never looked at again.

    Args:
        settings: What holding means.
        alarm: Of the machine that these are part of, if it has one.

    Attributes:
        held: What is in hands, and in whose.
    """

    __slots__ = ("_alarm", "_ending", "_ends", "_fences", "_soonest", "held", "settings")

    def __init__(self, settings: LeaseSettings, alarm: Alarm | None = None) -> None:
        self.settings = settings
        self._alarm = Alarm() if alarm is None else alarm
        self.held: dict[Hashable, Lease] = {}
        self._fences: dict[Hashable, int] = {}
        self._ending: dict[int, dict[Any, None]] = {}
        self._ends: list[int] = []
        self._soonest: float = inf

    def __len__(self) -> int:
        return len(self.held)

    def hold(self, key: Any, holder: Any, now: int, until: int | None, fence: int = 0) -> int:
        """Put a thing into somebody's hands; return the number under which it is there.

        Args:
            key: Which thing.
            holder: Who.
            now: From when.
            until: Until when; None: without an end.
            fence: The number, where the product has one of its own. 0: one more than before.
        """
        held = self.held
        if key in held:
            self.release(key)
        if not fence:
            fence = self._fences[key] = self._fences.get(key, 0) + 1
        held[key] = Lease(holder, fence, now, until)
        if until is not None:
            ending = self._ending.get(until)
            if ending is None:
                self._ends_at(key, until)
            else:
                ending[key] = None
        return fence

    def _ends_at(self, key: Any, until: int) -> None:
        """Know of a moment at which something ends."""
        self._ending[until] = {key: None}
        heappush(self._ends, until)
        if until < self._soonest:
            self._soonest = until
            self._alarm.at(until)

    def of(self, key: Hashable) -> Lease | None:
        """Return who holds a thing, if anybody does."""
        return self.held.get(key)

    def fence(self, key: Hashable) -> int:
        """Return the number under which a thing was handed out last; 0 for never."""
        return self._fences.get(key, 0)

    def extend(self, key: Any, until: int) -> bool:
        """Let a thing be held until another moment; say whether anybody holds it."""
        lease = self.release(key)
        if lease is None:
            return False
        lease.until = until
        self.held[key] = lease
        ending = self._ending.get(until)
        if ending is None:
            self._ends_at(key, until)
        else:
            ending[key] = None
        return True

    def release(self, key: Any) -> Lease | None:
        """Take a thing out of the hands it is in."""
        lease = self.held.pop(key, None)
        if lease is not None and lease.until is not None:
            ending = self._ending[lease.until]
            del ending[key]
            if not ending:
                self._is_over(lease.until)
        return lease

    def forget(self, key: Any) -> None:
        """Let go of all that is known of a thing that is gone for good."""
        self._fences.pop(key, None)
        if key in self.held:
            self.release(key)

    def _is_over(self, until: int) -> None:
        """Take note that nothing ends any more at a moment."""
        ending, ends = self._ending, self._ends
        del ending[until]
        if until == self._soonest:
            while ends and ends[0] not in ending:
                heappop(ends)
            self._soonest = ends[0] if ends else inf
            self._alarm.moves += 1

    def due(self) -> int | None:
        """Return when the next thing comes out of its holder's hands by itself."""
        return self._ends[0] if self._ending else None

    def expired(self, now: int) -> list[tuple[Any, Lease]]:
        """Take what has been held for too long out of all hands, the longest due first."""
        found: list[tuple[Any, Lease]] = []
        while self._soonest <= now:
            until = self._ends[0]
            found += [(key, self.held.pop(key)) for key in sorted(self._ending[until])]
            self._is_over(until)
        return found
