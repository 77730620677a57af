"""Those who wait for messages, in a line at each place: whoever has waited longest is answered."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from math import inf
from typing import Any, Generic, Protocol, TypeVar

from chaosharness.kernel.agenda import Entry
from chaosharness.kernel.scope import Incarnation
from chaosharness.kernel.world import World

P = TypeVar("P", bound=Hashable)
At_co = TypeVar("At_co", covariant=True)


class Waiter(Protocol[At_co]):
    """One consumer, which asks for messages at one place.

    Attributes:
        take: Called with what arrives.
        waiting: Whether it stands in its line.
    """

    take: Callable[[list[Any]], None]
    waiting: bool

    @property
    def incarnation(self) -> Incarnation:
        """Whose it is."""

    @property
    def place(self) -> At_co:
        """A queue, or a stream and who reads it."""


W = TypeVar("W", bound=Waiter[Any])


def _take_nothing(held: list[Any]) -> None:
    """Be given messages when the run is over."""


class Lines(Generic[P, W]):
    """The lines of one broker in a run.

    Args:
        world: The run.
        broker: The name of the broker: whoever is cut off from it is not answered.
        latency_ms: From a place to somebody who waits there.
        due: When there is something for somebody, in milliseconds; None for never.
        answer: Hands out what there is to somebody; returns what arrives, and when.
        rest: Called when somebody was answered, before he goes on, and when nobody could be.
        pace_ms: From one who is answered to the next at the same place.
        alike: Whether all who wait at one place are due at the same moment: then one is asked.
    """

    def __init__(
        self,
        world: World,
        broker: str,
        latency_ms: int,
        *,
        due: Callable[[W], int | None],
        answer: Callable[[W], tuple[list[Any], int]],
        rest: Callable[[], None],
        pace_ms: int = 0,
        alike: bool = False,
    ) -> None:
        self._world = world
        self._broker = broker
        self._latency_ms = latency_ms
        self._due = due
        self._answer = answer
        self._rest = rest
        self._pace_ms = pace_ms
        self._alike = alike
        self._lines: dict[P, list[W]] = {}
        self._asking = 0
        self._ready = False  # whether all who wait are answered as soon as can be
        self._armed: dict[P, tuple[int, Entry]] = {}

    def open(self, place: P) -> None:
        """Let there be a line at a place."""
        self._lines.setdefault(place, [])

    def slow_down(self, factor: int) -> None:
        """Have every way from a place to who waits there take so many times as long."""
        self._latency_ms *= factor
        self._pace_ms *= factor

    def close(self) -> None:
        """Let go of all who wait, at the end of a run."""
        for line in self._lines.values():
            for waiter in line:
                waiter.take = _take_nothing
            line.clear()
        self._asking = 0

    def ask(self, waiter: W, *, first: bool = False) -> None:
        """Wait for messages; they come by `take`.

        Args:
            waiter: Who asks.
            first: Whether it is answered before those who wait already.
        """
        if not waiter.waiting:
            waiter.waiting = True
            self._asking += 1
            self._ready = False
            line = self._lines[waiter.place]
            line.insert(0 if first else len(line), waiter)
            self._look(waiter.place, self._latency_ms)

    def leave(self, waiter: W) -> None:
        """Wait no longer."""
        if waiter.waiting:
            waiter.waiting = False
            self._asking -= 1
            self._lines[waiter.place].remove(waiter)

    def is_asked(self, place: P) -> bool:
        """Say whether somebody waits at a place."""
        return bool(self._lines.get(place))

    def look(self) -> None:
        """See to it that those who wait get what is there, or what will be."""
        if self._ready or not self._asking:
            return
        latency_ms = self._latency_ms
        soonest_ms = self._world.now + latency_ms
        self._ready = True
        for place, line in self._lines.items():
            if line and self._look(place, latency_ms) > soonest_ms:
                self._ready = False

    def is_cut(self, waiter: W) -> bool:
        """Say whether somebody gets no answers now: a connection takes both ways."""
        unreachable = self._world.unreachable
        if not unreachable:
            return False
        pair = (waiter.incarnation.service, self._broker)
        return pair in unreachable or pair[::-1] in unreachable

    def _look(self, place: P, latency_ms: int) -> float:
        """See to it that one of a line is answered; return when that is."""
        now = self._world.now
        armed = self._armed.get(place)
        if armed is not None and armed[0] <= now + latency_ms:
            return armed[0]  # nobody can be answered sooner
        soonest = self._soonest(place, now)
        if soonest is None:
            return inf if armed is None else armed[0]
        due_ms = max(soonest, now + latency_ms)
        if armed is not None:
            if armed[0] <= due_ms:
                return armed[0]
            self._world.agenda.cancel(armed[1])
        # A timer where time decides: trouble may be sized to last just longer than it.
        waits = None if soonest <= now else False
        entry = self._world.agenda.add(due_ms, self._serve, place, waits)
        self._armed[place] = due_ms, entry
        return due_ms

    def _soonest(self, place: P, now: int) -> int | None:
        """Return when there is something for one of a line; None for never."""
        soonest: int | None = None
        cut = self._world.unreachable
        for waiter in self._lines[place]:
            if cut and self.is_cut(waiter):
                continue
            due_ms = self._due(waiter)
            if self._alike:
                return due_ms
            if due_ms is not None:
                if due_ms <= now:
                    return due_ms
                if soonest is None or due_ms < soonest:
                    soonest = due_ms
        return soonest

    def _serve(self, place: P) -> None:
        """Answer the one who has waited longest, if there is something; the next one comes next.

        Whoever is answered goes on right inside of this, so it is the last thing that happens here.
        """
        self._armed.pop(place, None)
        self._ready = False
        world = self._world
        line = self._lines[place]
        for waiter in tuple(line):
            if self.is_cut(waiter) or self._due(waiter) is None:
                continue
            held, due_ms = self._answer(waiter)
            if held:
                self.leave(waiter)
                self._look(place, self._pace_ms)  # what is there has made its way
                self._rest()
                if due_ms > world.now:
                    world.until(due_ms, self._arrive, (waiter, held))
                else:
                    waiter.take(held)
                return
        self._look(place, self._latency_ms)
        self._rest()

    def _arrive(self, late: tuple[W, list[Any]]) -> None:
        """Let late messages arrive, if there is anybody still."""
        waiter, held = late
        if waiter.incarnation.alive:
            self._world.effects += 1
            waiter.take(held)
