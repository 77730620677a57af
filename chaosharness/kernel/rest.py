"""When a run is over: whether the loops that sleep would ever change anything again.

A loop is *at rest* when it comes back to the same place in the same state, has read no clock
and changed nothing on the way round: then it would go round like this for ever. One that is
not at rest is run on, at its own pace, up to a *horizon*: past every timeout, lease and due
time that the run has shown.

All of this is taken from this run alone, and an end depends on whether two states are equal,
never on what they are: no address, no hash.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final, Literal, Protocol

import attrs

from chaosharness.kernel.spans import DAY_MS, ahead_in

Why = Literal["reads a clock", "counts", "holds messages", "cannot be compared", "wakes too often"]
"""Why a loop is run on: what it does between two sleeps; the last, that events ran out."""

WAKES_CLOCK: Final = 5
"""Wakes at least of a loop that reads a clock, where a duration or a due time was shown."""

WAKES_HOLDING: Final = 20
"""Wakes at least of a loop that holds what it has not settled, and of one that reads a clock
where no duration was shown."""

WAKES_COUNTING: Final = 100
"""Wakes of a loop whose state is another each time, or cannot be compared."""

LONG_MS: Final = 1_200_000
"""After this time without a change, `WAKES_HOLDING` wakes of such a loop are enough."""

WAKES_GUESSED: Final = 1_000
"""Wakes at most for the sake of a duration that was only read off the code."""

SEEN_MAX: Final = 1_000

State = tuple[Hashable, bool]
"""What is comparable of sleeping code, and whether that is all there is."""


class Looper(Protocol):
    """On whose behalf a loop runs: a `Scope`."""

    place: str
    clock: int
    reckons_ms: int


class Clockwork(Protocol):
    """What the loops of a run share: its `World`."""

    now: int
    effects: int
    raw: list[Any]
    rest: Rest


@attrs.frozen
class RanOn:
    """A loop that was not at rest when the run ended: its horizon was over.

    Attributes:
        place: Which loop, for example `relay.loop`.
        why: What kept it from rest.
        after_ms: For how long the run went on after the last change.
    """

    place: str
    why: Why
    after_ms: int

    def __str__(self) -> str:
        after_s = self.after_ms / 1000
        return f"{self.place} {self.why}: run on for {after_s:,.0f} s after the last change"


class Loop:
    """What repeats by itself: the main line of a scope, an asyncio task, a trio task.

    Attributes:
        effects: What `world.effects` was when it was woken last.
        real: The same, without what background loops did.
        clock: How often its scope had read a clock by then.
        rest_at: The effects at which its rounds are known to repeat, else -1.
        seen: The states it slept in and was woken from since the effects changed.
        wakes: How often it was woken since the real effects changed.
        slept_ms: Its longest sleep.
        why: What kept it from rest at its last sleep.
    """

    __slots__ = ("_kin", "clock", "effects", "real", "rest_at", "seen", "slept_ms", "wakes", "why")

    def __init__(self) -> None:
        self.effects = self.real = self.clock = self.rest_at = -1
        self.seen: set[Hashable] = set()
        self.wakes = 0
        self.slept_ms = 0
        self.why: Why = "counts"
        self._kin: dict[Hashable, list[tuple[Any, Loop]]] = {}

    def child(self, code: Hashable, task: Any, ended: Callable[[Any], bool]) -> Loop:
        """Return the loop of a task that this one has started.

        A task that is made anew each time round carries on for its predecessor.
        """
        kin = self._kin.setdefault(code, [])
        for index, (former, loop) in enumerate(kin):
            if ended(former):
                kin[index] = (task, loop)
                return loop
        kin.append((task, loop := Loop()))
        return loop


class Wait:
    """One sleep of one loop: what an agenda entry is told to wait for.

    Args:
        world: The run.
        loop: Which loop.
        scope: On whose behalf it runs.
        delay_ms: How long it sleeps.
        look: Takes the fingerprint of the sleeping code, if need be.
        at: Where `look` has to look; None: nowhere, for code at work, whose run goes on anyway.
        holds: Whether the loop has in hand what it was given and has not settled.

    Attributes:
        rest_at: The effects at which the loop is at rest in this sleep, else -1.
    """

    __slots__ = ("_scope", "_state", "_world", "loop", "rest_at")

    def __init__(
        self,
        world: Clockwork,
        loop: Loop,
        scope: Looper,
        delay_ms: int,
        look: Callable[[Any], State],
        at: Any,
        *,
        holds: bool = False,
    ) -> None:
        self._world = world
        self._scope = scope
        self._state: Hashable = None
        self.loop = loop
        self.rest_at = -1
        if delay_ms > loop.slept_ms:
            loop.slept_ms = delay_ms
        if at is None:
            return
        effects = world.effects
        came_round = loop.effects == effects
        if came_round and scope.clock != loop.clock:
            loop.why = "reads a clock"
            loop.seen.clear()
        elif came_round and loop.rest_at == effects and not holds:
            self.rest_at = effects
        else:
            self._state, sure = look(at)
            if not came_round:
                return
            if self._state not in loop.seen:
                loop.why = "holds messages" if holds else "counts"
            elif holds or not sure:
                loop.why = "holds messages" if holds else "cannot be compared"
            else:
                self.rest_at = loop.rest_at = effects

    def woke(self) -> None:
        """Take note that the sleep is over, before the loop goes on."""
        world = self._world
        loop = self.loop
        if loop.effects != world.effects:
            loop.effects = world.effects
            loop.seen.clear()
            loop.rest_at = -1
            real = world.effects - world.rest.by_background
            if loop.real != real:
                loop.real = real
                loop.wakes = 0
        loop.wakes += 1
        loop.clock = self._scope.clock
        if self._state is not None and len(loop.seen) < SEEN_MAX:
            loop.seen.add(self._state)

    def holding_out(self) -> RanOn | None:
        """Return how far the loop was run on, if that is far enough, for a wait not at rest."""
        why = self._world.rest.spent(self._world, self.loop, self._scope.reckons_ms)
        if why is None:
            return None
        return RanOn(self._scope.place, why, self._world.now - self._world.rest.since_ms)


class Rest:
    """What a run has shown of the times that matter to it, and when it changed last.

    Args:
        events_max: Events after the last change that no loop is worth.

    Attributes:
        by_background: How many effects were those of background loops, which do not count.
        since_ms: When the last effect that counts was noticed.
        shown_ms: The longest duration that statements have shown: a lease, a time-out in SQL.
        behind_ms: By how much the slowest clock is behind.
        read_at: The instants at which somebody read a clock.
        looked: Code whose constants have been read, and on whose behalf.
        spots: For each parameter of a statement: how far behind the clock it was, and when.
        ran_on: The loops that were not at rest at the end.
    """

    __slots__ = (
        "_alike_at",
        "_due_ms",
        "_events_max",
        "_guessed_due_ms",
        "_mark",
        "_real",
        "_row",
        "_scanned",
        "behind_ms",
        "by_background",
        "looked",
        "ran_on",
        "read_at",
        "shown_ms",
        "since_ms",
        "spots",
    )

    def __init__(self, *, events_max: int) -> None:
        self._events_max = events_max
        self._real = -1
        self._mark = self._scanned = self._row = 0
        self._alike_at = -1
        self._due_ms = self._guessed_due_ms = 0
        self.by_background = 0
        self.since_ms = 0
        self.shown_ms = self.behind_ms = 0
        self.read_at: set[int] = set()
        self.looked: set[Hashable] = set()
        self.spots: dict[Hashable, tuple[int, int]] = {}
        self.ran_on: tuple[RanOn, ...] = ()

    def show(self, duration_ms: int) -> None:
        """Learn of a duration that the system reckons with."""
        if self.shown_ms < duration_ms <= DAY_MS:
            self.shown_ms = duration_ms

    def goes_on_alike(self, world: Clockwork) -> int:
        """Count commits that follow each other with nothing else in between; return which row.

        The number of the row is another whenever something else has happened.
        """
        if self._alike_at != world.effects:
            self._row += 1
        return self._row

    def counted(self, world: Clockwork, *, effect: bool) -> None:
        """Take note whether the commit just asked about counts as an effect."""
        self._alike_at = world.effects + effect

    def notice(self, world: Clockwork) -> None:
        """Take note of the last effect, whenever it is asked whether the run is over."""
        real = world.effects - self.by_background
        if real != self._real:
            self._real = real
            self.since_ms = world.now
            self._mark = len(world.raw)

    def spent(self, world: Clockwork, loop: Loop, reckons_ms: int) -> Why | None:
        """Say why a loop is not at rest, if it was run on for long enough.

        Args:
            world: The run.
            loop: Which loop.
            reckons_ms: The longest duration that was read off its code.
        """
        if len(world.raw) - self._mark > self._events_max:
            return "wakes too often"
        if loop.real != self._real:
            return None
        still_ms = world.now - self.since_ms
        wakes = loop.wakes
        if loop.why in ("reads a clock", "holds messages"):
            self._scan(world)
            slack_ms = 2 * loop.slept_ms + self.behind_ms
            told = self.shown_ms > loop.slept_ms or self._due_ms > self.since_ms
            least = WAKES_CLOCK if told and loop.why == "reads a clock" else WAKES_HOLDING
            until_ms = max(self.since_ms + self.shown_ms, self._due_ms) + slack_ms
            if wakes < least or world.now < until_ms:
                return None
            until_ms = max(self.since_ms + reckons_ms, self._guessed_due_ms) + slack_ms
            return loop.why if world.now >= until_ms or wakes >= WAKES_GUESSED else None
        enough = wakes >= WAKES_COUNTING or (wakes >= WAKES_HOLDING and still_ms >= LONG_MS)
        return loop.why if enough else None

    def _scan(self, world: Clockwork) -> None:
        """Look for due times in what was stored and sent up to the last effect."""
        raw = world.raw
        for index in range(self._scanned, self._mark):
            at_ms = raw[index][0]
            due_ms = ahead_in(raw[index])
            if not due_ms:
                continue
            if at_ms in self.read_at:
                self._due_ms = max(self._due_ms, due_ms)
            else:
                self._guessed_due_ms = max(self._guessed_due_ms, due_ms)
        self._scanned = max(self._scanned, self._mark)


__all__ = ["Loop", "RanOn", "Rest", "State", "Wait", "Why"]
